package verify

import (
	"maps"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// checkDeadlines: an order that waits for others expires if they never answer. Its
// deadline is on its way to the calendar, in it, or has come and is not handled
// yet; it may be parked, or a person has taken it away, and nothing has happened to
// the order since.
//
// Whatever the calendar had handled before the tables were cut is in its table then,
// and the rest is read from its topic, up to where the order log is read. So a
// deadline that moves is seen at one place at least. That of an order which has only
// just come need not be: a transaction ends on one partition before it does on another.
func checkDeadlines(w *world) Check {
	c := begin("deadlines")
	set := w.deadlines()
	w.eachOrder(func(o *order) {
		if o.state != schemas.Placed && o.state != schemas.Approved || w.moving(o) {
			return
		}
		c.Checked++
		if !set[o.id] && !w.parked.keys["order"][o.id] && !(o.noted && w.dead.cancelled[o.id]) {
			c.fail(Violation{What: "it waits without a deadline", Orders: []string{o.id}, Detail: o.state + ": it never expires"})
		}
	})
	return c.done()
}

// deadlines are those of orders, by order.
func (w *world) deadlines() map[string]bool {
	set := unread(w, topics.OrderReplies, func(b *schemas.ExpireOrder) string { return b.OrderID })
	maps.Copy(set, unread(w, topics.Retry, func(p *schemas.Parked) string {
		if p.Topic != "" {
			return ""
		}
		return string(p.Key)
	}))
	for _, cal := range w.calendar {
		for _, id := range cal.deadlines {
			set[id] = true
		}
	}
	return set
}
