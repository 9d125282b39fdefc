package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// instance is a worker as the test sees it: one name and folder, and one process
// after the other.
type instance struct {
	job  job
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone

	mu     sync.Mutex
	last   report
	at     time.Time // of last
	past   tally     // of earlier processes
	ending bool      // its end is asked for
}

// tally sums up what instances did.
type tally struct{ aborts, rebuilds, skipped int64 }

func (t tally) add(o tally) tally {
	return tally{t.aborts + o.aborts, t.rebuilds + o.rebuilds, t.skipped + o.skipped}
}

func (r report) tally() (t tally) {
	for _, h := range r.Hops {
		for _, n := range h.Stats.Aborts {
			t.aborts += n
		}
		t.rebuilds += h.Stats.Rebuilds
		t.skipped += h.Stats.Skipped
	}
	return t
}

// start runs a process for the instance. What it logs goes on in the same file.
func (i *instance) start() error {
	text, err := json.Marshal(i.job)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(i.log(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerVar+"="+string(text))
	cmd.Stderr = log
	in, err := cmd.StdinPipe() // never written to: its end is the test's
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	i.mu.Lock()
	i.past = i.past.add(i.last.tally())
	i.last, i.at, i.ending = report{}, time.Time{}, false
	i.mu.Unlock()
	done := make(chan struct{})
	i.cmd, i.done = cmd, done
	go func() {
		defer close(done)
		i.read(out)
		_ = cmd.Wait() // how it ended is in its last report, or was asked for
		in.Close()
	}()
	return nil
}

func (i *instance) log() string { return filepath.Join(i.job.Dir, i.job.Instance+".log") }

func (i *instance) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return // a line cut by a kill is none
		}
		var r report
		if json.Unmarshal(line, &r) != nil {
			continue // a panic's text goes to the log; this is none of ours
		}
		i.mu.Lock()
		i.last, i.at = r, time.Now()
		i.mu.Unlock()
	}
}

// state is the last report, and when it came.
func (i *instance) state() (report, time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last, i.at
}

// here is the partitions that it works on, with any of its hops.
func (i *instance) here() map[int32]bool {
	r, _ := i.state()
	all := map[int32]bool{}
	for _, h := range r.Hops {
		for _, p := range h.Here {
			all[p] = true
		}
	}
	return all
}

func (i *instance) tally() tally {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.past.add(i.last.tally())
}

func (i *instance) running() bool {
	if i.done == nil {
		return false
	}
	select {
	case <-i.done:
		return false
	default:
		return true
	}
}

// failure says how it ended by itself, nil if it did not.
func (i *instance) failure() error {
	if i.done == nil || i.running() {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.last.Error != "":
		return fmt.Errorf("instance %s ended: %s", i.job.Instance, i.last.Error)
	case !i.ending:
		return fmt.Errorf("instance %s ended by itself, see its log", i.job.Instance)
	}
	return nil
}

func (i *instance) signal(s os.Signal) {
	if i.running() {
		_ = i.cmd.Process.Signal(s) // it may be gone by now
	}
}

// kill ends the process at once.
func (i *instance) kill() {
	i.expectEnd()
	i.signal(syscall.SIGKILL)
	<-i.done
}

// stop ends it in order and returns what it has to say about that.
func (i *instance) stop(patience time.Duration) error {
	i.expectEnd()
	i.signal(syscall.SIGTERM)
	select {
	case <-i.done:
	case <-time.After(patience):
		i.kill()
		return fmt.Errorf("instance %s did not stop in %v", i.job.Instance, patience)
	}
	if r, _ := i.state(); !r.Ended {
		return fmt.Errorf("instance %s did not stop in order: %v", i.job.Instance, i.cmd.ProcessState)
	}
	return i.failure()
}

func (i *instance) expectEnd() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ending = true
}
