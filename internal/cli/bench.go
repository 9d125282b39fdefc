package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/bench"
	"github.com/orderlog/orderlog/internal/workload"
)

func newBench(s *session) *cobra.Command {
	var cfg struct {
		bench      benchFlags
		partitions int32
		data       string
		profile    string
	}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure settled orders/s, latency and cost beside the bare limit",
		Long: `Runs the processors in this process and a broker in another. The orders are
written first and then run, so that the rate is the processors' alone; then orders
are sent at 10, 50 and 90 % of that rate to see latency; last, one transactional
loop moves as many records of the same sizes, which is the limit.`,
		Args:    nothing(),
		Example: example("orderlog bench --orders 100000"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if cfg.profile != "" {
				f, err := os.Create(cfg.profile)
				if err != nil {
					return err
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return err
				}
				defer pprof.StopCPUProfile()
			}
			s.spareGC()
			child, at, err := startBroker(ctx)
			if err != nil {
				return err
			}
			defer child.Wait()
			defer child.Process.Signal(syscall.SIGTERM)
			c := s.appConfig()
			c.Brokers, c.Registry, c.ApplyTopics, c.Partitions, c.Dir = at.Brokers, at.Registry, true, cfg.partitions, cfg.data
			res, err := measure(ctx, s, c, cfg.bench, func() time.Duration { return processCPU(os.Getpid()) + processCPU(child.Process.Pid) })
			if err != nil {
				return err
			}
			return s.show(res, func(w io.Writer) error { return benchText(w, res) })
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.bench.orders, "orders", 50000, "orders for the rate, `N`")
	fs.DurationVar(&cfg.bench.spread, "spread", 10*time.Second, "how long each latency is measured, `DURATION`")
	fs.Int32Var(&cfg.partitions, "partitions", 4, "partitions, `N`")
	fs.Uint64Var(&cfg.bench.seed, "seed", 1, "of the workload, `S`")
	fs.StringVar(&cfg.data, "data", "", "`FOLDER` for local tables; without it they are in memory")
	fs.StringVar(&cfg.profile, "cpuprofile", "", "write a CPU profile of this process to `FILE`")
	return cmd
}

type benchFlags struct {
	orders int
	spread time.Duration
	seed   uint64
}

// measure runs the bench with orders of 3 lines on average, from 1,000 customers
// for 10,000 products.
func measure(ctx context.Context, s *session, c app.Config, f benchFlags, cpu func() time.Duration) (bench.Result, error) {
	w, err := workload.New(workload.Config{Seed: f.seed, Orders: 1 << 40, Customers: 1000, Products: 10_000})
	if err != nil {
		return bench.Result{}, err
	}
	next, stop := iter.Pull(workload.Messages(w.Commands()))
	defer stop()
	return bench.Run(ctx, bench.Config{
		App: c, Setup: workload.Messages(w.Setup()), Orders: next, N: f.orders, Spread: f.spread, Loads: []float64{0.1, 0.5, 0.9}, CPU: cpu,
		Say: func(format string, args ...any) { fmt.Fprintf(s.env.Stderr, format+"\n", args...) },
	})
}

func benchText(w io.Writer, r bench.Result) error {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("%.0f settled orders/s (%d orders in %.1f s), %.0f us of CPU an order, broker included", r.OrdersPerSecond, r.Orders, r.Seconds, r.CPUMicros)
	p("%.1f records consumed and %.1f produced an order, %.0f bytes each on average", r.Consumed, r.Produced, r.RecordBytes)
	p("bare limit: %.0f orders/s, %.0f us of CPU an order; orderlog reaches %.0f %% of it", r.Bare.OrdersPerSecond,
		float64(r.Bare.CPU.Microseconds())/float64(r.Orders), 100*r.OfLimit)
	rows := [][]string{{"LOAD", "ORDERS/S", "P50", "P90", "P99", "MAX"}}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
	for _, l := range r.Latencies {
		rows = append(rows, []string{fmt.Sprintf("%.0f %%", l.Load*100), fmt.Sprintf("%.0f", l.Rate), ms(l.P50), ms(l.P90), ms(l.P99), ms(l.Max)})
	}
	p("placed to invoiced:")
	return table(w, rows)
}

// startBroker runs `orderlog broker` as a process of its own.
func startBroker(ctx context.Context) (*exec.Cmd, app.Addresses, error) {
	var at app.Addresses
	exe, err := os.Executable()
	if err != nil {
		return nil, at, err
	}
	child := exec.CommandContext(ctx, exe, "broker", "--port", "0", "--registry-port", "0", "-o", "json")
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, at, err
	}
	if err := child.Start(); err != nil {
		return nil, at, fmt.Errorf("starting the broker: %w", err)
	}
	if err := json.NewDecoder(out).Decode(&at); err != nil {
		return nil, at, errors.Join(fmt.Errorf("the broker did not start: %w", err), child.Process.Kill(), child.Wait())
	}
	return child, at, nil
}

// processCPU reads user and system time of a process from /proc, in ticks of
// 10 ms. Where there is no /proc it is 0.
func processCPU(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(after)
	if len(f) < 13 {
		return 0
	}
	u, _ := strconv.Atoi(f[11])
	k, _ := strconv.Atoi(f[12])
	return time.Duration(u+k) * 10 * time.Millisecond
}
