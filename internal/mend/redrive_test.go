package mend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/wire"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// A letter goes back to where its row is, as its group wants it, and is open no more.
func TestRedriveOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.letter("ord_1")
		l.Partition = (l.Partition + 1) % nparts // its producer was wrong
		w.bury(l, w.letter("ord_2"))
		d := w.desk("ann", w.net.DialContext)
		items := d.letters(t, Filter{Key: "ord_1"})
		if len(items) != 1 {
			t.Fatalf("letters %v", ids(items))
		}
		rep, err := d.Redrive(t.Context(), items, Redrive{Why: "a test"})
		if err != nil || rep.Done != 1 {
			t.Fatalf("%+v, %v", rep, err)
		}
		loop := w.read(topics.OrderLoop)
		if len(loop) != 1 || loop[0].Partition != client.PartitionOf("ord_1", nparts) || string(loop[0].Key) != "ord_1" {
			t.Fatalf("on the loop are %v", loop)
		}
		got := letter.Parse(loop[0])
		if got.Redriven != items[0].ID || got.Topic != "red.order-commands" || got.Partition != l.Partition || len(got.Attempts) != 1 || string(got.Value) != string(l.Value) {
			t.Errorf("it is %+v", got)
		}
		a := w.audit()
		if len(a) != 1 || a[0].Who != "ann" || a[0].What != schemas.Redriven || a[0].Why != "a test" || a[0].Target != items[0].Target() || a[0].Group != "order" || a[0].Key != "ord_1" || a[0].At == 0 {
			t.Errorf("audit %+v", a)
		}
		if open := d.letters(t, Filter{}); len(open) != 1 || string(open[0].Letter.Key) != "ord_2" {
			t.Errorf("open are %v", ids(open))
		}
		all, err := d.Letters(t.Context(), Filter{Key: "ord_1"}, true)
		if err != nil || len(all) != 1 || all[0].Done == nil || all[0].Done.Who != "ann" {
			t.Errorf("%+v, %v", all, err)
		}
		// Who has not looked since does not do it again.
		rep, err = d.Redrive(t.Context(), items, Redrive{})
		if err != nil || rep.Done != 0 || !slices.Equal(rep.Taken, ids(items)) || len(w.read(topics.OrderLoop)) != 1 {
			t.Errorf("again: %+v, %v", rep, err)
		}
	})
}

// An audit record of a topic that is gone says nothing about the letters of the one
// that was made anew, though they have the same offsets.
func TestTopicMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.desk("ann", w.net.DialContext)
		w.bury(w.letter("ord_1"))
		_, err := d.Discard(t.Context(), d.letters(t, Filter{}), "a test")
		must(t, err)
		if open := d.letters(t, Filter{}); len(open) > 0 {
			t.Fatalf("open are %v", ids(open))
		}
		adm := kadm.NewClient(w.cl)
		_, err = adm.DeleteTopic(t.Context(), "red.dead-letter")
		must(t, err)
		_, err = adm.CreateTopic(t.Context(), nparts, 1, nil, "red.dead-letter")
		must(t, err)
		time.Sleep(time.Second)
		w.cl.PurgeTopicsFromClient("red.dead-letter")
		w.bury(w.letter("ord_1"))
		if open := d.letters(t, Filter{}); len(open) != 1 {
			t.Errorf("open are %v, want the new one", ids(open))
		}
	})
}

// Of two who act on the same, the second ends the first, between two of its
// transactions.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 40 {
			w.bury(w.letter(fmt.Sprint("ord_", i)))
		}
		ann, bob := w.desk("ann", w.net.DialContext), w.desk("bob", w.net.DialContext)
		items := ann.letters(t, Filter{})
		var once sync.Once
		var second Report
		var err2 error
		first, err := ann.Redrive(t.Context(), items, Redrive{Rate: 40, Progress: func(int, int) {
			once.Do(func() { second, err2 = bob.Redrive(t.Context(), items, Redrive{}) })
		}})
		if !errors.Is(err, ErrTaken) || first.Done != 10 {
			t.Errorf("ann: %+v, %v", first, err)
		}
		if err2 != nil || second.Done != 30 || len(second.Taken) != 10 {
			t.Errorf("bob: %+v, %v", second, err2)
		}
		w.once(40)
	})
}

// once checks that so many letters went back, each once, and that the audit says so.
func (w *world) once(letters int) {
	w.t.Helper()
	loop, audit := map[string]int{}, map[string]int{}
	for _, r := range w.read(topics.OrderLoop) {
		loop[string(r.Key)]++
	}
	for _, a := range w.audit() {
		audit[a.Key]++
	}
	for name, times := range map[string]map[string]int{"the loop": loop, "the audit": audit} {
		if len(times) != letters {
			w.t.Errorf("%d letters on %s, want %d", len(times), name, letters)
		}
		for key, n := range times {
			if n != 1 {
				w.t.Errorf("%s is on %s %d times", key, name, n)
			}
		}
	}
}

// A redrive that dies at any request, before or after the broker has it, can be run
// again for the rest: no letter goes twice, none is missed.
func TestInterruptedRedrive(t *testing.T) {
	const letters = 40 // ten a transaction
	died := 0
	for at := 1; at <= 24; at++ {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				for i := range letters {
					w.bury(w.letter(fmt.Sprint("ord_", i)))
				}
				line := &wire.Wire{Dial: w.net.DialContext, Counts: wire.Transaction}
				d := w.desk("ann", line.Connect)
				items := d.letters(t, Filter{})
				line.CutAt(at, after)
				rep, err := d.Redrive(t.Context(), items, Redrive{Rate: 40})
				if err != nil {
					died++
				}
				if err == nil && line.IsCut() {
					t.Errorf("request %d, after %v: cut, and %+v without an error", at, after, rep)
				}
				next := w.desk("bob", w.net.DialContext)
				if _, err := next.Redrive(t.Context(), next.letters(t, Filter{}), Redrive{}); err != nil {
					t.Errorf("request %d, after %v: %v", at, after, err)
				}
				w.once(letters)
			})
		}
	}
	if died < 16 {
		t.Errorf("only %d redrives died", died)
	}
}

// group handles what is on a loop, as a test says: what it is not to handle it puts
// elsewhere.
func (w *world) group(fate func(l letter.Letter) (topic string)) {
	w.t.Helper()
	adm := kadm.NewClient(w.cl)
	var offsets kadm.Offsets
	for _, r := range w.read(topics.OrderLoop) {
		l := letter.Parse(r)
		switch fate(l) {
		case topics.DeadLetter:
			w.bury(l.Failed(1, letter.Transient, "panic", "again", ""))
		case topics.Retry:
			w.produce(w.entry(r.Partition, l.Failed(1, letter.Transient, "panic", "later", "")))
		case graph.CauseBehind:
			l.Cause = graph.CauseBehind
			w.produce(w.entry(r.Partition, l))
		case "panic, at its turn":
			l.Cause = graph.CauseBehind
			w.produce(w.entry(r.Partition, l))
			w.produce(w.entry(r.Partition, l.Failed(1, letter.Transient, "panic", "later", "")))
		}
		offsets.AddOffset(r.Topic, r.Partition, r.Offset+1, -1)
	}
	must(w.t, adm.CommitAllOffsets(w.t.Context(), "red.order", offsets))
}

func (w *world) entry(partition int32, l letter.Letter) *kgo.Record {
	l.Due = 5
	return &kgo.Record{Topic: "red.retry", Partition: partition, Key: []byte(retry.Key(l.Due, "x")), Value: w.encode(topics.Retry, l.Parked(topics.OrderLoop))}
}

// Canaries go first, and what becomes of them decides about the rest.
func TestCanariesDecide(t *testing.T) {
	for name, c := range map[string]struct {
		fate     string // of canaries
		err      error
		redriven int
		back     string
		handled  int
	}{
		"all is well":                  {"", nil, 10, "", 10},
		"dead again":                   {topics.DeadLetter, ErrCanary, 2, "panic: again", 2},
		"parked":                       {topics.Retry, ErrCanary, 2, "panic: later", 2},
		"behind what is parked":        {graph.CauseBehind, nil, 10, "", 8},
		"behind it, and in vain again": {"panic, at its turn", ErrCanary, 2, "panic: later", 2},
		"nobody is at work":            {"nobody", ErrIdle, 2, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				for i := range 10 {
					w.bury(w.letter(fmt.Sprint("ord_", i)))
				}
				ctx, stop := context.WithCancel(t.Context())
				var at sync.WaitGroup
				at.Go(func() {
					for seen := 0; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
						if n := len(w.read(topics.OrderLoop)); c.fate != "nobody" && n > seen {
							w.group(func(letter.Letter) string {
								if seen > 0 {
									return ""
								}
								return c.fate
							})
							seen = n
						}
					}
				})
				d := w.desk("ann", w.net.DialContext)
				rep, err := d.Redrive(t.Context(), d.letters(t, Filter{}), Redrive{Canaries: 2, Wait: 5 * time.Second})
				stop()
				at.Wait()
				if !errors.Is(err, c.err) || rep.Done != c.redriven || rep.Handled != c.handled || err == nil && rep.Handled+len(rep.Behind) != 10 {
					t.Errorf("%+v, %v", rep, err)
				}
				var back []string
				for _, b := range rep.Back {
					back = append(back, b.Cause+": "+b.Error)
					if (b.As != "") != (c.fate == topics.DeadLetter) {
						t.Errorf("it is %q now", b.As)
					}
				}
				want := []string{c.back, c.back}
				if c.back == "" {
					want = nil
				}
				if !slices.Equal(back, want) {
					t.Errorf("came back: %q, want %q", back, want)
				}
			})
		})
	}
}

// Of a group without a loop the record stands where it stood.
func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.desk("ann", w.net.DialContext)
		for _, c := range []struct {
			name  string
			edit  func(*letter.Letter)
			topic string
		}{
			{"a group", func(l *letter.Letter) {}, "red.order-loop"},
			{"another", func(l *letter.Letter) { l.Group = "effects" }, "red.effects-loop"},
			{"the calendar", func(l *letter.Letter) { l.Group, l.Topic = "retry", "red.retry-commands" }, "red.retry-commands"},
			{"nobody", func(l *letter.Letter) { l.Group, l.Topic = "x", "red.y" }, ""},
			{"a partition that is not there", func(l *letter.Letter) { l.Group, l.Topic, l.Partition = "retry", "red.retry", 99 }, ""},
			{"a part", func(l *letter.Letter) { l.Cut = 1e6 }, ""},
		} {
			l := w.letter("ord_1")
			c.edit(&l)
			r, err := d.Again(Item{ID: "1/2", Letter: l})
			switch {
			case c.topic == "":
				if !errors.Is(err, ErrCannot) {
					t.Errorf("%s: %v, %v", c.name, r, err)
				}
			case err != nil || r.Topic != c.topic || string(r.Key) != "ord_1":
				t.Errorf("%s: %v, %v", c.name, r, err)
			case l.Group == "retry" && (letter.Parse(r).Topic != "" || r.Partition != l.Partition):
				t.Errorf("%s: %v is not as it stood", c.name, r)
			}
		}
	})
}
