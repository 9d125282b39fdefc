// Package hops measures kgoka alone: two stateful hops, in -> mid -> out, beside
// a bare transactional loop of kgo and beside Kafka Streams, on a real cluster
// (ORDERLOG_TEST_KAFKA=1) or on the embedded broker.
//
//	ORDERLOG_TEST_KAFKA=1 go test ./test/hops -run '^$' -bench . -benchtime 1x -timeout 30m
package hops

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/test/kafka"
)

const (
	parts = 8
	size  = 300 // bytes a record
)

// env returns a number from the environment: how long a run is.
func env(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return def
}

// BenchmarkRate moves records (HOPS_RECORDS, 300,000) over both hops, with no
// rows in the tables and with a million (HOPS_ROWS) there before, and reports
// how fast, beside the bare loop and, if HOPS_STREAMS is set, Kafka Streams.
func BenchmarkRate(b *testing.B) {
	n := env("HOPS_RECORDS", 300_000)
	for _, rows := range []int{0, env("HOPS_ROWS", 1_000_000)} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			c := connect(b)
			rate := map[string]float64{}
			for _, r := range c.contenders() {
				rate[r.name] = c.rate(r, rows, n)
				b.ReportMetric(rate[r.name], r.name+"-rec/s")
			}
			b.ReportMetric(rate["kgoka"]/rate["bare"], "kgoka/bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkLatency sends records evenly and reports how long each took over both
// hops, as a read_committed consumer saw it, after a warm-up (HOPS_WARMUP
// seconds, 10) for HOPS_SECONDS (20).
func BenchmarkLatency(b *testing.B) {
	for _, rate := range []int{200, 2000} {
		b.Run(fmt.Sprintf("%d per s", rate), func(b *testing.B) {
			c := connect(b)
			for _, r := range c.contenders() {
				took := c.latency(r, rate, env("HOPS_WARMUP", 10), env("HOPS_SECONDS", 20))
				for _, p := range []int{50, 99} {
					at := took[min(len(took)*p/100, len(took)-1)]
					b.ReportMetric(float64(at.Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", r.name, p))
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// contender runs both hops over the given topics until it is stopped.
type contender struct {
	name string
	run  func(c *cluster, t names) (stop func())
}

// names are the topics of a run; tables are the hops' changelogs.
type names struct{ id, in, mid, out string }

type cluster struct {
	b       *testing.B
	brokers []string
	cl      *kgo.Client
	runs    int
}

func (c *cluster) contenders() []contender {
	cs := []contender{{"kgoka", runKgoka}, {"bare", runBare}}
	if os.Getenv("HOPS_STREAMS") != "" {
		cs = append(cs, contender{"streams", runStreams})
	}
	return cs
}

func connect(b *testing.B) *cluster {
	c := &cluster{b: b}
	if kafka.Wanted() {
		c.brokers = kafka.Run(b, kafka.Options{}).Brokers()
	} else {
		k, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(k.Close)
		c.brokers = k.ListenAddrs()
	}
	c.cl = c.client(kgo.MaxBufferedRecords(1<<20), kgo.ProducerLinger(0))
	return c
}

func (c *cluster) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.brokers...), kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...)
	if err != nil {
		c.b.Fatal(err)
	}
	c.b.Cleanup(cl.CloseAllowingRebalance)
	return cl
}

// topics makes those of a new run and waits until they have leaders.
func (c *cluster) topics() names {
	c.runs++
	id := fmt.Sprintf("hops-%d-%d", time.Now().UnixNano(), c.runs) // brokers from outside may hold those of earlier runs
	t := names{id, id + ".in", id + ".mid", id + ".out"}
	adm := kadm.NewClient(c.cl)
	all := []string{t.in, t.mid, t.out, t.id + ".a-table", t.id + ".b-table"}
	rs, err := adm.CreateTopics(context.Background(), parts, 1, nil, all...)
	if err == nil {
		err = rs.Error()
	}
	if err != nil {
		c.b.Fatal(err)
	}
	for {
		ends, err := adm.ListEndOffsets(context.Background(), all...)
		if err == nil && ends.Error() == nil {
			return t
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// rate returns the records a second of n that are there when the hops start,
// over tables that hold rows from before. The first tenth is left out: in it
// programs start and groups form.
func (c *cluster) rate(r contender, rows, n int) float64 {
	t := c.topics()
	out := c.client(kgo.ConsumeTopics(t.out), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer out.Close()
	wait := func(n int) float64 {
		var began time.Time
		first, got := 0, 0
		for got < n {
			got += out.PollFetches(context.Background()).NumRecords()
			if first == 0 && got >= n/10 {
				began, first = time.Now(), got
			}
		}
		return float64(got-first) / time.Since(began).Seconds()
	}
	keys := max(rows, n)
	if rows > 0 {
		c.fill(t.in, rows, func(i int) int { return i })
		stop := r.run(c, t)
		wait(rows)
		stop()
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	c.fill(t.in, n, func(int) int { return rnd.IntN(keys) })
	stop := r.run(c, t)
	defer stop()
	return wait(n)
}

func (c *cluster) fill(topic string, n int, key func(i int) int) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var failed atomic.Pointer[error]
	for i := range n {
		c.cl.Produce(context.Background(), record(topic, key(i), rnd), func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := c.cl.Flush(context.Background()); err != nil {
		c.b.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		c.b.Fatal(*err)
	}
}

func record(topic string, key int, rnd *rand.Rand) *kgo.Record {
	v := make([]byte, size)
	for j := 0; j < size; j += 4 {
		binary.LittleEndian.PutUint32(v[j:], rnd.Uint32())
	}
	return &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "ord_%020d", key), Value: v}
}

// latency returns the times, ascending, of the records sent after the warm-up.
// A record carries when it was due, so that a sender that is late counts.
func (c *cluster) latency(r contender, rate, warm, seconds int) []time.Duration {
	t := c.topics()
	stop := r.run(c, t)
	defer stop()
	out := c.client(kgo.ConsumeTopics(t.out), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))
	defer out.Close()
	c.fill(t.in, 1, func(int) int { return 0 }) // the hops are there once it has come through
	for out.PollFetches(context.Background()).NumRecords() == 0 {
	}
	n := rate * (warm + seconds)
	begin := time.Now().Add(time.Second)
	go func() {
		rnd := rand.New(rand.NewPCG(5, 6))
		for i := range n {
			due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
			time.Sleep(time.Until(due))
			rec := record(t.in, rnd.IntN(10_000), rnd)
			binary.LittleEndian.PutUint64(rec.Value, uint64(due.UnixNano()))
			c.cl.Produce(context.Background(), rec, nil)
		}
	}()
	from := begin.Add(time.Duration(warm) * time.Second)
	var took []time.Duration
	for got := 0; got < n; {
		fs := out.PollFetches(context.Background())
		now := time.Now()
		fs.EachRecord(func(rec *kgo.Record) {
			if due := time.Unix(0, int64(binary.LittleEndian.Uint64(rec.Value))); !due.Before(from) {
				took = append(took, now.Sub(due))
			}
		})
		got += fs.NumRecords()
	}
	slices.Sort(took)
	return took
}

// runKgoka keeps tables on disk and origins in the rows.
func runKgoka(c *cluster, t names) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	dir := c.dir(t)
	for _, h := range []struct{ group, in, out string }{{t.id + ".a", t.in, t.mid}, {t.id + ".b", t.mid, t.out}} {
		p, err := kgoka.NewProcessor(kgoka.Config{Brokers: c.brokers, Instance: "0", Dir: dir, Origins: true, Log: slog.New(slog.DiscardHandler)},
			goka.DefineGroup(goka.Group(h.group), goka.Persist(kgoka.Bytes{}), goka.Output(goka.Stream(h.out), kgoka.Bytes{}),
				goka.Input(goka.Stream(h.in), kgoka.Bytes{}, func(ctx goka.Context, _ any) {
					k := kgoka.From(ctx)
					_ = k.Row()
					k.SetRow(k.Record().Value, nil)
					k.EmitRecord(h.out, k.Key(), k.Record().Value, nil)
				})))
		if err != nil {
			c.b.Fatal(err)
		}
		go func() { done <- p.Run(ctx) }()
	}
	return func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				c.b.Error(err)
			}
		}
	}
}

// dir is a folder for what a run keeps on disk; it outlives a restart in the run.
func (c *cluster) dir(t names) string {
	d := fmt.Sprintf("%s/orderlog-hops-%d-%s", os.TempDir(), os.Getpid(), t.id)
	c.b.Cleanup(func() { os.RemoveAll(d) })
	return d
}

// runBare is the limit: per hop one transactional session that writes each record
// to a table topic and onwards, and keeps nothing.
func runBare(c *cluster, t names) func() {
	a := bareLoop(c, t.id+".a", t.in, t.mid)
	b := bareLoop(c, t.id+".b", t.mid, t.out)
	return func() { a(); b() }
}

func bareLoop(c *cluster, id, in, out string) func() {
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(c.brokers...), kgo.ConsumerGroup(id), kgo.ConsumeTopics(in), kgo.TransactionalID(id),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(1<<20), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		c.b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			fs := s.PollRecords(ctx, 8000)
			if ctx.Err() != nil {
				return
			}
			if fs.NumRecords() == 0 {
				continue
			}
			if err := s.Begin(); err != nil {
				c.b.Error(err)
				return
			}
			fs.EachRecord(func(r *kgo.Record) {
				s.Produce(ctx, &kgo.Record{Topic: id + "-table", Key: r.Key, Value: r.Value}, nil)
				s.Produce(ctx, &kgo.Record{Topic: out, Key: r.Key, Value: r.Value}, nil)
			})
			if _, err := s.End(ctx, kgo.TryCommit); err != nil && ctx.Err() == nil {
				c.b.Error(err)
				return
			}
		}
	}()
	return func() { cancel(); <-done; s.Close() }
}
