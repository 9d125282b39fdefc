package ledger

import (
	"flag"
	"runtime"
	"testing"
	"time"

	"github.com/orderlog/orderlog/schemas"
)

var waiting = flag.Int("waiting", 100_000, "effects in BenchmarkDeadEndpoint for an endpoint that is away")

// BenchmarkDeadEndpoint has many mails wait for a server that is away: what memory
// the process takes for that, how long a start takes, and how fast webhooks go out meanwhile.
// The broker is in this process. Run it with -benchtime 1x.
func BenchmarkDeadEndpoint(b *testing.B) {
	const calls = 5000
	for b.Loop() {
		w := newWorld(b)
		w.over = 0
		w.hooks()
		webhooks := w.cfg.Webhooks
		w.cfg.Webhooks = nil
		for left := *waiting; left > 0; left -= 10_000 {
			w.ask(min(left, 10_000))
		}
		dir := b.TempDir()
		i := w.start("1", dir).ready(b)
		w.until("all are in the ledger", 5*time.Minute, func() bool { return len(w.rows()) == *waiting })
		i.end(b)
		before := heap()

		began := time.Now()
		w.cfg.Webhooks = webhooks
		i = w.start("1", dir).ready(b)
		soon(b, func() bool { return i.pending(schemas.KindEmail) == *waiting })
		b.ReportMetric(time.Since(began).Seconds(), "start-s")
		b.ReportMetric(float64(heap()-before)/float64(*waiting), "heap-B/effect")

		w.cfg.Mail.To = ""
		began = time.Now()
		w.ask(calls)
		soon(b, func() bool { return i.sent("webhook erp") == calls })
		b.ReportMetric(calls/time.Since(began).Seconds(), "webhooks/s")
		i.end(b)
	}
	b.ReportMetric(0, "ns/op")
}

func soon(b *testing.B, ok func() bool) {
	b.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatal("not within five minutes")
		}
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (l *Ledger) pending(lane string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shift == nil || l.shift.lanes[lane] == nil {
		return 0
	}
	return len(l.shift.lanes[lane].open)
}

func (l *Ledger) sent(lane string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.counts[lane]; c != nil {
		return c.sent
	}
	return 0
}
