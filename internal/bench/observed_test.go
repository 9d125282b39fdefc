package bench_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/bench"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/internal/workload"
)

// BenchmarkObserved is what it costs to be seen: pairs of runs on one broker, without
// and with all metrics, the status page, a scrape every 5 s and one order in a hundred
// traced to a collector, which is in this process and counted, too. Reported are quartiles
// over the pairs of what is with divided by without: orders/s, and CPU time an order.
func BenchmarkObserved(b *testing.B) {
	const orders = 60_000
	defer debug.SetGCPercent(debug.SetGCPercent(300)) // as `up` and `run` have it
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer collector.Close()
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	b.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
	b.Setenv("OTEL_TRACES_SAMPLER_ARG", "0.01")
	program := build(b)

	measure := func(seen bool) bench.Result {
		broker, err := bench.StartBroker(b.Context(), program) // one for each run: a broker that has much is slower
		if err != nil {
			b.Fatal(err)
		}
		defer broker.End()
		cpu := func() time.Duration {
			here, _ := bench.ProcessCPU(os.Getpid())
			there, _ := bench.ProcessCPU(broker.PID())
			return here + there
		}
		w, err := workload.New(workload.Config{Seed: 1, Orders: 1 << 40, Customers: 1000, Products: 10_000})
		if err != nil {
			b.Fatal(err)
		}
		next, stop := iter.Pull(workload.Messages(w.Commands()))
		defer stop()
		cfg := app.Config{Brokers: broker.At.Brokers, Registry: broker.At.Registry, ApplyTopics: true, Partitions: 4, Log: slog.New(slog.DiscardHandler)}
		if seen {
			if cfg.Trace, err = trace.FromEnv(os.Getenv, "bench", cfg.Log); err != nil {
				b.Fatal(err)
			}
			defer cfg.Trace.Close()
			cfg.HTTP = freeAddress(b)
			defer scrape(b, "http://"+cfg.HTTP+"/metrics")()
		}
		res, err := bench.Rate(b.Context(), bench.Config{App: cfg, Setup: workload.Messages(w.Setup()), Orders: next, N: orders, CPU: cpu, Say: func(string, ...any) {}})
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("seen %t: %.0f orders/s, %.1f us of CPU an order; start took %.2f s of %.2f", seen, res.OrdersPerSecond, res.CPUMicros, res.StartSeconds, res.Seconds)
		return res
	}
	measure(false) // a process that has just started
	var rates, costs []float64
	for b.Loop() {
		seen := len(rates)%2 == 1 // which one is first changes, too
		a, z := measure(seen), measure(!seen)
		if seen {
			a, z = z, a
		}
		rates, costs = append(rates, z.OrdersPerSecond/a.OrdersPerSecond), append(costs, z.CPUMicros/a.CPUMicros)
	}
	for _, of := range []struct {
		what   string
		ratios []float64
	}{{"rate", rates}, {"cpu", costs}} {
		slices.Sort(of.ratios)
		for _, q := range []int{25, 50, 75} {
			b.ReportMetric(of.ratios[(len(of.ratios)-1)*q/100], fmt.Sprintf("%s-p%d", of.what, q))
		}
	}
}

// scrape asks every 5 s; what is returned ends that.
func scrape(b *testing.B, url string) (end func()) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan int)
	go func() {
		n, wait := 0, 2*time.Second
		defer func() { done <- n }()
		for {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
			wait = 100 * time.Millisecond
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			req.Header.Set("Accept", "application/openmetrics-text")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				continue
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			n, wait = n+1, 5*time.Second
		}
	}()
	return func() {
		cancel()
		if <-done == 0 {
			b.Error("nothing was scraped")
		}
	}
}

func freeAddress(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func build(b *testing.B) (program string) {
	program = filepath.Join(b.TempDir(), "orderlog")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/orderlog").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return program
}
