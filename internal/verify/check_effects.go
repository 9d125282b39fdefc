package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// teller is the group that asks for effects, where there are any: the second one
// that follows the order log.
const teller = "notification"

// tellable are the events that somebody may be told of.
var tellable = []string{schemas.OrderApproved, schemas.OrderRejected, schemas.OrderInvoiced, schemas.OrderDelivered, schemas.VoucherGrantedEvent}

// lastTellable is how many entries of a timeline must have been looked at.
func lastTellable(timeline []schemas.TimelineEntry) int64 {
	for i, e := range slices.Backward(timeline) {
		if slices.Contains(tellable, e.Type) {
			return int64(i) + 1
		}
	}
	return 0
}

// ledger is one partition of the effects' rows.
type ledger struct{ *docs[ledgerRow] }

// ledgerRow is what is kept of a schemas.LedgerEntry.
type ledgerRow struct {
	order, state string
	unsure       int64
}

func newLedger(w *world) ledger {
	names := interned{}
	return ledger{newDocs(w, topics.EffectsTable, func(b *schemas.LedgerEntry) ledgerRow {
		return ledgerRow{strings.Clone(b.OrderID), names.of(b.State), b.Unsure}
	})}
}

func (l ledger) add(r *kgo.Record) error {
	if len(r.Value) == 0 { // of a record that was no effect
		return nil
	}
	return l.docs.add(r)
}

// checkEffects: every event of an order was looked at, what was asked for then
// stands in the ledger, and nothing else does. Who is to be told of what changes with
// the configuration: how many effects an order has, its row in the table of
// notification says.
func checkEffects(w *world) Check {
	c := begin("effects")
	if w.cut.told == nil {
		c.note("nobody is told of anything")
		return c.done()
	}
	have := w.listEffects(c)
	for _, in := range w.inboxes[topics.Effects] {
		for _, cmd := range in.late { // what is parked has its row
			if b, ok := cmd.body.(*schemas.Effect); ok {
				have[b.OrderID]++
			}
		}
	}
	behind := int64(0)
	w.eachOrder(func(o *order) {
		if o.offset >= w.cut.told[o.partition] || w.parked.keys[teller][o.id] {
			behind++
			return
		}
		var row schemas.Notices
		if int(o.partition) < len(w.notices) {
			row = w.notices[o.partition].rows[o.id]
		}
		fail := func(what string) {
			c.fail(Violation{What: what, Orders: []string{o.id},
				Detail: fmt.Sprintf("%d entries of %d looked at, %d effects asked for, %d in the ledger", row.Seen, o.told, row.Asked, have[o.id])})
		}
		switch {
		case row.Seen < o.told:
			fail("an event that nobody has looked at")
		case row.Seen > o.told:
			fail("an event was told of that there is not")
		case have[o.id] < row.Asked:
			fail("an effect is missing")
		case have[o.id] > row.Asked && w.still && !w.moving(o):
			fail("an effect that nobody has asked for")
		}
	})
	if behind > 0 {
		c.note(count(behind) + " orders not looked at yet: is \"" + teller + "\" running?")
	}
	return c.done()
}

// listEffects counts them by order.
func (w *world) listEffects(c *Check) map[string]int64 {
	have, states, unsure := map[string]int64{}, map[string]int64{}, int64(0)
	for _, part := range w.notices {
		c.fail(part.faults...)
	}
	for _, part := range w.effects {
		c.fail(part.faults...)
		for id, e := range part.docs.docs {
			c.Checked++
			have[e.is.order]++
			states[e.is.state]++
			unsure += e.is.unsure
			if w.find(e.is.order) == nil {
				c.fail(Violation{What: "an effect of an order that there is not", Orders: []string{e.is.order}, Keys: []string{id}})
			}
		}
	}
	for _, s := range sortedKeys(states) {
		c.note(count(states[s]) + " " + s)
	}
	if unsure > 0 {
		c.note(count(unsure) + " tries of which nobody knows the end")
	}
	return have
}
