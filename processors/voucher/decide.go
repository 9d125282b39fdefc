// Package voucher follows the order log and grants a voucher for each delivered
// order worth it, once per order and strategy. It acts on the state that it
// sees, so it makes no difference how many versions of an order it missed.
package voucher

import (
	"slices"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// The one strategy there is: 5.00 EUR for an order of 100.00 EUR gross or more.
const (
	Strategy  = "order-over-100"
	Currency  = "EUR"
	Threshold = 10_000 // gross, cents
	Amount    = 500    // cents
)

// New returns the rule, keyed by order.
func New() flow.Processor[schemas.Grants] {
	return flow.Processor[schemas.Grants]{
		Name:    "voucher",
		Inputs:  []string{topics.OrderTable},
		Outputs: []string{topics.Vouchers, topics.OrderReplies},
		Decide:  decide,
		RowType: func(schemas.Grants) string { return schemas.GrantsChanged },
		Skip:    skip,
	}
}

// skip knows the types that a version of a delivered order never has: the
// order was not delivered yet, or never will be. A delivered order's version is
// named order.delivered, voucher.granted or order.command_refused.
func skip(messageType string) bool {
	switch messageType {
	case schemas.OrderPlaced, schemas.OrderApproved, schemas.OrderInvoiced,
		schemas.OrderRejected, schemas.OrderCancelled, schemas.OrderExpired,
		schemas.StockReservedEvent, schemas.StockRefusedEvent,
		schemas.CreditChargedEvent, schemas.CreditRefusedEvent,
		schemas.InvoiceIssuedEvent, schemas.CreditNoteIssuedEvent:
		return true
	}
	return false
}

func decide(row schemas.Grants, m flow.Message) (schemas.Grants, []flow.Message) {
	o, ok := m.Body.(*schemas.Order)
	if !ok || !earns(o) || holds(row, Strategy) {
		return row, nil
	}
	v := &schemas.Voucher{
		VoucherID:  flow.NewID("vch", o.PlacedAt, o.OrderID+"/"+Strategy, 0),
		OrderID:    o.OrderID,
		CustomerID: o.CustomerID,
		Strategy:   Strategy,
		Amount:     Amount,
		Currency:   Currency,
		GrantedAt:  deliveredAt(o),
	}
	row.OrderID = o.OrderID
	row.Granted = append(slices.Clip(row.Granted), schemas.EarnedVoucher{Strategy: v.Strategy, VoucherID: v.VoucherID, Amount: v.Amount})
	return row, []flow.Message{
		{Topic: topics.Vouchers, Type: schemas.VoucherGrantedEvent, Key: v.VoucherID, Body: v},
		{Topic: topics.OrderReplies, Type: schemas.VoucherGrantedEvent, Key: o.OrderID, Body: &schemas.VoucherGranted{
			OrderID: o.OrderID, Strategy: v.Strategy, VoucherID: v.VoucherID, Amount: v.Amount,
		}},
	}
}

func earns(o *schemas.Order) bool {
	return o.State == schemas.Delivered && o.Currency == Currency && o.Gross >= Threshold
}

func holds(row schemas.Grants, strategy string) bool {
	return slices.ContainsFunc(row.Granted, func(v schemas.EarnedVoucher) bool { return v.Strategy == strategy })
}

// deliveredAt reads the time off the timeline: the version at hand may be a later one.
func deliveredAt(o *schemas.Order) int64 {
	for _, e := range o.Timeline {
		if e.Type == schemas.OrderDelivered {
			return e.At
		}
	}
	return o.ChangedAt
}
