package kgoka

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// pulse is what the loop is doing. Steps that wait for the brokers end by
// themselves and are none; what is bounded by nothing else are callbacks and the
// local disk.
type pulse struct {
	mu    sync.Mutex
	step  func() string // nil: waiting for work
	since time.Time
}

// begin says that a step begins; what describes it when it hangs.
func (p *pulse) begin(what func() string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step, p.since = what, time.Now()
}

// end says that the step has ended.
func (p *pulse) end() { p.begin(nil) }

// Alive returns an error that names what hangs if the loop has made no step for
// longer than the transaction timeout and the session timeout together while
// there is something to do: whoever watches the process should end it then. An
// idle instance is alive, and so is one that waits for a broker.
func (p *Processor) Alive() error {
	select {
	case <-p.done:
		return errors.New("the processor has ended")
	default:
	}
	p.pulse.mu.Lock()
	step, since := p.pulse.step, p.pulse.since
	p.pulse.mu.Unlock()
	if d := time.Since(since); step != nil && d > p.cfg.TransactionTimeout+p.cfg.SessionTimeout {
		return fmt.Errorf("group %q hangs since %v: %s", p.group, d.Round(time.Second), step())
	}
	return nil
}
