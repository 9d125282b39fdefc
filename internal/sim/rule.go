package sim

import (
	"fmt"
	"reflect"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/processors/credit"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/processors/invoicing"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/processors/voucher"
)

// Rule is a flow.Processor whose row type is out of sight: a row is an any that
// holds a value of that type.
type Rule struct {
	Name   string
	Inputs []string
	Zero   any // no row
	Skip   func(messageType string) bool

	// Decide is the rule's own, and says whether the row changed.
	Decide func(row any, m flow.Message) (next any, outs []flow.Message, changed bool)

	// Written is a row as it stands on the rule's table: message type and body.
	Written func(row any) (messageType string, body any)
}

// Of erases the row type of p.
func Of[S any](p flow.Processor[S]) Rule {
	var zero S
	skip := p.Skip
	if skip == nil {
		skip = func(string) bool { return false }
	}
	return Rule{
		Name: p.Name, Inputs: p.Inputs, Zero: zero, Skip: skip,
		Decide: func(row any, m flow.Message) (any, []flow.Message, bool) {
			next, outs := p.Decide(row.(S), m)
			return next, flow.Derive(m, outs), !reflect.DeepEqual(row, any(next))
		},
		Written: func(row any) (string, any) {
			s := row.(S)
			return p.RowType(s), &s
		},
	}
}

// Text renders a row or a body, equal for equal ones.
func Text(v any) string { return fmt.Sprintf("%+v", reflect.Indirect(reflect.ValueOf(v))) }

// Rules returns every rule of orderlog.
func Rules(openingLimit int64) []Rule {
	return []Rule{
		Of(order.New(order.Config{Series: "A"})),
		Of(inventory.New()),
		Of(credit.New(credit.Config{OpeningLimit: openingLimit})),
		Of(invoicing.New()),
		Of(voucher.New()),
	}
}
