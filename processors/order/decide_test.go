package order

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/scenario"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

func TestScenarios(t *testing.T) {
	scenario.Suite[schemas.Order]{Rule: New(Config{Series: "A"}), ID: "order_id", Show: show}.Run(t, *update)
}

// show renders what a step did to an order: where it stands, its asks and
// amounts, and what is new in its timeline and its reasons.
func show(before, after schemas.Order) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s v%d", after.State, after.Version)
	if after.EnteredBy != after.Version {
		fmt.Fprintf(&b, " (since v%d)", after.EnteredBy)
	}
	for _, l := range after.Lines {
		fmt.Fprintf(&b, " | %s %s", l.SKU, l.Stock)
		if l.UnitPrice != 0 {
			fmt.Fprintf(&b, " %d+%d", l.Net, l.VAT)
		}
	}
	ask := func(name, state, value string) {
		if state != schemas.AskNone {
			fmt.Fprintf(&b, " | %s %s %s", name, state, value)
		}
	}
	ask("credit", after.Credit.Ask, fmt.Sprint(after.Credit.Amount))
	if after.Credit.Opened != 0 {
		fmt.Fprintf(&b, ", account opened with %d", after.Credit.Opened)
	}
	ask("invoice", after.Invoice.Ask, after.Invoice.Number)
	ask("credit note", after.CreditNote.Ask, after.CreditNote.Number)
	if after.Gross != before.Gross {
		fmt.Fprintf(&b, "\ntotal %d + %d = %d", after.Net, after.VAT, after.Gross)
	}
	for _, e := range after.Timeline[len(before.Timeline):] {
		fmt.Fprintf(&b, "\n%s %s", e.Type, e.Detail)
	}
	for _, r := range after.Reasons[len(before.Reasons):] {
		fmt.Fprintf(&b, "\nbecause %s", r)
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// decideOne applies one body and keeps the row alone.
func decideOne(o schemas.Order, at int64, body any) schemas.Order {
	next, _ := New(Config{}).Decide(o, flow.Message{ID: "evt_1", Type: schemas.TypeOf(body), Key: schemas.KeyOf(body), At: at, Body: body})
	return next
}

func place(id string, lines ...schemas.PlaceLine) *schemas.PlaceOrder {
	return &schemas.PlaceOrder{OrderID: id, CustomerID: "cus_1", Currency: "EUR", Lines: lines}
}

func TestTimelineShowsSixteenRefusals(t *testing.T) {
	o := decideOne(schemas.Order{}, 1000, place("ord_1", schemas.PlaceLine{SKU: "sku_a", Quantity: 1}))
	for range MaxRefusals + 5 {
		o = decideOne(o, 1000, &schemas.DeliverOrder{OrderID: "ord_1"})
	}
	if o.Refusals != MaxRefusals+5 || len(o.Timeline) != 1+MaxRefusals || o.Version != 1+MaxRefusals+5 {
		t.Errorf("got %d refusals, %d entries, version %d", o.Refusals, len(o.Timeline), o.Version)
	}
	if o = decideOne(o, 1000, &schemas.CancelOrder{OrderID: "ord_1"}); rowType(o) != schemas.OrderCancelled {
		t.Errorf("after a cancel the row is named %s", rowType(o))
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	o := decideOne(schemas.Order{}, 5000, place("ord_1", schemas.PlaceLine{SKU: "sku_a", Quantity: 1}))
	o = decideOne(o, 4000, &schemas.DeliverOrder{OrderID: "ord_1"})
	o = decideOne(o, 6000, &schemas.DeliverOrder{OrderID: "ord_1"})
	if o.PlacedAt != 5000 || o.ChangedAt != 6000 || o.Timeline[1].At != 5000 || o.Timeline[2].At != 6000 {
		t.Errorf("placed %d, changed %d, timeline %v", o.PlacedAt, o.ChangedAt, o.Timeline)
	}
}

func TestTooLongIsRejectedAndCut(t *testing.T) {
	many := make([]schemas.PlaceLine, MaxLines+1)
	for i := range many {
		many[i] = schemas.PlaceLine{SKU: "sku_a", Quantity: 1}
	}
	long := "sku_" + strings.Repeat("ü", MaxID)
	for _, c := range []struct {
		name   string
		body   *schemas.PlaceOrder
		reason string // the code of the only one, "" for none
	}{
		{"500 lines", place("ord_1", many[:MaxLines]...), ""},
		{"501 lines", place("ord_1", many...), TooManyLines},
		{"sku", place("ord_1", schemas.PlaceLine{SKU: long, Quantity: 1}), InvalidSKU},
		{"sku of 256 bytes", place("ord_1", schemas.PlaceLine{SKU: "sku_" + strings.Repeat("x", MaxID-4), Quantity: 1}), ""},
		{"order", place("ord_"+strings.Repeat("x", MaxID), many[:1]...), InvalidOrderID},
		{"customer", &schemas.PlaceOrder{OrderID: "ord_1", CustomerID: "cus_" + long, Currency: "EUR", Lines: many[:1]}, InvalidCustomerID},
		{"currency", &schemas.PlaceOrder{OrderID: "ord_1", CustomerID: "cus_1", Currency: long, Lines: many[:1]}, InvalidCurrency},
	} {
		o := decideOne(schemas.Order{}, 1000, c.body)
		if c.reason == "" {
			if o.State != schemas.Placed {
				t.Errorf("%s: %s because %v", c.name, o.State, o.Reasons)
			}
			continue
		}
		if o.State != schemas.Rejected || len(o.Reasons) != 1 || !strings.HasPrefix(o.Reasons[0], c.reason+": ") {
			t.Errorf("%s: %s because %v, want %s", c.name, o.State, o.Reasons, c.reason)
		}
		if n := len(o.CustomerID) + len(o.Currency); n > 2*MaxID {
			t.Errorf("%s: row keeps %d bytes of customer and currency", c.name, n)
		}
		for _, l := range o.Lines {
			if len(l.SKU) > MaxID || !utf8.ValidString(l.SKU) {
				t.Errorf("%s: row keeps the SKU %q", c.name, l.SKU)
			}
		}
	}
}

func TestOrderWithoutIDIsRefused(t *testing.T) {
	o, outs := New(Config{}).Decide(schemas.Order{}, flow.Message{Body: place("")})
	if o.State != "" || len(outs) != 1 || outs[0].Topic != topics.DeadLetter {
		t.Errorf("got %+v, %+v", o, outs)
	}
}

func TestDeadline(t *testing.T) {
	const hour = int64(3_600_000)
	o := decideOne(schemas.Order{}, 1000, place("ord_1", schemas.PlaceLine{SKU: "sku_a", Quantity: 1}))
	o = decideOne(o, 2000, &schemas.DeliverOrder{OrderID: "ord_1"}) // refused: the deadline stays
	wait, m, ok := Deadline(o)
	if !ok || wait != time.Hour || m.At != 1000+hour || m.Topic != topics.OrderReplies || m.Key != "ord_1" {
		t.Fatalf("placed: %v, %+v, %v", wait, m, ok)
	}
	if next, _ := New(Config{}).Decide(o, m); next.State != schemas.Expired {
		t.Errorf("the deadline of a placed order leaves it %s", next.State)
	}

	o = decideOne(o, 3000, &schemas.StockReserved{OrderID: "ord_1", SKU: "sku_a", UnitPrice: 100})
	o = decideOne(o, 4000, &schemas.CreditCharged{OrderID: "ord_1", Amount: 119})
	wait, late, ok := Deadline(o)
	if !ok || wait != time.Hour || late.At != 4000+hour {
		t.Fatalf("approved: %v, %+v, %v", wait, late, ok)
	}
	if next, outs := New(Config{}).Decide(o, m); next.State != schemas.Approved || len(outs) > 0 {
		t.Errorf("the deadline of placed makes an approved order %s", next.State)
	}
	if next, _ := New(Config{}).Decide(o, late); next.State != schemas.Expired {
		t.Errorf("the deadline of an approved order leaves it %s", next.State)
	}

	o = decideOne(o, 5000, &schemas.InvoiceIssued{OrderID: "ord_1", Kind: schemas.KindInvoice, Number: "A-1970-000001"})
	if _, _, ok := Deadline(o); ok {
		t.Errorf("an order that is %s has a deadline", o.State)
	}
	if _, _, ok := Deadline(schemas.Order{}); ok {
		t.Error("no order has a deadline")
	}
}

// Every step of the scenarios' first order, applied to a row whose slices have
// room to spare: nothing may be written into that room or over an element.
func TestDecideLeavesItsArgumentsAlone(t *testing.T) {
	o := schemas.Order{}
	for _, body := range []any{
		place("ord_1", schemas.PlaceLine{SKU: "sku_a", Quantity: 1}, schemas.PlaceLine{SKU: "sku_b", Quantity: 1}),
		&schemas.DeliverOrder{OrderID: "ord_1"},
		&schemas.StockReserved{OrderID: "ord_1", Line: 0, SKU: "sku_a", UnitPrice: 100},
		&schemas.StockReserved{OrderID: "ord_1", Line: 1, SKU: "sku_b", UnitPrice: 100},
		&schemas.VoucherGranted{OrderID: "ord_1", Strategy: "x"},
		&schemas.CreditCharged{OrderID: "ord_1", Amount: 238},
		&schemas.InvoiceIssued{OrderID: "ord_1", Kind: schemas.KindInvoice},
		&schemas.CancelOrder{OrderID: "ord_1"},
	} {
		roomy := o
		roomy.Lines = append(make([]schemas.Line, 0, 10), o.Lines...)
		roomy.Timeline = append(make([]schemas.TimelineEntry, 0, 50), o.Timeline...)
		roomy.Reasons = append(make([]string, 0, 10), o.Reasons...)
		roomy.Vouchers = append(make([]schemas.EarnedVoucher, 0, 10), o.Vouchers...)
		whole := func() string {
			return fmt.Sprint(roomy.Lines[:10], roomy.Timeline[:50], roomy.Reasons[:10], roomy.Vouchers[:10])
		}
		before := whole()
		next := decideOne(roomy, 1000, body)
		if after := whole(); after != before {
			t.Errorf("%T changed its row:\n%s\n%s", body, before, after)
		}
		if next.Version != o.Version+1 {
			t.Errorf("%T: version %d after %d", body, next.Version, o.Version)
		}
		o = next
	}
}

// One order of three quoted lines from its placing to its delivery: 7 steps.
func BenchmarkOrder(b *testing.B) {
	line := func(sku string) schemas.PlaceLine { return schemas.PlaceLine{SKU: sku, Quantity: 2, UnitPrice: 1000} }
	steps := []any{
		place("ord_1", line("sku_a"), line("sku_b"), line("sku_c")),
		&schemas.StockReserved{OrderID: "ord_1", Line: 0, SKU: "sku_a", UnitPrice: 1000},
		&schemas.StockReserved{OrderID: "ord_1", Line: 1, SKU: "sku_b", UnitPrice: 1000},
		&schemas.CreditCharged{OrderID: "ord_1", CustomerID: "cus_1", Amount: 7140},
		&schemas.StockReserved{OrderID: "ord_1", Line: 2, SKU: "sku_c", UnitPrice: 1000},
		&schemas.InvoiceIssued{OrderID: "ord_1", Kind: schemas.KindInvoice, InvoiceID: "inv_1", Number: "A-2026-000001"},
		&schemas.DeliverOrder{OrderID: "ord_1"},
	}
	decide := New(Config{}).Decide
	b.ReportAllocs()
	for b.Loop() {
		var o schemas.Order
		for i, body := range steps {
			o, _ = decide(o, flow.Message{At: int64(i), Body: body})
		}
		if o.State != schemas.Delivered {
			b.Fatal(o.State, o.Reasons)
		}
	}
}
