package verify

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// span is what a balance may be: one number in a log that stands still.
type span struct{ low, high big.Int }

func (s *span) both(n int64) {
	s.low.Add(&s.low, big.NewInt(n))
	s.high.Add(&s.high, big.NewInt(n))
}

// maybe widens s by something that may have happened already, or not.
func (s *span) maybe(n int64) {
	if n < 0 {
		s.low.Add(&s.low, big.NewInt(n))
	} else {
		s.high.Add(&s.high, big.NewInt(n))
	}
}

func (s *span) has(n int64) bool {
	b := big.NewInt(n)
	return s.low.Cmp(b) <= 0 && b.Cmp(&s.high) <= 0
}

func (s *span) String() string {
	if s.low.Cmp(&s.high) == 0 {
		return s.low.String()
	}
	return fmt.Sprintf("%s to %s", &s.low, &s.high)
}

// effect says what an ask of the resource has done to a table of this cut.
type effect int

const (
	nothing effect = iota
	perhaps
	surely
)

// effectOf reads it off the log. A grant in a record that moves may be younger
// than the table; what is asked may have been granted meanwhile; what is
// released stays taken until the processor has read that.
func (w *world) effectOf(o *order, ask string, unread bool) effect {
	switch {
	case ask == schemas.Asked, ask == schemas.Released && (unread || w.moving(o)), ask == schemas.Granted && w.moving(o):
		return perhaps
	case ask == schemas.Granted:
		return surely
	}
	return nothing
}

func (s *span) take(e effect, n int64) {
	switch e {
	case surely:
		s.both(-n)
	case perhaps:
		s.maybe(-n)
	}
}

// product is what the log says of one SKU.
type product struct {
	span
	prices   []schemas.SetPrice // which its row may show
	ever     map[tag]bool       // prices that it had, or may have had
	unpriced bool               // it may not be priced yet
}

// tag is what a product was for sale at.
type tag struct {
	price    int64
	currency string
}

// checkStock: receipts = on hand + taken by orders, per product, and the price is
// the last one set.
func checkStock(w *world) Check {
	c := begin("stock")
	c.who = w.ordersOf
	w.noteBeginning(c, topics.InventoryCommands)
	products := w.products(c)
	seen := map[string]bool{}
	for _, t := range w.stock {
		c.fail(t.faults...)
		for sku, row := range t.rows {
			c.Checked++
			if seen[sku] {
				c.fail(Violation{What: "a product on two partitions", Keys: []string{sku}})
			}
			seen[sku] = true
			w.checkProduct(c, sku, row, products[sku])
		}
	}
	for sku, p := range products {
		if !seen[sku] && (!p.has(0) || !p.unpriced) {
			w.missing(c, topics.InventoryTable, sku, Violation{What: "a product without a row", Keys: []string{sku}, Detail: "on hand should be " + p.String()})
		}
	}
	return c.done()
}

func (w *world) checkProduct(c *Check, sku string, row schemas.Stock, p *product) {
	fail := func(what, format string, args ...any) {
		c.fail(Violation{What: what, Keys: []string{sku}, Detail: fmt.Sprintf(format, args...)})
	}
	if p == nil {
		fail("a row that nobody asked for", "on hand %d", row.OnHand)
		return
	}
	if row.OnHand < 0 {
		fail("negative stock", "on hand %d", row.OnHand)
	}
	if !p.has(row.OnHand) {
		fail("received is not on hand + taken", "on hand %d, the log says %s", row.OnHand, &p.span)
	}
	if !row.Priced && !p.unpriced {
		fail("not priced", "the log says %d %s", p.prices[0].Price, p.prices[0].Currency)
	}
	is := schemas.SetPrice{SKU: sku, Name: row.Name, Price: row.Price, Currency: row.Currency}
	if row.Priced && !slices.Contains(p.prices, is) {
		fail("not the last price", "the row says %d %s %q, the log %+v", row.Price, row.Currency, row.Name, p.prices)
	}
}

// products folds the commands and the order log.
func (w *world) products(c *Check) map[string]*product {
	all := map[string]*product{}
	of := func(sku string) *product {
		p, ok := all[sku]
		if !ok {
			p = &product{unpriced: true, ever: map[tag]bool{}}
			all[sku] = p
		}
		return p
	}
	for _, in := range w.stockCommands {
		c.fail(in.lost...)
		for sku, s := range in.bySKU {
			p := of(sku)
			p.low.Add(&p.low, &s.received)
			p.high.Add(&p.high, &s.received)
			for _, b := range s.prices {
				p.ever[tag{b.Price, b.Currency}] = true
			}
			if n := len(s.prices); n > 0 {
				p.prices = append(p.prices, s.prices[n-1])
				p.unpriced = false
			}
			for _, b := range s.again {
				p.ever[tag{b.Price, b.Currency}] = true
				p.prices = append(p.prices, b)
				p.unpriced = false
			}
		}
		for _, l := range in.open() {
			w.lateSupply(l, of)
		}
	}
	released := unread(w, topics.InventoryTasks, func(b *schemas.ReleaseStock) lineKey { return lineKey{b.OrderID, b.Line} })
	w.eachOrder(func(o *order) {
		for i, l := range o.lines {
			if l.stock == schemas.AskNone {
				continue
			}
			p := of(l.sku)
			p.take(w.effectOf(o, l.stock, released[lineKey{o.id, int64(i)}]), l.quantity)
			if held := l.stock == schemas.Granted || l.stock == schemas.Released; held && !p.ever[tag{l.price, o.currency}] {
				c.fail(Violation{What: "granted at a price that never was", Keys: []string{l.sku}, Orders: []string{o.id}, Detail: fmt.Sprintf("line %d, %d %s", i+1, l.price, o.currency)})
			}
		}
	})
	return all
}

func (w *world) lateSupply(l command, of func(string) *product) {
	if l.fault != "" || stockFault(l.body) != "" {
		return
	}
	switch b := l.body.(type) {
	case *schemas.ReceiveStock:
		of(b.SKU).maybe(b.Quantity)
	case *schemas.SetPrice:
		p := of(b.SKU)
		p.prices = append(p.prices, *b)
		p.ever[tag{b.Price, b.Currency}] = true
	}
}

type lineKey struct {
	order string
	line  int64
}

// ordersOf names some orders that hold or want a product.
func (w *world) ordersOf(sku string) []string {
	return w.some(func(o *order) bool {
		return slices.ContainsFunc(o.lines, func(l line) bool { return l.sku == sku && l.stock != schemas.AskNone })
	})
}

// some names the first orders, by ID, for which it is so.
func (w *world) some(is func(*order) bool) []string {
	var ids []string
	w.eachOrder(func(o *order) {
		if is(o) {
			ids = append(ids, o.id)
		}
	})
	slices.Sort(ids)
	return ids[:min(len(ids), showOrders)]
}
