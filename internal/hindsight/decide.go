package hindsight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/sim"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// decider has commands decided by rules.
type decider struct {
	ctx      context.Context
	cfg      Config
	commands []flow.Message
	rules    []sim.Rule // that do not panic

	panics int
	panic  string // the first
}

// guard has a rule that panics leave no trace: in history the record is set aside.
func (d *decider) guard() {
	for _, r := range d.cfg.Rules {
		decide := r.Decide
		r.Decide = func(row any, m flow.Message) (next any, outs []flow.Message, changed bool) {
			defer func() {
				if p := recover(); p != nil {
					if d.panics++; d.panics == 1 {
						d.panic = fmt.Sprintf("%s at %s of %s: %v", r.Name, m.Type, m.Key, p)
					}
					next, outs, changed = row, nil, false
				}
			}()
			return decide(row, m)
		}
		d.rules = append(d.rules, r)
	}
}

func (d *decider) rule(name string) sim.Rule {
	return d.rules[slices.IndexFunc(d.rules, func(r sim.Rule) bool { return r.Name == name })]
}

// world decides all commands; so many about orders overlap, and pick chooses what
// comes first of them.
func (d *decider) world(overlap int, pick func(n int) int) (map[string]*schemas.Order, error) {
	w := sim.New(sim.Config{Rules: d.rules, Partitions: 1, Pick: pick})
	settle := func() { w.Settle(); w.Forget() }
	sent := 0
	for i, m := range d.commands {
		if i%1000 == 0 {
			d.cfg.Progress(int64(i), int64(len(d.commands)))
			if d.ctx.Err() != nil {
				return nil, d.ctx.Err()
			}
		}
		if m.Topic != topics.OrderCommands {
			settle()
			sent = overlap - 1
		}
		w.Send(m)
		if sent++; sent >= overlap {
			settle()
			sent = 0
		}
	}
	settle()
	orders := map[string]*schemas.Order{}
	for id, o := range sim.Rows[schemas.Order](w, "order") {
		orders[id] = &o
	}
	return orders, nil
}

// alone decides one order anew: what it was told and asked, in the order of its
// timeline, and the vouchers that it earns. It is not sure where what a resource had
// then is not known well enough to tell what it would answer: the answer is history's.
func (d *decider) alone(is *schemas.Order, placed *schemas.PlaceOrder) (o *schemas.Order, sure bool) {
	order, voucher := d.rule("order"), d.rule("voucher")
	var row, grants any = order.Zero, voucher.Zero
	tell := func(at int64, topic string, body any) {
		row, _, _ = order.Decide(row, message(is.OrderID, at, topic, body))
	}
	m := &met{d: d, is: is, used: make([]bool, len(is.Lines)), sure: true}
	for i, e := range is.Timeline {
		now := row.(schemas.Order)
		if i == 0 {
			tell(e.At, topics.OrderCommands, placed)
		} else if topic, body := m.message(e, &now); body != nil {
			tell(e.At, topic, body)
		}
		if body := document(is, row.(schemas.Order)); body != nil {
			tell(e.At, topics.OrderReplies, body)
		}
		typ, version := order.Written(row)
		if voucher.Skip(typ) {
			continue
		}
		next, outs, _ := voucher.Decide(grants, message(is.OrderID, e.At, topics.OrderTable, version))
		grants = next
		for _, m := range outs {
			if m.Topic == topics.OrderReplies {
				tell(m.At, m.Topic, m.Body)
			}
		}
	}
	now := row.(schemas.Order)
	return &now, m.sure
}

// document is one that an order asks for now, and never asked for in history: nobody
// refuses it.
func document(is *schemas.Order, now schemas.Order) any {
	switch a := (schemas.InvoiceAsk{IssuedAt: now.ChangedAt}); {
	case now.Invoice.Ask == schemas.Asked && is.Invoice.Ask == schemas.AskNone:
		return issued(is.OrderID, schemas.KindInvoice, a)
	case now.CreditNote.Ask == schemas.Asked && is.CreditNote.Ask == schemas.AskNone:
		return issued(is.OrderID, schemas.KindCreditNote, a)
	}
	return nil
}

// message is one about an order.
func message(order string, at int64, topic string, body any) flow.Message {
	return flow.Message{ID: "evt_" + order, Type: schemas.TypeOf(body), Topic: topic, Key: schemas.KeyOf(body), At: at, Correlation: order, Body: body}
}

// met is what an order met, read off its timeline.
type met struct {
	d    *decider
	is   *schemas.Order
	used []bool // lines that had their verdict
	sure bool
}

// message is what an entry of the timeline came of; of those that follow from others,
// nothing. Now is the order as it is decided anew.
func (m *met) message(e schemas.TimelineEntry, now *schemas.Order) (topic string, body any) {
	id := m.is.OrderID
	switch e.Type {
	case schemas.OrderDelivered:
		return topics.OrderCommands, &schemas.DeliverOrder{OrderID: id}
	case schemas.OrderCancelled:
		return topics.OrderCommands, cancelOf(m.is)
	case schemas.OrderExpired:
		return topics.OrderReplies, &schemas.ExpireOrder{OrderID: id, State: now.State, Version: now.EnteredBy}
	case schemas.OrderRefused:
		switch command, _, _ := strings.Cut(e.Detail, ":"); command {
		case schemas.OrdersOrderDeliver:
			return topics.OrderCommands, &schemas.DeliverOrder{OrderID: id}
		case schemas.OrdersOrderCancel:
			return topics.OrderCommands, &schemas.CancelOrder{OrderID: id}
		}
	case schemas.StockReservedEvent:
		return topics.OrderReplies, m.reserved(e.Detail)
	case schemas.StockRefusedEvent:
		return topics.OrderReplies, m.stockRefused(e.Detail)
	case schemas.CreditChargedEvent:
		return topics.OrderReplies, m.charged(now)
	case schemas.CreditRefusedEvent:
		return topics.OrderReplies, m.creditRefused(now)
	case schemas.InvoiceIssuedEvent:
		return topics.OrderReplies, issued(id, schemas.KindInvoice, m.is.Invoice)
	case schemas.CreditNoteIssuedEvent:
		return topics.OrderReplies, issued(id, schemas.KindCreditNote, m.is.CreditNote)
	}
	return "", nil
}

func issued(order, kind string, a schemas.InvoiceAsk) *schemas.InvoiceIssued {
	return &schemas.InvoiceIssued{OrderID: order, Kind: kind, InvoiceID: a.InvoiceID, Number: a.Number, IssuedAt: a.IssuedAt}
}
