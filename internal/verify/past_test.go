package verify

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const day = 24 * time.Hour

// slowLog is a busy one, of a record a second since yesterday.
func slowLog(seed uint64, n int) *fixture {
	f := newFixture()
	f.began = day
	f.busy(seed, n, -1)
	return f
}

// never names checks that are not made of the past.
var never = []string{"effects", "deadlines", "parked"}

// Whatever moment is looked at, what was right then is found right.
func TestPastHolds(t *testing.T) {
	checked := map[string]int64{}
	for seed := range uint64(8) {
		f := slowLog(seed, 150)
		opts, serde := cluster(t, ""), schemas.NewLocalSerde()
		f.store(t, opts, serde)
		keepWeek(t, opts)
		rng := rand.New(rand.NewPCG(seed, 2))
		for range 4 {
			cfg := f.config(opts, serde)
			cfg.StuckAfter = day
			cfg.At = &At{Time: f.now.Add(-f.began - time.Duration(rng.Int64N(int64(day-f.began))))}
			r := f.run(t, cfg)
			if !r.OK || r.At == nil || !r.At.Equal(cfg.At.Time) {
				t.Fatalf("seed %d, at %v: %v", seed, cfg.At.Time.Sub(f.now), failures(r))
			}
			for _, c := range r.Checks {
				checked[c.Name] += c.Checked
				if skipped := slices.Contains(never, c.Name); skipped != (c.Skipped != "") {
					t.Errorf("%s: skipped %q", c.Name, c.Skipped)
				}
			}
		}
	}
	for _, name := range []string{"orders", "stock", "credit", "invoices", "vouchers", "amounts", "history"} {
		if checked[name] == 0 {
			t.Errorf("%s: never anything to check", name)
		}
	}
}

// keepWeek has compaction leave the order log alone for a week.
func keepWeek(t *testing.T, opts []kgo.Opt) {
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	week := strconv.FormatInt((7 * day).Milliseconds(), 10)
	rs, err := kadm.NewClient(cl).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "min.compaction.lag.ms", Value: &week}}, topics.OrderTable)
	if err != nil || rs[0].Err != nil {
		t.Fatal(err, rs)
	}
}

// quiet lets nothing happen for ten minutes, and returns the middle of them.
func (f *fixture) quiet() time.Time {
	f.began -= 10 * time.Minute
	return f.now.Add(-f.began - 5*time.Minute)
}

// What was wrong once and is right by now shows at its time, whether that is named
// by a clock or by offsets.
func TestPastFault(t *testing.T) {
	f := slowLog(3, 100)
	var sku string
	for p := range fixtureParts {
		if es := f.log[topics.InventoryTable][p]; len(es) > 0 {
			sku = es[len(es)-1].key
		}
	}
	change(f, topics.InventoryTable, sku, func(s *schemas.Stock) { s.OnHand++ })
	at, then := f.quiet(), map[string]map[int32]int64{}
	for _, topic := range []string{topics.OrderTable, topics.InventoryTable, topics.InventoryCommands} {
		then[topic] = map[int32]int64{}
		for p, es := range f.log[topic] {
			then[topic][int32(p)] = int64(len(es))
		}
	}
	f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 2})
	f.send(topics.OrderCommands, place("ord_after", ada))
	f.settle(nil)
	opts, serde := cluster(t, ""), schemas.NewLocalSerde()
	f.store(t, opts, serde)
	if r := f.run(t, f.config(opts, serde)); !r.OK {
		t.Fatalf("by now: %v", failures(r))
	}
	for name, moment := range map[string]*At{"a time": {Time: at}, "offsets": {Offsets: then}} {
		cfg := f.config(opts, serde)
		cfg.At = moment
		r := f.run(t, cfg)
		if r.OK || len(failures(r)) != 1 || !strings.HasPrefix(failures(r)[0], "stock") || !strings.Contains(failures(r)[0], sku) {
			t.Errorf("%s: OK %t, %v", name, r.OK, failures(r))
		}
		if n := r.Summary.Orders[schemas.Rejected] + r.Summary.Orders[schemas.Placed]; n == 0 || strings.Contains(fmt.Sprint(r), "ord_after") {
			t.Errorf("%s: %+v", name, r.Summary)
		}
	}
}

// What was parked then, and came back since, was neither applied nor lost.
func TestPastParked(t *testing.T) {
	for _, c := range []struct {
		name, where string
		holds       bool
	}{{"came back", topics.InventoryLoop, true}, {"was nowhere", "", false}} {
		t.Run(c.name, func(t *testing.T) {
			f, opts, serde := newFixture(), cluster(t, ""), schemas.NewLocalSerde()
			f.began = day
			f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: nut, Price: 1, Currency: "EUR"})
			f.settle(nil)
			f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 10})
			f.setAside(t, serde, c.where, "inventory", topics.InventoryCommands, nut, f.now)
			f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 1})
			f.settle(nil)
			at := f.quiet()
			f.come(1, topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 10})
			f.store(t, opts, serde)
			cfg := f.config(opts, serde)
			cfg.At = &At{Time: at}
			if r := f.run(t, cfg); r.OK != c.holds || r.Summary.OnHand != 1 {
				t.Errorf("on hand %d: %v", r.Summary.OnHand, failures(r))
			}
		})
	}
}

// A key of which there are later versions only says nothing of then.
func TestPastIsGone(t *testing.T) {
	for _, c := range []struct {
		topic string
		key   func(*fixture) string
		skips []string
	}{
		{topics.InventoryTable, func(f *fixture) string { return nut }, nil},
		{topics.CreditTable, func(f *fixture) string { return ben }, nil},
		{topics.InvoicingTable, func(f *fixture) string { return f.log[topics.InvoicingTable][0][0].key }, nil},
		{topics.Vouchers, func(f *fixture) string { return f.orderNow(delivered).Vouchers[0].VoucherID }, []string{"vouchers"}},
		{topics.Invoices, func(f *fixture) string { return f.orderNow(delivered).Invoice.InvoiceID }, []string{"invoices"}},
		{topics.OrderTable, func(f *fixture) string { return contested }, []string{"orders", "stock", "credit", "invoices", "vouchers"}},
	} {
		t.Run(c.topic, func(t *testing.T) {
			f := newFixture()
			f.began = day
			f.small()
			if c.topic == topics.InvoicingTable && len(f.log[c.topic][0]) == 0 {
				f.log[c.topic][0] = f.log[c.topic][1]
				f.log[c.topic][1] = nil
			}
			at, key := f.quiet(), c.key(f)
			last := *f.last(c.topic, key)
			f.began -= time.Second
			last.age = f.began
			opts, serde := cluster(t, ""), schemas.NewLocalSerde()
			p := partOf(key)
			for i, e := range f.log[c.topic][p] { // as compaction would leave it: offsets stay
				if e.key == key {
					f.log[c.topic][p][i] = entry{key: "other", typ: e.typ, age: e.age, origin: e.origin}
				}
			}
			f.log[c.topic][p] = append(f.log[c.topic][p], last)
			f.store(t, opts, serde)
			cfg := f.config(opts, serde)
			cfg.At = &At{Time: at}
			r := f.run(t, cfg)
			if !r.OK {
				t.Errorf("%v", failures(r))
			}
			var skips []string
			noted := false
			for _, check := range r.Checks {
				if check.Skipped != "" && !slices.Contains(never, check.Name) {
					skips = append(skips, check.Name)
				}
				noted = noted || check.Gone == 1
			}
			if fmt.Sprint(skips) != fmt.Sprint(c.skips) || len(skips) == 0 && !noted {
				t.Errorf("skipped %v, not %v; noted %t", skips, c.skips, noted)
			}
		})
	}
}

func TestNoSuchMoment(t *testing.T) {
	f := smallLog()
	opts, serde := cluster(t, ""), schemas.NewLocalSerde()
	f.store(t, opts, serde)
	for name, at := range map[string]At{
		"to come":              {Time: f.now.Add(time.Second)},
		"another topic":        {Offsets: map[string]map[int32]int64{"nonsense": {0: 1}}},
		"another partition":    {Offsets: map[string]map[int32]int64{topics.OrderTable: {fixtureParts: 1}}},
		"past the end":         {Offsets: map[string]map[int32]int64{topics.OrderTable: {0: 1 << 40}}},
		"before the first":     {Offsets: map[string]map[int32]int64{topics.OrderTable: {0: -1}}},
		"a negative partition": {Offsets: map[string]map[int32]int64{topics.OrderTable: {-1: 0}}},
	} {
		cfg := f.config(opts, serde)
		cfg.At = &at
		if _, err := Run(t.Context(), cfg); !errors.Is(err, ErrAt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
