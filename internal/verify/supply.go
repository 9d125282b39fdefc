package verify

import (
	"math/big"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// stockCommands is one partition of inventory-commands.
type stockCommands struct {
	*inbox
	bySKU map[string]*supply
}

// supply is what came in of one product, and what it was said to cost.
type supply struct {
	received big.Int
	prices   []schemas.SetPrice // handled, in order
	again    []schemas.SetPrice // handled, at some time
}

func newStockCommands(w *world) *stockCommands {
	sc := &stockCommands{bySKU: map[string]*supply{}}
	sc.inbox = w.inbox(topics.InventoryCommands, sc.obey)
	return sc
}

func (sc *stockCommands) obey(c command) {
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
		if c.again {
			s.again = append(s.again, *b)
		} else {
			s.prices = append(s.prices, *b)
		}
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
	*inbox
	byCustomer map[string][]limit // as set, in order
	again      map[string][]limit // set at some time
}

func newCreditCommands(w *world) *creditCommands {
	cc := &creditCommands{byCustomer: map[string][]limit{}, again: map[string][]limit{}}
	cc.inbox = w.inbox(topics.CreditCommands, cc.obey)
	return cc
}

func (cc *creditCommands) obey(c command) {
	b := c.body.(*schemas.SetLimit)
	if fault := creditFault(b); fault != "" {
		cc.lose(c, fault)
		return
	}
	if c.again {
		cc.again[c.key] = append(cc.again[c.key], limit{b.Limit, b.Currency})
		return
	}
	cc.byCustomer[c.key] = append(cc.byCustomer[c.key], limit{b.Limit, b.Currency})
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
