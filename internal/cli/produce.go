package cli

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/schemas"
)

type produceFlags struct {
	made    workload.Config
	from    string
	strict  bool
	rate    float64
	noSetup bool
	dryRun  bool
	deliver bool
}

func newProduce(s *session) *cobra.Command {
	var f produceFlags
	cmd := &cobra.Command{
		Use:   "produce",
		Short: "Send many orders, made up from a seed or imported from a file",
		Long: `Sends prices, stock and credit limits, waits until they are known if processors
run, and then sends orders. The same seed gives the same bytes, so that a run can
be repeated; without --seed one is drawn and shown. Faults are rates from 0 to 1 of
the orders, and come on top of them: the orders of a seed stay the same.

--from imports order lines of the Superstore shape, by the names of the columns:
Order ID, Order Date, Ship Date, Customer ID, Product ID, Product Name, Sales,
Quantity, Discount. Bad rows are reported with line and column and left out. With
--deliver each order is delivered at its ship date, once it is invoiced.`,
		Args: nothing(),
		Example: example("orderlog produce --orders 10000 --rate 500", "",
			"# Real orders, with little stock", "orderlog produce --from orders.csv --stock 20 --credit 5000 --deliver", "",
			"# With all that can go wrong", "orderlog produce --orders 10000 --seed 7 --duplicates 0.05 --conflicts 0.01 \\",
			"  --unknown-products 0.01 --out-of-credit 0.05 --sold-out 0.02 --cancels 0.05 --undecodable 0.001"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.rate < 0 {
				return usagef("--rate %v: at least 0, which is as fast as possible", f.rate)
			}
			l, err := f.load(s, cmd.Flags())
			if err != nil {
				return err
			}
			return s.produce(cmd.Context(), l, f)
		},
	}
	f.add(cmd.Flags())
	return cmd
}

// load is what the flags ask for: a file, or something made up.
func (f *produceFlags) load(s *session, fs *pflag.FlagSet) (load, error) {
	if f.from != "" {
		for _, name := range slices.Concat([]string{"orders", "seed", "customers", "products"}, f.faultNames()) {
			if fs.Changed(name) {
				return load{}, usagef("--%s is for made-up orders and does not go with --from", name)
			}
		}
		return s.imported(f)
	}
	if f.strict {
		return load{}, usagef("--strict is for files and needs --from")
	}
	if !fs.Changed("seed") {
		var b [4]byte
		if _, err := io.ReadFull(s.env.Rand, b[:]); err != nil {
			return load{}, fmt.Errorf("drawing a seed: %w", err)
		}
		f.made.Seed = uint64(binary.BigEndian.Uint32(b[:]))
	}
	if err := f.checkMade(); err != nil {
		return load{}, err
	}
	w, err := workload.New(f.made)
	if err != nil {
		return load{}, &usageError{err}
	}
	return load{
		source: fmt.Sprintf("seed %d", f.made.Seed), seed: f.made.Seed, orders: f.made.Orders,
		setup: w.Setup(), setups: w.Setups(), commands: w.Commands(),
		delivery: func(o *schemas.Order) flow.Message { return workload.Delivery(o.OrderID, o.ChangedAt+1) },
	}, nil
}

func (f *produceFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.from, "from", "", "import this CSV `FILE` (.csv or .csv.gz, - for standard input) instead of making orders up")
	fs.BoolVar(&f.strict, "strict", false, "with --from: send nothing if a row is bad")
	fs.IntVar(&f.made.Orders, "orders", 1000, "orders to make up, `N`")
	fs.Float64Var(&f.rate, "rate", 0, "orders per second, `R`; 0 is as fast as possible")
	fs.Uint64Var(&f.made.Seed, "seed", 0, "`SEED` that everything is made up from")
	fs.IntVar(&f.made.Customers, "customers", 0, "customers, `N` (default 1000, fewer for few orders)")
	fs.IntVar(&f.made.Products, "products", 0, "products, `N` (default 10000, fewer for few orders)")
	fs.Int64Var(&f.made.Stock, "stock", 0, "units of each product, `N` (default ample)")
	fs.Var(newMoney(&f.made.Credit, 0), "credit", "limit of each customer, `AMOUNT` (0: ample)")
	fs.BoolVar(&f.noSetup, "no-setup", false, "send no prices, stock and limits first")
	fs.BoolVar(&f.deliver, "deliver", false, "wait until the orders are decided and deliver what is invoiced")
	fs.BoolVar(&f.dryRun, "dry-run", false, "send nothing, only show what would be sent")
	for _, r := range f.faults() {
		fs.Float64Var(r.rate, r.name, 0, "fault: "+r.what+", `RATE`")
	}
}

// checkMade looks at what the flags say of made-up orders, flag by flag.
func (f *produceFlags) checkMade() error {
	for _, n := range []struct {
		flag  string
		value int64
	}{{"orders", int64(f.made.Orders)}, {"customers", int64(f.made.Customers)}, {"products", int64(f.made.Products)}, {"stock", f.made.Stock}} {
		if n.value < 0 {
			return usagef("--%s %d: want a number from 0", n.flag, n.value)
		}
	}
	for _, r := range f.faults() {
		if !(*r.rate >= 0 && *r.rate <= 1) { // NaN too
			return usagef("--%s %v: want a rate from 0 to 1, e.g. 0.05", r.name, *r.rate)
		}
	}
	return nil
}

type faultFlag struct {
	name string
	rate *float64
	what string
}

func (f *produceFlags) faults() []faultFlag {
	faults := &f.made.Faults
	return []faultFlag{
		{"duplicates", &faults.Duplicates, "the same order again"},
		{"conflicts", &faults.Conflicts, "another order under the same ID"},
		{"unknown-products", &faults.UnknownProducts, "a line whose product nobody knows"},
		{"out-of-credit", &faults.Broke, "customers whose limit is too small for any order"},
		{"sold-out", &faults.SoldOut, "products of which there is one unit"},
		{"cancels", &faults.Cancels, "a cancel at some moment"},
		{"undecodable", &faults.Undecodable, "a record that nothing can decode"},
		{"out-of-order", &faults.EarlyDeliveries, "a delivery before its order, or too early"},
		{"deliveries", &faults.Deliveries, "a delivery later, invoiced or not"},
	}
}

func (f *produceFlags) faultNames() (names []string) {
	for _, r := range f.faults() {
		names = append(names, r.name)
	}
	return names
}
