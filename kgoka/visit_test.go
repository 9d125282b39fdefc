package kgoka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
// they are aborted; rows keep their vectors and outputs have no origin.
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
	before := vectors(b.read("a-table"))
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
		if k != "key-0" && !bytes.Equal(v, before[k]) {
			t.Errorf("%s: vector %x, was %x", k, v, before[k])
		}
	}
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
