package hindsight_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/hindsight"
	"github.com/orderlog/orderlog/internal/sim"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const openingLimit = 100_000

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shop is a cluster with processors that have handled what was sent.
type shop struct {
	t  testing.TB
	on *app.App
}

// open runs a shop.
func open(t testing.TB, cfg app.Config) *shop {
	t.Helper()
	cfg.Partitions, cfg.Rules = 3, processors.Config{OpeningLimit: openingLimit}
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError + 1}))
	on, err := app.New(cfg)
	must(t, err)
	must(t, on.Start(t.Context()))
	t.Cleanup(func() { must(t, on.Stop()) })
	return &shop{t, on}
}

// trade sends so many orders, all that goes wrong with them, and some in JSON.
func (s *shop) trade(seed uint64, orders int) {
	t := s.t
	t.Helper()
	w, err := workload.New(workload.Config{Seed: seed, Orders: orders, Customers: 60, Products: 40, Stock: 400, Credit: 3_000_000, Faults: workload.Faults{
		Duplicates: 0.05, Conflicts: 0.02, UnknownProducts: 0.02, Broke: 0.1, SoldOut: 0.1, Cancels: 0.15, Undecodable: 0.02, EarlyDeliveries: 0.05, Deliveries: 0.2}})
	must(t, err)
	var rs []*kgo.Record
	for it := range w.Setup() {
		rs = append(rs, s.record(it))
	}
	s.send(rs)
	rs = nil
	for it := range w.Commands() {
		rs = append(rs, s.record(it))
	}
	rs = append(rs,
		s.json("ord_json-1", `{"order_id":"ord_json-1","customer_id":"cus_json","currency":"EUR","lines":[{"sku":"sku_00001","quantity":1}]}`),
		s.json("ord_json-2", `{"order_id":"ord_json-2","customer_id":"cus_json","currency":"euro","lines":[{"sku":"sku_00001","quantity":1}]}`))
	s.send(rs)
}

// deliver sends a delivery of every order that there is.
func (s *shop) deliver() {
	s.t.Helper()
	var rs []*kgo.Record
	for id := range s.orders() {
		rs = append(rs, s.record(workload.Item{Message: workload.Delivery(id, time.Now().UnixMilli())}))
	}
	s.send(rs)
}

func (s *shop) record(it workload.Item) *kgo.Record {
	s.t.Helper()
	if it.Raw != nil {
		return &kgo.Record{Topic: it.Topic, Key: []byte(it.Key), Value: it.Raw}
	}
	value, err := s.on.Serde().Encode(nil, it.Topic, it.Body)
	must(s.t, err)
	return &kgo.Record{Topic: it.Topic, Key: []byte(it.Key), Value: value, Headers: event.Append(nil, "/test", event.Avro, it.Message)}
}

func (s *shop) json(key, body string) *kgo.Record {
	m := flow.Message{ID: "evt_" + key, Type: schemas.OrdersOrderPlace, At: time.Now().UnixMilli()}
	return &kgo.Record{Topic: topics.OrderCommands, Key: []byte(key), Value: []byte(body), Headers: event.Append(nil, "/test", event.JSON, m)}
}

func (s *shop) send(rs []*kgo.Record) {
	s.t.Helper()
	cl, err := kgo.NewClient(append(s.on.ClientOpts(), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	must(s.t, err)
	defer cl.Close()
	must(s.t, cl.ProduceSync(s.t.Context(), rs...).FirstErr())
}

func (s *shop) settled() {
	s.t.Helper()
	r, err := verify.Run(s.t.Context(), verify.Config{Client: s.on.ClientOpts(), Serde: s.on.Serde(), Wait: 40 * time.Second, OpeningLimit: openingLimit})
	must(s.t, err)
	if !r.OK || !r.Still {
		r.Text(s.t.Output(), false)
		s.t.Fatal("the books do not balance")
	}
}

func (s *shop) orders() map[string]*schemas.Order {
	s.t.Helper()
	adm, err := kadm.NewOptClient(s.on.ClientOpts()...)
	must(s.t, err)
	defer adm.Close()
	span, err := client.Whole(s.t.Context(), adm, topics.OrderTable)
	must(s.t, err)
	orders := map[string]*schemas.Order{}
	must(s.t, span.Read(s.t.Context(), s.on.ClientOpts(), func(r *kgo.Record) (bool, error) {
		if len(r.Value) == 0 { // it only remembers what was refused
			return true, nil
		}
		o := new(schemas.Order)
		orders[string(r.Key)] = o
		return true, s.on.Serde().DecodeInto(s.t.Context(), topics.OrderTable, r.Value, o)
	}))
	return orders
}

func (s *shop) ask(cfg hindsight.Config) *hindsight.Report {
	s.t.Helper()
	cfg.Opts, cfg.Serde, cfg.OpeningLimit = s.on.ClientOpts(), s.on.Serde(), openingLimit
	r, err := hindsight.Run(s.t.Context(), cfg)
	must(s.t, err)
	s.t.Logf("%d commands, %d orders compared, %d same, %d open, %d unknown %q", r.Commands, r.Compared, r.Same, r.Open, r.Unknown, r.Notes)
	for _, k := range r.Kinds {
		s.t.Logf("%s: %d orders: %s %v", k.Cause, k.Orders, k.Kind, k.Stakes)
	}
	return r
}

// byTheRules are the orders that differ for sure, by kind.
func byTheRules(r *hindsight.Report) map[string]string {
	ids := map[string]string{}
	for _, d := range r.Differences {
		if d.Cause == hindsight.ByRules {
			ids[d.Order] = d.Kind
		}
	}
	return ids
}

// changed is orderlog's rules with one decided otherwise.
func changed(name string, with func(decide func(any, flow.Message) (any, []flow.Message, bool), row any, m flow.Message) (any, []flow.Message, bool)) []sim.Rule {
	rules := sim.Rules(openingLimit)
	for i, r := range rules {
		if r.Name == name {
			decide := r.Decide
			rules[i].Decide = func(row any, m flow.Message) (any, []flow.Message, bool) { return with(decide, row, m) }
		}
	}
	return rules
}

// dearer are rules by which a voucher is for orders of 500.00 EUR.
func dearer() []sim.Rule {
	return changed("voucher", func(decide func(any, flow.Message) (any, []flow.Message, bool), row any, m flow.Message) (any, []flow.Message, bool) {
		if o, ok := m.Body.(*schemas.Order); ok && o.Gross < 50_000 {
			return row, nil, false
		}
		return decide(row, m)
	})
}

// reduced are rules by which orders have the VAT of the second half of 2020.
func reduced() []sim.Rule {
	return changed("order", func(decide func(any, flow.Message) (any, []flow.Message, bool), row any, m flow.Message) (any, []flow.Message, bool) {
		if _, ok := m.Body.(*schemas.PlaceOrder); ok {
			m.At = time.Date(2020, time.August, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
		}
		return decide(row, m)
	})
}

// lenient are rules by which five more are sold than there are.
func lenient() []sim.Rule {
	return changed("inventory", func(decide func(any, flow.Message) (any, []flow.Message, bool), row any, m flow.Message) (any, []flow.Message, bool) {
		if _, ok := m.Body.(*schemas.ReserveStock); !ok {
			return decide(row, m)
		}
		was := row.(schemas.Stock)
		was.OnHand += 5
		next, outs, changed := decide(was, m)
		is := next.(schemas.Stock)
		is.OnHand -= 5
		return is, outs, changed
	})
}

// careful are rules by which five are kept back.
func careful() []sim.Rule {
	return changed("inventory", func(decide func(any, flow.Message) (any, []flow.Message, bool), row any, m flow.Message) (any, []flow.Message, bool) {
		if _, ok := m.Body.(*schemas.ReserveStock); !ok {
			return decide(row, m)
		}
		was := row.(schemas.Stock)
		was.OnHand -= 5
		next, outs, changed := decide(was, m)
		is := next.(schemas.Stock)
		is.OnHand += 5
		return is, outs, changed
	})
}

// short tells by how much the stock was too small for an order, at the most.
func short(o *schemas.Order) (most int64) {
	for _, why := range o.Reasons {
		var wanted, onHand int64
		if i := strings.Index(why, "(wanted"); strings.HasPrefix(why, "out_of_stock") && i > 0 {
			if _, err := fmt.Sscanf(why[i:], "(wanted %d, on hand %d)", &wanted, &onHand); err == nil {
				most = max(most, wanted-onHand)
			}
		}
	}
	return most
}

func TestRules(t *testing.T) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	s := open(t, app.Config{})
	s.trade(seed, 1000)
	for look := range 3 {
		r := s.ask(hindsight.Config{})
		if ids := byTheRules(r); len(ids) > 0 || strings.Contains(strings.Join(r.Notes, ""), "any more") {
			t.Errorf("at work, look %d: by rules that have not changed: %v, %q", look+1, ids, r.Notes)
		}
	}
	s.settled()
	s.deliver()
	s.settled()
	orders := s.orders()
	states := map[string]int{}
	for _, o := range orders {
		states[o.State]++
	}
	t.Logf("orders %v", states)

	t.Run("the same", func(t *testing.T) {
		s.t = t
		r := s.ask(hindsight.Config{})
		if ids := byTheRules(r); len(ids) > 0 {
			t.Errorf("by rules that have not changed: %v", ids)
		}
		if r.Compared != len(orders) || r.Open+r.Unknown > 0 {
			t.Errorf("%d of %d orders are compared", r.Compared, len(orders))
		}
	})
	t.Run("another voucher", func(t *testing.T) {
		s.t = t
		want := map[string]string{}
		var sum int64
		for id, o := range orders {
			if len(o.Vouchers) > 0 && o.Gross < 50_000 {
				want[id] = "vouchers order-over-100 5.00 -> none"
				sum += 500
			}
		}
		r := s.ask(hindsight.Config{Rules: dearer()})
		got := byTheRules(r)
		if !maps.Equal(got, want) || len(want) < 10 || r.ByTheRules() != len(want) {
			t.Errorf("%d orders, want %d: %v", len(got), len(want), got)
		}
		var before int64
		for _, k := range r.Kinds {
			if k.Cause == hindsight.ByRules {
				before += k.Stakes["EUR"].VouchersBefore - k.Stakes["EUR"].VouchersAfter
			}
		}
		if before != sum {
			t.Errorf("%d are at stake, want %d", before, sum)
		}
	})
	t.Run("another VAT", func(t *testing.T) {
		s.t = t
		var want []string
		for id, o := range orders {
			if o.Invoice.Ask == schemas.Granted {
				want = append(want, id)
			}
		}
		slices.Sort(want)
		got := slices.Sorted(maps.Keys(byTheRules(s.ask(hindsight.Config{Rules: reduced()}))))
		if !slices.Equal(got, want) || len(want) < 10 {
			t.Errorf("%d orders, want %d", len(got), len(want))
		}
	})
	t.Run("another stock", func(t *testing.T) {
		s.t = t
		var want []string
		for id, o := range orders {
			if n := short(o); n > 0 && n <= 5 {
				want = append(want, id)
			}
		}
		slices.Sort(want)
		got := slices.Sorted(maps.Keys(byTheRules(s.ask(hindsight.Config{Rules: lenient()}))))
		if !slices.Equal(got, want) || len(want) < 10 {
			t.Errorf("%d orders, want %d", len(got), len(want))
		}
	})
	t.Run("how much there was is not known", func(t *testing.T) {
		s.t = t
		unclear := 0
		for _, d := range s.ask(hindsight.Config{Rules: careful()}).Differences {
			granted := slices.ContainsFunc(orders[d.Order].Lines, func(l schemas.Line) bool { return l.Stock == schemas.Granted || l.Stock == schemas.Released })
			switch {
			case d.Cause == hindsight.ByRules:
				t.Errorf("by the rules, though nothing says that there were not five more: %+v", d)
			case granted != (d.Cause == hindsight.Unclear):
				t.Errorf("something was granted: %v, and yet %+v", granted, d)
			case granted:
				unclear++
			}
		}
		if unclear == 0 {
			t.Error("nothing is unclear")
		}
	})
	t.Run("of a group, and of a time", func(t *testing.T) {
		s.t = t
		if r := s.ask(hindsight.Config{Rules: dearer(), Groups: []string{"credit"}}); len(byTheRules(r)) > 0 {
			t.Errorf("of the credit: %v", byTheRules(r))
		}
		if r := s.ask(hindsight.Config{Rules: dearer(), To: time.UnixMilli(1)}); r.Compared != 0 {
			t.Errorf("%d orders were placed in 1970", r.Compared)
		}
	})
	t.Run("commands are gone", func(t *testing.T) {
		s.t = t
		adm, err := kadm.NewOptClient(s.on.ClientOpts()...)
		must(t, err)
		defer adm.Close()
		ends, err := adm.ListEndOffsets(t.Context(), topics.OrderCommands)
		must(t, err)
		half := kadm.Offsets{}
		ends.Each(func(o kadm.ListedOffset) {
			half.Add(kadm.Offset{Topic: o.Topic, Partition: o.Partition, At: o.Offset / 2})
		})
		_, err = adm.DeleteRecords(t.Context(), half)
		must(t, err)
		r := s.ask(hindsight.Config{Rules: dearer()})
		if len(byTheRules(r)) < 10 || r.Unknown > 0 || r.Compared != len(orders) || !strings.Contains(strings.Join(r.Notes, "\n"), "read off the order log") {
			t.Errorf("%d by the rules, %d unknown, %d of %d compared", len(byTheRules(r)), r.Unknown, r.Compared, len(orders))
		}
		if r := s.ask(hindsight.Config{}); len(byTheRules(r)) > 0 {
			t.Errorf("by rules that have not changed: %v", byTheRules(r))
		}
	})
}

// An order of which something waits is not compared; one of which something has been
// given up is told from what rules decide.
func TestWhatFailed(t *testing.T) {
	for _, c := range []struct {
		what     string
		schedule retry.Schedule
	}{{"parked", nil}, {"dead", retry.Schedule{time.Millisecond}}} {
		t.Run(c.what, func(t *testing.T) {
			s := open(t, app.Config{Schedule: c.schedule, BeforeDecide: func(m flow.Message) {
				if b, ok := m.Body.(*schemas.DeliverOrder); ok && b.OrderID == "ord_a" {
					panic("a bug")
				}
			}})
			var rs []*kgo.Record
			at := int64(1_790_000_000_000)
			add := func(topic, messageType string, body any) {
				at++
				m := flow.Message{ID: fmt.Sprintf("evt_%d", at), Type: messageType, Topic: topic, Key: schemas.KeyOf(body), At: at, Body: body}
				rs = append(rs, s.record(workload.Item{Message: m}))
			}
			add(topics.InventoryCommands, schemas.InventoryPriceSet, &schemas.SetPrice{SKU: "sku_1", Price: 1000, Currency: "EUR"})
			add(topics.InventoryCommands, schemas.InventoryStockReceive, &schemas.ReceiveStock{SKU: "sku_1", Quantity: 10})
			s.send(rs)
			s.settled()
			rs = nil
			for _, id := range []string{"ord_a", "ord_b"} {
				add(topics.OrderCommands, schemas.OrdersOrderPlace, &schemas.PlaceOrder{OrderID: id, CustomerID: "cus_1", Currency: "EUR", Lines: []schemas.PlaceLine{{SKU: "sku_1", Quantity: 1}}})
			}
			s.send(rs)
			s.settled()
			rs = nil
			for _, id := range []string{"ord_a", "ord_b"} {
				add(topics.OrderCommands, schemas.OrdersOrderDeliver, &schemas.DeliverOrder{OrderID: id})
			}
			s.send(rs)
			for up := time.Now().Add(30 * time.Second); s.orders()["ord_b"].State != schemas.Delivered || s.failures(c.schedule != nil) == 0; {
				if time.Now().After(up) {
					t.Fatal("nothing has failed")
				}
			}
			r := s.ask(hindsight.Config{})
			switch {
			case c.schedule == nil && (r.Open != 1 || len(r.Differences) > 0):
				t.Errorf("%d are open, %v differ", r.Open, r.Differences)
			case c.schedule != nil && (len(r.Differences) != 1 || r.Differences[0].Order != "ord_a" || r.Differences[0].Cause != hindsight.ByFailure ||
				r.Differences[0].After.State != schemas.Delivered || r.Open > 0):
				t.Errorf("%d are open, %v differ", r.Open, r.Differences)
			}
		})
	}
}

// failures are how many records are dead letters, or parked.
func (s *shop) failures(dead bool) (n int) {
	s.t.Helper()
	topic := topics.RetryTable
	if dead {
		topic = topics.DeadLetter
	}
	adm, err := kadm.NewOptClient(s.on.ClientOpts()...)
	must(s.t, err)
	defer adm.Close()
	span, err := client.Whole(s.t.Context(), adm, topic)
	must(s.t, err)
	must(s.t, span.Read(s.t.Context(), s.on.ClientOpts(), func(r *kgo.Record) (bool, error) {
		body, err := s.on.Serde().Decode(s.t.Context(), topic, r.Value)
		if b, ok := body.(*schemas.Parked); dead || ok && err == nil && b.Topic != "" {
			n++
		}
		return true, nil
	}))
	return n
}
