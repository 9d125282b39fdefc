// Package notification follows the order log and asks, for each event of an
// order that people and other systems wait for, for one effect per party that is
// to be told. It acts on the timeline that it sees, so it makes no difference how
// many versions of an order it missed. Sending is for internal/effect.
package notification

import (
	"slices"
	"strconv"
	"strings"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Config says who is told of what. All instances must have the same one.
type Config struct {
	Mail     string    // address of a customer's mails, Customer in it is replaced by the customer's ID; "": nobody gets mails
	Webhooks []Webhook // in any order
	Since    int64     // event time, Unix ms: nobody is told of what happened before
}

// Customer stands for the customer's ID in Config.Mail.
const Customer = "{customer}"

// Webhook is an endpoint as far as the rule knows it.
type Webhook struct {
	Name   string   // for good: it is a part of the effects' IDs
	Events []string // "order.invoiced", "order.*"; none: all
}

// Events lists what somebody may be told of.
func Events() []string {
	return []string{schemas.OrderApproved, schemas.OrderRejected, schemas.OrderInvoiced, schemas.OrderDelivered, schemas.VoucherGrantedEvent}
}

// Wants says whether filters ask for an event: none do, "*" does, and so do its
// name and the beginning of its name, as in "order.*".
func Wants(filters []string, event string) bool {
	return len(filters) == 0 || slices.ContainsFunc(filters, func(f string) bool {
		start, wild := strings.CutSuffix(f, "*")
		return f == event || wild && strings.HasPrefix(event, start)
	})
}

// New returns the rule, keyed by order.
func New(c Config) flow.Processor[schemas.Notices] {
	return flow.Processor[schemas.Notices]{
		Name:    "notification",
		Inputs:  []string{topics.OrderTable},
		Outputs: []string{topics.Effects},
		Decide:  c.decide,
		RowType: func(schemas.Notices) string { return schemas.NoticesChanged },
		// Only a new order's version has nothing to tell for sure: any other may be
		// the first that is seen after an approval or a rejection.
		Skip: func(messageType string) bool { return messageType == schemas.OrderPlaced },
	}
}

// decide looks at what is new in the timeline, which only grows. The row moves
// with events that count, whoever is told of them: a webhook that is configured
// later is not told of what was before.
func (c Config) decide(row schemas.Notices, m flow.Message) (schemas.Notices, []flow.Message) {
	o, ok := m.Body.(*schemas.Order)
	if !ok {
		return row, nil
	}
	var outs []flow.Message
	for i := int(row.Seen); i < len(o.Timeline); i++ {
		e := o.Timeline[i]
		if !slices.Contains(Events(), e.Type) {
			continue
		}
		row.OrderID, row.Seen = o.OrderID, int64(i+1)
		if e.At >= c.Since {
			outs = append(outs, c.effects(o, i)...)
		}
	}
	row.Asked += int64(len(outs))
	return row, outs
}

// effects are one entry of the timeline for all who want to know.
func (c Config) effects(o *schemas.Order, entry int) (outs []flow.Message) {
	e, payload := o.Timeline[entry], notice(o, entry)
	add := func(messageType, kind, name, to string) {
		id := flow.NewID("eff", e.At, o.OrderID+"/"+strconv.Itoa(entry)+"/"+kind+"/"+name, 0)
		outs = append(outs, flow.Message{Topic: topics.Effects, Type: messageType, Key: id, At: e.At, Body: &schemas.Effect{
			EffectID: id, Kind: kind, Event: e.Type, OrderID: o.OrderID, To: to, At: e.At, Payload: payload,
		}})
	}
	if c.Mail != "" {
		add(schemas.NotificationsEmailSend, schemas.KindEmail, "", strings.ReplaceAll(c.Mail, Customer, o.CustomerID))
	}
	for _, w := range c.Webhooks {
		if Wants(w.Events, e.Type) {
			add(schemas.NotificationsWebhookSend, schemas.KindWebhook, w.Name, w.Name)
		}
	}
	return outs
}
