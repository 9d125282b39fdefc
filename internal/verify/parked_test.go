package verify

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// setAside has a group park the next record of a topic, of a key: it is handled,
// and stands on its way to the calendar, in it, or on its way back.
func (f *fixture) setAside(t *testing.T, serde *schemas.Serde, where, group, topic, key string, due time.Time) {
	t.Helper()
	p := partOf(key)
	offset := f.handled[topic][p]
	e := f.log[topic][p][offset]
	if e.key != key {
		t.Fatalf("the next record of %s is of %s, not of %s", topic, e.key, key)
	}
	f.handled[topic][p]++
	r := f.record(t, serde, topic, int32(p), e)
	r.Offset = int64(offset)
	l := letter.Of(r).Failed(f.now.UnixMilli(), letter.Transient, "panic", "a bug", "")
	l.Group, l.Due = group, due.UnixMilli()
	switch where {
	case topics.Retry, topics.RetryTable:
		f.log[where][p] = append(f.log[where][p], entry{key: retry.Key(l.Due, fmt.Sprintf("%08d.%s.%s", offset, group, key)), typ: schemas.RecordParked, body: l.Parked(topics.Loop(group))})
	case "":
	default:
		f.log[where][p] = append(f.log[where][p], entry{key: key, typ: e.typ, raw: r.Value,
			headers: slices.DeleteFunc(l.Headers(), func(h kgo.RecordHeader) bool { return h.Key == event.Type })})
	}
}

// An order whose message is parked, wherever that is, is in flight; one whose
// message is nowhere is not.
func TestParkedIsInFlight(t *testing.T) {
	const id, sku, customer = "ord_1", "sku_1", "cus_1"
	serde := schemas.NewLocalSerde()
	open := func() *fixture {
		f := newFixture()
		f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: sku, Price: 20_000, Currency: "EUR"})
		f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 5})
		f.settle(nil)
		return f
	}
	placed := func() *fixture {
		f := open()
		f.send(topics.OrderCommands, place(id, customer, schemas.PlaceLine{SKU: sku, Quantity: 1, UnitPrice: 20_000}))
		return f
	}
	// until lets all be handled but what stands on a topic.
	until := func(f *fixture, topic string) *fixture {
		for {
			moved := false
			for _, r := range f.rules {
				for _, in := range r.inputs {
					for p := range fixtureParts {
						if in != topic && f.handled[in][p] < len(f.log[in][p]) {
							f.handle(r, in, p)
							moved = true
						}
					}
				}
			}
			if !moved {
				return f
			}
		}
	}
	delivered := func() *fixture {
		f := placed()
		f.settle(nil)
		f.send(topics.OrderCommands, &schemas.DeliverOrder{OrderID: id})
		for f.handled[topics.OrderCommands][partOf(id)] < len(f.log[topics.OrderCommands][partOf(id)]) {
			f.handle(f.rules[0], topics.OrderCommands, partOf(id))
		}
		for p := partOf(id); f.handled[topics.OrderTable][p] < len(f.log[topics.OrderTable][p])-1; {
			f.handle(f.rules[4], topics.OrderTable, p)
		}
		return f
	}
	for _, c := range []struct {
		name, group, topic, key string
		make                    func() *fixture
	}{
		{"a placement", "order", topics.OrderCommands, id, placed},
		{"goods received", "inventory", topics.InventoryCommands, sku, func() *fixture {
			f := open()
			f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 7})
			return f
		}},
		{"a limit", "credit", topics.CreditCommands, customer, func() *fixture {
			f := open()
			f.send(topics.CreditCommands, &schemas.SetLimit{CustomerID: customer, Limit: 70_000, Currency: "EUR"})
			return f
		}},
		{"a reservation", "inventory", topics.InventoryTasks, sku, func() *fixture { return until(placed(), topics.InventoryTasks) }},
		{"a charge", "credit", topics.CreditTasks, customer, func() *fixture { return until(placed(), topics.CreditTasks) }},
		{"an invoice", "invoicing", topics.InvoicingTasks, "A-2026", func() *fixture { return until(placed(), topics.InvoicingTasks) }},
		{"an answer", "order", topics.OrderReplies, id, func() *fixture { return until(placed(), topics.OrderReplies) }},
		{"a release", "inventory", topics.InventoryTasks, sku, func() *fixture {
			f := placed()
			f.settle(nil)
			f.send(topics.OrderCommands, &schemas.CancelOrder{OrderID: id})
			return until(f, topics.InventoryTasks)
		}},
		{"a refund", "credit", topics.CreditTasks, customer, func() *fixture {
			f := placed()
			f.settle(nil)
			f.send(topics.OrderCommands, &schemas.CancelOrder{OrderID: id})
			return until(f, topics.CreditTasks)
		}},
		{"a delivery, of the vouchers", "voucher", topics.OrderTable, id, delivered},
	} {
		for _, where := range []string{topics.Retry, topics.RetryTable, topics.Loop(c.group), ""} {
			f := c.make()
			f.now = f.now.Add(-time.Hour)
			for p := partOf(c.key); f.handled[c.topic][p] < len(f.log[c.topic][p]); {
				f.setAside(t, serde, where, c.group, c.topic, c.key, f.now.Add(2*time.Hour))
			}
			opts := cluster(t, "")
			f.store(t, opts, serde)
			f.now = f.now.Add(time.Hour)
			cfg := f.config(opts, serde)
			cfg.StuckAfter = 10 * time.Minute
			if where == topics.Retry || where == topics.Loop(c.group) {
				cfg.StuckAfter = 2 * time.Hour // nobody takes it further
			}
			r := f.run(t, cfg)
			if r.OK != (where != "") {
				t.Errorf("%s, on %q: OK %t, %v", c.name, where, r.OK, failures(r))
			}
			if where != "" && (r.Still || r.InFlight == 0) {
				t.Errorf("%s, on %q: still %t, %d in flight", c.name, where, r.Still, r.InFlight)
			}
		}
	}
}

// What should have come back is told, unless a person wants it to wait: then it is
// paused, or its key names a later time than the entry.
func TestOverdue(t *testing.T) {
	serde := schemas.NewLocalSerde()
	for _, c := range []struct {
		name  string
		entry time.Duration // when it is due, from now
		key   time.Duration // the same by its key
		pause bool
		ok    bool
	}{
		{"overdue", -time.Hour, -time.Hour, false, false},
		{"paused", -time.Hour, -time.Hour, true, true},
		{"put off", -time.Hour, time.Hour, false, true},
		{"pulled forward", time.Hour, -time.Hour, false, false},
	} {
		f := newFixture()
		f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: "sku_1", Quantity: 5})
		f.setAside(t, serde, topics.RetryTable, "inventory", topics.InventoryCommands, "sku_1", f.now.Add(c.entry))
		row := &f.log[topics.RetryTable][partOf("sku_1")][0]
		_, id, _ := retry.ParseKey(row.key)
		row.key = retry.Key(f.now.Add(c.key).UnixMilli(), id)
		if c.pause {
			f.write(topics.RetryTable, entry{key: "pause.inventory.panic", typ: schemas.RetriesPause, body: &schemas.RetryCommand{Who: "ann"}})
		}
		if r := f.verdict(t); r.OK != c.ok {
			t.Errorf("%s: OK %t, %v", c.name, r.OK, failures(r))
		}
	}
}
