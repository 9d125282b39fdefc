package calendar

import (
	"context"
	"flag"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/topics"
)

var parked = flag.Int("parked", 100_000, "entries in the calendar of BenchmarkCalendar")

// BenchmarkCalendar has many entries parked that are not due: what memory they
// take, how long a start takes with the local table as it is and without one, what
// a look costs at which nothing is due, and how fast 10,000 are dispatched that
// are due at once. The broker is in this process. Run it with -benchtime 1x.
func BenchmarkCalendar(b *testing.B) {
	const atOnce = 10_000
	for b.Loop() {
		w := newWorld(b)
		w.session = 10 * time.Second
		dir := b.TempDir()
		now := w.now()
		fill(b, w, *parked, func(i int) time.Time { return now.Add(1000*time.Hour + time.Duration(i)*time.Second) })
		fill(b, w, atOnce, func(int) time.Time { return now.Add(24 * time.Hour) })

		i := w.start("1", dir).ready(b)
		began := time.Now()
		entered := wait(b, func() bool { return i.Stats().In >= int64(*parked+atOnce) })
		b.ReportMetric(float64(*parked+atOnce)/entered.Sub(began).Seconds(), "entered/s")
		i.end(b)

		before, started := heap(), time.Now()
		i = w.start("1", dir).ready(b)
		b.ReportMetric(time.Since(started).Seconds(), "start-s")
		b.ReportMetric(float64(heap()-before)/1e6, "heap-MB")

		looks, began := 0, time.Now()
		for ; looks < 100; looks++ {
			_, err := i.Visit(b.Context(), due, "", retry.Key(now.UnixMilli(), ""), nil)
			must(b, err)
			_, err = i.First("")
			must(b, err)
		}
		b.ReportMetric(float64(time.Since(began).Microseconds())/float64(looks), "µs/look")

		w.skew.Store(int64(24 * time.Hour))
		began = time.Now()
		i.cal.look("")
		done := wait(b, func() bool { return i.Stats().Visited >= atOnce })
		b.ReportMetric(atOnce/done.Sub(began).Seconds(), "dispatched/s")
		i.end(b)

		started = time.Now()
		i = w.start("1", b.TempDir()).ready(b)
		b.ReportMetric(time.Since(started).Seconds(), "cold-start-s")
		i.end(b)
	}
	b.ReportMetric(0, "ns/op")
}

func fill(b *testing.B, w *world, n int, due func(i int) time.Time) {
	b.Helper()
	var failed atomic.Pointer[error]
	for i := range n {
		e := w.entry(int32(i%nparts), due(i))
		w.cl.Produce(context.Background(), &kgo.Record{Topic: topics.Retry, Partition: e.part, Key: []byte(e.key), Value: e.value(w)}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	must(b, w.cl.Flush(context.Background()))
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
}

func wait(b *testing.B, ok func() bool) time.Time {
	b.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("it takes too long")
		}
	}
	return time.Now()
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
