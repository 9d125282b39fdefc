package kgoka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// visited is a group that keeps its inputs as rows, and a visitor.
func visited(visit goka.ProcessCallback) *goka.GroupGraph {
	return goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Output("out", Bytes{}), goka.Visitor("mark", visit),
		goka.Input("in", Bytes{}, func(ctx goka.Context, msg any) { ctx.SetValue(msg) }))
}

func vectors(recs []*kgo.Record) map[string][]byte {
	out := map[string][]byte{}
	for _, r := range recs {
		for _, h := range r.Headers {
			if h.Key == AppliedHeader {
				out[string(r.Key)] = h.Value
			}
		}
	}
	return out
}

// TestVisitAll: every row is visited once, in transactions that are repeated when
// they are aborted; vectors count the visit and outputs have no origin. What stood
// on the table's topic before is older.
func TestVisitAll(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	const keys = 300
	cfg := b.config("a-1")
	cfg.MaxPoll, cfg.Dir = 40, t.TempDir()
	p := start(t, cfg, visited(func(ctx goka.Context, meta any) {
		c := From(ctx)
		if c.Record() != nil || ctx.Topic() != "mark" || ctx.Partition() != Partition(ctx.Key(), nparts) {
			t.Errorf("record %v, topic %s, partition %d", c.Record(), ctx.Topic(), ctx.Partition())
		}
		ctx.SetValue(append(bytes.Clone(ctx.Value().([]byte)), meta.(string)...))
		ctx.Emit("out", ctx.Key(), ctx.Value())
	})).waitReady()
	b.feed("in", 0, keys, keys)
	b.produce(&kgo.Record{Topic: "in", Key: []byte("empty"), Value: []byte{}}) // no row
	b.caughtUp("a", "in")
	old := b.read("a-table")
	before := vectors(old)
	if b.c != nil {
		b.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.RebalanceInProgress, Count: 1, Group: "a"})
	}
	n, err := p.VisitAll(t.Context(), "mark", "!")
	if n != keys || err != nil {
		t.Fatalf("%d rows, %v", n, err)
	}
	if st := p.Stats(); st.Visited != keys || b.c != nil && st.Aborts["REBALANCE_IN_PROGRESS"] != 1 {
		t.Errorf("stats %+v", st)
	}
	b.feed("in", keys, 1, keys) // the group goes on where it was
	b.caughtUp("a", "in")
	p.mustEnd()
	table := b.read("a-table")
	got := rows(table)
	for k := 1; k < keys; k++ {
		if v := got[fmt.Sprintf("key-%d", k)]; v != fmt.Sprintf("%d!", k) {
			t.Errorf("key-%d: %q", k, v)
		}
	}
	if got["key-0"] != fmt.Sprint(keys) || got["empty"] != "" {
		t.Errorf("key-0: %q, empty: %q", got["key-0"], got["empty"])
	}
	for k, v := range vectors(table) {
		if was := vector(before[k]); k != "key-0" && k != "empty" && !bytes.Equal(v, was.visited(Partition(k, nparts))) {
			t.Errorf("%s: vector %x, was %x", k, v, was)
		}
	}
	for _, r := range old {
		b.produce(&kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
	cfg.Dir = t.TempDir()
	p = start(t, cfg, visited(nil)).waitReady()
	for k := 1; k < keys; k++ {
		if key := fmt.Sprintf("key-%d", k); string(must(p.Get(key))(t)) != fmt.Sprintf("%d!", k) {
			t.Errorf("%s: an older record of it has come back", key)
		}
	}
	p.mustEnd()
	out := b.read("out")
	if len(out) != keys {
		t.Errorf("%d outputs", len(out))
	}
	for _, r := range out {
		if len(r.Headers) > 0 {
			t.Fatalf("headers %v", r.Headers)
		}
	}
}

// TestVisitRange: a visit of a range is of its rows only, partition by partition
// in the order of their keys; a row that an open transaction has set is seen by
// its key; First and Moved say when to look again.
func TestVisitRange(t *testing.T) {
	for _, disk := range []bool{false, true} {
		t.Run(fmt.Sprintf("disk=%v", disk), func(t *testing.T) {
			b := newBed(t, "in", "out", "a-table")
			var mu sync.Mutex
			visited := map[int32][]string{}
			g := goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Input("in", Bytes{}, func(ctx goka.Context, msg any) { ctx.SetValue(msg) }),
				goka.Visitor("take", func(ctx goka.Context, meta any) {
					mu.Lock()
					defer mu.Unlock()
					visited[ctx.Partition()] = append(visited[ctx.Partition()], ctx.Key())
					ctx.Delete()
					if c := From(ctx); c.RowOf(c.Key()) != nil || c.RowOf("no such") != nil || string(c.RowOf(meta.([]string)[c.Partition()])) != "x" {
						t.Errorf("%s: it does not see the rows beside it", c.Key())
					}
				}))
			cfg := b.config("a-1")
			cfg.MaxPoll, cfg.Origins = 24, false
			if disk {
				cfg.Dir = t.TempDir()
			}
			p := start(t, cfg, g)
			moved := p.Moved()
			if _, err := p.First(""); !errors.Is(err, ErrNotHere) {
				t.Errorf("before it is ready: %v", err)
			}
			if err := p.Rows("", "", nil); !errors.Is(err, ErrNotHere) {
				t.Errorf("before it is ready: %v", err)
			}
			p.waitReady()
			<-moved
			const keys = 200
			stay := make([]string, nparts)
			for k := range keys {
				r := &kgo.Record{Topic: "in", Key: fmt.Appendf(nil, "%04d", k), Value: []byte("x")}
				b.produce(r)
				if r.Partition = Partition(string(r.Key), nparts); k >= keys/2 {
					stay[r.Partition] = string(r.Key)
				}
			}
			b.caughtUp("a", "in")
			for _, c := range []struct {
				from, to string
				want     int64
				first    string
			}{
				{"", "0000", 0, "0000"}, {"0050", "0050", 0, "0000"}, {"0050", "0010", 0, "0000"}, {"0010", "0050", 40, "0000"}, {"", "0060", 20, "0060"}, {"", "0060", 0, "0060"},
			} {
				if n, err := p.Visit(t.Context(), "take", c.from, c.to, stay); n != c.want || err != nil {
					t.Errorf("[%s, %s): %d rows, %v, want %d", c.from, c.to, n, err, c.want)
				}
				if first := must(p.First(""))(t); first != c.first {
					t.Errorf("after [%s, %s) the first is %q, want %q", c.from, c.to, first, c.first)
				}
			}
			if first := must(p.First("0100"))(t); first != "0100" {
				t.Errorf("the first from 0100 on is %q", first)
			}
			if first := must(p.First("1"))(t); first != "" {
				t.Errorf("the first from 1 on is %q", first)
			}
			for _, c := range []struct {
				from, to string
				want     int
			}{{"", "", keys - 60}, {"0060", "0062", 2}, {"0199", "", 1}, {"0062", "0062", 0}} {
				seen := map[int32][]string{}
				err := p.Rows(c.from, c.to, func(key string, row, _ []byte) error {
					if num := Partition(key, nparts); string(row) == "x" && key >= c.from && (c.to == "" || key < c.to) {
						seen[num] = append(seen[num], key)
					}
					return nil
				})
				n := 0
				for _, keys := range seen {
					if n += len(keys); !slices.IsSorted(keys) {
						t.Errorf("rows in the order %v", keys)
					}
				}
				if n != c.want || err != nil {
					t.Errorf("rows [%s, %s): %d, %v, want %d", c.from, c.to, n, err, c.want)
				}
			}
			boom := errors.New("boom")
			if err := p.Rows("", "", func(string, []byte, []byte) error { return boom }); err != boom {
				t.Errorf("got %v", err)
			}
			moved = p.Moved()
			s, reading, read := p.sess, make(chan struct{}), make(chan error, 1)
			go func() { // who is at it when all is over is told so, and the tables are closed after
				var once sync.Once
				read <- p.Rows("", "", func(string, []byte, []byte) error {
					once.Do(func() { close(reading); <-s.ctx.Done() })
					return nil
				})
			}()
			<-reading
			p.mustEnd()
			<-moved
			if err := <-read; !errors.Is(err, ErrNotHere) {
				t.Errorf("at the end: %v", err)
			}
			n := 0
			for num, keys := range visited {
				n += len(keys)
				inner := slices.IndexFunc(keys, func(k string) bool { return k < keys[0] }) // where the second range begins
				if !slices.IsSorted(keys[:max(0, inner)]) || !slices.IsSorted(keys[max(0, inner):]) {
					t.Errorf("partition %d: %v", num, keys)
				}
			}
			if n != 60 || len(rows(b.read("a-table"))) != keys-60 {
				t.Errorf("%d rows visited, %d are left", n, len(rows(b.read("a-table"))))
			}
		})
	}
}

// TestVisitKeys: of the rows named those are visited that there are, wherever they
// stand, however many transactions that takes.
func TestVisitKeys(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	cfg := b.config("a-1")
	cfg.MaxPoll = 8
	p := start(t, cfg, visited(func(ctx goka.Context, meta any) { ctx.SetValue([]byte(meta.(string))) })).waitReady()
	const keys = 60
	b.feed("in", 0, keys, keys)
	b.caughtUp("a", "in")
	named := []string{"nobody"}
	for k := range keys / 2 {
		named = append(named, fmt.Sprintf("key-%d", 2*k))
	}
	if n, err := p.VisitKeys(t.Context(), "mark", named, "x"); n != keys/2 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	if n, err := p.VisitKeys(t.Context(), "mark", nil, "y"); n != 0 || err != nil {
		t.Errorf("of none: %d rows, %v", n, err)
	}
	p.mustEnd()
	got := rows(b.read("a-table"))
	for k := range keys {
		want := "x"
		if k%2 == 1 {
			want = fmt.Sprint(k)
		}
		if v := got[fmt.Sprintf("key-%d", k)]; v != want {
			t.Errorf("key-%d: %q, want %q", k, v, want)
		}
	}
}

// TestVisitIsAborted: a visit ends with the assignment, with its context and with
// Run, and says how many rows it has visited.
func TestVisitIsAborted(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	broker := b.fake(t)
	const keys = 100
	inside := make(chan struct{})
	var once sync.Once
	cfg := b.config("a-1")
	cfg.MaxPoll = 8
	p := start(t, cfg, visited(func(ctx goka.Context, wait any) {
		once.Do(func() { close(inside) })
		ctx.SetValue([]byte("visited"))
		<-wait.(chan struct{})
	})).waitReady()
	b.feed("in", 0, keys, keys)
	b.caughtUp("a", "in")
	if _, err := p.VisitAll(t.Context(), "other", nil); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("a visitor that is not there: %v", err)
	}
	type result struct {
		n   int64
		err error
	}
	visit := func(ctx context.Context, wait chan struct{}) chan result {
		done := make(chan result, 1)
		go func() { n, err := p.VisitAll(ctx, "mark", wait); done <- result{n, err} }()
		return done
	}
	wait := make(chan struct{})
	done := visit(t.Context(), wait)
	<-inside
	q := start(t, b.config("a-2"), visited(nil)) // takes half of it
	until(t, "it joins", func() bool { return b.members("a") == 2 })
	var told atomic.Bool
	broker.ControlKey(kmsg.Heartbeat.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) { told.Store(true); return nil, nil, false })
	until(t, "the first one is told", told.Load)
	close(wait)
	if r := <-done; !errors.Is(r.err, goka.ErrVisitAborted) || r.n == 0 || r.n >= keys {
		t.Errorf("partitions lost: %+v", r)
	}
	q.waitReady().mustEnd()
	until(t, "all is back", func() bool { tables, _, _ := p.readSoFar("a-table", RoleActive); return tables == nparts && p.Ready() })

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := <-visit(ctx, wait); !errors.Is(r.err, context.Canceled) || r.n != 0 {
		t.Errorf("context ended: %+v", r)
	}
	if r := <-visit(t.Context(), wait); r.err != nil || r.n != keys {
		t.Errorf("again: %+v", r)
	}
	p.mustEnd()
	if r := <-visit(t.Context(), wait); !errors.Is(r.err, goka.ErrVisitAborted) {
		t.Errorf("after the end: %+v", r)
	}
}

// TestVisitorFails: its error ends Run and the visit, and nothing of its
// transaction stays.
func TestVisitorFails(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	boom := errors.New("boom")
	p := start(t, b.config("a-1"), visited(func(ctx goka.Context, _ any) {
		ctx.Emit("out", ctx.Key(), []byte("x"))
		ctx.Fail(boom)
	})).waitReady()
	b.feed("in", 0, 10, 10)
	b.caughtUp("a", "in")
	if n, err := p.VisitAll(t.Context(), "mark", nil); n != 0 || !errors.Is(err, boom) {
		t.Errorf("%d, %v", n, err)
	}
	if err := <-p.err; !errors.Is(err, boom) {
		t.Errorf("run: %v", err)
	}
	if out := b.read("out"); len(out) > 0 {
		t.Errorf("%d outputs", len(out))
	}
}
