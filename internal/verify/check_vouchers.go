package verify

import (
	"fmt"
	"slices"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// The one strategy that there is: 5.00 EUR for a delivered order of 100.00 EUR
// gross or more.
const (
	strategy        = "order-over-100"
	voucherCurrency = "EUR"
	voucherFrom     = 100_00
	voucherAmount   = 5_00
)

func (o *order) earns() bool {
	return o.state == schemas.Delivered && o.currency == voucherCurrency && o.gross >= voucherFrom
}

// earned is where an order's vouchers show: they must all say the same.
type earned struct {
	docs   []schemas.EarnedVoucher
	grants []schemas.EarnedVoucher
	moves  bool // one of the documents may be younger than the tables
}

// checkVouchers: who earned a voucher has exactly one per strategy, and nobody
// else; order, row and document agree.
func checkVouchers(w *world) Check {
	c := begin("vouchers")
	all := w.earned(c)
	answers := unread(w, topics.OrderReplies, func(b *schemas.VoucherGranted) string { return b.OrderID })
	w.eachOrder(func(o *order) {
		c.Checked++
		e := all[o.id]
		delete(all, o.id)
		if e == nil {
			e = &earned{}
		}
		w.checkEarned(c, o, e, answers[o.id])
	})
	for id, e := range all {
		if !e.moves {
			c.fail(Violation{What: "a voucher without an order", Orders: []string{id}, Keys: ids(e.docs, e.grants)})
		}
	}
	return c.done()
}

func (w *world) earned(c *Check) map[string]*earned {
	all := map[string]*earned{}
	of := func(id string) *earned {
		e, ok := all[id]
		if !ok {
			e = &earned{}
			all[id] = e
		}
		return e
	}
	for _, t := range w.grants {
		c.fail(t.faults...)
		for id, row := range t.rows {
			e := of(id)
			e.grants = append(e.grants, row.Granted...)
		}
	}
	for _, t := range w.vouchers {
		c.fail(t.faults...)
		for id, d := range t.docs {
			e := of(d.is.OrderID)
			e.docs = append(e.docs, schemas.EarnedVoucher{Strategy: d.is.Strategy, VoucherID: id, Amount: d.is.Amount})
			e.moves = e.moves || w.moves(topics.Vouchers, d.partition, d.offset)
			w.checkParty(c, id, d.is)
		}
	}
	return all
}

// checkParty compares what the voucher repeats of its order.
func (w *world) checkParty(c *Check, id string, v schemas.Voucher) {
	o := w.find(v.OrderID)
	if o != nil && (o.customer != v.CustomerID || v.Currency != voucherCurrency) {
		c.fail(Violation{What: "a voucher for somebody else", Orders: []string{o.id}, Keys: []string{id}, Detail: v.CustomerID + " " + v.Currency})
	}
}

// checkEarned compares the three places. The processor may not have read the
// delivery yet, and the order not its answer.
func (w *world) checkEarned(c *Check, o *order, e *earned, unread bool) {
	fail := func(what string) {
		c.fail(Violation{What: what, Orders: []string{o.id}, Keys: ids(o.vouchers, e.docs, e.grants),
			Detail: fmt.Sprintf("%s, gross %d %s; order %v, row %v, documents %v", o.state, o.gross, o.currency, o.vouchers, e.grants, e.docs)})
	}
	places := [][]schemas.EarnedVoucher{o.vouchers, e.grants, e.docs}
	if !o.earns() {
		if len(o.vouchers)+len(e.grants)+len(e.docs) > 0 && !e.moves {
			fail("a voucher that was not earned")
		}
		return
	}
	for _, vs := range places {
		if len(vs) > 1 {
			fail("more than one voucher")
			return
		}
		if len(vs) == 1 && (vs[0].Strategy != strategy || vs[0].Amount != voucherAmount) {
			fail("a voucher that no strategy gives")
			return
		}
	}
	switch {
	case !w.followed(o) || e.moves || w.moving(o):
	case len(e.grants) == 0 || len(e.docs) == 0:
		fail("an earned voucher is missing")
	case e.grants[0] != e.docs[0]:
		fail("row and voucher differ")
	case len(o.vouchers) == 0 && !unread:
		fail("the order does not know of its voucher")
	case len(o.vouchers) == 1 && o.vouchers[0] != e.docs[0]:
		fail("order and voucher differ")
	}
}

func ids(places ...[]schemas.EarnedVoucher) (all []string) {
	for _, vs := range places {
		for _, v := range vs {
			all = append(all, v.VoucherID)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
