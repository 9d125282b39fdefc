package graph

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Whatever fails, is pulled forward, cancelled by a person or dispatched again: each
// record is decided on once or is one dead letter; records of a key are decided on in
// the order in which they came, but for a cancel; a key has one deadline at most; and
// nothing is left in the end.
func TestWhateverComes(t *testing.T) {
	for range 100 {
		seed := rand.Uint64()
		if !t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { whateverComes(t, seed) }) {
			return
		}
	}
}

func whateverComes(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	s := onStage(t, order.New(order.Config{}))
	decided, overtook := map[string][]string{}, map[string]bool{} // IDs by key
	untold := map[string]bool{}                                   // that they have expired: nobody tries that any more
	chance := rng.IntN(4)
	sent := 0
	h := newHandler(order.New(order.Config{}), Env{Serde: s.serde, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return s.now }, BeforeDecide: func(m flow.Message) {
		if rng.IntN(5) < chance {
			panic("a bug in the rule")
		}
		if m.Type != schemas.OrdersOrderExpire {
			decided[m.Key] = append(decided[m.Key], m.ID)
		}
	}})
	s.handle = func(c kgoka.Context, in topics.Topic) {
		if event.Header(c.Record(), event.Type) != schemas.OrdersOrderExpire {
			sent++
		}
		h.handle(c, in)
	}
	s.back = h.comeBack

	keys := []string{"ord_1", "ord_2", "ord_3"}
	var gone []schemas.Parked
	dispatch := func(k string) {
		gone = append(gone, *s.calendar[k])
		s.dispatch(k)
	}
	check := func() {
		for _, k := range keys {
			n, err := parseNote(s.notes[k])
			if err != nil {
				t.Fatal(err)
			}
			deadlines, waiting := 0, map[int64]bool{}
			for _, p := range s.calendar {
				switch {
				case string(p.Key) != k:
				case p.Topic == "":
					deadlines++
				default:
					waiting[p.Seq] = true
				}
			}
			for seq := n.first; seq < n.next; seq++ {
				if !waiting[seq] {
					t.Fatalf("%s: place %d of %+v is not in the calendar", k, seq, n)
				}
			}
			if want := min(1, n.deadline); int64(deadlines) != want {
				t.Fatalf("%s: %d deadlines, note %+v", k, deadlines, n)
			}
		}
	}
	step := func() {
		s.now = s.now.Add(time.Millisecond)
		k := keys[rng.IntN(len(keys))]
		switch rng.IntN(13) {
		case 0, 1:
			s.place(k)
		case 2:
			overtook[fmt.Sprint("evt_", s.offset+1)] = true
			s.cancel(k)
		case 3, 4:
			s.grant(k)
		case 5:
			s.invoice(k)
		case 6:
			s.send(topics.OrderCommands, schemas.OrdersOrderDeliver, &schemas.DeliverOrder{OrderID: k})
		case 7: // pulled forward
			if due := s.due(); len(due) > 0 {
				dispatch(due[rng.IntN(len(due))])
			}
		case 8: // dispatched again
			if len(gone) > 0 {
				p := gone[rng.IntN(len(gone))]
				const again = "0000000000000.again"
				s.calendar[again] = &p
				s.dispatch(again)
			}
		case 9: // cancelled by a person
			if due := s.due(); len(due) > 0 && rng.IntN(3) == 0 {
				d := due[rng.IntN(len(due))]
				p := s.calendar[d]
				p.Cancel = "a mistake"
				untold[string(p.Key)] = untold[string(p.Key)] || p.Topic == ""
				dispatch(d)
			}
		default:
			end := s.now.Add(time.Duration(rng.Int64N(int64(2 * time.Hour))))
			for due := s.due(); len(due) > 0; due = s.due() {
				at := time.UnixMilli(s.calendar[due[0]].Due)
				if at.After(end) {
					break
				}
				s.now = later(s.now, at)
				dispatch(due[0])
			}
			s.now = end
		}
		check()
	}
	for range rng.IntN(120) {
		step()
	}
	chance = 0
	s.pass(200 * time.Hour)
	check()
	if len(s.calendar) > 0 {
		t.Errorf("left in the calendar: %q", s.due())
	}
	times := map[string]int{}
	for _, k := range keys {
		var last int
		for _, id := range decided[k] {
			times[id]++
			var at int
			fmt.Sscanf(strings.TrimPrefix(id, "evt_"), "%d", &at)
			if overtook[id] {
				continue
			}
			if at < last {
				t.Errorf("%s: decided %v", k, decided[k])
			}
			last = at
		}
	}
	for _, l := range s.dead() {
		if l.Cause != "refused" {
			m := event.Parse(l.Original())
			if m.Type == schemas.OrdersOrderExpire {
				untold[m.Key] = true
				continue
			}
			times[m.ID]++
		}
	}
	if len(times) != sent {
		t.Errorf("%d of %d are accounted for", len(times), sent)
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s: %d times", id, n)
		}
	}
	for _, k := range keys {
		if o := s.order(k); !untold[k] && (o.State == schemas.Placed || o.State == schemas.Approved) {
			t.Errorf("%s is still %s", k, o.State)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
