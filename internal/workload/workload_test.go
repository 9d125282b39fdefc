package workload

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// everything is a workload with all that can go wrong.
func everything(rate float64) Faults {
	return Faults{
		Duplicates: rate, Conflicts: rate, UnknownProducts: rate, Broke: rate, SoldOut: rate,
		Cancels: rate, Undecodable: rate, EarlyDeliveries: rate, Deliveries: rate,
	}
}

func shop(t testing.TB, cfg Config) *Workload {
	t.Helper()
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// line is all of an item as text.
func line(t testing.TB, it Item) []byte {
	t.Helper()
	b, err := json.Marshal(it)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func digest(t testing.TB, w *Workload) string {
	h := sha256.New()
	for _, items := range []iter.Seq[Item]{w.Setup(), w.Commands()} {
		write(t, h, items)
	}
	return sum(h)
}

func write(t testing.TB, to io.Writer, items iter.Seq[Item]) {
	for it := range items {
		to.Write(line(t, it))
	}
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil))[:16] }

// The digest changes only with the generator: on any machine, in any build, a
// seed that somebody noted gives the same workload.
func TestSameSeedSameBytes(t *testing.T) {
	cfg := Config{Seed: 7, Orders: 2000, Faults: everything(0.1)}
	const want = "543ee5eb1cb4ace0"
	w := shop(t, cfg)
	if got := digest(t, w); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if digest(t, w) != digest(t, shop(t, cfg)) {
		t.Error("the second iteration differs")
	}
	seen := map[string]uint64{}
	for seed := range uint64(50) {
		d := digest(t, shop(t, Config{Seed: seed, Orders: 3}))
		if other, ok := seen[d]; ok {
			t.Errorf("seeds %d and %d are the same", seed, other)
		}
		seen[d] = seed
	}
}

func TestIterationsDoNotMeet(t *testing.T) {
	w := shop(t, Config{Orders: 500, Faults: everything(0.5)})
	a, stopA := iter.Pull(w.Commands())
	defer stopA()
	for range 100 {
		a()
	}
	b, stopB := iter.Pull(w.Commands())
	defer stopB()
	all := slices.Collect(w.Commands())
	for i := range all {
		if i >= 100 {
			if it, ok := a(); !ok || !bytes.Equal(line(t, it), line(t, all[i])) {
				t.Fatalf("item %d of the first iteration is %v", i, it)
			}
		}
		if it, ok := b(); !ok || !bytes.Equal(line(t, it), line(t, all[i])) {
			t.Fatalf("item %d of the second iteration is %v", i, it)
		}
	}
	if _, ok := a(); ok {
		t.Error("the first goes on")
	}
}

func TestPlainOrders(t *testing.T) {
	const n = 3000
	w := shop(t, Config{Seed: 3, Orders: n})
	ids, keys, at := map[string]bool{}, map[string]bool{}, DefaultStart
	for it := range w.Commands() {
		b, ok := it.Body.(*schemas.PlaceOrder)
		if !ok || it.Raw != nil || it.Topic != topics.OrderCommands || it.Type != schemas.OrdersOrderPlace || it.Key != b.OrderID {
			t.Fatalf("%+v", it)
		}
		if it.At <= at {
			t.Fatalf("time %d after %d", it.At, at)
		}
		at = it.At
		ids[it.ID], keys[it.Key] = true, true
	}
	if len(ids) != n || len(keys) != n {
		t.Errorf("%d message IDs, %d orders, want %d", len(ids), len(keys), n)
	}
	if gap := float64(at-DefaultStart) / n; gap < 180 || gap > 220 {
		t.Errorf("%.0f ms between orders", gap)
	}
}

func TestMoreOrdersBeginTheSame(t *testing.T) {
	few := slices.Collect(shop(t, Config{Orders: 20, Customers: 50, Products: 100}).Commands())
	for i, it := range slices.Collect(shop(t, Config{Orders: 40, Customers: 50, Products: 100}).Commands())[:20] {
		if !bytes.Equal(line(t, it), line(t, few[i])) {
			t.Errorf("item %d differs", i)
		}
	}
}

func TestSetup(t *testing.T) {
	w := shop(t, Config{Seed: 5, Orders: 100, Products: 300, Customers: 40, Start: 1_600_000_000_000, Stock: 77, Credit: 88})
	prices, received, limits, ids := map[string]int64{}, map[string]int64{}, map[string]int64{}, map[string]bool{}
	n := 0
	for it := range w.Setup() {
		n++
		ids[it.ID] = true
		if it.Raw != nil || it.Key != schemas.KeyOf(it.Body) || it.At != 1_600_000_000_000 {
			t.Fatalf("%+v", it)
		}
		top, _ := topics.Find(it.Topic)
		record, ok := schemas.Of(it.Body)
		if !ok || !slices.Contains(top.Records, record.Name) {
			t.Fatalf("%T on %s", it.Body, it.Topic)
		}
		switch b := it.Body.(type) {
		case *schemas.SetPrice:
			if b.Name == "" || b.Currency != "EUR" {
				t.Errorf("%+v", b)
			}
			prices[b.SKU] = b.Price
		case *schemas.ReceiveStock:
			received[b.SKU] += b.Quantity
		case *schemas.SetLimit:
			limits[b.CustomerID] = b.Limit
		}
	}
	if n != w.Setups() || n != len(ids) || len(prices) != 300 || len(received) != 300 || len(limits) != 40 {
		t.Errorf("%d items of %d, %d IDs, %d prices, %d receipts, %d limits", n, w.Setups(), len(ids), len(prices), len(received), len(limits))
	}
	for sku, units := range received {
		if units != 77 || prices[sku] < 100 || prices[sku] > 50_000 {
			t.Errorf("%s: %d units at %d", sku, units, prices[sku])
		}
	}
	for cus, limit := range limits {
		if limit != 88 {
			t.Errorf("%s: limit %d", cus, limit)
		}
	}
	for p := range placements(w) {
		for _, l := range p.Lines {
			if price, ok := prices[l.SKU]; !ok || l.UnitPrice != 0 && l.UnitPrice != price {
				t.Errorf("line %+v, price %d", l, price)
			}
		}
		if _, ok := limits[p.CustomerID]; !ok {
			t.Errorf("customer %s was not set up", p.CustomerID)
		}
	}
}

func placements(w *Workload) iter.Seq[*schemas.PlaceOrder] {
	return func(yield func(*schemas.PlaceOrder) bool) {
		for it := range w.Commands() {
			if b, ok := it.Body.(*schemas.PlaceOrder); ok && !yield(b) {
				return
			}
		}
	}
}

// A shop is the same for every seed and size: workloads may share it.
func TestShopsAreShared(t *testing.T) {
	a, b := shop(t, Config{Seed: 1, Products: 10}), shop(t, Config{Seed: 2, Products: 1000})
	if !slices.Equal(a.products, b.products[:10]) {
		t.Errorf("%v\n%v", a.products, b.products[:10])
	}
}

func TestDefaults(t *testing.T) {
	for _, c := range []struct{ orders, customers, products int }{
		{0, 10, 100}, {100, 10, 100}, {5000, 500, 5000}, {100_000, 1000, 10_000},
	} {
		w := shop(t, Config{Orders: c.orders})
		if len(w.customers) != c.customers || len(w.products) != c.products {
			t.Errorf("%d orders: %d customers, %d products", c.orders, len(w.customers), len(w.products))
		}
	}
	for it := range shop(t, Config{}).Commands() {
		t.Fatalf("no orders, but %+v", it)
	}
}

func TestValidate(t *testing.T) {
	for want, cfg := range map[string]Config{
		"orders":           {Orders: -1},
		"customers":        {Customers: -1},
		"products":         {Products: maxEntities + 1},
		"start":            {Start: -1},
		"stock":            {Stock: maxStock + 1},
		"credit":           {Credit: -1},
		"duplicates":       {Faults: Faults{Duplicates: 1.01}},
		"conflicts":        {Faults: Faults{Conflicts: -0.1}},
		"unknown products": {Faults: Faults{UnknownProducts: math.NaN()}},
		"broke":            {Faults: Faults{Broke: 2}},
		"sold out":         {Faults: Faults{SoldOut: 2}},
		"cancels":          {Faults: Faults{Cancels: 2}},
		"undecodable":      {Faults: Faults{Undecodable: 2}},
		"early deliveries": {Faults: Faults{EarlyDeliveries: 2}},
		" deliveries":      {Faults: Faults{Deliveries: math.Inf(1)}},
	} {
		if w, err := New(cfg); w != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := (Config{Orders: 1, Stock: maxStock, Credit: math.MaxInt64, Faults: everything(1)}).Validate(); err != nil {
		t.Error(err)
	}
}

// A consumer may stop anywhere; a generator that goes on panics.
func TestStoppingEarly(t *testing.T) {
	w := shop(t, Config{Orders: 4, Products: 3, Customers: 3, Faults: everything(1)})
	for _, items := range []iter.Seq[Item]{w.Setup(), w.Commands()} {
		for stop := range len(slices.Collect(items)) {
			n := 0
			for range items {
				if n++; n > stop {
					break
				}
			}
		}
	}
	for range Messages(w.Commands()) {
		break
	}
}

func TestMessagesLeavesOutTheUndecodable(t *testing.T) {
	w := shop(t, Config{Orders: 200, Faults: Faults{Undecodable: 0.5, Duplicates: 0.5}})
	var want []flow.Message
	for it := range w.Commands() {
		if it.Raw == nil {
			want = append(want, it.Message)
		}
	}
	got := slices.Collect(Messages(w.Commands()))
	if len(got) != len(want) || len(got) < 250 {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].ID != want[i].ID || got[i].Body == nil {
			t.Errorf("message %d is %+v", i, got[i])
		}
	}
}

func BenchmarkCommands(b *testing.B) {
	for name, f := range map[string]Faults{"plain": {}, "faults": everything(0.1)} {
		b.Run(name, func(b *testing.B) {
			w := shop(b, Config{Orders: math.MaxInt32, Faults: f})
			b.ReportAllocs()
			n := 0
			for range w.Commands() {
				if n++; n >= b.N {
					break
				}
			}
		})
	}
}
