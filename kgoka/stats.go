package kgoka

import (
	"context"
	"errors"
	"maps"
	"math"
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

// progress is how far a table has been read. The table's lock guards it.
type progress struct {
	role    Role  // "" for none now
	start   int64 // first offset that the log holds
	end     int64 // the one after the last
	goal    int64 // end that the table must reach before it is used
	records int64
	meter   meter
}

func (t *table) bounds(start, end int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.start, t.end, t.goal = start, end, 0
}

func (t *table) play(role Role) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.role = role
}

func (t *table) setGoal(goal int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.goal = goal
}

// resume returns the offset to read from, and whether the goal lies behind it.
func (t *table) resume() (next int64, due bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.meter = meter{begun: time.Now(), last: time.Now()}
	next = max(t.at+1, t.start)
	return next, next < t.goal
}

// due says whether the table has not reached its goal.
func (t *table) due() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return max(t.at+1, t.start) < t.goal
}

func (t *table) stats() TableStats {
	due := t.due()
	t.mu.RLock()
	defer t.mu.RUnlock()
	st := TableStats{Topic: t.topic, Partition: t.part, Role: t.role, Offset: t.at, End: max(t.end, t.at+1), Recovering: due,
		Records: t.records, Rate: t.meter.perSecond(time.Now())}
	if st.Rate >= 1 {
		st.Left = time.Duration(float64(st.End-1-st.Offset) / st.Rate * float64(time.Second))
	}
	return st
}

// meter is a rate over the last seconds.
type meter struct {
	rate        float64
	begun, last time.Time
}

const meterSpan = 5 * time.Second

func (m *meter) add(n int, now time.Time) {
	m.rate = m.rate*fade(now.Sub(m.last)) + float64(n)/meterSpan.Seconds()
	m.last = now
}

func (m *meter) perSecond(now time.Time) float64 {
	if m.rate == 0 {
		return 0
	}
	return m.rate * fade(now.Sub(m.last)) / (1 - fade(now.Sub(m.begun)))
}

// fade is the weight of what was d ago.
func fade(d time.Duration) float64 { return math.Exp(-d.Seconds() / meterSpan.Seconds()) }

type counters struct {
	transactions, commits, in, out, skipped, visited, rebuilds atomic.Int64

	mu     sync.Mutex
	aborts map[string]int64
}

// Stats returns the counts so far.
func (p *Processor) Stats() Stats {
	c := &p.count
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Transactions: c.transactions.Load(), Commits: c.commits.Load(), In: c.in.Load(), Out: c.out.Load(),
		Skipped: c.skipped.Load(), Visited: c.visited.Load(), Rebuilds: c.rebuilds.Load(), Aborts: maps.Clone(c.aborts),
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
