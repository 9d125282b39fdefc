package cli

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/bench"
	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/internal/workload"
)

func newBench(s *session) *cobra.Command {
	var cfg benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure settled orders/s, latency and cost beside the bare limit",
		Long: `Runs the processors in this process and a broker in another, or, with --brokers,
on that cluster: in a namespace of its own, whose topics stay behind. The orders
are written first and then run, so that the rate is the processors' alone; then
orders are sent at 10, 50 and 90 % of that rate to see latency; last, one
transactional loop moves as many records of the same sizes, which is the limit.`,
		Args: nothing(),
		Example: example("orderlog bench --orders 100000", "",
			"# a cluster; its broker runs here, too, and its CPU time shall be counted",
			"orderlog bench --brokers localhost:9092 --namespace bench-1 --broker-pid 4711"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			s.spareGC()
			run := s.benchCluster
			if !cmd.Flags().Changed("brokers") {
				run = s.benchAlone
			}
			res, err := run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return s.show(res, func(w io.Writer) error { return benchText(w, res) })
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.orders, "orders", 50000, "orders for the rate, `N`")
	fs.DurationVar(&cfg.spread, "spread", 10*time.Second, "how long each latency is measured, `DURATION`")
	fs.Int32Var(&cfg.partitions, "partitions", 4, "partitions, `N`")
	fs.Uint64Var(&cfg.seed, "seed", 1, "of the workload, `S`")
	fs.StringVar(&cfg.data, "data", "", "`FOLDER` for local tables; without it they are in memory")
	fs.IntSliceVar(&cfg.brokerPIDs, "broker-pid", nil, "with --brokers: broker processes on this machine, whose CPU time counts too, `PID,...`")
	httpFlag(fs, &cfg.http, "", "without it there are none")
	fs.StringVar(&cfg.profile, "cpuprofile", "", "write a CPU profile of this process, while it works on the orders for the rate, to `FILE`")
	return cmd
}

type benchFlags struct {
	orders     int
	spread     time.Duration
	partitions int32
	seed       uint64
	data       string
	brokerPIDs []int
	http       string
	profile    string
}

// benchResult is bench.Result and what it was measured on.
type benchResult struct {
	Broker    string `json:"broker"`
	BrokerCPU bool   `json:"broker_cpu"` // CPU times include the broker's
	bench.Result
}

// benchAlone starts a broker of its own.
func (s *session) benchAlone(ctx context.Context, f benchFlags) (benchResult, error) {
	if len(f.brokerPIDs) > 0 {
		return benchResult{}, usagef("--broker-pid is for --brokers: the broker that bench starts is counted anyway")
	}
	exe, err := os.Executable()
	if err != nil {
		return benchResult{}, err
	}
	broker, err := bench.StartBroker(ctx, exe)
	if err != nil {
		return benchResult{}, err
	}
	defer broker.End()
	c := s.appConfig()
	c.Brokers, c.Registry = broker.At.Brokers, broker.At.Registry
	f.brokerPIDs = []int{broker.PID()}
	return s.measure(ctx, c, f, "the embedded broker in a process of its own")
}

// benchCluster uses the cluster that --brokers names, and nobody's topics.
func (s *session) benchCluster(ctx context.Context, f benchFlags) (benchResult, error) {
	adm, err := s.admin(ctx)
	if err != nil {
		return benchResult{}, err
	}
	defer adm.Close()
	found, err := topicplan.Look(ctx, adm, s.set.namespace)
	if err != nil {
		return benchResult{}, err
	}
	for _, t := range found {
		if t.Written {
			return benchResult{}, hinted(usagef("there are records in topic %s", t.FullName), "bench wants a new namespace: --namespace bench-1")
		}
	}
	for _, pid := range f.brokerPIDs {
		if _, ok := bench.ProcessCPU(pid); !ok {
			return benchResult{}, usagef("--broker-pid %d: no such process on this machine", pid)
		}
	}
	answers, err := adm.ApiVersions(ctx)
	if err != nil {
		return benchResult{}, fmt.Errorf("asking the brokers' versions: %w", err)
	}
	return s.measure(ctx, s.cluster(), f, fmt.Sprintf("%d brokers with the API of Kafka %s", len(answers), kafkaVersions(answers)))
}

// measure runs the bench with orders of 3 lines on average, from 1,000 customers
// for 10,000 products.
func (s *session) measure(ctx context.Context, c app.Config, f benchFlags, broker string) (benchResult, error) {
	res := benchResult{Broker: broker, BrokerCPU: len(f.brokerPIDs) > 0}
	w, err := workload.New(workload.Config{Seed: f.seed, Orders: 1 << 40, Customers: 1000, Products: 10_000})
	if err != nil {
		return res, err
	}
	next, stop := iter.Pull(workload.Messages(w.Commands()))
	defer stop()
	var profile io.WriteCloser
	if f.profile != "" {
		if profile, err = os.Create(f.profile); err != nil {
			return res, err
		}
		defer profile.Close()
	}
	c.ApplyTopics, c.Partitions, c.Dir, c.HTTP = true, f.partitions, f.data, f.http
	res.Result, err = bench.Run(ctx, bench.Config{
		App: c, Setup: workload.Messages(w.Setup()), Orders: next, N: f.orders,
		Warm: 2 * time.Second, Spread: f.spread, Loads: []float64{0.1, 0.5, 0.9},
		CPU:     func() time.Duration { return sumCPU(append(f.brokerPIDs, os.Getpid())) },
		Profile: profile,
		Say:     func(format string, args ...any) { fmt.Fprintf(s.env.Stderr, format+"\n", args...) },
	})
	return res, err
}

func benchText(w io.Writer, r benchResult) error {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	who := "without the broker's"
	if r.BrokerCPU {
		who = "the broker's included"
	}
	p("on %s, %d partitions", r.Broker, r.Partitions)
	p("%.0f settled orders/s (%d orders in %.1f s, of which start %.1f s), %.0f us of CPU an order, %s", r.OrdersPerSecond, r.Orders, r.Seconds,
		r.StartSeconds, r.CPUMicros, who)
	p("%.1f records consumed and %.1f produced an order, %.0f bytes each on average", r.Consumed, r.Produced, r.RecordBytes)
	p("bare limit: %.0f orders/s, %.0f us of CPU an order; orderlog reaches %.0f %% of it", r.Bare.OrdersPerSecond,
		float64(r.Bare.CPU.Microseconds())/float64(r.Orders), 100*r.OfLimit)
	rows := [][]string{{"LOAD", "ORDERS/S", "MEASURED", "P50", "P90", "P99", "MAX"}}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
	for _, l := range r.Latencies {
		rows = append(rows, []string{fmt.Sprintf("%.0f %%", l.Load*100), fmt.Sprintf("%.0f", l.Rate), strconv.Itoa(l.Orders),
			ms(l.P50), ms(l.P90), ms(l.P99), ms(l.Max)})
	}
	p("placed to invoiced:")
	return table(w, rows)
}

func sumCPU(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		used, _ := bench.ProcessCPU(pid)
		sum += used
	}
	return sum
}
