package verify

import (
	"math/big"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
)

// stockCommands is one partition of inventory-commands.
type stockCommands struct {
	inbox
	bySKU map[string]*supply
}

// supply is what came in of one product, and what it was said to cost.
type supply struct {
	received big.Int
	prices   []schemas.SetPrice // handled, in order
}

func (sc *stockCommands) add(r *kgo.Record) error { return sc.receive(r, sc.apply) }

func (sc *stockCommands) apply(c command) {
	if fault := stockFault(c.body); fault != "" {
		sc.lose(c, fault)
		return
	}
	s, ok := sc.bySKU[c.key]
	if !ok {
		s = &supply{}
		sc.bySKU[c.key] = s
	}
	switch b := c.body.(type) {
	case *schemas.ReceiveStock:
		s.received.Add(&s.received, big.NewInt(b.Quantity))
	case *schemas.SetPrice:
		s.prices = append(s.prices, *b)
	}
}

// stockFault tells why the inventory must refuse a command, "" if it need not.
func stockFault(body any) string {
	switch b := body.(type) {
	case *schemas.ReceiveStock:
		switch {
		case b.SKU == "":
			return "no product"
		case b.Quantity < 1 || b.Quantity > 1e12:
			return "quantity out of bounds"
		}
	case *schemas.SetPrice:
		switch {
		case b.SKU == "":
			return "no product"
		case b.Price < 0:
			return "negative price"
		case !threeCapitals(b.Currency):
			return "not a currency"
		}
	}
	return ""
}

// creditCommands is one partition of credit-commands.
type creditCommands struct {
	inbox
	byCustomer map[string]*limits
}

// limits is what a customer's limit was set to, in order.
type limits struct{ set []schemas.SetLimit }

func (cc *creditCommands) add(r *kgo.Record) error { return cc.receive(r, cc.apply) }

func (cc *creditCommands) apply(c command) {
	b := c.body.(*schemas.SetLimit)
	if fault := creditFault(b); fault != "" {
		cc.lose(c, fault)
		return
	}
	l, ok := cc.byCustomer[c.key]
	if !ok {
		l = &limits{}
		cc.byCustomer[c.key] = l
	}
	l.set = append(l.set, *b)
}

func creditFault(b *schemas.SetLimit) string {
	switch {
	case b.CustomerID == "":
		return "no customer"
	case b.Limit < 0:
		return "negative limit"
	case !threeCapitals(b.Currency):
		return "not a currency"
	}
	return ""
}

func threeCapitals(s string) bool {
	if len(s) != 3 {
		return false
	}
	for _, c := range []byte(s) {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}
