// Package pipeline holds no code: its test has the whole program on Apache Kafka.
package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/demo"
	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/test/kafka"
)

// TestOrders places, cancels and delivers orders, some of them twice or with
// something wrong, and has the log prove itself.
func TestOrders(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprintf("nodes=%d", nodes), func(t *testing.T) {
			c := kafka.Run(t, kafka.Options{Nodes: nodes})
			registry, err := devbroker.Start(t.Context(), devbroker.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer registry.Stop()
			const limit = 800_000
			namespace := fmt.Sprintf("test-%d", time.Now().UnixNano()) // brokers from outside may hold an earlier test's
			a, err := app.New(app.Config{Brokers: c.Brokers(), Registry: registry.RegistryURL(), Namespace: namespace, ApplyTopics: true,
				Dir: t.TempDir(), Rules: processors.Config{OpeningLimit: limit},
				Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			if err := a.Start(ctx); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := a.Stop(); err != nil {
					t.Error(err)
				}
			}()
			ctx, cancel = a.Guard(ctx)
			defer cancel()
			sum, err := demo.Run(ctx, a, namespace, limit, orders(t, 3000), quiet{})
			if err != nil {
				t.Fatalf("%v: %v", err, context.Cause(ctx))
			}
			if !sum.Report.OK {
				var why strings.Builder
				_ = sum.Report.Verdict(&why, false) // a Builder takes everything
				t.Error(why.String())
			}
			if got := sum.Report.Summary; got.Orders["delivered"] == 0 || got.Orders["rejected"] == 0 || got.Vouchers == 0 {
				t.Errorf("%+v: the mix lacks something", got)
			}
			if nodes == 1 {
				unchanged(ctx, t, c, a, namespace)
			}
			t.Logf("%.0f orders/s, p50 %v, p99 %v", sum.OrdersPerSecond, sum.P50, sum.P99)
		})
	}
}

func orders(t *testing.T, n int) demo.Input {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w, err := workload.New(workload.Config{Seed: seed, Orders: n, Faults: workload.Faults{Duplicates: 0.02, Conflicts: 0.005,
		UnknownProducts: 0.01, Broke: 0.03, SoldOut: 0.02, Cancels: 0.03}})
	if err != nil {
		t.Fatal(err)
	}
	return demo.Input{Setup: workload.Messages(w.Setup()), Setups: w.Setups(), Orders: workload.Messages(w.Commands()), N: n,
		Deliver: func(id string) flow.Message { return workload.Delivery(id, time.Now().UnixMilli()) }}
}

// quiet is no progress bar.
type quiet struct{}

func (quiet) Begin(demo.Stage) {}
func (quiet) At(int)           {}
func (quiet) End()             {}
