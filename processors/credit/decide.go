// Package credit is the rule of a customer's account: a limit and what is
// charged against it. An order's gross is charged or refused at once; a refund
// takes a charge back. Payments are not modelled: what is charged stays charged
// until it is refunded. The row knows no order.
package credit

import (
	"fmt"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Reasons of a CreditRefused.
const (
	InsufficientCredit = "insufficient_credit"
	CurrencyMismatch   = "currency_mismatch" // the account is in another currency
)

// Config is what the rule does not read off its messages.
type Config struct {
	// OpeningLimit is the limit, in minor units of the first order's currency,
	// with which the first charge of an unknown customer opens the account.
	OpeningLimit int64
}

// New returns the rule, keyed by customer.
func New(c Config) flow.Processor[schemas.Account] {
	return flow.Processor[schemas.Account]{
		Name:    "credit",
		Inputs:  []string{topics.CreditTasks, topics.CreditCommands},
		Outputs: []string{topics.OrderReplies},
		Decide:  c.decide,
		RowType: func(schemas.Account) string { return schemas.AccountChanged },
	}
}

func (c Config) decide(row schemas.Account, m flow.Message) (schemas.Account, []flow.Message) {
	switch b := m.Body.(type) {
	case *schemas.ChargeCredit:
		return c.charge(row, b)
	case *schemas.RefundCredit:
		row.Charged -= b.Amount
		return row, nil
	case *schemas.SetLimit:
		return setLimit(row, m, b)
	}
	return row, nil
}

func (c Config) charge(row schemas.Account, b *schemas.ChargeCredit) (schemas.Account, []flow.Message) {
	var opened int64
	if row.CustomerID == "" {
		opened = c.OpeningLimit
		row = schemas.Account{CustomerID: b.CustomerID, Currency: b.Currency, Limit: opened}
	}
	if reason, detail := refusal(row, b); reason != "" {
		return row, reply(b.OrderID, schemas.CreditRefusedEvent, &schemas.CreditRefused{
			OrderID: b.OrderID, CustomerID: b.CustomerID, Reason: reason, Detail: detail, Opened: opened,
		})
	}
	row.Charged += b.Amount
	return row, reply(b.OrderID, schemas.CreditChargedEvent, &schemas.CreditCharged{
		OrderID: b.OrderID, CustomerID: b.CustomerID, Amount: b.Amount, Opened: opened,
	})
}

func refusal(row schemas.Account, b *schemas.ChargeCredit) (reason, detail string) {
	left := row.Limit - row.Charged // both are >= 0: no overflow; negative after a limit was lowered
	switch {
	case row.Currency != b.Currency:
		return CurrencyMismatch, fmt.Sprintf("order in %s, account in %s", b.Currency, row.Currency)
	case b.Amount > left:
		return InsufficientCredit, fmt.Sprintf("wanted %d, left %d", b.Amount, max(left, 0))
	}
	return "", ""
}

func setLimit(row schemas.Account, m flow.Message, b *schemas.SetLimit) (schemas.Account, []flow.Message) {
	switch {
	case b.CustomerID == "":
		return row, flow.Refuse(m, "customer_id is empty")
	case b.Limit < 0:
		return row, flow.Refuse(m, fmt.Sprintf("limit %d is negative", b.Limit))
	case !schemas.IsCurrency(b.Currency):
		return row, flow.Refuse(m, fmt.Sprintf("currency %q is not three capital letters", b.Currency))
	case row.Charged > 0 && row.Currency != b.Currency:
		return row, flow.Refuse(m, fmt.Sprintf("currency %s cannot become %s while %d is charged", row.Currency, b.Currency, row.Charged))
	}
	row.CustomerID, row.Limit, row.Currency = b.CustomerID, b.Limit, b.Currency
	return row, nil
}

func reply(order, messageType string, body any) []flow.Message {
	return []flow.Message{{Topic: topics.OrderReplies, Type: messageType, Key: order, Body: body}}
}
