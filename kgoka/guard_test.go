package kgoka

import (
	"context"
	"fmt"
	"testing"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// again re-produces every record of a topic: same key, value and headers.
func (b *bed) again(topic string) int {
	b.t.Helper()
	var recs []*kgo.Record
	for _, r := range b.read(topic) {
		recs = append(recs, &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
	b.produce(recs...)
	return len(recs)
}

// rewind sets a group's offsets to the start of the topics.
func (b *bed) rewind(group string, topics ...string) {
	b.t.Helper()
	ctx := context.Background()
	adm := kadm.NewClient(b.cl)
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := adm.CommitAllOffsets(ctx, group, starts.Offsets()); err != nil {
		b.t.Fatal(err)
	}
}

// TestOriginGuard: repetitions of every internal record, and groups that start
// over, change no row and no output.
func TestOriginGuard(t *testing.T) {
	b := newBed(t, "in", "mid", "out", "a-table", "b-table")
	const n, keys = 800, 13
	dir := t.TempDir()
	both := func() (*running, *running) {
		ca, cb := b.config("a-1"), b.config("b-1")
		ca.Dir = dir
		cb.Coalesce = true
		return start(t, ca, counting("a", "in", "mid")).waitReady(), start(t, cb, counting("b", "mid", "out")).waitReady()
	}
	pa, pb := both()
	b.feed("in", 0, n, keys)
	b.caughtUp("a", "in")
	b.caughtUp("b", "mid")
	for _, topic := range []string{"a-table", "b-table", "mid"} {
		b.again(topic)
	}
	b.caughtUp("b", "mid")
	until(t, "all are skipped", func() bool { return pb.Stats().Skipped == n })
	pa.mustEnd()
	pb.mustEnd()
	b.checkOnce(n, keys, "out", "a-table", "b-table")

	b.rewind("a", "in")
	b.rewind("b", "mid")
	pa, pb = both()
	b.caughtUp("a", "in")
	b.caughtUp("b", "mid")
	until(t, "all are skipped after the rewind", func() bool { return pa.Stats().Skipped == n })
	if got := pa.Stats(); got.Out != 0 {
		t.Errorf("after the rewind: %+v", got)
	}
	b.feed("in", n, n, keys)
	b.caughtUp("a", "in")
	b.caughtUp("b", "mid")
	pa.mustEnd()
	pb.mustEnd()
	b.checkOnce(2*n, keys, "out", "a-table", "b-table")
	if mid := len(b.read("mid")); mid != 3*n {
		t.Errorf("%d records on mid, want %d", mid, 3*n)
	}
}

// TestGuardWithoutRow: what a callback emits without a row is remembered, and
// the row stays absent; what leaves no trace runs again.
func TestGuardWithoutRow(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	calls := map[string]int{}
	graph := func() *goka.GroupGraph {
		return goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Output("out", Bytes{}), goka.Input("in", Bytes{}, func(ctx goka.Context, msg any) {
			c := From(ctx)
			if c.Row() != nil || c.Value() != nil {
				t.Error("there is a row")
			}
			calls[string(msg.([]byte))]++
			switch string(msg.([]byte)) {
			case "emit":
				ctx.Emit("out", ctx.Key(), []byte("x"), goka.WithCtxEmitHeaders(goka.Headers{"h": []byte("v")}))
			case "delete":
				ctx.SetValue([]byte("v"))
				ctx.Delete()
			}
		}))
	}
	cfg := b.config("a-1")
	rec := func(v string) *kgo.Record { return &kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte(v)} }
	for round := range 2 {
		p := start(t, cfg, graph()).waitReady()
		if round == 0 {
			b.produce(rec("emit"))
			b.produce(rec("delete"), rec("nothing"), &kgo.Record{Topic: "in", Key: []byte("k")})
		}
		b.caughtUp("a", "in")
		until(t, "the row is gone", func() bool { return must(p.Get("k"))(t) == nil })
		p.mustEnd()
		b.rewind("a", "in")
	}
	if calls["emit"] != 1 || calls["delete"] != 1 || calls["nothing"] != 2 {
		t.Errorf("calls %v", calls)
	}
	out := b.read("out")
	if len(out) != 1 || len(out[0].Headers) != 2 || out[0].Headers[0].Key != "h" {
		t.Fatalf("out %v", out)
	}
	o, err := ParseOrigin(out[0].Headers[1].Value)
	if err != nil || o.TopicID == [16]byte{} || o.Offset != 0 || o.Partition != Partition("k", nparts) || o.Index != 0 {
		t.Errorf("origin %+v, %v", o, err)
	}
}

// TestReadCommitted: aborted input is not seen, and neither is input whose
// transaction is still open.
func TestReadCommitted(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	ctx := context.Background()
	p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	cl := b.client(kgo.TransactionalID("other"))
	n := 0
	for _, try := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		value := "0"
		if try == kgo.TryAbort {
			value = "999"
		}
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "in", Key: []byte("key-0"), Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(ctx, try); err != nil {
			t.Fatal(err)
		}
		n++
	}
	b.feed("in", 1, 1, 1)
	b.caughtUp("a", "in")
	p.mustEnd()
	b.checkOnce(2, 1, "out", "a-table")
}

// TestRecoveryPastControlRecords: the table's log ends in control records, of an
// aborted transaction too, has been compacted, and recovery ends nevertheless.
func TestRecoveryPastControlRecords(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	ctx := context.Background()
	if _, err := kadm.NewClient(b.cl).AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")}}, "a-table"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
		b.feed("in", i*200, 200, 5)
		b.caughtUp("a", "in")
		p.mustEnd()
		cl := b.client(kgo.TransactionalID("other"))
		for part := range int32(nparts) {
			if err := cl.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			rec := &kgo.Record{Topic: "a-table", Key: []byte("key-0"), Value: []byte("aborted"), Partition: part}
			if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := cl.EndTransaction(ctx, kgo.TryAbort); err != nil {
				t.Fatal(err)
			}
		}
		if b.c != nil { // Apache Kafka compacts when it likes
			b.c.Compact()
		}
	}
	b.checkOnce(600, 5, "out", "a-table")
}

// TestWhoeverProduces: a record on the partition that its producer chose, not
// that of its key, finds its row there each time.
func TestWhoeverProduces(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	cl := b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	odd := (Partition("key-0", nparts) + 1) % nparts
	put := func(v string) {
		t.Helper()
		if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: "in", Key: []byte("key-0"), Value: []byte(v), Partition: odd}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []string{"0", "1"} {
		p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
		put(v)
		b.caughtUp("a", "in")
		p.mustEnd()
	}
	b.checkOnce(2, 1, "out", "a-table")
	for _, r := range b.read("a-table") {
		if r.Partition != odd {
			t.Errorf("row on partition %d, want %d", r.Partition, odd)
		}
	}
	for _, r := range b.read("out") {
		if r.Partition != Partition("key-0", nparts) {
			t.Errorf("output on partition %d", r.Partition)
		}
	}
}

// TestLoopsBackToTheSameRow: what an input loops back is not taken for it, nor for
// something older than the inputs that came meanwhile.
func TestLoopsBackToTheSameRow(t *testing.T) {
	b := newBed(t, "in", "a-loop", "a-table")
	const n = 100
	var looped []string
	p := start(t, b.config("a-1"), goka.DefineGroup("a", goka.Persist(Bytes{}),
		goka.Input("in", Bytes{}, func(ctx goka.Context, msg any) {
			ctx.Loopback(ctx.Key(), msg)
			ctx.SetValue(msg)
		}),
		goka.Loop(Bytes{}, func(ctx goka.Context, msg any) {
			looped = append(looped, string(msg.([]byte)))
			ctx.SetValue(msg)
		}))).waitReady()
	b.feed("in", 0, n, 1)
	b.caughtUp("a", "in", "a-loop")
	p.mustEnd()
	if len(looped) != n || looped[0] != "0" || looped[n-1] != fmt.Sprint(n-1) {
		t.Errorf("looped: %q", looped)
	}
	b.rewind("a", "in")
	p = start(t, b.config("a-1"), p.graph).waitReady()
	b.caughtUp("a", "in", "a-loop")
	p.mustEnd()
	if st := p.Stats(); st.Skipped != n || len(looped) != n {
		t.Errorf("%d skipped, %d looped after a reset", st.Skipped, len(looped))
	}
}
