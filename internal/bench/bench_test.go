package bench_test

import (
	"bytes"
	"iter"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/bench"
	"github.com/orderlog/orderlog/internal/workload"
)

// TestRun measures a little and looks whether the figures can be true together.
func TestRun(t *testing.T) {
	platform, err := app.New(app.Config{Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := platform.StartPlatform(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer platform.Stop()
	at := platform.Addresses()

	w, err := workload.New(workload.Config{Seed: 1, Orders: 1 << 40, Customers: 10, Products: 100})
	if err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull(workload.Messages(w.Commands()))
	defer stop()
	var profile bytes.Buffer
	var used time.Duration
	const n, spread = 300, 200 * time.Millisecond
	res, err := bench.Run(t.Context(), bench.Config{
		App:   app.Config{Brokers: at.Brokers, Registry: at.Registry, Namespace: "b", ApplyTopics: true, Partitions: 2},
		Setup: workload.Messages(w.Setup()), Orders: next, N: n,
		Warm: 100 * time.Millisecond, Spread: spread, Loads: []float64{0.2, 0.5},
		CPU:     func() time.Duration { used += n * time.Millisecond; return used },
		Profile: &profile,
		Say:     t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Orders != n || res.Partitions != 2 || res.CPUMicros != 1000 || res.StartSeconds <= 0 || res.StartSeconds > res.Seconds {
		t.Errorf("the rate: %+v", res)
	}
	if res.Consumed < 5 || res.Produced < 5 || res.RecordBytes < 100 {
		t.Errorf("records: %+v", res)
	}
	if res.Bare.Consumed != int(n*res.Consumed) || res.OfLimit <= 0 {
		t.Errorf("the limit: %+v", res)
	}
	if len(res.Latencies) != 2 {
		t.Fatalf("latencies: %+v", res.Latencies)
	}
	for _, l := range res.Latencies {
		if l.Orders != int(l.Rate*spread.Seconds()) || l.P50 <= 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.Max {
			t.Errorf("latency: %+v", l)
		}
	}
	if profile.Len() == 0 {
		t.Error("no profile")
	}
}
