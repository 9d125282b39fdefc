package verify

import (
	"fmt"
	"slices"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// customer is what the log says of one account. The span is less than nothing:
// what is charged, negative.
type customer struct {
	span
	set      limitSet // handled, in order
	late     limitSet // not handled for sure
	opened   limitSet // by verdicts that say so
	opening  limitSet // perhaps
	openedBy []string // orders with such a verdict: one at most
	unopened bool     // there may be no account yet
	holding  map[string]bool
}

type limitSet []limit

func (ls *limitSet) add(l limit) {
	if !slices.Contains(*ls, l) {
		*ls = append(*ls, l)
	}
}

type limit struct {
	amount   int64
	currency string
}

// checkCredit: what is charged is the sum of the orders' charges, per customer,
// within a limit that was set or opened.
func checkCredit(w *world) Check {
	c := begin("credit")
	c.who = w.ordersBy
	w.noteBeginning(c, topics.CreditCommands)
	customers := w.customers(c)
	seen := map[string]bool{}
	for _, t := range w.accounts {
		c.fail(t.faults...)
		for id, row := range t.rows {
			c.Checked++
			if seen[id] {
				c.fail(Violation{What: "an account on two partitions", Keys: []string{id}})
			}
			seen[id] = true
			w.checkAccount(c, id, row, customers[id])
		}
	}
	for id, a := range customers {
		if !seen[id] && !a.unopened {
			w.missing(c, topics.CreditTable, id, Violation{What: "a customer without an account", Keys: []string{id}})
		}
		if len(a.openedBy) > 1 {
			slices.Sort(a.openedBy)
			c.fail(Violation{What: "an account was opened more than once", Keys: []string{id}, Orders: a.openedBy[:min(len(a.openedBy), showOrders)]})
		}
	}
	return c.done()
}

func (w *world) checkAccount(c *Check, id string, row schemas.Account, a *customer) {
	fail := func(what, format string, args ...any) {
		c.fail(Violation{What: what, Keys: []string{id}, Detail: fmt.Sprintf(format, args...)})
	}
	if a == nil {
		fail("an account that nobody asked for", "limit %d, charged %d", row.Limit, row.Charged)
		return
	}
	if row.Charged < 0 {
		fail("negative credit", "charged %d", row.Charged)
	}
	if !a.has(-row.Charged) {
		fail("charged is not what the orders hold", "charged %d, the log says %s", row.Charged, a.charged())
	}
	if ls := a.limits(w); !slices.Contains(ls, limit{row.Limit, row.Currency}) {
		fail("not the last limit", "the row says %d %s, the log %v", row.Limit, row.Currency, ls)
	}
	if most := a.highest(); row.Charged > most {
		fail("charged past the limit", "charged %d, the limit never was above %d", row.Charged, most)
	}
	for currency := range a.holding {
		if currency != row.Currency {
			fail("charged in another currency", "%s, the account is in %s", currency, row.Currency)
		}
	}
}

func (a *customer) charged() string {
	var s span
	s.low.Neg(&a.high)
	s.high.Neg(&a.low)
	return s.String()
}

func (w *world) customers(c *Check) map[string]*customer {
	all := map[string]*customer{}
	of := func(id string) *customer {
		a, ok := all[id]
		if !ok {
			a = &customer{unopened: true, holding: map[string]bool{}}
			all[id] = a
		}
		return a
	}
	for _, in := range w.creditCommands {
		c.fail(in.lost...)
		for id, set := range in.byCustomer {
			a := of(id)
			a.unopened = false
			a.set = append(a.set, set...)
		}
		for id, set := range in.again {
			a := of(id)
			a.unopened = false
			for _, l := range set {
				a.late.add(l)
			}
		}
	}
	refunded := unread(w, topics.CreditTasks, func(b *schemas.RefundCredit) string { return b.OrderID })
	w.eachOrder(func(o *order) {
		if o.credit.Ask != schemas.AskNone {
			w.charge(of(o.customer), o, refunded[o.id])
		}
	})
	for _, in := range w.creditCommands {
		for _, l := range in.open() {
			if b, ok := l.body.(*schemas.SetLimit); ok && l.fault == "" && creditFault(b) == "" {
				of(b.CustomerID).late.add(limit{b.Limit, b.Currency})
			}
		}
	}
	return all
}

// charge adds one order's ask to what the log says of its customer.
func (w *world) charge(a *customer, o *order, unread bool) {
	a.take(w.effectOf(o, o.credit.Ask, unread), o.credit.Amount)
	if o.credit.Ask == schemas.Granted && o.credit.Amount > 0 && !w.moving(o) {
		a.holding[o.currency] = true
	}
	switch {
	case o.credit.Opened != 0:
		a.openedBy = append(a.openedBy, o.id)
		a.opened.add(limit{o.credit.Opened, o.currency})
	case o.credit.Ask == schemas.Asked:
		a.opening.add(limit{w.opening, o.currency})
	default:
		a.opening.add(limit{0, o.currency})
	}
	if o.credit.Ask != schemas.Asked && !w.moving(o) {
		a.unopened = false
	}
}

// limits are what an account's row may show: the last limit set, or else the one
// that it was opened with. With what a verdict does not tell, it was opened with
// nothing, or by an ask that is not answered yet. A change of currency is refused
// while something is charged: where the dead letter that says so may be gone, any
// limit is possible.
func (a *customer) limits(w *world) limitSet {
	opening := a.opened
	if len(opening) == 0 {
		opening = a.opening
	}
	ls := slices.Clone(a.late)
	switch n := len(a.set); {
	case n == 0:
		ls = append(ls, opening...)
	case w.deadComplete():
		ls = append(ls, a.set[n-1])
	default:
		ls = append(append(ls, a.set...), opening...)
	}
	return ls
}

// highest is the largest limit that the account had, or may have had.
func (a *customer) highest() (most int64) {
	for _, l := range slices.Concat(a.set, a.late, a.opened, a.opening) {
		most = max(most, l.amount)
	}
	return most
}

// ordersBy names some orders of a customer that hold or want credit.
func (w *world) ordersBy(customer string) []string {
	return w.some(func(o *order) bool { return o.customer == customer && o.credit.Ask != schemas.AskNone })
}
