package kgoka

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkTwoHops moves records of 300 bytes through two groups with tables, 8
// partitions, and then as many through two bare transactional loops that write
// as many records, and reports both rates. The broker is in the process and
// takes its share of the processor in both.
func BenchmarkTwoHops(b *testing.B) {
	for _, v := range []struct {
		name  string
		disk  bool
		guard bool
	}{{"memory", false, false}, {"memory+origins", false, true}, {"disk+origins", true, true}} {
		b.Run(v.name, func(b *testing.B) {
			n := max(b.N, 20_000)
			goka := hops(b, n, func(bd *bed, in, out, id string) func() {
				cfg := bd.config(id)
				cfg.MaxPoll, cfg.Origins, cfg.Log = 4000, v.guard, slog.New(slog.DiscardHandler)
				if v.disk {
					cfg.Dir = b.TempDir()
				}
				return start(b, cfg, storing(id, in, out)).waitReady().mustEnd
			})
			bare := hops(b, n, func(bd *bed, in, out, id string) func() { return bareLoop(b, bd, in, out, id) })
			b.ReportMetric(float64(n)/goka.Seconds(), "rec/s")
			b.ReportMetric(float64(n)/bare.Seconds(), "bare-rec/s")
			b.ReportMetric(bare.Seconds()/goka.Seconds(), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// hops times how long n records take from in over mid to out.
func hops(b *testing.B, n int, hop func(bd *bed, in, out, id string) func()) time.Duration {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.SeedTopics(8, "in", "mid", "out", "a-table", "b-table"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	bd := &bed{t: b, c: c, logs: &logBook{}}
	bd.cl = bd.client()
	recs := make([]*kgo.Record, n)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range recs {
		v := make([]byte, 300)
		for j := 0; j < 300; j += 4 {
			binary.LittleEndian.PutUint32(v[j:], rnd.Uint32())
		}
		recs[i] = &kgo.Record{Topic: "in", Key: fmt.Appendf(nil, "ord_%020d", rnd.IntN(n)), Value: v}
	}
	bd.produce(recs...)
	out := bd.client(kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	began := time.Now()
	endA, endB := hop(bd, "in", "mid", "a"), hop(bd, "mid", "out", "b")
	for got := 0; got < n; {
		got += out.PollFetches(context.Background()).NumRecords()
	}
	took := time.Since(began)
	endA()
	endB()
	return took
}

// storing sets each input as its key's row and passes it on.
func storing(group, in, out string) *goka.GroupGraph {
	return goka.DefineGroup(goka.Group(group), goka.Persist(Bytes{}), goka.Output(goka.Stream(out), Bytes{}),
		goka.Input(goka.Stream(in), Bytes{}, func(ctx goka.Context, _ any) {
			c := From(ctx)
			_ = c.Row()
			c.SetRow(c.Record().Value, nil)
			c.EmitRecord(out, c.Key(), c.Record().Value, nil)
		}))
}

// bareLoop is the limit: a transactional session of kgo that writes each record
// to a table topic and onwards, and keeps nothing.
func bareLoop(b *testing.B, bd *bed, in, out, id string) func() {
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(bd.c.ListenAddrs()...), kgo.ConsumerGroup(id), kgo.ConsumeTopics(in), kgo.TransactionalID(id),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(1<<20), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			fs := s.PollRecords(ctx, 4000)
			if ctx.Err() != nil {
				return
			}
			if fs.NumRecords() == 0 {
				continue
			}
			if err := s.Begin(); err != nil {
				b.Error(err)
				return
			}
			fs.EachRecord(func(r *kgo.Record) {
				s.Produce(ctx, &kgo.Record{Topic: id + "-table", Key: r.Key, Value: r.Value}, nil)
				s.Produce(ctx, &kgo.Record{Topic: out, Key: r.Key, Value: r.Value}, nil)
			})
			if _, err := s.End(ctx, kgo.TryCommit); err != nil && ctx.Err() == nil {
				b.Error(err)
				return
			}
		}
	}()
	return func() { cancel(); <-done; s.Close() }
}
