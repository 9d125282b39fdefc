package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func newBench(s *session) *cobra.Command {
	var cfg struct {
		orders     int
		spread     time.Duration
		partitions int32
		seed       uint64
		data       string
		profile    string
	}
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure settled orders/s, latency and cost beside the bare limit",
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
			child, at, err := startBroker(ctx, cfg.data)
			if err != nil {
				return err
			}
			defer child.Wait()
			defer child.Process.Signal(syscall.SIGTERM)
			c := s.appConfig()
			c.Brokers, c.Registry, c.ApplyTopics, c.Partitions, c.Dir = at.Brokers, at.Registry, true, cfg.partitions, cfg.data
			rng := rand.New(rand.NewPCG(cfg.seed, 1))
			n := 0
			res, err := bench.Run(ctx, bench.Config{App: c, N: cfg.orders, Spread: cfg.spread, Loads: []float64{0.1, 0.5, 0.9},
				CPU: func() time.Duration { return selfCPU() + processCPU(child.Process.Pid) },
				Say: func(f string, a ...any) { fmt.Fprintf(s.env.Stderr, f+"\n", a...) },
				Setup: func(yield func(flow.Message) bool) {
					for i := range 10000 {
						k := fmt.Sprint("sku_", i)
						if !yield(flow.Message{ID: "a" + k, Topic: topics.InventoryCommands, Key: k, At: 1.7e12, Type: schemas.InventoryPriceSet, Body: &schemas.SetPrice{SKU: k, Price: 1000, Currency: "EUR"}}) ||
							!yield(flow.Message{ID: "b" + k, Topic: topics.InventoryCommands, Key: k, At: 1.7e12, Type: schemas.InventoryStockReceive, Body: &schemas.ReceiveStock{SKU: k, Quantity: 1e9}}) {
							return
						}
					}
					for i := range 1000 {
						k := fmt.Sprint("cus_", i)
						if !yield(flow.Message{ID: "a" + k, Topic: topics.CreditCommands, Key: k, At: 1.7e12, Type: schemas.CreditLimitSet, Body: &schemas.SetLimit{CustomerID: k, Limit: 1e15, Currency: "EUR"}}) {
							return
						}
					}
				},
				Orders: func() (flow.Message, bool) {
					n++
					b := &schemas.PlaceOrder{OrderID: flow.NewID("ord", 1.7e12, fmt.Sprint(cfg.seed), n), CustomerID: fmt.Sprint("cus_", rng.IntN(1000)), Currency: "EUR"}
					for range 1 + rng.IntN(5) {
						b.Lines = append(b.Lines, schemas.PlaceLine{SKU: fmt.Sprint("sku_", rng.IntN(10000)), Quantity: 1, UnitPrice: 1000})
					}
					return flow.Message{ID: flow.NewID("evt", 1.7e12, b.OrderID, 0), Topic: topics.OrderCommands, Key: b.OrderID, At: 1.7e12, Type: schemas.OrdersOrderPlace, Body: b}, true
				}})
			if err != nil {
				return err
			}
			return s.show(res, func(w io.Writer) error { return json.NewEncoder(w).Encode(res) })
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.orders, "orders", 50000, "orders for the rate, `N`")
	fs.DurationVar(&cfg.spread, "spread", 10*time.Second, "how long each latency is measured, `DURATION`")
	fs.Int32Var(&cfg.partitions, "partitions", 4, "partitions, `N`")
	fs.Uint64Var(&cfg.seed, "seed", 1, "of the workload, `S`")
	fs.StringVar(&cfg.data, "data", "", "`FOLDER` for local tables; without it they are in memory")
	fs.StringVar(&cfg.profile, "cpuprofile", "", "write a CPU profile of this process to `FILE`")
	return cmd
}

// startBroker runs `orderlog broker` as a process of its own.
func startBroker(ctx context.Context, dir string) (*exec.Cmd, app.Addresses, error) {
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
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&at); err != nil {
		return nil, at, errors.Join(fmt.Errorf("the broker did not start: %w", err), child.Process.Kill(), child.Wait())
	}
	return child, at, nil
}

func selfCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// processCPU reads user and system time of a process from /proc, in ticks of 10 ms.
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
