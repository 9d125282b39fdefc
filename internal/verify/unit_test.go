package verify

import (
	"bytes"
	"flag"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orderlog/orderlog/schemas"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestPrice(t *testing.T) {
	for _, c := range []struct {
		unit, quantity, discount, vat int64
		net, tax                      int64
		ok                            bool
	}{
		{2099, 1, 333, 1900, 2029, 386, true},            // 2029.1033 and 385.51
		{1, 1, 5000, 1900, 1, 0, true},                   // half a cent is a cent, its VAT is not
		{1, 1, 5001, 1900, 0, 0, true},                   // less is none
		{150, 3, 0, 1600, 450, 72, true},                 //
		{100, 1, 10_000, 1900, 0, 0, true},               // given away
		{50, 1, 0, 1900, 50, 10, true},                   // 9.5
		{math.MaxInt64, 1, 0, 1900, 0, 0, false},         // with VAT past int64
		{math.MaxInt64, 1e9, 0, 0, 0, 0, false},          //
		{math.MaxInt64, 1, 0, 0, math.MaxInt64, 0, true}, //
	} {
		var p purse
		net, tax, ok := p.price(c.unit, c.quantity, c.discount, c.vat)
		if net != c.net || tax != c.tax || ok != c.ok {
			t.Errorf("%+v: got %d, %d, %t", c, net, tax, ok)
		}
	}
}

func TestVATOf(t *testing.T) {
	for day, want := range map[string]int64{"2020-06-30": 1900, "2020-07-01": 1600, "2020-12-31": 1600, "2021-01-01": 1900, "2019-08-01": 1900} {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		if got := vatOf(at.UnixMilli()); got != want {
			t.Errorf("%s: %d, expected %d", day, got, want)
		}
	}
}

// goodOrder is an invoiced order of one line, by hand.
func goodOrder() *schemas.Order {
	return &schemas.Order{
		OrderID: "ord_1", State: schemas.Invoiced, Version: 4, EnteredBy: 4, CustomerID: "cus_1", Currency: "EUR",
		PlacedAt: 1000, ChangedAt: 1300, VATBP: 1900,
		Lines: []schemas.Line{{SKU: "sku_1", Quantity: 2, UnitPrice: 500, Net: 1000, VAT: 190, Stock: schemas.Granted}},
		Net:   1000, VAT: 190, Gross: 1190,
		Credit:     schemas.CreditAsk{Ask: schemas.Granted, Amount: 1190},
		Invoice:    schemas.InvoiceAsk{Ask: schemas.Granted, InvoiceID: "inv_1", Number: "A-1970-000001", IssuedAt: 1300},
		CreditNote: schemas.InvoiceAsk{Ask: schemas.AskNone},
		Timeline: []schemas.TimelineEntry{
			{At: 1000, Type: schemas.OrderPlaced},
			{At: 1100, Type: schemas.StockReservedEvent, Detail: "sku_1"},
			{At: 1200, Type: schemas.CreditChargedEvent},
			{At: 1200, Type: schemas.OrderApproved},
			{At: 1300, Type: schemas.InvoiceIssuedEvent},
			{At: 1300, Type: schemas.OrderInvoiced},
		},
	}
}

func TestOrderFaults(t *testing.T) {
	if f := new(purse).fault(goodOrder()) + historyFault(goodOrder()); f != "" {
		t.Fatalf("the good order: %s", f)
	}
	lost := func(o *schemas.Order, events ...string) {
		o.Timeline = slices.DeleteFunc(o.Timeline, func(e schemas.TimelineEntry) bool { return slices.Contains(events, e.Type) })
	}
	for _, c := range []struct {
		name, want string // part of the fault
		amounts    bool   // else the history
		do         func(*schemas.Order)
	}{
		{"rate", "VAT rate 1600", true, func(o *schemas.Order) { o.VATBP = 1600 }},
		{"total net", "recomputed 1000, 190, 1190", true, func(o *schemas.Order) { o.Net++ }},
		{"total VAT", "recomputed 1000, 190, 1190", true, func(o *schemas.Order) { o.VAT++ }},
		{"total gross", "recomputed 1000, 190, 1190", true, func(o *schemas.Order) { o.Gross++ }},
		{"charge", "the lines come to 1190", true, func(o *schemas.Order) { o.Credit.Amount-- }},
		{"charge not asked", "without an ask", true, func(o *schemas.Order) { o.Credit.Ask = schemas.AskNone }},
		{"totals before all prices", "recomputed 0, 0, 0", true, func(o *schemas.Order) {
			o.Lines = append(o.Lines, schemas.Line{SKU: "sku_2", Quantity: 1, Stock: schemas.Asked})
		}},
		{"totals missing", "recomputed 1000, 190, 1190", true, func(o *schemas.Order) { o.Net, o.VAT, o.Gross = 0, 0, 0 }},
		{"quoted charge", "the lines come to 1309", true, func(o *schemas.Order) {
			o.Lines = append(o.Lines, schemas.Line{SKU: "sku_2", Quantity: 1, QuotedPrice: 100, Stock: schemas.Asked})
			o.Net, o.VAT, o.Gross = 0, 0, 0
		}},
		{"charge past int64", "the lines come to 10975812723857184400", true, func(o *schemas.Order) {
			o.Lines = append(o.Lines, schemas.Line{SKU: "sku_2", Quantity: 1, QuotedPrice: math.MaxInt64 / 2, Stock: schemas.Asked},
				schemas.Line{SKU: "sku_3", Quantity: 1, QuotedPrice: math.MaxInt64 / 2, Stock: schemas.Asked})
			o.Net, o.VAT, o.Gross = 0, 0, 0
		}},

		{"back in time", "back in time", false, func(o *schemas.Order) { o.Timeline[1].At = 1 }},
		{"ahead of itself", "ahead", false, func(o *schemas.Order) { o.ChangedAt = 1250 }},
		{"entered by nobody", "entered", false, func(o *schemas.Order) { o.EnteredBy = 0 }},
		{"entered later", "entered", false, func(o *schemas.Order) { o.EnteredBy = 5 }},
		{"no beginning", `order.approved follows ""`, false, func(o *schemas.Order) { lost(o, schemas.OrderPlaced) }},
		{"unknown event", "unknown:1", false, func(o *schemas.Order) { o.Timeline[1].Type = "order" }},
		{"unknown state", "order.lost follows", false, func(o *schemas.Order) { o.Timeline[3].Type = "order.lost" }},
		{"credit refused", "charged:1", false, func(o *schemas.Order) { o.Credit.Ask = schemas.Refused }},
		{"placed with an invoice", "or an invoice", false, func(o *schemas.Order) {
			o.State = schemas.Placed
			lost(o, schemas.OrderApproved, schemas.OrderInvoiced)
		}},
		{"placed, all granted", "everything is granted", false, func(o *schemas.Order) {
			o.State, o.Invoice = schemas.Placed, schemas.InvoiceAsk{Ask: schemas.AskNone}
			lost(o, schemas.OrderApproved, schemas.InvoiceIssuedEvent, schemas.OrderInvoiced)
		}},
		{"approved without an ask", "no invoice is asked", false, func(o *schemas.Order) {
			o.State, o.Invoice = schemas.Approved, schemas.InvoiceAsk{Ask: schemas.AskNone}
			lost(o, schemas.InvoiceIssuedEvent, schemas.OrderInvoiced)
		}},
		{"invoiced without credit", "not everything is granted", false, func(o *schemas.Order) {
			o.Credit.Ask = schemas.Asked
			lost(o, schemas.CreditChargedEvent)
		}},
		{"alive, with a credit note", "with a credit note", false, func(o *schemas.Order) { o.CreditNote.Ask = schemas.Asked }},
		{"a refusal not counted", "commands:1", false, func(o *schemas.Order) {
			o.Timeline = append(o.Timeline, schemas.TimelineEntry{At: 1300, Type: schemas.OrderRefused})
		}},
		{"a refusal not told", "commands:1", false, func(o *schemas.Order) { o.Refusals = 1 }},
	} {
		o := goodOrder()
		c.do(o)
		fault := historyFault(o)
		if c.amounts {
			fault = new(purse).fault(o)
		}
		if !strings.Contains(fault, c.want) {
			t.Errorf("%s: %q, expected something of %q", c.name, fault, c.want)
		}
	}
}

// An order too large for int64 was rejected for that, and has what totals it has.
func TestTotalTooLarge(t *testing.T) {
	o := goodOrder()
	o.Lines = append(o.Lines, schemas.Line{SKU: "sku_2", Quantity: 1e9, UnitPrice: math.MaxInt64, Stock: schemas.Released})
	o.Credit = schemas.CreditAsk{Ask: schemas.AskNone}
	o.Net, o.VAT, o.Gross = 0, 0, 0
	if fault := new(purse).fault(o); fault == "" {
		t.Error("an order that is not rejected may not lack its totals")
	}
	o.State = schemas.Rejected
	if fault := new(purse).fault(o); fault != "" {
		t.Error(fault)
	}
}

func TestMoreRefusalsThanShown(t *testing.T) {
	o := goodOrder()
	for range shownRefusals {
		o.Timeline = append(o.Timeline, schemas.TimelineEntry{At: 1300, Type: schemas.OrderRefused})
	}
	o.Refusals = shownRefusals + 3
	if fault := historyFault(o); fault != "" {
		t.Error(fault)
	}
}

func TestTrail(t *testing.T) {
	// A version of an order: its number, and its timeline, an event per letter.
	type v struct {
		version  int64
		timeline string
	}
	for _, c := range []struct {
		name string
		log  []v
		want string // fault, and if the order went back
	}{
		{"in order", []v{{1, "a"}, {2, "ab"}, {3, "abcd"}}, ""},
		{"compacted", []v{{1, "a"}, {7, "abcdefgh"}}, ""},
		{"without an entry", []v{{1, "a"}, {2, "a"}, {3, "ab"}}, ""},
		{"first seen late", []v{{5, "abcde"}, {6, "abcdef"}}, ""},
		{"all once more", []v{{1, "a"}, {2, "ab"}, {1, "a"}, {2, "ab"}}, ""},
		{"once more, and on", []v{{1, "a"}, {2, "ab"}, {1, "a"}, {3, "abc"}}, ""},
		{"back", []v{{1, "a"}, {2, "ab"}, {1, "a"}}, "back"},
		{"another story", []v{{1, "a"}, {2, "ab"}, {3, "axc"}}, "version 3 does not continue version 2"},
		{"a shorter one", []v{{1, "a"}, {2, "abc"}, {3, "ab"}}, "version 3 does not continue version 2"},
		{"two writers", []v{{1, "a"}, {2, "ab"}, {2, "ac"}}, "two records say different things of version 2"},
		{"and on", []v{{1, "a"}, {2, "ab"}, {2, "ac"}, {3, "acd"}}, "two records say different things of version 2"},
	} {
		l := newOrderLog(nil)
		for _, e := range c.log {
			row := schemas.Order{OrderID: "ord_1", Version: e.version}
			for _, letter := range e.timeline {
				row.Timeline = append(row.Timeline, schemas.TimelineEntry{At: 5, Type: string(letter), Detail: "x"})
			}
			l.apply(pos{}, &row)
		}
		got, o := "", l.orders["ord_1"]
		if o.faults != nil {
			got = o.faults.trail
		}
		if o.version < o.history.version {
			got += "back"
		}
		if got != c.want {
			t.Errorf("%s: %q, expected %q", c.name, got, c.want)
		}
	}
}

func TestCommandFaults(t *testing.T) {
	for _, c := range []struct {
		body any
		bad  bool
	}{
		{&schemas.ReceiveStock{SKU: "s", Quantity: 1}, false},
		{&schemas.ReceiveStock{SKU: "s", Quantity: 1e12}, false},
		{&schemas.ReceiveStock{SKU: "s", Quantity: 1e12 + 1}, true},
		{&schemas.ReceiveStock{SKU: "s"}, true},
		{&schemas.ReceiveStock{Quantity: 1}, true},
		{&schemas.SetPrice{SKU: "s", Currency: "EUR"}, false},
		{&schemas.SetPrice{SKU: "s", Price: -1, Currency: "EUR"}, true},
		{&schemas.SetPrice{SKU: "s", Currency: "EURO"}, true},
		{&schemas.SetPrice{SKU: "s", Currency: "eur"}, true},
		{&schemas.SetPrice{Currency: "EUR"}, true},
		{&schemas.SetLimit{CustomerID: "c", Currency: "EUR"}, false},
		{&schemas.SetLimit{CustomerID: "c", Currency: "EUR", Limit: -1}, true},
		{&schemas.SetLimit{CustomerID: "c"}, true},
		{&schemas.SetLimit{Currency: "EUR"}, true},
	} {
		var fault string
		if b, ok := c.body.(*schemas.SetLimit); ok {
			fault = creditFault(b)
		} else {
			fault = stockFault(c.body)
		}
		if (fault != "") != c.bad {
			t.Errorf("%T%+v: %q", c.body, c.body, fault)
		}
	}
}

func TestText(t *testing.T) {
	r := Report{
		InFlight: 12, Records: 1234567, Took: 1234567 * time.Microsecond,
		Checks: []Check{
			{Name: "orders", OK: true, Checked: 5009},
			{Name: "stock", Checked: 1862, Failed: 2, Note: "a note", Violations: []Violation{
				{What: "received is not on hand + taken", Keys: []string{"sku_x"}, Orders: []string{"ord_1", "ord_2"}, Detail: "on hand 7, the log says 8"},
			}},
		},
		Offsets: map[string]map[int32]int64{"order-table": {1: 20, 0: 10}, "invoices": {0: 5}},
		Summary: Summary{
			Orders: map[string]int64{"invoiced": 4000, "rejected": 9}, Reasons: map[string]int64{"out_of_stock": 9}, Repeated: 1, Conflicting: 2, Refused: 3,
			Turnover: map[string]Money{"EUR": {Net: 100000, VAT: 19005, Gross: 119005}}, Invoices: 4000, Vouchers: 7, Products: 3, OnHand: 1000, Customers: 4,
		},
	}
	for file, color := range map[string]bool{"testdata/report.txt": false, "testdata/report-color.txt": true} {
		var b bytes.Buffer
		if err := r.Text(&b, color); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s:\n%s", file, b.Bytes())
		}
	}
}
