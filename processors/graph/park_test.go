package graph

import (
	"strings"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/processors/voucher"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const (
	receives = schemas.InventoryStockReceive + " "
	prices   = schemas.InventoryPriceSet + " "
)

// waits is the schedule's wait after so many attempts at a record of that key.
func waits(t *testing.T, attempts int, group, key string) time.Duration {
	t.Helper()
	d, ok := retry.Schedule(nil).Next(attempts, group+"/"+key)
	if !ok {
		t.Fatalf("no attempt after %d", attempts)
	}
	return d.Truncate(time.Millisecond)
}

// What comes for a key waits behind what failed of it, and others flow.
func TestOrderIsKept(t *testing.T) {
	s := onStage(t, inventory.New())
	s.faulty["sku_bad"] = 2
	s.receive("sku_bad")
	s.receive("sku_good")
	s.price("sku_bad")
	s.receive("sku_bad")
	s.decides(receives + "sku_good")
	s.parks("inventory-loop panic 0", "inventory-loop behind 1", "inventory-loop behind 2")

	first := waits(t, 1, "inventory", "sku_bad")
	s.pass(first - time.Millisecond)
	s.decides()
	s.pass(time.Millisecond) // it fails once more, and those behind it wait for the same time
	s.decides()
	s.parks("inventory-loop panic 0", "inventory-loop behind 1", "inventory-loop behind 2")
	s.price("sku_bad")
	s.receive("sku_good")
	s.decides(receives + "sku_good")

	second := waits(t, 2, "inventory", "sku_bad")
	s.pass(second - time.Millisecond)
	s.decides()
	s.pass(time.Millisecond)
	s.decides(receives+"sku_bad", prices+"sku_bad", receives+"sku_bad", prices+"sku_bad")
	s.parks()
	s.buries()
	s.receive("sku_bad")
	s.decides(receives + "sku_bad")

	var row schemas.Stock
	if err := s.serde.DecodeInto(t.Context(), topics.InventoryTable, s.rows["sku_bad"], &row); err != nil || row.OnHand != 3 || row.Price != 100 {
		t.Errorf("row %+v, %v", row, err)
	}
}

// A record that fails at every attempt is a dead letter in the end, which says what
// happened when; what waited behind it goes on.
func TestEndOfTheSchedule(t *testing.T) {
	s := onStage(t, inventory.New())
	s.faulty["sku_bad"] = 6
	began := s.now
	s.receive("sku_bad")
	s.price("sku_bad")
	var at []int64
	for i := range 6 {
		at = append(at, s.now.UnixMilli())
		if i < 5 {
			s.buries()
			s.pass(waits(t, i+1, "inventory", "sku_bad"))
		}
	}
	if d := s.now.Sub(began); d < 3905*time.Minute || d > 3905*time.Minute*11/10 {
		t.Errorf("it took %v", d)
	}
	s.decides(prices + "sku_bad")
	s.buries("inventory-commands 1 panic")
	s.parks()
	l := s.dead()[0]
	if l.Class != letter.Transient || l.Error != "a bug in the rule" || !strings.Contains(l.Stack, "goroutine") || l.Group != "inventory" ||
		l.Partition != 2 || l.Timestamp != began.UnixMilli() || string(l.Key) != "sku_bad" || len(l.Own) == 0 || l.Seq != 0 || l.Due != 0 {
		t.Errorf("letter %+v", l)
	}
	if len(l.Attempts) != 6 {
		t.Fatalf("%d attempts", len(l.Attempts))
	}
	for i, a := range l.Attempts {
		if a.At != at[i] || a.Error != "a bug in the rule" {
			t.Errorf("attempt %d: %+v, want at %d", i+1, a, at[i])
		}
	}
}

// What can never be handled waits for nothing, and nothing waits for it.
func TestPoisonDoesNotWait(t *testing.T) {
	s := onStage(t, inventory.New())
	s.faulty["sku_1"] = 1
	s.receive("sku_1")
	s.raw(topics.InventoryCommands, schemas.InventoryStockReceive, "sku_1", []byte("garbage"))
	s.price("sku_1")
	s.buries("inventory-commands 2 undecodable")
	s.parks("inventory-loop panic 0", "inventory-loop behind 1")

	// One that has become poison meanwhile: its topic is read no more.
	s.calendar[s.due()[0]].Topic = "old-commands"
	s.pass(time.Hour)
	s.decides(prices + "sku_1")
	s.buries("inventory-commands 2 undecodable", "old-commands 1 unknown topic")
	if l := s.dead()[1]; l.Class != letter.Poison || len(l.Attempts) != 2 {
		t.Errorf("letter %+v", l)
	}
}

// A rule whose result cannot be written is as faulty as one that panics.
func TestUnencodable(t *testing.T) {
	p := voucher.New()
	broken := true
	decide := p.Decide
	p.Decide = func(row schemas.Grants, m flow.Message) (schemas.Grants, []flow.Message) {
		if broken {
			row.OrderID = "half written"
			return row, []flow.Message{{Topic: topics.Vouchers, Key: m.Key, Body: (*schemas.Voucher)(nil)}}
		}
		return decide(row, m)
	}
	s := onStage(t, p)
	s.send(topics.OrderTable, schemas.OrderDelivered, &schemas.Order{OrderID: "ord_1", State: schemas.Delivered, Currency: "EUR", Gross: voucher.Threshold})
	if s.rows["ord_1"] != nil || len(s.sent[topics.Vouchers]) > 0 {
		t.Error("half of it is written")
	}
	s.parks("voucher-loop unencodable 0")
	broken = false
	s.pass(time.Hour)
	if s.rows["ord_1"] == nil || len(s.sent[topics.Vouchers]) != 1 || len(s.sent[topics.OrderReplies]) != 1 {
		t.Error("nothing came of it")
	}
	s.buries()
}

// A cancel does not wait: it acts on the order as it is, and an answer that was
// parked is taken back when it is there.
func TestCancelOvertakesAnAnswer(t *testing.T) {
	s := onStage(t, order.New(order.Config{}))
	s.place("ord_1")
	s.faulty["ord_1"] = 1
	s.grant("ord_1")
	s.parks("order-loop panic 0", "order-loop behind 1", "order-replies deadline 0")
	s.cancel("ord_1")
	s.parks("order-loop panic 0", "order-loop behind 1")
	if o := s.order("ord_1"); o.State != schemas.Cancelled || o.Lines[0].Stock != schemas.Asked {
		t.Errorf("%+v", o)
	}
	s.pass(time.Hour)
	if o := s.order("ord_1"); o.State != schemas.Cancelled || o.Lines[0].Stock != schemas.Released || o.Credit.Ask != schemas.Released {
		t.Errorf("%+v", o)
	}
	s.parks()
	s.buries()
}

// A cancel that itself fails waits like any other.
func TestCancelFails(t *testing.T) {
	s := onStage(t, order.New(order.Config{}))
	s.place("ord_1")
	s.faulty["ord_1"] = 2
	s.grant("ord_1")
	s.cancel("ord_1")
	s.parks("order-loop panic 0", "order-loop behind 1", "order-loop panic 2", "order-replies deadline 0")
	s.pass(50 * time.Minute)
	s.parks()
	if o := s.order("ord_1"); o.State != schemas.Cancelled || o.Invoice.Ask != schemas.Asked {
		t.Errorf("%+v", o)
	}
}

// An order that is cancelled before it could be placed is not placed later.
func TestCancelOfAParkedPlacement(t *testing.T) {
	s := onStage(t, order.New(order.Config{}))
	s.faulty["ord_1"] = 1
	s.place("ord_1")
	s.cancel("ord_1")
	s.place("ord_1")
	s.place("ord_2")
	s.decides(schemas.OrdersOrderPlace + " ord_2")
	s.buries("order-commands 2 cancelled")
	s.pass(30 * time.Minute)
	s.decides()
	s.buries("order-commands 2 cancelled", "order-commands 1 cancelled", "order-commands 3 cancelled")
	s.parks("order-replies deadline 0") // of the other order
	if l := s.dead()[1]; len(l.Attempts) != 1 {
		t.Errorf("it was tried %d times: %+v", len(l.Attempts), l)
	}
	s.place("ord_1") // after all
	s.decides(schemas.OrdersOrderPlace + " ord_1")
}

// A person's cancel takes one record out of the queue, when it is its turn.
func TestCancelledByAPerson(t *testing.T) {
	s := onStage(t, inventory.New())
	s.faulty["sku_1"] = 1
	s.receive("sku_1")
	s.price("sku_1")
	s.receive("sku_1")
	s.cancelEntry(s.due()[1])
	s.buries()
	s.parks("inventory-loop panic 0", "inventory-loop behind 1", "inventory-loop behind 2")
	s.pass(time.Hour)
	s.decides(receives+"sku_1", receives+"sku_1")
	s.buries("inventory-commands 2 cancelled")
	if l := s.dead()[0]; l.Error != "a mistake" {
		t.Errorf("letter %+v", l)
	}
}

// A record may come back twice, and before its turn.
func TestComesBackTwice(t *testing.T) {
	s := onStage(t, inventory.New())
	s.faulty["sku_1"] = 1
	s.receive("sku_1")
	s.receive("sku_1")
	keys := s.due()
	again := *s.calendar[keys[0]]
	s.dispatch(keys[1]) // before its turn
	s.decides()
	for range 2 {
		s.calendar[keys[0]] = &again
		s.dispatch(keys[0])
	}
	s.decides(receives + "sku_1")
	s.pass(time.Hour)
	s.decides(receives + "sku_1")
	s.calendar[keys[0]] = &again
	s.dispatch(keys[0])
	s.decides()
	s.parks()
	s.buries()
}

// What is parked of a row whose note is lost, and fails again, leaves no gap that
// others would wait for.
func TestNoteIsLost(t *testing.T) {
	s := onStage(t, inventory.New())
	s.faulty["sku_1"] = 1
	s.receive("sku_1")
	s.receive("sku_1")
	s.pass(time.Hour) // places 0 and 1 are given for good
	s.faulty["sku_1"] = 1
	s.price("sku_1")
	s.receive("sku_1")
	s.pass(time.Minute)
	delete(s.notes, "sku_1")
	s.faulty["sku_1"] = 1
	s.receive("sku_1") // it takes place 0, as if it were the first
	s.pass(2 * time.Hour)
	s.decides(receives+"sku_1", receives+"sku_1", receives+"sku_1", prices+"sku_1", receives+"sku_1")
	s.parks()
	s.buries()
}

// A dead letter that a person brings back is in no queue, whatever queue it was in
// before; it waits for its key like any other, and is not tried for days again.
func TestRedriven(t *testing.T) {
	s := onStage(t, inventory.New())
	s.faulty["sku_1"] = 8
	s.receive("sku_1")
	for i := range 5 {
		s.pass(waits(t, i+1, "inventory", "sku_1"))
	}
	s.buries("inventory-commands 1 panic")
	s.redrive(0) // too early
	s.redrive(1) // and again
	s.buries("inventory-commands 1 panic", "inventory-commands 1 panic", "inventory-commands 1 panic")
	if l := s.dead()[2]; len(l.Attempts) != 8 || l.Redriven != "2/1" {
		t.Errorf("%d attempts, redriven %q", len(l.Attempts), l.Redriven)
	}
	s.redrive(2)
	s.decides(receives + "sku_1")

	s.faulty["sku_1"] = 1
	s.price("sku_1")
	s.redrive(0)
	s.parks("inventory-loop panic 1", "inventory-loop behind 2")
	s.pass(time.Hour)
	s.decides(prices+"sku_1", receives+"sku_1")
	s.redrive(0)
	s.decides(receives + "sku_1")
	s.parks()
}

// What was cancelled while it was parked may be tried after all.
func TestRedrivenAfterItsCancel(t *testing.T) {
	s := onStage(t, inventory.New())
	s.faulty["sku_1"] = 2
	s.receive("sku_1")
	s.calendar[s.due()[0]].Cancel = "a mistake"
	s.pass(time.Hour)
	s.buries("inventory-commands 1 cancelled")
	s.redrive(0)
	s.parks("inventory-loop panic 1")
	s.pass(time.Hour)
	s.decides(receives + "sku_1")
	s.parks()
}

// What the broker would not take as an entry of the calendar is a dead letter.
func TestTooLargeToPark(t *testing.T) {
	s := onStage(t, voucher.New())
	s.faulty["ord_1"] = 1
	big := &schemas.Order{OrderID: "ord_1", State: schemas.Delivered, Currency: "EUR", Gross: voucher.Threshold}
	small := *big
	for range letter.MaxSize / 1000 {
		big.Reasons = append(big.Reasons, strings.Repeat("x", 1000))
	}
	s.send(topics.OrderTable, schemas.OrderDelivered, big)
	s.buries("order-table 1 panic")
	s.parks()
	s.faulty["ord_1"] = 1
	s.send(topics.OrderTable, schemas.OrderDelivered, &small)
	s.send(topics.OrderTable, schemas.OrderDelivered, big) // behind it
	s.buries("order-table 1 panic", "order-table 3 behind")
	s.pass(time.Hour)
	s.parks()
	s.decides(schemas.OrderDelivered + " ord_1")
}

// One that was just small enough has grown by what the calendar adds when it comes
// back: it keeps its place, for which others wait.
func TestTooLargeBeforeItsTurn(t *testing.T) {
	s := onStage(t, inventory.New())
	s.faulty["sku_1"] = 2
	for range 3 {
		s.receive("sku_1")
	}
	s.calendar[s.due()[1]].Cancel = strings.Repeat("x", letter.MaxSize)
	s.pass(time.Hour)
	s.decides(receives+"sku_1", receives+"sku_1")
	s.parks()
	s.buries("inventory-commands 2 cancelled")
}
