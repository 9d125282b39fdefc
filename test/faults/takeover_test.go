package faults

import (
	"flag"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/kgoka"
)

var rows = flag.Int("rows", 0, "of each table in TestTakeOver, which measures and runs only with it")

// TestTakeOver measures for how long partitions stand still when one of three
// instances is killed, comes back, stops and comes back, with and without standby
// tables. It prints a table and asserts no time.
func TestTakeOver(t *testing.T) {
	if *rows == 0 {
		t.Skip("a measurement: -rows=1000000")
	}
	k := newStage(t, 1)
	report := "| 3 instances, 2 hops, session timeout " + kgoka.DefaultSessionTimeout.String() + " | where it hit, ms | elsewhere |\n| --- | --: | --: |\n"
	for _, standby := range []bool{true, false} {
		s := newScene(t, k, fmt.Sprintf("standby-%v", standby), *seed, false)
		s.transaction = kgoka.DefaultTransactionTimeout
		for _, h := range hops {
			s.fill(s.topic(h.group)+"-table", *rows)
		}
		for _, name := range []string{"x", "y", "z"} {
			i := s.instance(name)
			i.job.Session, i.job.Standby = kgoka.DefaultSessionTimeout, standby
			must(s, i.start())
		}
		s.shared()
		s.load.start()
		s.warm()
		i := s.insts[0]
		for _, event := range []struct {
			name string
			do   func() error
		}{
			{"killed", func() error { i.kill(); return nil }},
			{"started again", i.start},
			{"stopped", func() error { return i.stop(patience) }},
			{"started again", i.start},
		} {
			s.flowing()
			s.watch.forget()
			s.strikes(i.here())
			must(s, event.do())
			if i.running() {
				s.shared()
			}
			s.flowing()
			s.watch.untimed()
			struck, others := s.watch.pauses()
			report += fmt.Sprintf("| %s, standby tables %v | %s | %s |\n", event.name, standby, millis(struck), millis(others))
			s.warm()
		}
		s.drain()
		for _, i := range s.insts {
			must(s, i.stop(patience))
		}
	}
	t.Logf("%d rows of 300 bytes in each table\n%s", *rows, report)
}

// fill writes rows of other keys to a table's topic, as its group would have.
func (s *scene) fill(topic string, n int) {
	s.Helper()
	_, err := s.adm.CreateTopics(s.Context(), nparts, -1, map[string]*string{"cleanup.policy": kadm.StringPtr("compact")}, topic)
	must(s, err)
	cl, err := kgo.NewClient(append(s.opts, kgo.DefaultProduceTopic(topic), kgo.MaxBufferedRecords(1<<16))...)
	must(s, err)
	defer cl.Close()
	value := make([]byte, 280)
	for i := range n {
		cl.Produce(s.Context(), &kgo.Record{Key: fmt.Appendf(nil, "row-%016d", i), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				s.Error(err)
			}
		})
	}
	must(s, cl.Flush(s.Context()))
}

// warm waits until the instances that run have read their standby tables.
func (s *scene) warm() {
	s.Helper()
	s.until("standby tables are warm", func() any { return s.unread() }, func() bool { return s.unread() == 0 })
}

// unread is about how many rows the standby tables of running instances lack.
func (s *scene) unread() (n int64) {
	each := int64(*rows / nparts / 2) // a partition has more
	for _, i := range s.insts {
		if !i.running() || !i.job.Standby {
			continue
		}
		r, _ := i.state()
		n += each * int64(nparts*(len(hops)-len(r.Hops)))
		for _, h := range r.Hops {
			n += each * int64(max(0, nparts-len(h.Stats.Tables)))
			for _, tb := range h.Stats.Tables {
				if tb.Role == kgoka.RoleStandby {
					n += max(0, each-tb.Offset)
				}
			}
		}
	}
	return n
}
