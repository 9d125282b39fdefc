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
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkRecover reads 1,000,000 rows of 300 bytes (50,000 with -short), on
// Apache Kafka if ORDERLOG_TEST_KAFKA is set: with a bare consumer, into an empty
// local table, and from an intact one. Run it with -benchtime 1x.
func BenchmarkRecover(b *testing.B) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	bd := tableOf(b, n)
	for _, kind := range []string{"memory", "disk"} {
		b.Run(kind, func(b *testing.B) {
			cfg := bd.config("a-1")
			cfg.Log = slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			idle := func() *goka.GroupGraph {
				return goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Input("in", Bytes{}, func(goka.Context, any) {}))
			}
			for b.Loop() {
				if kind == "disk" {
					cfg.Dir = b.TempDir()
				}
				c0 := cpu()
				bare := bd.readBare(n)
				c1 := cpu()
				began := time.Now()
				p := start(b, cfg, idle())
				p.waitFor(5 * time.Minute)
				took := time.Since(began)
				c2 := cpu()
				p.mustEnd()
				b.ReportMetric((c1-c0)/float64(n)*1e6, "bare-cpu-µs/row")
				b.ReportMetric((c2-c1)/float64(n)*1e6, "cpu-µs/row")
				b.ReportMetric(float64(n)/bare.Seconds(), "bare-rows/s")
				b.ReportMetric(float64(n)/took.Seconds(), "rows/s")
				b.ReportMetric(bare.Seconds()/took.Seconds(), "ratio")
				if kind == "disk" {
					began = time.Now()
					p = start(b, cfg, idle())
					p.waitFor(5 * time.Minute)
					b.ReportMetric(time.Since(began).Seconds(), "again-s")
					p.mustEnd()
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// tableOf is a bed whose a-table holds n rows, written in transactions.
func tableOf(b *testing.B, n int) *bed {
	bd := &bed{t: b, logs: &logBook{}}
	if apache != nil {
		bd = newBed(b, "in", "a-table") // has fewer partitions
	} else {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.SeedTopics(8, "in", "a-table"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(c.Close)
		bd.c = c
		bd.cl = bd.client()
	}
	cl := bd.client(kgo.TransactionalID("fill"), kgo.MaxBufferedRecords(1<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(1, 2))
	for from := 0; from < n; from += 20_000 {
		if err := cl.BeginTransaction(); err != nil {
			b.Fatal(err)
		}
		for i := from; i < min(from+20_000, n); i++ {
			v := make([]byte, 300)
			for j := 0; j < 300; j += 4 {
				binary.LittleEndian.PutUint32(v[j:], rnd.Uint32())
			}
			vec := vector(nil).advance(nil, Origin{TopicID: [16]byte{1}, Offset: int64(i)})
			cl.Produce(ctx, &kgo.Record{Topic: "a-table", Key: fmt.Appendf(nil, "ord_%020d", rnd.Uint64()%1e15*1000+uint64(i%1000)), Value: v,
				Headers: []kgo.RecordHeader{{Key: AppliedHeader, Value: vec}}}, nil)
		}
		if err := cl.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
			b.Fatal(err)
		}
	}
	return bd
}

// readBare times how long a consumer needs for n rows of a-table.
func (bd *bed) readBare(n int) time.Duration {
	ctx := context.Background()
	ends, err := kadm.NewClient(bd.cl).ListEndOffsets(ctx, "a-table")
	if err != nil {
		bd.t.Fatal(err)
	}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) { from[o.Partition] = kgo.NewOffset().AtStart() })
	began := time.Now()
	cl := bd.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"a-table": from}), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer cl.Close()
	for got := 0; got < n; {
		got += cl.PollFetches(ctx).NumRecords()
	}
	return time.Since(began)
}
