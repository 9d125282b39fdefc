package workload

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/orderlog/orderlog/internal/sim"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// tally is what a workload holds, by kind.
type tally struct {
	placed                                               map[string]Item // first placements
	duplicates, conflicts, unknown, cancels, undecodable float64
	early, deliveries                                    float64
}

// count reads the commands and checks what must be so of each.
func count(t *testing.T, w *Workload) tally {
	t.Helper()
	c := tally{placed: map[string]Item{}}
	at, step, ids := map[string]int{}, 0, map[string]bool{}
	serde := schemas.NewLocalSerde()
	items := slices.Collect(w.Commands())
	for i, it := range items {
		first, placed := c.placed[it.Key]
		fresh := !ids[it.ID]
		ids[it.ID] = true
		if age := step - at[it.Key]; placed && age > window {
			t.Errorf("%s of %s comes %d steps after it", it.Type, it.Key, age)
		}
		if (it.Raw == nil) != (it.Body != nil) || it.Topic != topics.OrderCommands || !strings.HasPrefix(it.Key, "ord_") {
			t.Fatalf("%+v", it)
		}
		switch b := it.Body.(type) {
		case *schemas.PlaceOrder:
			switch {
			case !placed:
				step++
				c.placed[it.Key], at[it.Key] = it, step
				c.unknown += unknownLines(b)
			case !fresh:
				c.duplicates++
				if !bytes.Equal(line(t, it), line(t, first)) {
					t.Errorf("%+v\nis no duplicate of\n%+v", it, first)
				}
			default:
				c.conflicts++
				if b.OrderID != it.Key || it.At < first.At || sameBody(t, b, first.Body.(*schemas.PlaceOrder)) {
					t.Errorf("%+v\ndoes not conflict with\n%+v", it, first)
				}
			}
			continue
		case *schemas.CancelOrder:
			c.cancels++
			if !placed || b.OrderID != it.Key {
				t.Errorf("%+v", it)
			}
		case *schemas.DeliverOrder:
			switch {
			case !placed && i+1 < len(items) && items[i+1].Key == it.Key && items[i+1].Type == schemas.OrdersOrderPlace:
				c.early++
			case placed && items[i-1].ID == first.ID:
				c.early++
			case placed:
				c.deliveries++
			default:
				t.Errorf("delivery of %s is early, but not just before its order", it.Key)
			}
			if b.OrderID != it.Key {
				t.Errorf("%+v", it)
			}
		case nil:
			c.undecodable++
			if v, err := serde.Decode(context.Background(), it.Topic, it.Raw); err == nil {
				t.Errorf("%x is %+v", it.Raw, v)
			}
		}
		if !fresh || it.ID == "" || it.At < first.At {
			t.Errorf("%+v is not new", it)
		}
	}
	return c
}

func unknownLines(b *schemas.PlaceOrder) (n float64) {
	for _, l := range b.Lines {
		if slices.Contains(unknownSKUs, l.SKU) {
			n++
		}
	}
	return n
}

func sameBody(t *testing.T, a, b *schemas.PlaceOrder) bool {
	ha, err := schemas.Hash(a)
	if err != nil {
		t.Fatal(err)
	}
	hb, err := schemas.Hash(b)
	if err != nil {
		t.Fatal(err)
	}
	return ha == hb
}

func TestFaultRates(t *testing.T) {
	const n = 5000
	for _, rate := range []float64{0, 0.02, 0.3, 1} {
		c := count(t, shop(t, Config{Seed: 4, Orders: n, Faults: everything(rate)}))
		if len(c.placed) != n {
			t.Fatalf("rate %v: %d orders", rate, len(c.placed))
		}
		// Five standard deviations at most; none at 0 and 1.
		slack := 0.0
		if rate > 0 && rate < 1 {
			slack = 0.035
			if rate == 0.02 {
				slack = 0.01
			}
		}
		for what, got := range map[string]float64{
			"duplicates": c.duplicates, "conflicts": c.conflicts, "unknown": c.unknown, "cancels": c.cancels,
			"undecodable": c.undecodable, "early": c.early, "deliveries": c.deliveries,
		} {
			within(t, what, got/n, rate-slack, rate+slack)
		}
	}
}

func TestFaultsComeAlone(t *testing.T) {
	for name, c := range map[string]struct {
		faults Faults
		of     func(*tally) *float64
	}{
		"duplicates":       {Faults{Duplicates: 1}, func(c *tally) *float64 { return &c.duplicates }},
		"conflicts":        {Faults{Conflicts: 1}, func(c *tally) *float64 { return &c.conflicts }},
		"unknown products": {Faults{UnknownProducts: 1}, func(c *tally) *float64 { return &c.unknown }},
		"cancels":          {Faults{Cancels: 1}, func(c *tally) *float64 { return &c.cancels }},
		"undecodable":      {Faults{Undecodable: 1}, func(c *tally) *float64 { return &c.undecodable }},
		"early deliveries": {Faults{EarlyDeliveries: 1}, func(c *tally) *float64 { return &c.early }},
		"deliveries":       {Faults{Deliveries: 1}, func(c *tally) *float64 { return &c.deliveries }},
		"broke":            {Faults{Broke: 1}, nil},
		"sold out":         {Faults{SoldOut: 1}, nil},
	} {
		got := count(t, shop(t, Config{Orders: 100, Faults: c.faults}))
		if c.of != nil {
			if n := c.of(&got); *n != 100 {
				t.Errorf("%s: %v", name, *n)
			} else {
				*n = 0
			}
		}
		got.placed = nil
		if got.duplicates+got.conflicts+got.unknown+got.cancels+got.undecodable+got.early+got.deliveries != 0 {
			t.Errorf("%s: other faults too: %+v", name, got)
		}
	}
}

// Orders are the seed's own, whatever goes wrong with them.
func TestFaultsLeaveOrdersAlone(t *testing.T) {
	faults := everything(0.4)
	faults.UnknownProducts = 0
	plain := slices.Collect(shop(t, Config{Seed: 6, Orders: 1500}).Commands())
	placed := count(t, shop(t, Config{Seed: 6, Orders: 1500, Faults: faults})).placed
	for _, it := range plain {
		if !bytes.Equal(line(t, it), line(t, placed[it.Key])) {
			t.Fatalf("%+v\nbecame\n%+v", it, placed[it.Key])
		}
	}
}

func TestCancelsMeetAnyMoment(t *testing.T) {
	step, at, ages := 0, map[string]int{}, []int{}
	for it := range shop(t, Config{Orders: 5000, Faults: Faults{Cancels: 1}}).Commands() {
		switch it.Body.(type) {
		case *schemas.PlaceOrder:
			step++
			at[it.Key] = step
		case *schemas.CancelOrder:
			if step < 5000 { // steps end with the orders
				ages = append(ages, step-at[it.Key])
			}
		}
	}
	slices.Sort(ages)
	if len(ages) < 4000 || ages[0] > 1 || ages[len(ages)/2] > 64 || ages[len(ages)-1] < window/2 {
		t.Errorf("%d cancels, steps after the order: %d first, %d median, %d last", len(ages), ages[0], ages[len(ages)/2], ages[len(ages)-1])
	}
}

// The real rules do what each fault is for.
func TestRulesMeetTheFaults(t *testing.T) {
	w := shop(t, Config{Seed: 8, Orders: 400, Products: 400, Customers: 100, Faults: Faults{
		Duplicates: 0.2, Conflicts: 0.2, UnknownProducts: 0.1, Broke: 0.1, SoldOut: 0.1, Cancels: 0.2, EarlyDeliveries: 0.1}})
	world := sim.New(sim.Config{Rules: sim.Rules(0), Partitions: 2, Pick: sim.Seeded(1)})
	tiny := map[string]bool{} // customers and products
	for m := range Messages(w.Setup()) {
		switch b := m.Body.(type) {
		case *schemas.SetLimit:
			tiny[m.Key] = b.Limit == brokeLimit
		case *schemas.ReceiveStock:
			tiny[m.Key] = b.Quantity == soldOutStock
		}
		world.Send(m)
	}
	world.Settle()
	conflicts, early := map[string]bool{}, map[string]bool{}
	c := tally{placed: map[string]Item{}}
	for it := range w.Commands() {
		b, ok := it.Body.(*schemas.PlaceOrder)
		if first, placed := c.placed[it.Key]; ok && !placed {
			c.placed[it.Key] = it
		} else if ok && !sameBody(t, b, first.Body.(*schemas.PlaceOrder)) {
			conflicts[it.Key] = true
		} else if it.Type == schemas.OrdersOrderDeliver {
			early[it.Key] = true
		}
		world.Send(it.Message)
		if it.Type != schemas.OrdersOrderDeliver && !early[it.Key] { // just after: before anything is granted
			world.Settle()
		}
	}
	world.Settle()
	orders := sim.Rows[schemas.Order](world, "order")
	seen := map[string]int{}
	for id, it := range c.placed {
		if early[id] {
			continue // in a race with its verdicts
		}
		o, why := orders[id], expected(it.Body.(*schemas.PlaceOrder), tiny)
		seen[why]++
		if why == "" && o.State != schemas.Invoiced && o.State != schemas.Cancelled ||
			why != "" && why != "?" && !(o.State == schemas.Rejected && strings.Contains(strings.Join(o.Reasons, " "), why)) {
			t.Errorf("%s is %s because of %v, want %q", id, o.State, o.Reasons, why)
		}
		if conflicts[id] && o.Refusals == 0 {
			t.Errorf("%s refused no other body: %+v", id, o.Timeline)
		}
		seen[o.State]++
	}
	for _, what := range []string{"", "unknown_product", "insufficient_credit", "out_of_stock", schemas.Invoiced, schemas.Cancelled, schemas.Rejected} {
		if seen[what] < 5 {
			t.Errorf("only %d of %q: %v", seen[what], what, seen)
		}
	}
	if len(orders) != 400 || len(conflicts) < 50 || len(early) < 20 || len(world.Records(topics.DeadLetter)) == 0 {
		t.Errorf("%d orders, %d conflicts, %d early deliveries, %d dead letters", len(orders), len(conflicts), len(early), len(world.Records(topics.DeadLetter)))
	}
}

// expected is why an order is rejected: "" if it is not, "?" if that depends on others.
func expected(b *schemas.PlaceOrder, tiny map[string]bool) string {
	soldOut, contested := false, false
	for _, l := range b.Lines {
		if slices.Contains(unknownSKUs, l.SKU) {
			return "unknown_product"
		}
		soldOut = soldOut || tiny[l.SKU] && l.Quantity > soldOutStock
		contested = contested || tiny[l.SKU]
	}
	switch {
	case soldOut:
		return "out_of_stock"
	case contested:
		return "?"
	case tiny[b.CustomerID]:
		return "insufficient_credit"
	}
	return ""
}

// What a stream remembers does not grow with the orders.
func TestMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	w := shop(t, Config{Orders: 60_000, Faults: everything(1)})
	n, early := 0, uint64(0)
	for range w.Commands() {
		switch n++; n {
		case 40_000:
			early = heap()
		case 360_000:
			if late := heap(); late > early+2<<20 {
				t.Errorf("%d bytes on the heap after 40,000 items, %d after 360,000", early, late)
			}
		}
	}
	if n < 360_000 {
		t.Errorf("only %d items", n)
	}
}
