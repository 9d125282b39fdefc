package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/examples"
	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/demo"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/superstore"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/schemas"
)

func newDemo(s *session) *cobra.Command {
	var cfg struct {
		orders int
		made   workload.Config
		stock  int64
		credit int64
	}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole pipeline on real orders, and prove the result",
		Long: `Starts an embedded broker in a temporary folder, runs every processor, and puts
the 5,009 orders of the Superstore sample through stock, credit, invoice, delivery
and voucher. Stock and credit are short on purpose, so that some are refused. At
the end the log is asked to prove itself: exit code 1 if it cannot.`,
		Args:    nothing(),
		Example: example("orderlog demo", "orderlog demo --orders 50000 --seed 7"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			in, err := demoInput(cfg.orders, cfg.made, cfg.stock, cfg.credit)
			if err != nil {
				return err
			}
			c := s.appConfig()
			if c.Dir, err = os.MkdirTemp("", "orderlog-demo-"); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(c.Dir)) }()
			c.Rules.OpeningLimit = cfg.credit
			a, err := app.New(c)
			if err != nil {
				return &usageError{err}
			}
			s.spareGC()
			began := time.Now()
			if err := a.Start(cmd.Context()); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, a.Stop()) }()
			if !s.json() {
				fmt.Fprintf(s.env.Stdout, "%s\n", s.outStyle().dim(fmt.Sprintf("broker %s, registry %s, up in %v",
					a.Addresses().Brokers[0], a.Addresses().Registry, time.Since(began).Round(time.Millisecond))))
			}
			ctx, done := a.Guard(cmd.Context())
			defer done()
			sum, err := demo.Run(ctx, a, s.set.namespace, cfg.credit, in, &stages{s: s})
			if err != nil {
				return cmp.Or(context.Cause(ctx), err)
			}
			if err := s.show(sum, func(w io.Writer) error { return s.demoText(w, sum) }); err != nil {
				return err
			}
			if !sum.Report.OK {
				return failedQuietly("the log does not hold")
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.orders, "orders", 0, "made-up orders instead, `N`")
	fs.Uint64Var(&cfg.made.Seed, "seed", 1, "`SEED` of made-up orders")
	fs.Int64Var(&cfg.stock, "stock", 25, "units of each product, `N`")
	fs.Var(newMoney(&cfg.credit, 800_000), "credit", "limit of each customer, `AMOUNT`")
	return cmd
}

// demoInput is the Superstore, or a made-up shop of n orders.
func demoInput(n int, made workload.Config, stock, credit int64) (demo.Input, error) {
	if n > 0 {
		made.Orders = n
		made.Faults = workload.Faults{Duplicates: 0.02, Conflicts: 0.005, UnknownProducts: 0.01, Broke: 0.03, SoldOut: 0.02, Cancels: 0.03}
		w, err := workload.New(made)
		if err != nil {
			return demo.Input{}, &usageError{err}
		}
		return demo.Input{Source: fmt.Sprintf("%d made-up orders, seed %d", n, made.Seed), Setup: workload.Messages(w.Setup()), Setups: w.Setups(),
			Orders: workload.Messages(w.Commands()), N: n,
			Deliver: func(id string) flow.Message { return workload.Delivery(id, made.Start) }}, nil
	}
	f, err := examples.Superstore()
	if err != nil {
		return demo.Input{}, err
	}
	file, bad, err := superstore.Read(f, superstore.Options{})
	if err != nil {
		return demo.Input{}, err
	}
	if len(bad) > 0 {
		return demo.Input{}, fmt.Errorf("the sample has bad rows: %v", bad[0])
	}
	return demo.Input{Source: "the Superstore sample", Setup: file.Setup(stock, credit), Setups: file.Setups(),
		Orders: file.Orders(), N: file.Placements(),
		Deliver: func(id string) flow.Message { m, _ := file.Delivery(id); return m }}, nil
}

// stages shows a demo's progress.
type stages struct {
	s     *session
	bar   *bar
	total int64
	name  string
	began time.Time
}

func (p *stages) Begin(st demo.Stage) {
	p.name, p.total, p.began = st.Name, int64(st.Total), time.Now()
	p.bar = p.s.bar(st.Name, p.total)
}

func (p *stages) At(done int) { p.bar.at(int64(done), p.total) }

func (p *stages) End() {
	p.bar.at(p.total, p.total)
	p.bar.end()
	if !p.s.json() && !p.s.env.StderrTerminal {
		n := ""
		if p.total > 0 {
			n = strconv.FormatInt(p.total, 10)
		}
		fmt.Fprintf(p.s.env.Stdout, "%-28s %7s  %5.1f s\n", p.name, n, time.Since(p.began).Seconds())
	}
}

// demoText is the summary for a person.
func (s *session) demoText(w io.Writer, sum demo.Summary) error {
	st, v := s.outStyle(), sum.Report.Summary
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("\n%s", st.bold(fmt.Sprintf("%d orders from %s, decided in %.1f s: %.0f orders/s", sum.Orders, sum.Source, sum.Seconds, sum.OrdersPerSecond)))
	p("placed to invoiced: p50 %v, p99 %v, with %d orders on their way at once\n", sum.P50.Round(time.Millisecond), sum.P99.Round(time.Millisecond), sum.InFlight)
	for _, state := range []string{schemas.Delivered, schemas.Invoiced, schemas.Rejected, schemas.Cancelled, schemas.Expired, schemas.Approved, schemas.Placed} {
		if n := v.Orders[state]; n > 0 {
			p("  %-10s %7d  %s", state, n, st.dim(scale(n, int64(sum.Orders))))
		}
	}
	if len(v.Reasons) > 0 {
		p("\nwhy orders died (an order may have several reasons)")
		for _, code := range byCount(v.Reasons) {
			p("  %-22s %7d", code, v.Reasons[code])
		}
	}
	p("\n  products   %7d  %d units left", v.Products, v.OnHand)
	p("  customers  %7d", v.Customers)
	p("  invoices   %7d  credit notes %d", v.Invoices, v.CreditNotes)
	p("  vouchers   %7d", v.Vouchers)
	for _, currency := range sorted(v.Turnover) {
		t := v.Turnover[currency]
		p("  turnover   %s net + %s VAT = %s", schemas.Money(t.Net, currency), schemas.Money(t.VAT, currency), schemas.Money(t.Gross, currency))
	}
	p("")
	return sum.Report.Verdict(w, st.on)
}

func byCount(m map[string]int64) []string {
	keys := sorted(m)
	slices.SortStableFunc(keys, func(a, b string) int { return int(m[b] - m[a]) })
	return keys
}

// scale is a bar of at most 40 blocks.
func scale(n, of int64) string {
	var b []rune
	for range max(1, n*40/max(of, 1)) {
		b = append(b, '▇')
	}
	return string(b)
}
