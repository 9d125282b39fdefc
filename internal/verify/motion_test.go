package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	saga "github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func failures(r Report) (all []string) {
	for _, c := range r.Checks {
		for _, v := range c.Violations {
			all = append(all, fmt.Sprintf("%s: %+v", c.Name, v))
		}
	}
	return all
}

// busyLog has n orders of every fate, and stops after some steps: all of it
// settled if steps is negative. Goods and credit are scarce.
func busyLog(seed uint64, n, steps int) *fixture {
	f := newFixture()
	f.busy(seed, n, steps)
	return f
}

func (f *fixture) busy(seed uint64, n, steps int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	sku := func() string { return fmt.Sprintf("sku_%d", rng.IntN(4)) }
	step := func() {
		if steps != 0 && f.step(rng) {
			steps--
		}
	}
	for i := range n {
		id := fmt.Sprintf("ord_%d", rng.IntN(n))
		switch rng.IntN(12) {
		case 0:
			f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: sku(), Name: "thing", Price: rng.Int64N(10_000) - 100, Currency: "EUR"})
		case 1:
			f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku(), Quantity: rng.Int64N(30) - 2})
		case 2:
			f.send(topics.CreditCommands, &schemas.SetLimit{CustomerID: fmt.Sprintf("cus_%d", rng.IntN(3)), Limit: rng.Int64N(200_000) - 1000, Currency: "EUR"})
		case 3, 4:
			f.send(topics.OrderCommands, &schemas.DeliverOrder{OrderID: id})
		case 5, 6:
			f.send(topics.OrderCommands, &schemas.CancelOrder{OrderID: id})
		case 7:
			f.expire(id)
			f.write(topics.OrderCommands, entry{key: id, raw: []byte{1}})
		default:
			o := place(id, fmt.Sprintf("cus_%d", rng.IntN(3)))
			for range rng.IntN(4) {
				o.Lines = append(o.Lines, schemas.PlaceLine{SKU: sku(), Quantity: rng.Int64N(5), DiscountBP: rng.Int64N(3) * 1111})
			}
			f.send(topics.OrderCommands, o)
		}
		for range rng.IntN(20) * (i % 2) {
			step()
		}
	}
	for steps != 0 && f.step(rng) {
		steps--
	}
}

// expire lets the deadline of an order pass, if it has one now.
func (f *fixture) expire(id string) {
	es := f.log[topics.OrderTable][partOf(id)]
	for i := len(es) - 1; i >= 0; i-- {
		if es[i].key == id {
			if _, m, ok := saga.Deadline(*es[i].body.(*schemas.Order)); ok {
				f.write(m.Topic, entry{key: m.Key, typ: m.Type, body: m.Body})
			}
			return
		}
	}
}

// Whatever the rules do, in whatever order, holds.
func TestBusyLogsHold(t *testing.T) {
	states, vouchers, notes := map[string]int64{}, int64(0), int64(0)
	defer func() {
		if len(states) != 5 || vouchers == 0 || notes == 0 {
			t.Errorf("not everything happened: %v, %d vouchers, %d credit notes", states, vouchers, notes)
		}
	}()
	for seed := range uint64(30) {
		r := busyLog(seed, 150, -1).verdict(t)
		if !r.OK || !r.Still {
			t.Fatalf("seed %d: still %t, %v", seed, r.Still, failures(r))
		}
		for state, n := range r.Summary.Orders {
			states[state] += n
		}
		vouchers += r.Summary.Vouchers
		notes += r.Summary.CreditNotes
	}
}

// So does a log that is looked at half way, within bounds; and a table that is
// out of those bounds does not.
func TestBusyLogsInMotionHold(t *testing.T) {
	inFlight := int64(0)
	for seed := range uint64(40) {
		steps := rand.New(rand.NewPCG(seed, 1)).IntN(1200)
		r := busyLog(seed, 150, steps).verdict(t)
		if !r.OK {
			t.Fatalf("seed %d, %d steps: %v", seed, steps, failures(r))
		}
		inFlight += r.InFlight
	}
	if inFlight == 0 {
		t.Error("nothing was ever in flight: the test shows nothing")
	}
}

func TestBoundsInMotion(t *testing.T) {
	for _, c := range []struct {
		name   string
		onHand int64
		holds  bool
	}{
		{"all that is open was refused", 10 + 5, true},
		{"all that is open was granted", 10 - 4, true},
		{"more than all", 10 - 5, false},
		{"goods from nowhere", 10 + 6, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture()
			f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: nut, Price: 1, Currency: "EUR"})
			f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 10})
			f.settle(nil)
			f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 5})
			f.send(topics.OrderCommands, place("ord_open", ada, wish(nut, 4)))
			f.handleOne("order", topics.OrderCommands, "ord_open")
			change(f, topics.InventoryTable, nut, func(s *schemas.Stock) { s.OnHand = c.onHand })
			r := f.verdict(t)
			if r.OK != c.holds || r.Still || r.InFlight == 0 {
				t.Errorf("OK %t, still %t, in flight %d: %v", r.OK, r.Still, r.InFlight, failures(r))
			}
		})
	}
}

// A release that the inventory has not read leaves the goods taken for now.
func TestUnreadReleaseIsInFlight(t *testing.T) {
	f := smallLog()
	f.send(topics.OrderCommands, &schemas.CancelOrder{OrderID: contested})
	f.handleOne("order", topics.OrderCommands, contested)
	if r := f.verdict(t); !r.OK || r.Still || r.InFlight == 0 {
		t.Errorf("OK %t, still %t, in flight %d: %v", r.OK, r.Still, r.InFlight, failures(r))
	}
	clear(f.stored[topics.InventoryTasks]) // and if it says that it has, the goods must be back
	f.handled[topics.InventoryTasks][partOf(nut)]++
	for _, es := range f.stored {
		clear(es)
	}
	if r := f.verdict(t); r.OK || !strings.Contains(fmt.Sprint(failures(r)), nut) {
		t.Errorf("OK %t: %v", r.OK, failures(r))
	}
}

// A voucher takes two more hops after the delivery: none of them is a fault.
func TestVoucherOnItsWay(t *testing.T) {
	f := smallLog()
	f.send(topics.OrderCommands, place("ord_late", ada, wish(bolt, 8)))
	f.settle(nil)
	f.send(topics.OrderCommands, &schemas.DeliverOrder{OrderID: "ord_late"})
	p := partOf("ord_late")
	for _, hop := range []struct{ rule, topic string }{{"order", topics.OrderCommands}, {"voucher", topics.OrderTable}, {"order", topics.OrderReplies}} {
		f.handleOne(hop.rule, hop.topic, "ord_late")
		for topic := range f.stored {
			clear(f.stored[topic])
		}
		if r := f.verdict(t); !r.OK || r.Still || r.InFlight == 0 {
			t.Errorf("after %s: OK %t, still %t: %v", hop.rule, r.OK, r.Still, failures(r))
		}
	}
	if got := f.orderNow("ord_late"); len(got.Vouchers) != 1 || f.handled[topics.OrderTable][p] == len(f.log[topics.OrderTable][p]) {
		t.Errorf("the test shows nothing: %+v", got)
	}
}

func TestOldRecordsAreStuck(t *testing.T) {
	f := smallLog()
	f.write(topics.InventoryCommands, entry{key: nut, typ: schemas.InventoryStockReceive, body: &schemas.ReceiveStock{SKU: nut, Quantity: 1}, age: time.Hour})
	r := f.verdict(t)
	if r.OK || len(failures(r)) != 1 || !strings.HasPrefix(failures(r)[0], "stuck") {
		t.Errorf("OK %t: %v", r.OK, failures(r))
	}
}

// The log goes on while it is read: the answer is about the end of it.
func TestWaitsUntilTheLogStandsStill(t *testing.T) {
	f := busyLog(7, 150, 300)
	for p := range fixtureParts { // leave tasks unread
		for f.handled[topics.OrderCommands][p] < len(f.log[topics.OrderCommands][p]) {
			f.handle(f.rules[0], topics.OrderCommands, p)
		}
	}
	opts, serde := cluster(t, ""), schemas.NewLocalSerde()
	f.store(t, opts, serde)
	cfg := f.config(opts, serde)
	cfg.Wait = time.Minute
	var once sync.Once
	var done, total int64
	cfg.Progress = func(d, n int64) {
		done, total = d, n
		once.Do(func() {
			f.settle(nil)
			f.store(t, opts, serde)
		})
	}
	r := f.run(t, cfg)
	if !r.OK || !r.Still || r.InFlight != 0 {
		t.Errorf("OK %t, still %t, in flight %d: %v", r.OK, r.Still, r.InFlight, failures(r))
	}
	if done != total || done == 0 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	for p, es := range f.log[topics.OrderTable] {
		if end := r.Offsets[topics.OrderTable][int32(p)]; end != int64(len(es)) {
			t.Errorf("partition %d: read to %d of %d", p, end, len(es))
		}
	}
}

// A cut is not one moment: between its looks at tables, documents and the order
// log things happen. Whatever of that is seen, and whatever is not, holds.
func TestSkewedCutsHold(t *testing.T) {
	parts := []string{topics.InventoryTable, topics.CreditTable, topics.InvoicingTable, topics.VoucherTable, topics.Invoices, topics.Vouchers, topics.OrderTable}
	for set := range 1 << len(parts) {
		unseen := map[string]bool{}
		for i, topic := range parts {
			unseen[topic] = set>>i&1 == 1
		}
		tables := unseen[topics.InventoryTable] && unseen[topics.CreditTable] && unseen[topics.InvoicingTable] && unseen[topics.VoucherTable]
		switch { // what tables show is in the logs
		case unseen[topics.Invoices] && !unseen[topics.InvoicingTable],
			unseen[topics.Vouchers] && !unseen[topics.VoucherTable],
			unseen[topics.OrderTable] && !tables:
			continue
		}
		if r := skewed(t, unseen); !r.OK || r.Still || r.InFlight == 0 {
			t.Errorf("unseen %v: OK %t, still %t: %v", unseen, r.OK, r.Still, failures(r))
		}
	}
}

// skewed verifies a log to which, between the cuts, a bit of everything is added,
// but for some topics, and which no group has committed yet.
func skewed(t *testing.T, unseen map[string]bool) Report {
	f := smallLog()
	f.send(topics.CreditCommands, &schemas.SetLimit{CustomerID: "cus_abroad", Limit: 90_000, Currency: "USD"})
	f.settle(nil)
	opts, serde := cluster(t, ""), schemas.NewLocalSerde()
	f.store(t, opts, serde)
	committed := map[string][]int{}
	for topic, ps := range f.handled {
		committed[topic] = slices.Clone(ps)
	}
	f.send(topics.OrderCommands, place("ord_late", "cus_new", wish(bolt, 8)))
	f.send(topics.OrderCommands, &schemas.CancelOrder{OrderID: contested})
	f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: nut, Price: 99, Currency: "EUR"})
	f.send(topics.CreditCommands, &schemas.SetLimit{CustomerID: ada, Limit: 400_000, Currency: "EUR"})
	f.send(topics.CreditCommands, &schemas.SetLimit{CustomerID: "cus_abroad", Limit: 80_000, Currency: "EUR"})
	f.settle(nil)
	f.send(topics.OrderCommands, &schemas.DeliverOrder{OrderID: "ord_late"})
	f.send(topics.OrderCommands, place("ord_home", "cus_abroad", wish(bolt, 1)))
	f.settle(nil)
	f.handled = committed
	for topic, hidden := range unseen {
		for p := range f.log[topic] {
			if hidden {
				f.log[topic][p] = f.log[topic][p][:f.stored[topic][p]]
			}
		}
	}
	cfg := f.config(opts, serde)
	var once sync.Once
	cfg.Progress = func(int64, int64) { once.Do(func() { f.store(t, opts, serde) }) }
	return f.run(t, cfg)
}

// What was aborted does not count, wherever it stands; what is open is waited for.
func TestTransactions(t *testing.T) {
	f := smallLog()
	opts, serde := cluster(t, ""), schemas.NewLocalSerde()
	f.store(t, opts, serde)
	cl, err := kgo.NewClient(append(slices.Clone(opts), kgo.TransactionalID("other"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	garbage := func() {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{topics.OrderTable, topics.InventoryTable, topics.Invoices} {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte(small), Value: []byte("garbage")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	garbage()
	if err := cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if r := f.run(t, f.config(opts, serde)); !r.OK || !r.Still {
		t.Errorf("aborted records count: still %t, %v", r.Still, failures(r))
	}
	garbage()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, f.config(opts, serde)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an open transaction is not waited for: %v", err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if r := f.run(t, f.config(opts, serde)); r.OK {
		t.Error("committed garbage does not count")
	}
}

// Commands pass away after a week: that is said, and is no failure.
func TestRetention(t *testing.T) {
	f := smallLog()
	opts, serde := cluster(t, ""), schemas.NewLocalSerde()
	f.store(t, opts, serde)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, topic := range []string{topics.OrderCommands, topics.DeadLetter} {
		var upTo kadm.Offsets
		for p := range fixtureParts {
			upTo.AddOffset(topic, int32(p), int64(len(f.log[topic][p])), -1)
		}
		if _, err := kadm.NewClient(cl).DeleteRecords(t.Context(), upTo); err != nil {
			t.Fatal(err)
		}
	}
	r := f.run(t, f.config(opts, serde))
	if !r.OK || !r.Still || strings.Count(r.Checks[0].Note, "past their retention") != 2 {
		t.Errorf("OK %t, still %t, note %q: %v", r.OK, r.Still, r.Checks[0].Note, failures(r))
	}
}

// JSON commands count as what they say, and a namespace keeps logs apart.
func TestJSONAndNamespace(t *testing.T) {
	f := newFixture()
	f.namespace = "shop"
	f.write(topics.InventoryCommands, entry{key: nut, typ: schemas.InventoryPriceSet, json: true, raw: []byte(`{"sku":"sku_nut","name":"nut","price":150,"currency":"EUR"}`),
		body: &schemas.SetPrice{SKU: nut, Name: "nut", Price: 150, Currency: "EUR"}})
	f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 10})
	f.settle(nil)
	f.send(topics.OrderCommands, place(small, ben, wish(nut, 2)))
	f.write(topics.OrderCommands, entry{key: "ord_garbage", typ: schemas.OrdersOrderPlace, raw: []byte("{}"), json: true}) // parked
	f.settle(nil)
	r := f.verdict(t)
	if !r.OK || !r.Still || r.Summary.Orders[schemas.Invoiced] != 1 || r.Offsets["shop.order-table"] == nil {
		t.Errorf("%+v: %v", r, failures(r))
	}
}

// Commands to stock and credit are kept for good. Where they were not, the checks
// say why they fail.
func TestLostBeginning(t *testing.T) {
	f := smallLog()
	opts, serde := cluster(t, ""), schemas.NewLocalSerde()
	f.store(t, opts, serde)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, c := range []struct{ topic, key, check string }{
		{topics.InventoryCommands, bolt, "stock"}, {topics.CreditCommands, ada, "credit"},
	} {
		var upTo kadm.Offsets
		upTo.AddOffset(c.topic, int32(partOf(c.key)), int64(len(f.log[c.topic][partOf(c.key)])), -1)
		if _, err := kadm.NewClient(cl).DeleteRecords(t.Context(), upTo); err != nil {
			t.Fatal(err)
		}
		for _, got := range f.run(t, f.config(opts, serde)).Checks {
			if got.Name == c.check && (got.OK || !strings.Contains(got.Note, c.topic)) {
				t.Errorf("%s: OK %t, note %q", c.check, got.OK, got.Note)
			}
		}
	}
}

func TestMissingTopics(t *testing.T) {
	opts := cluster(t, "")
	_, err := Run(t.Context(), Config{Client: opts, Serde: schemas.NewLocalSerde(), Namespace: "other"})
	if err == nil || !strings.Contains(err.Error(), "other.order-table") {
		t.Errorf("error %v", err)
	}
}
