package calendar

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// keys of what came back, by partition in the log's order.
func keys(rs []*kgo.Record) map[int32][]string {
	by := map[int32][]string{}
	for _, r := range rs {
		by[r.Partition] = append(by[r.Partition], string(r.Key))
	}
	return by
}

// TestDispatch: an entry comes back as letter says, on its partition, to the
// millisecond when it is due; what is due at one time comes in the order of its
// keys. Until then nothing happens at all.
func TestDispatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t)
		i := w.start("1", "").ready(t)
		began := w.now().Truncate(time.Millisecond)
		var es []entry
		waits := []time.Duration{65 * time.Hour, 5 * time.Minute, 30 * time.Minute, 5 * time.Minute, 5*time.Minute + time.Millisecond}
		for n, wait := range waits {
			es = append(es, w.entry(int32(n%2), began.Add(wait)))
		}
		far := w.entry(3, began.Add(1000*time.Hour))
		slices.Reverse(es) // entered the other way round
		w.park(append(es, far)...)
		time.Sleep(time.Minute)
		idle := i.Stats()
		time.Sleep(3 * time.Minute)
		if st := i.Stats(); st.Transactions != idle.Transactions || st.Commits != idle.Commits {
			t.Errorf("while nothing was due: %+v, before %+v", st, idle)
		}
		time.Sleep(66 * time.Hour)
		back := w.back()
		if len(back) != len(es) {
			t.Fatalf("%d have come back, want %d", len(back), len(es))
		}
		for _, r := range back {
			at := slices.IndexFunc(es, func(e entry) bool { return string(e.parked.Key) == string(r.Key) })
			e := es[at]
			es = slices.Delete(es, at, at+1)
			key, value, hs := letter.Dispatch(e.parked)
			if r.Partition != e.part || !bytes.Equal(r.Key, key) || !bytes.Equal(r.Value, value) || fmt.Sprint(r.Headers) != fmt.Sprint(hs) {
				t.Errorf("partition %d, %q %q %v; want partition %d, %q %q %v", r.Partition, r.Key, r.Value, r.Headers, e.part, key, value, hs)
			}
			if late := r.Timestamp.UnixMilli() - e.parked.Due; late < 0 || late > 20 { // it may meet the end of a transaction
				t.Errorf("%s came at %v, was due at %v", key, r.Timestamp, time.UnixMilli(e.parked.Due))
			}
		}
		want := map[int32][]string{0: {"ord_5", "ord_3", "ord_1"}, 1: {"ord_2", "ord_4"}}
		if got := keys(back); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("in this order: %v, want %v", got, want)
		}
		if got := w.standing(); len(got) != 1 || !got[far.key] {
			t.Errorf("in the calendar are %v, want %s", got, far.key)
		}
	})
}

// TestPersonsAndGroupsChangeTheirMind: what is taken out, pulled forward,
// cancelled or paused before it is due.
func TestPersonsAndGroupsChangeTheirMind(t *testing.T) {
	type at struct {
		key  string
		wait time.Duration
	}
	const due, step = time.Hour, time.Minute
	pull := func(w *world, e entry, to time.Duration) {
		w.command(e.part, schemas.RetriesPullForward, &schemas.RetryCommand{Entry: e.key, Due: w.now().Add(to).UnixMilli(), Who: "ann"})
	}
	for name, c := range map[string]struct {
		do   func(w *world, es []entry) // es: ord_1 to ord_3 on one partition, due in an hour
		want []at                       // after the hour began, to the minute
	}{
		"nothing":    {func(*world, []entry) {}, []at{{"ord_1", due}, {"ord_2", due}, {"ord_3", due}}},
		"taken out":  {func(w *world, es []entry) { w.unpark(es[1]); w.unpark(es[1]) }, []at{{"ord_1", due}, {"ord_3", due}}},
		"put again":  {func(w *world, es []entry) { w.unpark(es[1]); w.park(es[1]) }, []at{{"ord_1", due}, {"ord_2", due}, {"ord_3", due}}},
		"now":        {func(w *world, es []entry) { pull(w, es[1], 0) }, []at{{"ord_2", 0}, {"ord_1", due}, {"ord_3", due}}},
		"long ago":   {func(w *world, es []entry) { pull(w, es[1], -1e6*time.Hour) }, []at{{"ord_2", 0}, {"ord_1", due}, {"ord_3", due}}},
		"earlier":    {func(w *world, es []entry) { pull(w, es[2], 10*step) }, []at{{"ord_3", 10 * step}, {"ord_1", due}, {"ord_2", due}}},
		"later":      {func(w *world, es []entry) { pull(w, es[0], 2*due) }, []at{{"ord_2", due}, {"ord_3", due}, {"ord_1", 2 * due}}},
		"twice":      {func(w *world, es []entry) { pull(w, es[1], 0); pull(w, es[1], 0) }, []at{{"ord_2", 0}, {"ord_1", due}, {"ord_3", due}}},
		"not there":  {func(w *world, es []entry) { e := es[1]; e.part = 3; pull(w, e, 0) }, []at{{"ord_1", due}, {"ord_2", due}, {"ord_3", due}}},
		"group":      {func(w *world, _ []entry) { w.everywhere(schemas.RetriesPause, "order", "") }, nil},
		"cause":      {func(w *world, _ []entry) { w.everywhere(schemas.RetriesPause, "", "panic") }, nil},
		"all":        {func(w *world, _ []entry) { w.everywhere(schemas.RetriesPause, "", "") }, nil},
		"both":       {func(w *world, _ []entry) { w.everywhere(schemas.RetriesPause, "order", "panic") }, nil},
		"another":    {func(w *world, _ []entry) { w.everywhere(schemas.RetriesPause, "panic", "order") }, []at{{"ord_1", due}, {"ord_2", due}, {"ord_3", due}}},
		"a deadline": {func(w *world, _ []entry) { w.everywhere(schemas.RetriesPause, "order", "deadline") }, []at{{"ord_1", due}, {"ord_2", due}, {"ord_3", due}}},
		"for a while": {func(w *world, es []entry) {
			w.everywhere(schemas.RetriesPause, "order", "panic")
			time.Sleep(due + 7*step)
			other := w.entry(es[0].part, w.now().Add(step)) // flows on
			other.parked.Cause = "unencodable"
			w.park(other)
			time.Sleep(3 * step)
			w.everywhere(schemas.RetriesResume, "order", "panic")
		}, []at{{"ord_4", due + 8*step}, {"ord_1", due + 10*step}, {"ord_2", due + 10*step}, {"ord_3", due + 10*step}}},
		"for a while, restarted": {func(w *world, es []entry) {
			w.everywhere(schemas.RetriesPause, "order", "panic")
			time.Sleep(due + 7*step)
			w.start("2", "").ready(w.t) // takes some of the partitions
			time.Sleep(3 * step)
			w.everywhere(schemas.RetriesResume, "order", "panic")
		}, []at{{"ord_1", due + 10*step}, {"ord_2", due + 10*step}, {"ord_3", due + 10*step}}},
		"group, and its deadlines": {func(w *world, es []entry) {
			w.everywhere(schemas.RetriesPause, "order", "")
			late := w.entry(es[0].part, w.now().Add(step))
			late.parked.Topic, late.parked.Cause = "", "deadline"
			w.park(late)
			time.Sleep(due + 9*step)
			w.everywhere(schemas.RetriesResume, "order", "")
		}, []at{{"ord_4", due + 9*step}, {"ord_1", due + 9*step}, {"ord_2", due + 9*step}, {"ord_3", due + 9*step}}},
		"two pauses, one lifted": {func(w *world, es []entry) {
			w.everywhere(schemas.RetriesPause, "order", "panic")
			w.everywhere(schemas.RetriesPause, "order", "")
			w.everywhere(schemas.RetriesResume, "order", "panic")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := bubble(t)
				w.start("1", "").ready(t)
				began := w.now()
				var es []entry
				for range 3 {
					es = append(es, w.entry(1, began.Add(due)))
				}
				w.park(es...)
				time.Sleep(100 * time.Millisecond)
				c.do(w, es)
				time.Sleep(4 * due)
				var got []at
				for _, r := range w.back() {
					got = append(got, at{string(r.Key), r.Timestamp.Sub(began).Truncate(step)})
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("came back %v, want %v", got, c.want)
				}
				left := 0
				for k := range w.standing() {
					if _, _, ok := retry.ParseKey(k); ok {
						left++
					}
				}
				if want := 3 - len(c.want); left != max(0, want) && name != "taken out" {
					t.Errorf("%d are in the calendar, want %d", left, want)
				}
				if dead := w.read(topics.DeadLetter); len(dead) > 0 {
					t.Errorf("dead letters: %v", dead)
				}
			})
		})
	}
}

// TestCancel: what a person cancels comes back at once and says so, because others
// may wait behind it, or its row may need another deadline.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t)
		w.start("1", "").ready(t)
		parked, deadline := w.entry(0, w.now().Add(time.Hour)), w.entry(0, w.now().Add(time.Hour))
		deadline.parked.Topic, deadline.parked.To, deadline.parked.Cause = "", topics.OrderReplies, "deadline"
		w.park(parked, deadline)
		time.Sleep(time.Minute)
		w.command(0, schemas.RetriesCancel, &schemas.RetryCommand{Entry: parked.key, Who: "ann", Reason: "a test"})
		w.produce(&kgo.Record{Topic: topics.RetryCommands, Key: []byte(deadline.key), Value: fmt.Appendf(nil, `{"entry": %q, "who": "ann"}`, deadline.key),
			Headers: []kgo.RecordHeader{{Key: event.Type, Value: []byte(schemas.RetriesCancel)}, {Key: event.ContentType, Value: []byte(event.JSON)}}})
		time.Sleep(time.Minute)
		back := w.back()
		if len(back) != 1 || string(back[0].Key) != string(parked.parked.Key) || event.Header(back[0], letter.HeaderCancel) != "a test" {
			t.Errorf("came back: %v", back)
		}
		rs := w.read(topics.OrderReplies)
		if len(rs) != 1 || event.Header(rs[0], letter.HeaderCancel) != "cancelled by ann" || event.Header(rs[0], letter.HeaderDue) != fmt.Sprint(deadline.parked.Due) {
			t.Errorf("replies: %v", rs)
		}
		if left := w.standing(); len(left) > 0 {
			t.Errorf("in the calendar are %v", left)
		}
	})
}

// TestDeadline: an entry may be for another topic than a loop.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t)
		w.start("1", "").ready(t)
		e := w.entry(2, w.now().Add(time.Hour))
		e.parked.Topic, e.parked.To, e.parked.Cause = "", topics.OrderReplies, "deadline"
		w.park(e)
		time.Sleep(2 * time.Hour)
		if rs := w.read(topics.OrderReplies); len(rs) != 1 || rs[0].Partition != 2 || event.Header(rs[0], letter.HeaderGroup) != "" {
			t.Errorf("replies: %v", rs)
		}
	})
}

// TestClockIsSet: ahead, all that is due by then is dispatched soon; back, nothing
// is dispatched again, and what comes meanwhile waits for its own time.
func TestClockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t)
		w.start("1", "").ready(t)
		w.park(w.entry(0, w.now().Add(2*time.Hour)), w.entry(1, w.now().Add(5*time.Hour)))
		time.Sleep(time.Minute)
		came := func(want ...string) {
			t.Helper()
			var got []string
			for _, r := range w.back() {
				got = append(got, string(r.Key))
			}
			if !slices.Equal(got, want) {
				t.Errorf("came back %v, want %v", got, want)
			}
		}
		w.skew.Add(int64(3 * time.Hour))
		time.Sleep(2 * again)
		came("ord_1")
		w.skew.Add(-int64(30 * time.Hour))
		time.Sleep(time.Minute)
		w.park(w.entry(2, w.now().Add(time.Hour)))
		time.Sleep(59 * time.Minute)
		came("ord_1")
		time.Sleep(2 * time.Minute)
		came("ord_1", "ord_3")
		time.Sleep(40 * time.Hour)
		came("ord_1", "ord_3", "ord_2")
	})
}

// TestRefused: what cannot be an entry or a command goes to dead-letter, and the
// rest flows.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t)
		w.start("1", "").ready(t)
		good := w.entry(0, w.now().Add(time.Minute))
		elsewhere := w.entry(0, w.now())
		elsewhere.parked.To = topics.OrderCommands
		in := func(topic, key string, value []byte, kind string) {
			w.produce(&kgo.Record{Topic: topic, Key: []byte(key), Value: value, Headers: []kgo.RecordHeader{{Key: event.Type, Value: []byte(kind)}}})
		}
		command, err := w.serde.Encode(nil, topics.RetryCommands, &schemas.RetryCommand{Entry: good.key, Who: "ann"})
		must(t, err)
		pause, err := w.serde.Encode(nil, topics.RetryCommands, &schemas.RetryCommand{Entry: good.key, Group: "order", Who: "ann"})
		must(t, err)
		in(topics.Retry, good.key, []byte("not avro"), "")
		in(topics.Retry, "soon", good.value(w), "")
		in(topics.Retry, good.key, pause, "")
		w.park(elsewhere, good)
		in(topics.RetryCommands, good.key, []byte("not avro"), schemas.RetriesCancel)
		in(topics.RetryCommands, "other", command, schemas.RetriesCancel)
		in(topics.RetryCommands, good.key, command, "retries.entry.forget")
		in(topics.RetryCommands, good.key, pause, schemas.RetriesPause)
		w.everywhere(schemas.RetriesPause, "credit", "")
		w.command(0, schemas.RetriesCancel, &schemas.RetryCommand{Entry: good.key, Who: "ann", Reason: strings.Repeat("x", maxCommand)})
		w.command(0, schemas.RetriesCancel, &schemas.RetryCommand{Entry: retry.PauseKey("credit", ""), Who: "ann"})
		time.Sleep(2 * time.Minute)
		got := map[string]int{}
		for _, r := range w.read(topics.DeadLetter) {
			l := letter.Parse(r)
			got[l.Topic+": "+l.Cause]++
			if l.Class != letter.Poison || l.Group != Name || l.Error == "" {
				t.Errorf("letter %+v", l)
			}
		}
		want := map[string]int{"retry: undecodable": 2, "retry: key mismatch": 1, "retry: unknown target": 1,
			"retry-commands: undecodable": 1, "retry-commands: key mismatch": 3, "retry-commands: unknown type": 1, "retry-commands: oversized": 1}
		if !maps.Equal(got, want) {
			t.Errorf("dead letters %v, want %v", got, want)
		}
		if back := w.back(); len(back) != 1 || string(back[0].Key) != string(good.parked.Key) {
			t.Errorf("came back: %v", back)
		}
	})
}

// TestOnceWhateverEnds: two instances that are stopped at random moments, killed
// in the midst of transactions, and started again, dispatch every entry once, and each partition's in the
// order of their keys.
func TestOnceWhateverEnds(t *testing.T) {
	for range 3 {
		seed := uint64(rand.Int64())
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { onceWhateverEnds(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func onceWhateverEnds(t *testing.T, rng *rand.Rand) {
	w := bubble(t)
	w.session = time.Second
	const n, taken = 2000, 40
	began := w.now().Truncate(time.Millisecond)
	var es []entry
	want := map[int32][]string{} // calendar keys
	for k := range n {
		e := w.entry(int32(rng.IntN(nparts)), began.Add(time.Minute+5*time.Second*time.Duration(rng.IntN(36))))
		if es = append(es, e); k >= taken {
			want[e.part] = append(want[e.part], e.key)
		}
	}
	w.park(es...)
	for _, e := range es[:taken] {
		w.unpark(e)
	}
	all := map[string]string{} // record key -> calendar key
	for _, e := range es {
		all[string(e.parked.Key)] = e.key
	}
	running := map[string]*instance{}
	kills := 0
	for w.now().Before(began.Add(5 * time.Minute)) {
		name := fmt.Sprint(1 + rng.IntN(2))
		switch i := running[name]; {
		case i == nil:
			i = w.start(name, "")
			after := rng.IntN(2) == 0
			i.CutAt(1+rng.IntN(20), after)
			running[name] = i
		case i.IsCut() || rng.IntN(12) == 0:
			if i.IsCut() {
				kills++
			}
			i.end(t)
			delete(running, name)
		}
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
	}
	for _, i := range running {
		i.end(t)
	}
	w.start("1", "").ready(t)
	time.Sleep(time.Minute)
	for part := range want {
		slices.Sort(want[part])
	}
	got := map[int32][]string{}
	for _, r := range w.back() {
		got[r.Partition] = append(got[r.Partition], all[string(r.Key)])
	}
	for part := range int32(nparts) {
		if !slices.Equal(got[part], want[part]) {
			for k := range max(len(got[part]), len(want[part])) {
				if k >= len(got[part]) || k >= len(want[part]) || got[part][k] != want[part][k] {
					t.Errorf("partition %d: %d entries, want %d; the first difference is at %d: %v, want %v", part, len(got[part]), len(want[part]), k, got[part][k:min(k+3, len(got[part]))], want[part][k:min(k+3, len(want[part]))])
					break
				}
			}
		}
	}
	if left := w.standing(); len(left) > 0 {
		t.Errorf("%d are still in the calendar", len(left))
	}
	if kills < 5 {
		t.Errorf("only %d were killed", kills)
	}
}
