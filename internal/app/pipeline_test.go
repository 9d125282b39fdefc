package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func TestOneOrdersWay(t *testing.T) {
	w := start(t, config(t))
	w.send(price("sku_desk", 19_900), receive("sku_desk", 3), price("sku_pen", 150), receive("sku_pen", 100), limit("cus_ann", 60_000))
	w.send(
		place("ord_quoted", "cus_ann", schemas.PlaceLine{SKU: "sku_desk", Quantity: 1, UnitPrice: 19_900}, schemas.PlaceLine{SKU: "sku_pen", Quantity: 4, UnitPrice: 150}),
		place("ord_unquoted", "cus_bob", schemas.PlaceLine{SKU: "sku_pen", Quantity: 2}),
		place("ord_stale", "cus_bob", schemas.PlaceLine{SKU: "sku_pen", Quantity: 2, UnitPrice: 140}),
		place("ord_unknown", "cus_bob", schemas.PlaceLine{SKU: "sku_none", Quantity: 1}, schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}),
		place("ord_poor", "cus_ann", schemas.PlaceLine{SKU: "sku_desk", Quantity: 2, UnitPrice: 19_900}),
		place("ord_invalid", "cus_ann", schemas.PlaceLine{SKU: "sku_desk", Quantity: 0}),
	)
	w.states(map[string]int{"invoiced": 2, "rejected": 4})
	w.send(deliver("ord_quoted"), deliver("ord_unquoted"))
	w.states(map[string]int{"delivered": 2, "rejected": 4})
	w.quiet()

	c := w.content()
	if n := len(c[topics.Vouchers]); n != 1 {
		t.Errorf("%d vouchers, want the one of ord_quoted (237.52 gross... over 100)", n)
	}
	var desk schemas.Stock
	must(t, json.Unmarshal([]byte(c[topics.InventoryTable]["sku_desk"]), &desk))
	if desk.OnHand != 2 {
		t.Errorf("%d desks on hand, want 2: the rejected order's must be back", desk.OnHand)
	}
}

func TestTheSameOrderTwiceAndByAnyClient(t *testing.T) {
	w := start(t, config(t))
	w.send(price("sku_pen", 150), receive("sku_pen", 100))
	line := schemas.PlaceLine{SKU: "sku_pen", Quantity: 1, UnitPrice: 150}
	same, other := place("ord_1", "cus_a", line), place("ord_1", "cus_b", line)
	w.send(same, same, other, same)
	w.produce(&kgo.Record{Topic: topics.OrderCommands, Key: []byte("ord_json"),
		Headers: []kgo.RecordHeader{{Key: event.ContentType, Value: []byte("application/json; charset=utf-8")}},
		Value:   []byte(`{"type":"orders.order.place","order_id":"ord_json","customer_id":"cus_a","currency":"EUR","lines":[{"sku":"sku_pen","quantity":2}]}`)})
	w.states(map[string]int{"invoiced": 2})
	w.quiet()
	var o schemas.Order
	must(t, json.Unmarshal([]byte(w.content()[topics.OrderTable]["ord_1"]), &o))
	if o.CustomerID != "cus_a" || o.Refusals != 1 {
		t.Errorf("customer %s with %d refusals, want cus_a with the one refusal of the other body", o.CustomerID, o.Refusals)
	}
}

func TestBadRecordsAreParkedAndTheRestFlows(t *testing.T) {
	cfg := config(t)
	cfg.Partitions = 1 // everything behind the bad ones
	cfg.BeforeDecide = func(m flow.Message) {
		if m.Key == "ord_bug" {
			panic("a bug in the rule")
		}
	}
	w := start(t, cfg)
	w.send(price("sku_pen", 150), receive("sku_pen", 100))
	line := schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}
	good := w.record(place("ord_x", "cus_a", line))
	rec := func(key string, value []byte, headers ...kgo.RecordHeader) *kgo.Record {
		return &kgo.Record{Topic: topics.OrderCommands, Key: []byte(key), Value: value, Headers: headers}
	}
	unknownID := append([]byte{0, 0, 0, 0x7f, 0xff}, good.Value[5:]...)
	w.produce(
		rec("ord_garbage", []byte("not avro at all")),
		rec("ord_id", unknownID),
		rec("ord_cut", good.Value[:len(good.Value)-1]),
		rec("ord_y", good.Value), // the body says ord_x
		rec("ord_x", good.Value, kgo.RecordHeader{Key: event.Type, Value: []byte("orders.order.frobnicate")}),
		rec("ord_big", append([]byte{0}, make([]byte, 300<<10)...)),
		rec("ord_json", []byte(`{"order_id": 7}`), kgo.RecordHeader{Key: event.ContentType, Value: []byte(event.JSON)}),
		w.record(deliver("ord_never")),
		w.record(place("ord_bug", "cus_a", line)),
		w.record(place("ord_good", "cus_a", line)),
	)
	w.states(map[string]int{"invoiced": 1})
	want := map[string]int{"undecodable": 4, "key mismatch": 1, "unknown type": 1, "oversized": 1, "refused": 1}
	if got := w.deadLetters(); !maps.Equal(got, want) {
		t.Errorf("dead letters %v, want %v", got, want)
	}
	w.quiet()
	must(t, content.EachRecord(t.Context(), w.ClientOpts(), topics.DeadLetter, func(r *kgo.Record) error {
		if event.Header(r, "dl_topic") != topics.OrderCommands || event.Header(r, "dl_offset") == "" {
			t.Errorf("dead letter of %s without its coordinates", r.Key)
		}
		return nil
	}))
	var parked []string
	must(t, content.EachRecord(t.Context(), w.ClientOpts(), topics.Retry, func(r *kgo.Record) error {
		var p schemas.Parked
		if len(r.Value) == 0 {
			return nil
		}
		must(t, w.Serde().DecodeInto(t.Context(), topics.Retry, r.Value, &p))
		if p.Topic != "" {
			parked = append(parked, string(p.Key)+" "+p.Cause)
		}
		return nil
	}))
	if len(parked) != 1 || parked[0] != "ord_bug panic" {
		t.Errorf("parked %q, want the record on which the rule panics", parked)
	}
}

// A producer that hashes otherwise puts an order where nobody looks for it.
func TestOrderOnTheWrongPartitionIsParked(t *testing.T) {
	w := start(t, config(t))
	w.send(price("sku_pen", 150), receive("sku_pen", 100))
	stray := w.record(place("ord_1", "cus_a", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}))
	stray.Partition = (client.PartitionOf("ord_1", 4) + 1) % 4
	cl, err := kgo.NewClient(append(w.ClientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(t, err)
	defer cl.Close()
	must(t, cl.ProduceSync(t.Context(), stray).FirstErr())
	w.send(place("ord_1", "cus_a", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}))
	w.states(map[string]int{"invoiced": 1})
	w.quiet()
	if got, want := w.deadLetters(), map[string]int{"wrong partition": 1}; !maps.Equal(got, want) {
		t.Errorf("dead letters %v, want %v", got, want)
	}
}

// mixed is some of everything: enough to leave rows of every kind.
func mixed(w *world, orders int) {
	w.t.Helper()
	for i := range 5 {
		w.send(price(fmt.Sprint("sku_", i), int64(4000+i)), receive(fmt.Sprint("sku_", i), 100), limit(fmt.Sprint("cus_", i), 500_000))
	}
	var placed, cancelled, delivered []flow.Message
	for i := range orders {
		id, quote := fmt.Sprint("ord_", i), int64(4000+(i+1)%6)
		if i%7 == 0 {
			quote = 999 // stale
		}
		placed = append(placed, place(id, fmt.Sprint("cus_", i%5),
			schemas.PlaceLine{SKU: fmt.Sprint("sku_", i%5), Quantity: 3}, schemas.PlaceLine{SKU: fmt.Sprint("sku_", (i+1)%6), Quantity: 1, UnitPrice: quote}))
		if i%3 == 0 {
			cancelled = append(cancelled, command(topics.OrderCommands, &schemas.CancelOrder{OrderID: id}))
		}
		delivered = append(delivered, deliver(id)) // refused where the order has died
	}
	w.send(placed...)
	w.send(cancelled...)
	w.settled(orders)
	w.send(delivered...)
	w.quiet()
	if c := w.content(); len(c[topics.Vouchers]) == 0 || len(c[topics.CreditTable]) == 0 {
		w.t.Fatalf("%d vouchers, %d accounts: the mix lacks something", len(c[topics.Vouchers]), len(c[topics.CreditTable]))
	}
}

func (w *world) settled(n int) {
	w.t.Helper()
	_, err := w.tracker.Wait(w.within(30*time.Second), func(s map[string]int) bool {
		return s["placed"]+s["approved"] == 0 && s["invoiced"]+s["delivered"]+s["rejected"]+s["cancelled"] == n
	})
	must(w.t, err)
}

// A broker that breaks its promise shows every record twice, in order, topic by
// topic. No row and no output may change.
func TestEveryInternalRecordTwice(t *testing.T) {
	w := start(t, config(t))
	mixed(w, 60)
	before, counts := w.content(), w.counts()
	for _, tp := range topics.All() {
		if tp.External || tp.Name == topics.DeadLetter || tp.Name == topics.RetryTable {
			continue
		}
		again := map[string]int64{}
		must(t, content.EachRecord(t.Context(), w.ClientOpts(), tp.Name, func(r *kgo.Record) error {
			again[tp.Name]++
			w.produce(&kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers})
			return nil
		}))
		if again[tp.Name] > 0 {
			counts[tp.Name] += again[tp.Name]
		}
	}
	w.caughtUp()
	w.same(before)
	got := w.counts()
	delete(got, topics.RetryTable) // an entry that is made and taken back again is no harm
	delete(counts, topics.RetryTable)
	if !maps.Equal(got, counts) {
		t.Errorf("records per topic %v, want %v: the duplicates and nothing that follows from them", got, counts)
	}
	w.quiet()
}

func TestOffsetsBackToTheStartWithTablesKept(t *testing.T) {
	cfg := config(t)
	cfg.Dir = t.TempDir()
	w := start(t, cfg)
	mixed(w, 60)
	before, counts := w.content(), w.counts()
	w.Stop()

	platform := startPlatform(t, cfg)
	for _, g := range []string{"order", "inventory", "credit", "invoicing", "voucher"} {
		resp, err := platform.admin().FetchOffsets(t.Context(), g)
		must(t, err)
		var zero kadm.Offsets
		resp.Each(func(o kadm.OffsetResponse) { zero.AddOffset(o.Topic, o.Partition, 0, -1) })
		if len(zero) == 0 {
			t.Fatalf("group %s has no offsets", g)
		}
		must(t, platform.admin().CommitAllOffsets(t.Context(), g, zero))
	}
	must(t, platform.Stop())

	w = start(t, cfg)
	w.caughtUp()
	w.same(before)
	if got := w.counts(); !maps.Equal(got, counts) {
		t.Errorf("records per topic %v, want %v", got, counts)
	}
	w.quiet()
}

func (w *world) same(before content.Content) {
	w.t.Helper()
	for _, d := range content.Diff(before, w.content(), 5) {
		w.t.Errorf("changed: %s", d)
	}
}

// counts is the number of committed records per internal topic.
func (w *world) counts() map[string]int64 {
	w.t.Helper()
	n := map[string]int64{}
	for _, tp := range topics.All() {
		must(w.t, content.EachRecord(w.t.Context(), w.ClientOpts(), tp.Name, func(*kgo.Record) error { n[tp.Name]++; return nil }))
	}
	return n
}

// caughtUp waits until every group has read all that is there.
func (w *world) caughtUp() {
	w.t.Helper()
	ctx := w.within(30 * time.Second)
	for {
		left, err := w.unread(ctx)
		must(w.t, err)
		if left == 0 {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			w.t.Fatalf("%d records are still unread", left)
		}
	}
}

func (w *world) unread(ctx context.Context) (n int64, err error) {
	for group := range w.Stats() {
		left, err := client.Unread(ctx, w.ClientOpts(), w.admin(), group)
		if err != nil {
			return 0, err
		}
		n += left
	}
	return n, nil
}

// startPlatform is an app without processors.
func startPlatform(t testing.TB, cfg app.Config) *world {
	t.Helper()
	a, err := app.New(cfg)
	must(t, err)
	must(t, a.StartPlatform(t.Context()))
	t.Cleanup(func() { must(t, a.Stop()) })
	cl, err := kgo.NewClient(a.ClientOpts()...)
	must(t, err)
	t.Cleanup(cl.Close)
	return &world{App: a, t: t, cl: cl}
}
