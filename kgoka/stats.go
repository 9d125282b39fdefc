package kgoka

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Stats counts what a Processor did since it started.
type Stats struct {
	Transactions int64            // committed
	Commits      int64            // offset commits of batches that wrote nothing, which take no transaction
	In           int64            // records consumed and committed, the skipped ones among them
	Out          int64            // records produced and committed, changelog included
	Skipped      int64            // records that their row had seen already
	Visited      int64            // rows that visitors were called with, committed
	Aborts       map[string]int64 // by cause: the broker's error name, "timeout", "callback" or "other"
	Rebuilds     int64            // times the clients were made anew: fenced, or an outcome unknown
	Rebalances   int64            // times that the group gave this instance its partitions, the first time among them
	Tables       []TableStats     // by topic and partition
}

// Role is what a table is kept for.
type Role string

const (
	RoleActive  Role = "active"  // of a partition assigned here
	RoleStandby Role = "standby" // of one that is assigned to another instance, or to none
	RoleJoin    Role = "join"
	RoleLookup  Role = "lookup"
	RoleView    Role = "view"
)

// TableStats is the state of one partition of a table.
type TableStats struct {
	Topic      string
	Partition  int32
	Role       Role
	Offset     int64         // last one of the log that the table stands for, -1 if none
	End        int64         // the one after the last of the log, as last seen
	Recovering bool          // it must read more before it can be used
	Records    int64         // read from the log since the table was opened
	Rate       float64       // of reading, in records per second
	Left       time.Duration // until Offset reaches End at that rate; 0 if unknown
}

// TableSize is what a partition of a table holds, as far as that is cheaply known.
type TableSize struct {
	Topic     string
	Partition int32
	Role      Role
	Rows      int64 // of a table on disk: keys that it has, or has had since its filter of keys was made
	Bytes     int64 // keys and rows in memory, and about what the others take on disk
}

type counters struct {
	transactions, commits, in, out, skipped, visited, rebuilds, rebalances atomic.Int64

	mu     sync.Mutex
	aborts map[string]int64
}

// Stats returns the counts so far.
func (p *Processor) Stats() Stats {
	c := &p.count
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Transactions: c.transactions.Load(), Commits: c.commits.Load(), In: c.in.Load(), Out: c.out.Load(),
		Skipped: c.skipped.Load(), Visited: c.visited.Load(), Rebuilds: c.rebuilds.Load(), Rebalances: c.rebalances.Load(), Aborts: maps.Clone(c.aborts),
		Tables: p.shelf.stats()}
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
