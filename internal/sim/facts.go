package sim

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Facts is all that the invariants speak of.
type Facts struct {
	Orders   map[string]schemas.Order
	Stock    map[string]schemas.Stock
	Accounts map[string]schemas.Account
	Series   map[string]schemas.Series
	Grants   map[string]schemas.Grants
	Invoices []schemas.Invoice // documents, each once
	Vouchers []schemas.Voucher

	Received map[string]int64 // goods received, by SKU
	TopLimit map[string]int64 // the highest limit that each customer ever had
	Placed   []string         // orders that must be there
}

// Look reads the facts off a world. What came from outside is the caller's to
// fill in: Received, TopLimit, Placed.
func Look(w *World) Facts {
	return Facts{
		Orders:   Rows[schemas.Order](w, "order"),
		Stock:    Rows[schemas.Stock](w, "inventory"),
		Accounts: Rows[schemas.Account](w, "credit"),
		Series:   Rows[schemas.Series](w, "invoicing"),
		Grants:   Rows[schemas.Grants](w, "voucher"),
		Invoices: documents[schemas.Invoice](w, topics.Invoices),
		Vouchers: documents[schemas.Voucher](w, topics.Vouchers),
	}
}

// documents returns every document once. One that was written in two versions
// is there twice: a document never changes.
func documents[T comparable](w *World, topic string) (all []T) {
	seen := map[T]bool{}
	for _, r := range w.Records(topic) {
		if d := *r.Body.(*T); !seen[d] {
			seen[d] = true
			all = append(all, d)
		}
	}
	return all
}

// findings collects what is wrong, in a stable order.
type findings []string

func (f *findings) add(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Sprintf(format, args...))
	}
}

// Broken returns what no moment may show.
func (f Facts) Broken() []string {
	var bad findings
	held := f.held()
	for _, sku := range keys(f.Stock, held, f.Received) {
		s := f.Stock[sku]
		bad.add(s.OnHand >= 0, "%s: %d on hand", sku, s.OnHand)
		bad.add(s.OnHand+held[sku] <= f.Received[sku], "%s: %d on hand and %d held, of %d received", sku, s.OnHand, held[sku], f.Received[sku])
	}
	charged := f.charged()
	for _, cus := range keys(f.Accounts, charged) {
		a := f.Accounts[cus]
		bad.add(a.Charged >= charged[cus], "%s: %d charged, orders hold %d", cus, a.Charged, charged[cus])
		bad.add(a.Charged <= f.TopLimit[cus], "%s: %d charged, limit never above %d", cus, a.Charged, f.TopLimit[cus])
	}
	for _, id := range keys(f.Orders) {
		f.order(&bad, f.Orders[id])
	}
	f.series(&bad)
	return bad
}

// Unsettled returns what is wrong when nothing is under way any more; what
// Broken tells is part of it.
func (f Facts) Unsettled() []string {
	bad := findings(f.Broken())
	held, charged := f.held(), f.charged()
	for _, sku := range keys(f.Stock, held, f.Received) {
		bad.add(f.Stock[sku].OnHand+held[sku] == f.Received[sku],
			"%s: %d on hand and %d held are not %d received", sku, f.Stock[sku].OnHand, held[sku], f.Received[sku])
	}
	for _, cus := range keys(f.Accounts, charged) {
		bad.add(f.Accounts[cus].Charged == charged[cus], "%s: %d charged, orders hold %d", cus, f.Accounts[cus].Charged, charged[cus])
	}
	for _, id := range f.Placed {
		_, there := f.Orders[id]
		bad.add(there, "%s: lost", id)
	}
	for _, id := range keys(f.Orders) {
		f.settled(&bad, f.Orders[id])
	}
	f.documents(&bad)
	f.vouchers(&bad)
	return bad
}

// held is what the order log says is taken, by SKU.
func (f Facts) held() map[string]int64 {
	sum := map[string]int64{}
	for _, o := range f.Orders {
		for _, l := range o.Lines {
			if l.Stock == schemas.Granted {
				sum[l.SKU] += l.Quantity
			}
		}
	}
	return sum
}

func (f Facts) charged() map[string]int64 {
	sum := map[string]int64{}
	for _, o := range f.Orders {
		if o.Credit.Ask == schemas.Granted {
			sum[o.CustomerID] += o.Credit.Amount
		}
	}
	return sum
}

// follows lists the states that may come after one.
func follows(state string) []string {
	switch state {
	case "":
		return []string{schemas.Placed}
	case schemas.Placed:
		return []string{schemas.Approved, schemas.Rejected, schemas.Cancelled, schemas.Expired}
	case schemas.Approved:
		return []string{schemas.Invoiced, schemas.Cancelled, schemas.Expired}
	case schemas.Invoiced:
		return []string{schemas.Delivered, schemas.Cancelled}
	}
	return nil
}

// order checks what holds of an order at any moment.
func (f Facts) order(bad *findings, o schemas.Order) {
	state := ""
	for _, e := range o.Timeline {
		to, ok := strings.CutPrefix(e.Type, "order.")
		if !ok || e.Type == schemas.OrderRefused {
			continue
		}
		bad.add(slices.Contains(follows(state), to), "%s: %s after %q", o.OrderID, to, state)
		state = to
	}
	bad.add(state == o.State, "%s: is %s, its timeline says %s", o.OrderID, o.State, state)
	alive := o.State == schemas.Approved || o.State == schemas.Invoiced || o.State == schemas.Delivered
	for i, l := range o.Lines {
		bad.add(!alive || l.Stock == schemas.Granted, "%s: %s, line %d %s", o.OrderID, o.State, i+1, l.Stock)
		bad.add(!dead(o) || l.Stock != schemas.Granted, "%s: %s, line %d still granted", o.OrderID, o.State, i+1)
	}
	bad.add(!alive || o.Credit.Ask == schemas.Granted && o.Credit.Amount == o.Gross, "%s: %s, credit %v, gross %d", o.OrderID, o.State, o.Credit, o.Gross)
	bad.add(!dead(o) || o.Credit.Ask != schemas.Granted, "%s: %s, credit still granted", o.OrderID, o.State)
	bad.add(!dead(o) || len(o.Reasons) > 0, "%s: %s without a reason", o.OrderID, o.State)
	bad.add(o.Gross == o.Net+o.VAT, "%s: %d + %d is not %d", o.OrderID, o.Net, o.VAT, o.Gross)
}

func dead(o schemas.Order) bool {
	return o.State == schemas.Rejected || o.State == schemas.Cancelled || o.State == schemas.Expired
}

// settled checks that an order waits for nobody.
func (f Facts) settled(bad *findings, o schemas.Order) {
	bad.add(o.State != schemas.Placed && o.State != schemas.Approved, "%s: stuck in %s", o.OrderID, o.State)
	asks := []string{o.Credit.Ask, o.Invoice.Ask, o.CreditNote.Ask}
	for _, l := range o.Lines {
		asks = append(asks, l.Stock)
	}
	bad.add(!slices.Contains(asks, schemas.Asked), "%s: %s with an open ask: %v", o.OrderID, o.State, asks)
}

// series checks that each series gave 1, 2, 3 ... once.
func (f Facts) series(bad *findings) {
	given := map[string][]int64{}
	ids := map[string]bool{}
	for _, d := range f.Invoices {
		given[d.Series] = append(given[d.Series], d.Seq)
		bad.add(!ids[d.InvoiceID], "invoice %s is there twice", d.InvoiceID)
		ids[d.InvoiceID] = true
	}
	for _, name := range keys(given, f.Series) {
		seqs := slices.Sorted(slices.Values(given[name]))
		for i, n := range seqs {
			bad.add(n == int64(i)+1, "series %s gave %v", name, seqs)
		}
		bad.add(f.Series[name].Last == int64(len(seqs)), "series %s is at %d, %d documents", name, f.Series[name].Last, len(seqs))
	}
}

// documents checks that invoices and orders agree, both ways.
func (f Facts) documents(bad *findings) {
	byKind := map[string]map[string]schemas.Invoice{schemas.KindInvoice: {}, schemas.KindCreditNote: {}}
	for _, d := range f.Invoices {
		_, twice := byKind[d.Kind][d.OrderID]
		bad.add(!twice, "%s: two documents of kind %s", d.OrderID, d.Kind)
		byKind[d.Kind][d.OrderID] = d
	}
	for _, id := range keys(f.Orders, byKind[schemas.KindInvoice], byKind[schemas.KindCreditNote]) {
		o := f.Orders[id]
		inv, invoiced := byKind[schemas.KindInvoice][id]
		note, noted := byKind[schemas.KindCreditNote][id]
		bad.add(invoiced == (o.Invoice.Ask == schemas.Granted), "%s: invoice %v, order says %s", id, invoiced, o.Invoice.Ask)
		bad.add(!invoiced || inv.Number == o.Invoice.Number && inv.InvoiceID == o.Invoice.InvoiceID && inv.Gross == o.Gross, "%s: invoice %+v does not fit", id, inv)
		bad.add(noted == (invoiced && dead(o)), "%s: %s, invoice %v, credit note %v", id, o.State, invoiced, noted)
		bad.add(!noted || note.Corrects == inv.Number && note.Gross == inv.Gross && note.Number == o.CreditNote.Number, "%s: credit note %+v does not fit", id, note)
	}
}

// vouchers checks that each order has exactly the vouchers that it earned.
func (f Facts) vouchers(bad *findings) {
	count := map[string]int{}
	for _, v := range f.Vouchers {
		count[v.OrderID]++
	}
	for _, id := range keys(f.Orders, count, f.Grants) {
		o, want := f.Orders[id], 0
		if o.State == schemas.Delivered && o.Currency == "EUR" && o.Gross >= 10_000 {
			want = 1
		}
		bad.add(count[id] == want && len(o.Vouchers) == want && len(f.Grants[id].Granted) == want,
			"%s: %d vouchers, %d granted, order says %d, earned %d", id, count[id], len(f.Grants[id].Granted), len(o.Vouchers), want)
	}
}

// keys returns the keys of all maps, whatever their values, sorted, each once.
func keys(ms ...any) []string {
	set := map[string]bool{}
	for _, m := range ms {
		for _, k := range reflect.ValueOf(m).MapKeys() {
			set[k.String()] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}
