// Package faults holds no code: its test breaks instances, brokers and the
// network between them while records flow through two kgoka hops, and compares
// what is left with what was sent: nothing lost, nothing done twice, the order of
// each key kept, and all tables, on disk too, those of the log.
package faults

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments and the victims; printed")
	long = flag.Bool("long", os.Getenv("ORDERLOG_TEST_FAULTS") == "long", "every fault, for longer, on one node and three")
)

// when a fault is tried.
type when int

const (
	never when = iota
	longOnly
	always
)

// fault is one row of the table.
type fault struct {
	name       string
	one, three when // on one node, on three

	// transaction is the instances' transaction timeout; 0 is the usual one. A long
	// one is for whom nobody shall wait.
	transaction time.Duration

	// hit is the fault: it happens while records flow, and returns when it is over.
	hit func(*scene)

	// alone, instead of hit, is one with a course and an end of its own.
	alone func(*scene)
}

func TestFaults(t *testing.T) {
	t.Logf("repeat with -seed=%d", *seed)
	table := newTable()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprintf("nodes=%d", nodes), func(t *testing.T) {
			k := newStage(t, nodes)
			for i, f := range faults {
				due := f.one
				if nodes == 3 {
					due = f.three
				}
				if due == always || due == longOnly && *long {
					t.Run(strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
						s := newScene(t, k, fmt.Sprintf("f%d", i), *seed+uint64(i), *long)
						s.transaction = cmp.Or(f.transaction, transact)
						defer func() { table.add(s, f) }()
						f.run(s)
					})
				}
			}
		})
	}
	t.Logf("seed %d, %d records/s over %d keys, %d partitions, 3 instances of 2 hops\n%s", *seed, rate, nkeys, nparts, table)
}

func (f fault) run(s *scene) {
	if f.alone != nil {
		f.alone(s)
		return
	}
	s.cast()
	s.load.start()
	s.flowing()
	f.hit(s)
	s.flowing()
	s.inSync()
	s.drain()
	s.check()
}

// table is what was seen, a row per fault.
type table struct{ rows [][]string }

func newTable() *table {
	return &table{[][]string{
		{"fault", "nodes", "records", "records/s", "longest pause, ms: where it hit", "elsewhere", "aborts", "new clients", "skipped by origin", ""},
		{"---", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "---"},
	}}
}

func (tb *table) add(s *scene, f fault) {
	struck, others := s.watch.pauses()
	n := s.load.ledger.total()
	perSecond := float64(n) / max(s.load.took.Seconds(), 1e-3)
	if s.Failed() {
		s.note("**failed**")
	}
	did := s.tally()
	r := []string{f.name, fmt.Sprint(s.nodes), fmt.Sprint(n), fmt.Sprintf("%.0f", perSecond), millis(struck), millis(others),
		fmt.Sprint(did.aborts), fmt.Sprint(did.rebuilds), fmt.Sprint(did.skipped), strings.Join(s.notes, "; ")}
	tb.rows = append(tb.rows, r)
	s.Log(line(r))
}

func millis(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprint(d.Milliseconds())
}

func line(cells []string) string { return "| " + strings.Join(cells, " | ") + " |" }

func (tb *table) String() string {
	var b strings.Builder
	for _, r := range tb.rows {
		fmt.Fprintln(&b, line(r))
	}
	return b.String()
}
