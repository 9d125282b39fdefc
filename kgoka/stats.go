package kgoka

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Stats counts what a Processor did since it started.
type Stats struct {
	Transactions int64            // committed
	Commits      int64            // offset commits of batches that wrote nothing, which take no transaction
	In           int64            // records consumed and committed, the skipped ones among them
	Out          int64            // records produced and committed, changelog included
	Skipped      int64            // records that their row had seen already
	Aborts       map[string]int64 // by cause: the broker's error name, "timeout", "callback" or "other"
	Rebuilds     int64            // times the clients were made anew: fenced, or an outcome unknown
}

type counters struct {
	transactions, commits, in, out, skipped, rebuilds atomic.Int64

	mu     sync.Mutex
	aborts map[string]int64
}

// Stats returns the counts so far.
func (p *Processor) Stats() Stats {
	c := &p.count
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Transactions: c.transactions.Load(), Commits: c.commits.Load(), In: c.in.Load(), Out: c.out.Load(),
		Skipped: c.skipped.Load(), Rebuilds: c.rebuilds.Load(), Aborts: maps.Clone(c.aborts)}
}

func (c *counters) abort(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborts == nil {
		c.aborts = map[string]int64{}
	}
	c.aborts[cause(err)]++
}

func cause(err error) string {
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return ke.Message
	}
	switch _, callback := errors.AsType[failure](err); {
	case callback:
		return "callback"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "other"
}
