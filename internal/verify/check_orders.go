package verify

import (
	"fmt"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// checkOrders: every command that was handled left its trace in the log, or is a
// dead letter; and every order in the log was placed.
func checkOrders(w *world) Check {
	c := begin("orders")
	incomplete := false
	for p, in := range w.orderCommands {
		complete := w.complete(topics.OrderCommands, p)
		incomplete = incomplete || !complete
		c.fail(in.lost...)
		for id, v := range in.byOrder {
			c.Checked++
			in.accounted(c, id, v, complete)
		}
		if complete && p < len(w.orders) {
			in.placed(c, w.orders[p])
		}
		c.Checked += int64(len(in.lost))
	}
	if incomplete {
		c.note("some commands are past their retention: orders whose placement is gone were not compared with it")
	}
	if !w.deadComplete() {
		c.note("some dead letters are past their retention: a command without a trace may have been one")
	}
	return c.done()
}

// accounted compares what was asked for one order with its last version.
func (in *orderCommands) accounted(c *Check, id string, v *wishes, complete bool) {
	o := in.w.find(id)
	if o == nil {
		if v.placed || in.w.deadComplete() {
			c.fail(Violation{What: "asked for, handled, and not in the log", Orders: []string{id}, Detail: in.where(v.first)})
		}
		return
	}
	fail := func(what, format string, args ...any) {
		c.fail(Violation{What: what, Orders: []string{id}, Detail: fmt.Sprintf(format, args...)})
	}
	if complete && v.placed && !v.again && v.hash != o.body {
		fail("the order is not what was placed first", "%s has hash %x, the order %x", in.where(v.first), v.hash, o.body)
	}
	least := v.others
	if o.state != schemas.Delivered {
		least += v.delivers
	}
	if o.state != schemas.Cancelled {
		least += v.cancels
	}
	if o.refusals < least {
		fail("a command was neither obeyed nor refused", "at least %d to be refused, %d were; the order is %s", least, o.refusals, o.state)
	}
	most := v.others + v.delivers + v.cancels
	if complete && o.refusals > most && o.refusals > most+in.lateFor(id) {
		fail("a command was refused more than once", "at most %d to be refused, %d were", most, o.refusals)
	}
}

func (in *orderCommands) lateFor(id string) (n int64) {
	for _, c := range in.open() {
		n += one(c.key == id)
	}
	return n
}

// placed looks for a placement of each order of the same partition, which may
// be late: the order is read after what its group has committed.
func (in *orderCommands) placed(c *Check, log *orderLog) {
	late := map[string]bool{}
	for _, l := range in.open() {
		if _, ok := l.body.(*schemas.PlaceOrder); ok {
			late[l.key] = true
		}
	}
	for id := range log.orders {
		if v, ok := in.byOrder[id]; (!ok || !v.placed) && !late[id] {
			c.fail(Violation{What: "in the log, but never placed", Orders: []string{id}})
		}
	}
}

// checkAmounts: prices, discounts, VAT and sums, recomputed from the lines.
func checkAmounts(w *world) Check {
	c := begin("amounts")
	w.eachOrder(func(o *order) {
		c.Checked++
		if o.faults != nil && o.faults.amounts != "" {
			c.fail(Violation{What: "amounts are wrong", Orders: []string{o.id}, Detail: o.faults.amounts})
		}
	})
	return c.done()
}

// checkHistory: each order's records continue one another, on one partition, and
// tell of legal transitions only.
func checkHistory(w *world) Check {
	c := begin("history")
	for i, l := range w.orders {
		c.fail(l.faults...)
		for id, o := range l.orders {
			c.Checked++
			fail := func(what, detail string) {
				c.fail(Violation{What: what, Orders: []string{id}, Detail: detail})
			}
			if o.faults != nil && o.faults.history != "" {
				fail("the order's story does not hold", o.faults.history)
			}
			if o.faults != nil && o.faults.trail != "" {
				fail("the order was rewritten", o.faults.trail)
			}
			if o.version < o.history.version {
				fail("the order went back", fmt.Sprintf("from version %d to version %d", o.history.version, o.version))
			}
			if elsewhere(w.orders[:i], id) {
				fail("the order is on two partitions", fmt.Sprintf("the later one is %d", i))
			}
		}
	}
	return c.done()
}

func elsewhere(logs []*orderLog, id string) bool {
	for _, l := range logs {
		if _, ok := l.orders[id]; ok {
			return true
		}
	}
	return false
}

// checkStuck: nothing waits that nothing will wake, and a dead order has given
// back what it held.
func checkStuck(w *world) Check {
	c := begin("stuck")
	w.eachOrder(func(o *order) {
		c.Checked++
		fail := func(what, format string, args ...any) {
			c.fail(Violation{What: what, Orders: []string{o.id}, Detail: fmt.Sprintf(format, args...)})
		}
		if held := o.holds(); dead(o.state) && held != "" {
			fail("a dead order keeps something", "%s, and %s is granted still", o.state, held)
		}
		age := w.now - o.time
		switch n := o.asks(); {
		case n > 0 && w.still:
			fail("an order waits, and nothing is under way", "%s, %d verdicts open", o.state, n)
		case n > 0 && age > w.stuckAfter && !w.parkedFor(o):
			fail("an order waits too long", "%s, %d verdicts open for %d s", o.state, n, age/1000)
		}
	})
	if w.past != nil {
		c.note("whether records waited for their processor is not known of then")
		return c.done()
	}
	w.stuckRecords(c)
	return c.done()
}

// holds names what a dead order should have given back.
func (o *order) holds() string {
	for _, l := range o.lines {
		if l.stock == schemas.Granted {
			return l.sku
		}
	}
	if o.credit.Ask == schemas.Granted {
		return "the credit"
	}
	return ""
}

// stuckRecords looks for records that no processor takes.
func (w *world) stuckRecords(c *Check) {
	old := func(topic string, late []command) {
		if len(late) == 0 {
			return
		}
		if age := w.now - late[0].time; age > w.stuckAfter {
			c.fail(violation(topic, "records wait for their processor", late[0].key, fmt.Sprintf("%d of %s/%d, the first at offset %d for %d s: is %q running?",
				len(late), w.names(topic), late[0].partition, late[0].offset, age/1000, reads[topic])))
		}
	}
	for topic, ins := range w.inboxes {
		for _, in := range ins {
			old(topic, in.late)
		}
	}
}
