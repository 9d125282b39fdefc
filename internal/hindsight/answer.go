package hindsight

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/orderlog/orderlog/processors/credit"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// What a resource had when it answered is known where it refused: the reason tells.
// Where it granted, it had enough: the rule is asked what it answers if that was just
// enough, and if it was plenty.
const plenty = math.MaxInt64 / 4

// ask has a resource's rule answer, for a row.
func (m *met) ask(group, topic string, row, task any) any {
	_, outs, _ := m.d.rule(group).Decide(row, message(m.is.OrderID, m.is.PlacedAt, topic, task))
	for _, o := range outs {
		if o.Topic == topics.OrderReplies {
			return o.Body
		}
	}
	return nil
}

// granted is what the rule answers to one that was granted, is: that, if it is so with
// enough and with plenty, and not for sure if only with plenty.
func (m *met) granted(is any, same func(any) bool, answer func(left int64) any, enough int64) any {
	if most := answer(plenty); !same(most) {
		return most
	}
	m.sure = m.sure && same(answer(enough))
	return is
}

func (m *met) reserve(i int) *schemas.ReserveStock {
	l := m.is.Lines[i]
	return &schemas.ReserveStock{OrderID: m.is.OrderID, Line: int64(i), SKU: l.SKU, Quantity: l.Quantity, QuotedPrice: l.QuotedPrice, Currency: m.is.Currency}
}

func (m *met) reserved(sku string) any {
	i := m.line(sku, schemas.Granted, schemas.Released)
	if i < 0 {
		return nil
	}
	l := m.is.Lines[i]
	is := schemas.StockReserved{OrderID: m.is.OrderID, Line: int64(i), SKU: sku, UnitPrice: l.UnitPrice}
	same := func(b any) bool { r, ok := b.(*schemas.StockReserved); return ok && *r == is }
	return m.granted(&is, same, func(onHand int64) any {
		row := schemas.Stock{SKU: sku, Priced: true, Price: l.UnitPrice, Currency: m.is.Currency, OnHand: onHand}
		return m.ask("inventory", topics.InventoryTasks, row, m.reserve(i))
	}, l.Quantity)
}

func (m *met) stockRefused(sku string) any {
	i := m.line(sku, schemas.Refused)
	if i < 0 {
		return nil
	}
	task := m.reserve(i)
	row := schemas.Stock{SKU: sku, Priced: true, Price: max(task.QuotedPrice, 1), Currency: task.Currency, OnHand: plenty}
	code, detail := m.reason(fmt.Sprintf(": line %d %s", i+1, sku))
	n, known := 0, true
	switch code {
	case inventory.UnknownProduct:
		row = schemas.Stock{}
	case inventory.OutOfStock:
		n, _ = fmt.Sscanf(detail, "(wanted %d, on hand %d)", new(int64), &row.OnHand)
		known = n == 2
	case inventory.StaleQuote:
		n, _ = fmt.Sscanf(detail, "(quoted %d, list price %d)", new(int64), &row.Price)
		known = n == 2
	case inventory.CurrencyMismatch:
		n, _ = fmt.Sscanf(detail, "(order in %3s, price in %3s", new(string), &row.Currency)
		known = n == 2
	default:
		known = false
	}
	if !known {
		m.sure = false
		return &schemas.StockRefused{OrderID: m.is.OrderID, Line: int64(i), SKU: sku, Reason: code}
	}
	return m.ask("inventory", topics.InventoryTasks, row, task)
}

// charge asks for what the order asks for as it is decided anew.
func (m *met) charge(now *schemas.Order) *schemas.ChargeCredit {
	return &schemas.ChargeCredit{OrderID: m.is.OrderID, CustomerID: m.is.CustomerID, Amount: now.Credit.Amount, Currency: m.is.Currency}
}

func (m *met) charged(now *schemas.Order) any {
	task := m.charge(now)
	is := schemas.CreditCharged{OrderID: task.OrderID, CustomerID: task.CustomerID, Amount: task.Amount, Opened: m.is.Credit.Opened}
	if is.Opened > 0 {
		return m.ask("credit", topics.CreditTasks, schemas.Account{}, task)
	}
	same := func(b any) bool { r, ok := b.(*schemas.CreditCharged); return ok && *r == is }
	return m.granted(&is, same, func(left int64) any {
		return m.ask("credit", topics.CreditTasks, schemas.Account{CustomerID: task.CustomerID, Currency: task.Currency, Limit: left}, task)
	}, m.is.Credit.Amount)
}

func (m *met) creditRefused(now *schemas.Order) any {
	task := m.charge(now)
	row := schemas.Account{CustomerID: task.CustomerID, Currency: task.Currency, Limit: plenty}
	code, detail := m.reason(": " + task.CustomerID)
	n, known := 0, true
	switch {
	case m.is.Credit.Opened > 0:
		row = schemas.Account{}
	case code == credit.InsufficientCredit:
		n, _ = fmt.Sscanf(detail, "(wanted %d, left %d)", new(int64), &row.Limit)
		known = n == 2
	case code == credit.CurrencyMismatch:
		n, _ = fmt.Sscanf(detail, "(order in %3s, account in %3s", new(string), &row.Currency)
		known = n == 2
	default:
		known = false
	}
	if !known {
		m.sure = false
		return &schemas.CreditRefused{OrderID: task.OrderID, CustomerID: task.CustomerID, Reason: code, Opened: m.is.Credit.Opened}
	}
	return m.ask("credit", topics.CreditTasks, row, task)
}

// line is the next one of a product whose verdict was one of these.
func (m *met) line(sku string, verdicts ...string) int {
	for i, l := range m.is.Lines {
		if l.SKU == sku && !m.used[i] && slices.Contains(verdicts, l.Stock) {
			m.used[i] = true
			return i
		}
	}
	return -1
}

// reason is the one that speaks of something: its code, and in brackets what was there.
func (m *met) reason(of string) (code, detail string) {
	for _, why := range m.is.Reasons {
		code, rest, _ := strings.Cut(why, ":")
		if detail, ok := strings.CutPrefix(":"+rest, of); ok && (detail == "" || detail[0] == ' ') {
			return code, strings.TrimSpace(detail)
		}
	}
	return "", ""
}
