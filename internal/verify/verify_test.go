package verify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// The orders of the small log.
const (
	delivered = "ord_delivered" // with a voucher
	small     = "ord_small"     // delivered, too small for a voucher
	invoiced  = "ord_invoiced"
	cancelled = "ord_cancelled" // after its invoice
	rejected  = "ord_rejected"  // out of stock, after one line was granted
	invalid   = "ord_invalid"   // rejected without an ask
	contested = "ord_contested" // placed again with another body
	bolt, nut = "sku_bolt", "sku_nut"
	ada, ben  = "cus_ada", "cus_ben"
)

func place(id, customer string, lines ...schemas.PlaceLine) *schemas.PlaceOrder {
	return &schemas.PlaceOrder{OrderID: id, CustomerID: customer, Currency: "EUR", Lines: lines}
}

func wish(sku string, n int64) schemas.PlaceLine { return schemas.PlaceLine{SKU: sku, Quantity: n} }

// smallLog is a log in which a bit of everything has happened.
func smallLog() *fixture {
	f := newFixture()
	f.small()
	return f
}

func (f *fixture) small() {
	f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: bolt, Name: "bolt", Price: 1999, Currency: "EUR"})
	f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: nut, Name: "nut", Price: 150, Currency: "EUR"})
	f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: bolt, Name: "bolt", Price: 2099, Currency: "EUR"})
	f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: bolt, Quantity: 40})
	f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 10})
	f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: -1}) // parked
	f.send(topics.CreditCommands, &schemas.SetLimit{CustomerID: ada, Limit: 500_000, Currency: "EUR"})
	f.settle(nil)
	f.send(topics.OrderCommands, place(delivered, ada, wish(bolt, 10), wish(nut, 3)))
	f.send(topics.OrderCommands, place(small, ben, wish(nut, 2)))
	f.send(topics.OrderCommands, place(invoiced, ben, schemas.PlaceLine{SKU: bolt, Quantity: 1, UnitPrice: 2099, DiscountBP: 333}))
	f.send(topics.OrderCommands, place(cancelled, ada, wish(bolt, 7)))
	f.send(topics.OrderCommands, place(invalid, ada))
	f.settle(nil)
	f.send(topics.OrderCommands, place(rejected, ben, wish(bolt, 2), wish(nut, 99)))
	f.send(topics.OrderCommands, place(contested, ben, wish(nut, 1)))
	f.send(topics.OrderCommands, place(contested, ben, wish(nut, 1)))
	f.send(topics.OrderCommands, place(contested, ben, wish(nut, 2)))
	f.send(topics.OrderCommands, &schemas.DeliverOrder{OrderID: delivered})
	f.send(topics.OrderCommands, &schemas.DeliverOrder{OrderID: small})
	f.send(topics.OrderCommands, &schemas.DeliverOrder{OrderID: "ord_unheard_of"}) // parked
	f.send(topics.OrderCommands, &schemas.CancelOrder{OrderID: cancelled, Reason: "changed my mind"})
	f.write(topics.OrderCommands, entry{key: "ord_garbage", typ: schemas.OrdersOrderPlace, raw: []byte("not avro")}) // parked
	f.settle(nil)
	f.send(topics.OrderCommands, &schemas.CancelOrder{OrderID: delivered}) // refused
	f.settle(nil)
}

func TestSmallLogHolds(t *testing.T) {
	f := smallLog()
	want := map[string]string{delivered: schemas.Delivered, small: schemas.Delivered, invoiced: schemas.Invoiced,
		cancelled: schemas.Cancelled, rejected: schemas.Rejected, invalid: schemas.Rejected, contested: schemas.Invoiced}
	for id, state := range want {
		if got := f.orderNow(id).State; got != state {
			t.Errorf("%s is %s, the test needs it %s", id, got, state)
		}
	}
	f.tell()
	r := f.verdict(t)
	for _, c := range r.Checks {
		if !c.OK {
			t.Errorf("%s: %+v", c.Name, c.Violations)
		}
		if c.Checked == 0 && c.Name != "parked" && c.Name != "deadlines" { // nothing waits
			t.Errorf("%s looked at nothing", c.Name)
		}
	}
	if !r.OK || !r.Still || r.InFlight != 0 {
		t.Errorf("OK %t, still %t, in flight %d", r.OK, r.Still, r.InFlight)
	}
	if note := r.Checks[len(r.Checks)-1].Note; note != "1 inventory-commands: refused; 1 order-commands: refused; 1 order-commands: undecodable" {
		t.Errorf("dead letters: %s", note)
	}
	s := r.Summary
	if s.Orders[schemas.Delivered] != 2 || s.Vouchers != 1 || s.Invoices != 5 || s.CreditNotes != 1 || s.Repeated != 1 || s.Conflicting != 1 || s.Refused != 2 {
		t.Errorf("summary %+v", s)
	}
	if n := r.Offsets[topics.OrderTable]; n[0]+n[1] != int64(len(f.log[topics.OrderTable][0])+len(f.log[topics.OrderTable][1])) {
		t.Errorf("offsets %v", n)
	}
}

// mutations break one thing each: that check fails, no other, and it names what.
var mutations = []struct {
	check, name, names string
	do                 func(*fixture)
}{
	{"effects", "one is lost", delivered, func(f *fixture) {
		f.tell()
		f.drop(topics.EffectsTable, f.effect(delivered))
	}},
	{"effects", "one that nobody has asked for", delivered, func(f *fixture) {
		f.tell()
		f.write(topics.EffectsTable, entry{key: "eff_1", body: &schemas.LedgerEntry{EffectID: "eff_1", OrderID: delivered, State: schemas.Sent}})
	}},
	{"effects", "one of no order", "ord_unheard_of", func(f *fixture) {
		f.tell()
		f.write(topics.EffectsTable, entry{key: "eff_1", body: &schemas.LedgerEntry{EffectID: "eff_1", OrderID: "ord_unheard_of", State: schemas.Sent}})
	}},
	{"effects", "an event that nobody has looked at", rejected, func(f *fixture) {
		f.tell()
		f.drop(topics.NotificationTable, rejected)
	}},
	{"effects", "a row that cannot be read", "eff_1", func(f *fixture) {
		f.tell()
		f.write(topics.EffectsTable, entry{key: "eff_1", raw: []byte("?")})
	}},

	{"orders", "an order is lost", invalid, func(f *fixture) { f.drop(topics.OrderTable, invalid) }},
	{"orders", "a delivery is lost", invoiced, func(f *fixture) { f.handledUnseen(&schemas.DeliverOrder{OrderID: invoiced}) }},
	{"orders", "a cancellation is lost", contested, func(f *fixture) { f.handledUnseen(&schemas.CancelOrder{OrderID: contested}) }},
	{"orders", "a conflicting placement is lost", small, func(f *fixture) { f.handledUnseen(place(small, ben, wish(nut, 4))) }},
	{"orders", "garbage is lost", "order-commands/", func(f *fixture) {
		f.write(topics.OrderCommands, entry{key: "ord_more_garbage", raw: []byte("?")})
		f.handled[topics.OrderCommands][partOf("ord_more_garbage")]++
	}},
	{"orders", "the order is another than the one placed", invoiced, func(f *fixture) {
		f.eachVersion(invoiced, func(o *schemas.Order) { o.BodyHash[3]++ })
	}},
	{"orders", "an order that nobody placed", invalid, func(f *fixture) {
		e := f.placement(invalid)
		e.key, e.body = small, place(small, ben, wish(nut, 2)) // sent again, for all we know
	}},
	{"orders", "a command refused twice", contested, func(f *fixture) {
		change(f, topics.OrderTable, contested, func(o *schemas.Order) {
			o.Refusals++
			o.Version++
			o.Timeline = append(slices.Clone(o.Timeline), schemas.TimelineEntry{At: o.ChangedAt, Type: schemas.OrderRefused})
		})
	}},

	{"stock", "a unit too many", bolt, func(f *fixture) {
		change(f, topics.InventoryTable, bolt, func(s *schemas.Stock) { s.OnHand++ })
	}},
	{"stock", "a unit too few", invoiced, func(f *fixture) {
		change(f, topics.InventoryTable, bolt, func(s *schemas.Stock) { s.OnHand-- })
	}},
	{"stock", "an old price", bolt, func(f *fixture) {
		change(f, topics.InventoryTable, bolt, func(s *schemas.Stock) { s.Price = 1999 })
	}},
	{"stock", "a price that never was", contested, func(f *fixture) {
		f.eachCommand(topics.InventoryCommands, nut, func(e *entry) {
			if b, ok := e.body.(*schemas.SetPrice); ok {
				b := *b
				b.Price++
				e.body = &b
			}
		})
		change(f, topics.InventoryTable, nut, func(s *schemas.Stock) { s.Price++ })
	}},
	{"stock", "another name", bolt, func(f *fixture) {
		change(f, topics.InventoryTable, bolt, func(s *schemas.Stock) { s.Name = "screw" })
	}},
	{"stock", "no price", nut, func(f *fixture) {
		change(f, topics.InventoryTable, nut, func(s *schemas.Stock) { s.Priced = false })
	}},
	{"stock", "a row is lost", nut, func(f *fixture) { f.drop(topics.InventoryTable, nut) }},
	{"stock", "a row from nowhere", "sku_ghost", func(f *fixture) {
		f.send(topics.InventoryTable, &schemas.Stock{SKU: "sku_ghost"})
	}},
	{"stock", "a receipt done twice", nut, func(f *fixture) {
		f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 5})
		f.handled[topics.InventoryCommands][partOf(nut)]++
	}},
	{"stock", "a bad receipt without a trace", bolt, func(f *fixture) {
		f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: bolt, Quantity: 0})
		f.handled[topics.InventoryCommands][partOf(bolt)]++
	}},
	{"stock", "a row that cannot be read", bolt, func(f *fixture) {
		f.write(topics.InventoryTable, entry{key: bolt, raw: []byte("rubbish")})
	}},

	{"stock", "a product on two partitions", nut, func(f *fixture) { f.elsewhere(topics.InventoryTable, nut) }},
	{"stock", "negative", "negative stock", func(f *fixture) {
		f.send(topics.OrderCommands, place("ord_big", ada, wish(bolt, 1)))
		f.settle(nil)
		f.eachCommand(topics.InventoryCommands, bolt, func(e *entry) { // the goods were never received
			if b, ok := e.body.(*schemas.ReceiveStock); ok && b.Quantity == 40 {
				e.body = &schemas.ReceiveStock{SKU: bolt, Quantity: 3}
			}
		})
		change(f, topics.InventoryTable, bolt, func(s *schemas.Stock) { s.OnHand -= 37 })
	}},

	{"credit", "a row that cannot be read", ben, func(f *fixture) {
		f.write(topics.CreditTable, entry{key: ben, raw: []byte("rubbish")})
	}},
	{"invoices", "a row that cannot be read", "A-2026", func(f *fixture) {
		f.write(topics.InvoicingTable, entry{key: "A-2026", raw: []byte("rubbish")})
	}},
	{"vouchers", "a row that cannot be read", delivered, func(f *fixture) {
		f.write(topics.VoucherTable, entry{key: delivered, raw: []byte("rubbish")})
	}},
	{"vouchers", "a document that cannot be read", "vch_bad", func(f *fixture) {
		f.write(topics.Vouchers, entry{key: "vch_bad", raw: []byte("rubbish")})
	}},
	{"credit", "an account on two partitions", ben, func(f *fixture) { f.elsewhere(topics.CreditTable, ben) }},
	{"credit", "past the limit", ben, func(f *fixture) {
		for _, id := range []string{small, contested, invoiced} {
			f.eachVersion(id, func(o *schemas.Order) {
				if o.Credit.Opened != 0 {
					o.Credit.Opened = 100
				}
			})
		}
		change(f, topics.CreditTable, ben, func(a *schemas.Account) { a.Limit = 100 })
	}},
	{"credit", "another currency", ada, func(f *fixture) {
		change(f, topics.CreditTable, ada, func(a *schemas.Account) { a.Currency = "USD" })
		f.eachCommand(topics.CreditCommands, ada, func(e *entry) { e.body = &schemas.SetLimit{CustomerID: ada, Limit: 500_000, Currency: "USD"} })
	}},
	{"credit", "negative", "negative credit", func(f *fixture) {
		change(f, topics.CreditTable, ada, func(a *schemas.Account) { a.Charged = -1 })
	}},
	{"credit", "charged too much", ada, func(f *fixture) {
		change(f, topics.CreditTable, ada, func(a *schemas.Account) { a.Charged++ })
	}},
	{"credit", "charged too little", delivered, func(f *fixture) {
		change(f, topics.CreditTable, ada, func(a *schemas.Account) { a.Charged-- })
	}},
	{"credit", "a limit that nobody set", ada, func(f *fixture) {
		change(f, topics.CreditTable, ada, func(a *schemas.Account) { a.Limit = 600_000 })
	}},
	{"credit", "a limit that was not opened", ben, func(f *fixture) {
		change(f, topics.CreditTable, ben, func(a *schemas.Account) { a.Limit++ })
	}},
	{"credit", "an account is lost", ben, func(f *fixture) { f.drop(topics.CreditTable, ben) }},
	{"credit", "an account from nowhere", "cus_ghost", func(f *fixture) {
		f.send(topics.CreditTable, &schemas.Account{CustomerID: "cus_ghost"})
	}},
	{"credit", "an account opened twice", ben, func(f *fixture) {
		for _, id := range []string{small, contested, invoiced} {
			f.eachVersion(id, func(o *schemas.Order) {
				if o.Credit.Ask == schemas.Granted {
					o.Credit.Opened = openingLimit
				}
			})
		}
	}},
	{"credit", "a bad limit without a trace", ada, func(f *fixture) {
		f.send(topics.CreditCommands, &schemas.SetLimit{CustomerID: ada, Limit: -5, Currency: "EUR"})
		f.handled[topics.CreditCommands][partOf(ada)]++
	}},

	{"invoices", "another amount", delivered, func(f *fixture) {
		change(f, topics.Invoices, f.orderNow(delivered).Invoice.InvoiceID, func(i *schemas.Invoice) { i.Net++ })
	}},
	{"invoices", "another customer", small, func(f *fixture) {
		change(f, topics.Invoices, f.orderNow(small).Invoice.InvoiceID, func(i *schemas.Invoice) { i.CustomerID = ada })
	}},
	{"invoices", "a document is lost", invoiced, func(f *fixture) {
		f.drop(topics.Invoices, f.orderNow(invoiced).Invoice.InvoiceID)
	}},
	{"invoices", "the series forgot a number", "A-2026", func(f *fixture) {
		change(f, topics.InvoicingTable, "A-2026", func(s *schemas.Series) { s.Last-- })
	}},
	{"invoices", "a number was skipped", "A-2026-6", func(f *fixture) {
		change(f, topics.InvoicingTable, "A-2026", func(s *schemas.Series) { s.Last++ })
	}},
	{"invoices", "a number given twice", "one number, two documents", func(f *fixture) {
		i := *f.last(topics.Invoices, f.orderNow(contested).Invoice.InvoiceID).body.(*schemas.Invoice)
		i.InvoiceID = "inv_again"
		f.send(topics.Invoices, &i)
	}},
	{"invoices", "number nought", "a number below 1", func(f *fixture) {
		f.send(topics.Invoices, &schemas.Invoice{InvoiceID: "inv_0", Kind: schemas.KindInvoice, Series: "A-2026", Number: "A-2026-000000", OrderID: small})
	}},
	{"invoices", "an invoice without an order", "ord_ghost", func(f *fixture) {
		f.send(topics.Invoices, &schemas.Invoice{InvoiceID: "inv_ghost", Kind: schemas.KindInvoice, Series: "A-2026", Seq: 6, Number: "A-2026-000006", OrderID: "ord_ghost"})
		change(f, topics.InvoicingTable, "A-2026", func(s *schemas.Series) { s.Last++ })
	}},
	{"invoices", "a series on two partitions", "A-2026", func(f *fixture) { f.elsewhere(topics.InvoicingTable, "A-2026") }},
	{"invoices", "a wrong number", invoiced, func(f *fixture) {
		change(f, topics.Invoices, f.orderNow(invoiced).Invoice.InvoiceID, func(i *schemas.Invoice) { i.Number = "A-2026-3" })
		f.eachVersion(invoiced, func(o *schemas.Order) {
			if o.Invoice.Number != "" {
				o.Invoice.Number = "A-2026-3"
			}
		})
	}},
	{"invoices", "a kind of its own", small, func(f *fixture) {
		change(f, topics.Invoices, f.orderNow(small).Invoice.InvoiceID, func(i *schemas.Invoice) { i.Kind = "reminder" })
	}},
	{"invoices", "a document for another's order", delivered, func(f *fixture) {
		change(f, topics.Invoices, f.orderNow(small).Invoice.InvoiceID, func(i *schemas.Invoice) { i.OrderID = delivered })
	}},
	{"invoices", "a document that cannot be read", "inv_bad", func(f *fixture) {
		f.write(topics.Invoices, entry{key: "inv_bad", raw: []byte("rubbish")})
	}},
	{"invoices", "a document under another's key", "inv_bad", func(f *fixture) {
		f.write(topics.Invoices, entry{key: "inv_bad", body: &schemas.Invoice{InvoiceID: "inv_good"}})
	}},
	{"invoices", "a table row deleted", "A-2026", func(f *fixture) {
		f.write(topics.InvoicingTable, entry{key: "A-2026"})
	}},
	{"invoices", "the credit note corrects another", cancelled, func(f *fixture) {
		change(f, topics.Invoices, f.orderNow(cancelled).CreditNote.InvoiceID, func(i *schemas.Invoice) { i.Corrects = "A-2026-000001" })
	}},
	{"invoices", "no credit note was asked for", cancelled, func(f *fixture) {
		f.drop(topics.Invoices, f.orderNow(cancelled).CreditNote.InvoiceID)
		f.drop(topics.InvoicingTable, "CN-2026")
		change(f, topics.OrderTable, cancelled, func(o *schemas.Order) {
			o.CreditNote = schemas.InvoiceAsk{Ask: schemas.AskNone}
			o.Timeline = slices.DeleteFunc(slices.Clone(o.Timeline), func(e schemas.TimelineEntry) bool { return e.Type == schemas.CreditNoteIssuedEvent })
		})
	}},

	{"amounts", "a cent in a line", delivered, func(f *fixture) {
		f.changeLine(delivered, 0, func(l *schemas.Line) { l.Net++ })
	}},
	{"amounts", "not what was quoted", invoiced, func(f *fixture) {
		f.changeLine(invoiced, 0, func(l *schemas.Line) { l.QuotedPrice = 2000 })
	}},
	{"amounts", "VAT of a line", small, func(f *fixture) {
		f.changeLine(small, 0, func(l *schemas.Line) { l.VAT-- })
	}},
	{"amounts", "a discount not given", invoiced, func(f *fixture) {
		f.changeLine(invoiced, 0, func(l *schemas.Line) { l.DiscountBP = 350 })
	}},
	{"amounts", "amounts of a line that was refused", rejected, func(f *fixture) {
		f.changeLine(rejected, 1, func(l *schemas.Line) { l.Net = 1 })
	}},

	{"vouchers", "the document is lost", delivered, func(f *fixture) {
		f.drop(topics.Vouchers, f.orderNow(delivered).Vouchers[0].VoucherID)
	}},
	{"vouchers", "the row is lost", delivered, func(f *fixture) { f.drop(topics.VoucherTable, delivered) }},
	{"vouchers", "another amount", delivered, func(f *fixture) {
		change(f, topics.Vouchers, f.orderNow(delivered).Vouchers[0].VoucherID, func(v *schemas.Voucher) { v.Amount = 501 })
	}},
	{"vouchers", "another customer", delivered, func(f *fixture) {
		change(f, topics.Vouchers, f.orderNow(delivered).Vouchers[0].VoucherID, func(v *schemas.Voucher) { v.CustomerID = ben })
	}},
	{"vouchers", "a second voucher", delivered, func(f *fixture) {
		v := *f.last(topics.Vouchers, f.orderNow(delivered).Vouchers[0].VoucherID).body.(*schemas.Voucher)
		v.VoucherID = "vch_again"
		f.send(topics.Vouchers, &v)
	}},
	{"vouchers", "one that was not earned", small, func(f *fixture) {
		f.send(topics.Vouchers, &schemas.Voucher{VoucherID: "vch_gift", OrderID: small, CustomerID: ben, Strategy: strategy, Amount: 500, Currency: "EUR"})
	}},
	{"vouchers", "one for nobody", "ord_ghost", func(f *fixture) {
		f.send(topics.VoucherTable, &schemas.Grants{OrderID: "ord_ghost", Granted: []schemas.EarnedVoucher{{Strategy: strategy, VoucherID: "vch_ghost", Amount: 500}}})
	}},
	{"vouchers", "row and document differ", delivered, func(f *fixture) {
		change(f, topics.VoucherTable, delivered, func(g *schemas.Grants) {
			g.Granted = []schemas.EarnedVoucher{{Strategy: strategy, VoucherID: "vch_other", Amount: 500}}
		})
	}},
	{"vouchers", "the order was never told", delivered, func(f *fixture) {
		change(f, topics.OrderTable, delivered, func(o *schemas.Order) { // the refused cancellation came first
			o.Vouchers = nil
			o.Timeline = slices.DeleteFunc(slices.Clone(o.Timeline), func(e schemas.TimelineEntry) bool { return e.Type == schemas.VoucherGrantedEvent })
		})
		f.keepLast(delivered)
	}},
	{"vouchers", "the order names another", delivered, func(f *fixture) {
		change(f, topics.OrderTable, delivered, func(o *schemas.Order) {
			o.Vouchers = []schemas.EarnedVoucher{{Strategy: strategy, VoucherID: "vch_other", Amount: 500}}
		})
	}},

	{"stuck", "a dead order keeps goods", rejected, func(f *fixture) {
		f.changeLine(rejected, 0, func(l *schemas.Line) { l.Stock = schemas.Granted })
		change(f, topics.InventoryTable, bolt, func(s *schemas.Stock) { s.OnHand -= 2 })
	}},
	{"stuck", "a dead order keeps credit", cancelled, func(f *fixture) {
		change(f, topics.OrderTable, cancelled, func(o *schemas.Order) { o.Credit.Ask = schemas.Granted })
		change(f, topics.CreditTable, ada, func(a *schemas.Account) { a.Charged += f.orderNow(cancelled).Gross })
	}},
	{"stuck", "a verdict that never came", "ord_waits", func(f *fixture) {
		f.send(topics.OrderCommands, place("ord_waits", ben, wish(nut, 1)))
		f.handleOne("order", topics.OrderCommands, "ord_waits")
		p := partOf(nut)
		f.log[topics.InventoryTasks][p] = f.log[topics.InventoryTasks][p][:len(f.log[topics.InventoryTasks][p])-1]
		f.handled[topics.OrderTable][partOf("ord_waits")]++
	}},

	{"history", "an illegal transition", small, func(f *fixture) {
		f.eachVersion(small, func(o *schemas.Order) {
			o.Timeline = slices.DeleteFunc(slices.Clone(o.Timeline), func(e schemas.TimelineEntry) bool { return e.Type == schemas.OrderApproved })
		})
	}},
	{"history", "life after the end", small, func(f *fixture) {
		change(f, topics.OrderTable, small, func(o *schemas.Order) {
			o.Version++
			o.Timeline = append(slices.Clone(o.Timeline), schemas.TimelineEntry{At: o.ChangedAt, Type: schemas.OrderInvoiced})
		})
	}},
	{"history", "a state that the timeline does not tell", invalid, func(f *fixture) {
		change(f, topics.OrderTable, invalid, func(o *schemas.Order) { o.State = schemas.Expired })
	}},
	{"history", "a record under another's key", "ord_alias", func(f *fixture) {
		e := *f.last(topics.OrderTable, small)
		e.key = "ord_alias"
		f.write(topics.OrderTable, e)
		f.handled[topics.OrderTable][partOf(e.key)]++
	}},
	{"history", "an older version last", "the order went back", func(f *fixture) {
		older := *f.last(topics.OrderTable, small)
		f.write(topics.OrderTable, older)
		change(f, topics.OrderTable, small, func(o *schemas.Order) { o.Version++ })
		f.write(topics.OrderTable, older)
		f.handled[topics.OrderTable][partOf(small)] += 2
	}},
	{"history", "a rewritten past", delivered, func(f *fixture) {
		change(f, topics.OrderTable, delivered, func(o *schemas.Order) {
			o.Timeline = slices.Clone(o.Timeline)
			o.Timeline[0].Detail = "never happened"
		})
	}},
	{"history", "a verdict that the timeline does not tell", invoiced, func(f *fixture) {
		f.eachVersion(invoiced, func(o *schemas.Order) {
			o.Timeline = slices.DeleteFunc(slices.Clone(o.Timeline), func(e schemas.TimelineEntry) bool { return e.Type == schemas.StockReservedEvent })
		})
	}},
	{"history", "a deleted order, written again", small, func(f *fixture) {
		again := *f.last(topics.OrderTable, small)
		f.write(topics.OrderTable, entry{key: small})
		f.write(topics.OrderTable, again)
		f.handled[topics.OrderTable][partOf(small)] += 2
	}},
	{"history", "a record that cannot be read", small, func(f *fixture) {
		f.write(topics.OrderTable, entry{key: small, raw: []byte("rubbish")})
		f.handled[topics.OrderTable][partOf(small)]++
	}},
	{"history", "an order on two partitions", invalid, func(f *fixture) {
		p := 1 - partOf(invalid)
		f.log[topics.OrderTable][p] = append(f.log[topics.OrderTable][p], *f.last(topics.OrderTable, invalid))
		f.log[topics.OrderCommands][p] = append(f.log[topics.OrderCommands][p], *f.placement(invalid))
		f.handled[topics.OrderTable][p]++
		f.handled[topics.OrderCommands][p]++
	}},
}

// keepLast compacts an order's records to the last one.
func (f *fixture) keepLast(id string) {
	last := *f.last(topics.OrderTable, id)
	f.drop(topics.OrderTable, id)
	f.write(topics.OrderTable, last)
}

// elsewhere writes the last record of a key to the other partition, too.
func (f *fixture) elsewhere(topic, key string) {
	p := 1 - partOf(key)
	f.log[topic][p] = append(f.log[topic][p], *f.last(topic, key))
}

func (f *fixture) eachCommand(topic, key string, edit func(*entry)) {
	es := f.log[topic][partOf(key)]
	for i := range es {
		if es[i].key == key {
			edit(&es[i])
		}
	}
}

// handledUnseen adds a command that the order group has committed, with no effect.
func (f *fixture) handledUnseen(body any) {
	f.send(topics.OrderCommands, body)
	f.handled[topics.OrderCommands][partOf(schemas.KeyOf(body))]++
}

func (f *fixture) eachVersion(id string, edit func(*schemas.Order)) {
	es := f.log[topics.OrderTable][partOf(id)]
	for i := range es {
		if es[i].key == id {
			o := *es[i].body.(*schemas.Order)
			edit(&o)
			es[i].body = &o
		}
	}
}

// placement finds the first command of an order.
func (f *fixture) placement(id string) *entry {
	es := f.log[topics.OrderCommands][partOf(id)]
	for i := range es {
		if es[i].key == id {
			return &es[i]
		}
	}
	panic("no placement of " + id)
}

// handleOne lets a rule handle the last record of a key.
func (f *fixture) handleOne(rule, topic, key string) {
	for _, r := range f.rules {
		if r.name == rule {
			f.handle(r, topic, partOf(key))
		}
	}
}

func TestEachCheckFailsAlone(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.check+"/"+m.name, func(t *testing.T) {
			f := smallLog()
			m.do(f)
			r := f.verdict(t)
			if r.OK || !r.Still {
				t.Errorf("OK %t, still %t", r.OK, r.Still)
			}
			for _, c := range r.Checks {
				if c.OK == (c.Name == m.check) {
					t.Errorf("%s: OK %t %+v", c.Name, c.OK, c.Violations)
				}
				if c.Name == m.check && !strings.Contains(fmt.Sprint(c.Violations), m.names) {
					t.Errorf("it does not name %s: %+v", m.names, c.Violations)
				}
			}
		})
	}
}

// An effect that its group has not read yet is on its way, and is not missed.
func TestEffectOnItsWay(t *testing.T) {
	f := smallLog()
	f.tell()
	p := partOf(f.effect(delivered))
	es := f.log[topics.Effects][p]
	f.handled[topics.Effects][p]--
	f.drop(topics.EffectsTable, es[len(es)-1].key)
	if r := f.verdict(t); !r.OK || r.Still || r.InFlight != 1 {
		r.Text(t.Output(), false)
		t.Errorf("OK %t, still %t, in flight %d", r.OK, r.Still, r.InFlight)
	}
}
