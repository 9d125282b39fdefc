package kgoka

import (
	"context"
	"testing"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestStopWhileACallbackWaits: a callback that waits for something outside is
// told by its context that Run shall end; nothing of the batch stays, and it is
// no error.
func TestStopWhileACallbackWaits(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	waiting := make(chan struct{}, nparts)
	g := goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Output("out", Bytes{}), goka.Input("in", Bytes{}, func(ctx goka.Context, _ any) {
		c := From(ctx)
		c.SetRow([]byte("x"), nil)
		c.EmitRecord("out", c.Key(), c.Record().Value, nil)
		waiting <- struct{}{}
		<-c.Context().Done()
		c.Fail(c.Context().Err())
	}))
	b.produce(&kgo.Record{Topic: "in", Key: []byte("key-0"), Value: []byte("0")})
	p := start(t, b.config("a-1"), g)
	<-waiting
	p.mustEnd()
	if got := append(b.read("out"), b.read("a-table")...); len(got) > 0 {
		t.Errorf("%d records were committed", len(got))
	}
	p = start(t, b.config("a-1"), counting("a", "in", "out"))
	b.caughtUp("a", "in")
	p.mustEnd()
	b.checkOnce(1, 1, "out", "a-table")
}

// TestFailureEndsCallbacksThatWait: where one partition fails, the others are
// told, too.
func TestFailureEndsCallbacksThatWait(t *testing.T) {
	b := newBed(t, "in", "a-table")
	waiting := make(chan struct{})
	g := goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Input("in", Bytes{}, func(ctx goka.Context, _ any) {
		c := From(ctx)
		if c.Partition() == 0 {
			<-waiting
			c.Fail(context.DeadlineExceeded)
		}
		close(waiting)
		<-c.Context().Done()
		c.Fail(c.Context().Err())
	}))
	var recs []*kgo.Record
	for i := range int32(2) {
		recs = append(recs, &kgo.Record{Topic: "in", Partition: i, Key: []byte("k"), Value: []byte("0")})
	}
	cl := b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("both"))
	if err := cl.BeginTransaction(); err != nil { // so that one poll brings both
		t.Fatal(err)
	}
	if err := cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := cl.EndTransaction(context.Background(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	start(t, b.config("a-1"), g).mustFail("context deadline exceeded")
}
