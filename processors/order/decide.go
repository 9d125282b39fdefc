// Package order is the order saga: it asks the inventory, the customer's credit
// and the invoicing for what an order needs, decides what becomes of the order,
// and takes back what was granted when the order dies. Each ask lives in the
// order's row, so the order log alone tells what every resource has given.
package order

import (
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Config is what the rule does not read off its messages.
type Config struct {
	// Series is the first part of invoice numbers; "" means "A". Credit notes
	// are numbered in the series CN, which must not be this one.
	Series string
}

// Name is that of the processor.
const Name = "order"

// New returns the rule, keyed by order. Its table is the order log.
func New(c Config) flow.Processor[schemas.Order] {
	if c.Series == "" {
		c.Series = "A"
	}
	return flow.Processor[schemas.Order]{
		Name:    Name,
		Inputs:  []string{topics.OrderCommands, topics.OrderReplies},
		Outputs: []string{topics.InventoryTasks, topics.CreditTasks, topics.InvoicingTasks},
		Decide:  c.decide,
		RowType: rowType,

		Overtakes: overtakes,
		Deadline:  Deadline,
		State:     state,
	}
}

// rowType is the last thing that happened.
func rowType(o schemas.Order) string {
	if len(o.Timeline) == 0 {
		return ""
	}
	return o.Timeline[len(o.Timeline)-1].Type
}

func state(o schemas.Order) (name string, last bool) {
	switch o.State {
	case schemas.Placed, schemas.Approved, schemas.Invoiced:
		return o.State, false
	}
	return o.State, true
}

func (c Config) decide(o schemas.Order, m flow.Message) (schemas.Order, []flow.Message) {
	if o.State == "" {
		return c.first(o, m)
	}
	s := &step{cfg: c, o: o, at: m.At}
	switch b := m.Body.(type) {
	case *schemas.PlaceOrder:
		s.placeAgain(b)
	case *schemas.DeliverOrder:
		s.deliver()
	case *schemas.CancelOrder:
		s.cancel(b)
	case *schemas.ExpireOrder:
		s.expire(b)
	case *schemas.StockReserved:
		s.stockReserved(b)
	case *schemas.StockRefused:
		s.stockRefused(b)
	case *schemas.CreditCharged:
		s.creditCharged(b)
	case *schemas.CreditRefused:
		s.creditRefused(b)
	case *schemas.InvoiceIssued:
		s.invoiceIssued(b)
	case *schemas.VoucherGranted:
		s.voucherGranted(b)
	}
	if !s.changed {
		return o, nil
	}
	return s.o, s.outs
}

// first handles a message to an order that does not exist.
func (c Config) first(o schemas.Order, m flow.Message) (schemas.Order, []flow.Message) {
	switch b := m.Body.(type) {
	case *schemas.PlaceOrder:
		if b.OrderID == "" {
			return o, flow.Refuse(m, "order_id is empty")
		}
		s := &step{cfg: c, at: m.At}
		s.place(b)
		return s.o, s.outs
	case *schemas.DeliverOrder, *schemas.CancelOrder:
		return o, flow.Refuse(m, "there is no such order")
	}
	return o, nil // an answer to an order that never was
}
