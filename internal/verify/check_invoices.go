package verify

import (
	"fmt"
	"strconv"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// numbers is what the documents say of one series.
type numbers struct {
	ids  map[int64]string // by sequence number
	firm int64            // the highest number that every table of this cut knows
}

// checkInvoices: numbers are gapless and unique per series, the series' row knows
// the last one, and documents and orders name each other, with the same amounts.
func checkInvoices(w *world) Check {
	c := begin("invoices")
	series := map[string]*numbers{}
	for _, t := range w.invoices {
		c.fail(t.faults...)
		for id, d := range t.docs {
			c.Checked++
			number(c, series, id, d, w.moves(topics.Invoices, d.partition, d.offset))
			w.checkInvoice(c, id, d)
		}
	}
	w.checkSeries(c, series)
	w.eachOrder(func(o *order) { w.checkInvoiced(c, o) })
	return c.done()
}

func number(c *Check, all map[string]*numbers, id string, d doc[invoice], moves bool) {
	n, ok := all[d.is.series]
	if !ok {
		n = &numbers{ids: map[int64]string{}}
		all[d.is.series] = n
	}
	if want := fmt.Sprintf("%s-%06d", d.is.series, d.is.seq); d.is.number != want {
		c.fail(Violation{What: "a number that is not the series and the sequence", Orders: []string{d.is.order}, Keys: []string{id}, Detail: d.is.number + ", not " + want})
	}
	if other, ok := n.ids[d.is.seq]; ok {
		c.fail(Violation{What: "one number, two documents", Orders: []string{d.is.order}, Keys: []string{d.is.number, min(id, other), max(id, other)}})
	}
	n.ids[d.is.seq] = id
	if !moves {
		n.firm = max(n.firm, d.is.seq)
	}
}

// checkSeries compares rows with documents. A document is written with its row,
// but the documents' cut is the later one.
func (w *world) checkSeries(c *Check, series map[string]*numbers) {
	last := map[string]int64{}
	for _, t := range w.series {
		c.fail(t.faults...)
		for key, row := range t.rows {
			if _, ok := last[key]; ok {
				c.fail(Violation{What: "a series on two partitions", Keys: []string{key}})
			}
			last[key] = row.Last
			if series[key] == nil {
				series[key] = &numbers{}
			}
		}
	}
	for key, n := range series {
		if last[key] < n.firm {
			w.missing(c, topics.InvoicingTable, key, Violation{What: "the series is behind its documents", Keys: []string{key}, Detail: fmt.Sprintf("last %d, but there is number %d", last[key], n.firm)})
		}
		most := max(last[key], n.firm)
		for seq, missing := int64(1), 0; seq <= most && missing < keepViolations; seq++ {
			if _, ok := n.ids[seq]; !ok {
				missing++
				c.fail(Violation{What: "a number is missing", Keys: []string{key + "-" + strconv.FormatInt(seq, 10)}, Detail: fmt.Sprintf("the series is at %d", most)})
			}
		}
		for seq, id := range n.ids {
			if seq < 1 {
				c.fail(Violation{What: "a number below 1", Keys: []string{key, id}, Detail: strconv.FormatInt(seq, 10)})
			}
		}
	}
}

// checkInvoice looks for the order of a document.
func (w *world) checkInvoice(c *Check, id string, d doc[invoice]) {
	fail := func(what, detail string) {
		c.fail(Violation{What: what, Orders: []string{d.is.order}, Keys: []string{id}, Detail: detail})
	}
	o := w.find(d.is.order)
	if o == nil {
		if !w.moves(topics.Invoices, d.partition, d.offset) {
			fail("a document without an order", d.is.number)
		}
		return
	}
	ask, corrects := o.invoice, ""
	switch d.is.kind {
	case schemas.KindInvoice:
	case schemas.KindCreditNote:
		ask, corrects = o.creditNote, o.invoice.Number
	default:
		fail("a document of unknown kind", d.is.kind)
		return
	}
	if ask.Ask == schemas.Asked || ask.Ask == schemas.AskNone && w.moves(topics.Invoices, d.partition, d.offset) {
		return // the order has not heard of it yet; that it ever does is checked elsewhere
	}
	if ask.Ask != schemas.Granted || ask.InvoiceID != id {
		fail("a document that its order does not name", fmt.Sprintf("%s %s; the order has %s %s %s", d.is.kind, d.is.number, ask.Ask, ask.InvoiceID, ask.Number))
		return
	}
	want := invoice{
		order: o.id, customer: o.customer, currency: o.currency, kind: d.is.kind, series: d.is.series, seq: d.is.seq,
		number: ask.Number, corrects: corrects, net: o.net, vat: o.vat, gross: o.gross, vatBP: o.vatBP, dated: ask.IssuedAt,
	}
	if d.is != want {
		fail("document and order differ", fmt.Sprintf("%+v, expected of the order %+v", d.is, want))
	}
}

// checkInvoiced looks for the documents of an order.
func (w *world) checkInvoiced(c *Check, o *order) {
	for _, ask := range []schemas.InvoiceAsk{o.invoice, o.creditNote} {
		if ask.Ask == schemas.Granted && !w.moving(o) && !w.hasInvoice(ask.InvoiceID) {
			c.fail(Violation{What: "an order names a document that is not there", Orders: []string{o.id}, Keys: []string{ask.InvoiceID}, Detail: ask.Number})
		}
	}
	if noted := o.creditNote.Ask != schemas.AskNone; dead(o.state) && (o.invoice.Ask == schemas.Granted) != noted {
		c.fail(Violation{What: "a dead order's invoice and credit note do not go together", Orders: []string{o.id},
			Detail: fmt.Sprintf("%s, invoice %s %s, credit note %s", o.state, o.invoice.Ask, o.invoice.Number, o.creditNote.Ask)})
	}
}

func (w *world) hasInvoice(id string) bool {
	for _, t := range w.invoices {
		if _, ok := t.docs[id]; ok {
			return true
		}
	}
	return false
}
