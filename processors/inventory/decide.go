// Package inventory is the rule of a product's row: its price, and the goods on
// hand. A line is reserved or refused at once; what is released comes back. The
// row knows no order, so its size does not depend on how many are open: what is
// reserved and what is sold is read off the order log.
package inventory

import (
	"fmt"
	"math"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// MaxReceipt is the largest quantity of one ReceiveStock.
const MaxReceipt = 1_000_000_000_000

// Reasons of a StockRefused.
const (
	UnknownProduct   = "unknown_product"   // never priced
	CurrencyMismatch = "currency_mismatch" // priced in another currency
	StaleQuote       = "stale_quote"       // quoted at what is not the list price
	OutOfStock       = "out_of_stock"
)

// New returns the rule, keyed by SKU.
func New() flow.Processor[schemas.Stock] {
	return flow.Processor[schemas.Stock]{
		Name:    "inventory",
		Inputs:  []string{topics.InventoryTasks, topics.InventoryCommands},
		Outputs: []string{topics.OrderReplies},
		Decide:  decide,
		RowType: func(schemas.Stock) string { return schemas.StockChanged },
	}
}

func decide(row schemas.Stock, m flow.Message) (schemas.Stock, []flow.Message) {
	switch b := m.Body.(type) {
	case *schemas.ReserveStock:
		return reserve(row, b)
	case *schemas.ReleaseStock:
		return add(row, m, b.Quantity)
	case *schemas.SetPrice:
		return price(row, m, b)
	case *schemas.ReceiveStock:
		return receive(row, m, b)
	}
	return row, nil
}

func reserve(row schemas.Stock, b *schemas.ReserveStock) (schemas.Stock, []flow.Message) {
	if reason, detail := refusal(row, b); reason != "" {
		return row, reply(b.OrderID, schemas.StockRefusedEvent, &schemas.StockRefused{
			OrderID: b.OrderID, Line: b.Line, SKU: b.SKU, Reason: reason, Detail: detail,
		})
	}
	row.OnHand -= b.Quantity
	return row, reply(b.OrderID, schemas.StockReservedEvent, &schemas.StockReserved{
		OrderID: b.OrderID, Line: b.Line, SKU: b.SKU, UnitPrice: row.Price,
	})
}

func refusal(row schemas.Stock, b *schemas.ReserveStock) (reason, detail string) {
	switch {
	case !row.Priced:
		return UnknownProduct, ""
	case row.Currency != b.Currency:
		return CurrencyMismatch, fmt.Sprintf("order in %s, price in %s", b.Currency, row.Currency)
	case b.QuotedPrice != 0 && b.QuotedPrice != row.Price:
		return StaleQuote, fmt.Sprintf("quoted %d, list price %d", b.QuotedPrice, row.Price)
	case row.OnHand < b.Quantity:
		return OutOfStock, fmt.Sprintf("wanted %d, on hand %d", b.Quantity, row.OnHand)
	}
	return "", ""
}

func price(row schemas.Stock, m flow.Message, b *schemas.SetPrice) (schemas.Stock, []flow.Message) {
	switch {
	case b.SKU == "":
		return row, flow.Refuse(m, "sku is empty")
	case b.Price < 0:
		return row, flow.Refuse(m, fmt.Sprintf("price %d is negative", b.Price))
	case !schemas.IsCurrency(b.Currency):
		return row, flow.Refuse(m, fmt.Sprintf("currency %q is not three capital letters", b.Currency))
	}
	row.SKU, row.Name = b.SKU, b.Name
	row.Priced, row.Price, row.Currency = true, b.Price, b.Currency
	return row, nil
}

func receive(row schemas.Stock, m flow.Message, b *schemas.ReceiveStock) (schemas.Stock, []flow.Message) {
	switch {
	case b.SKU == "":
		return row, flow.Refuse(m, "sku is empty")
	case b.Quantity < 1 || b.Quantity > MaxReceipt:
		return row, flow.Refuse(m, fmt.Sprintf("quantity %d is not in 1..%d", b.Quantity, int64(MaxReceipt)))
	}
	row.SKU = b.SKU
	return add(row, m, b.Quantity)
}

// add refuses only what int64 cannot hold.
func add(row schemas.Stock, m flow.Message, quantity int64) (schemas.Stock, []flow.Message) {
	if quantity > math.MaxInt64-row.OnHand {
		return row, flow.Refuse(m, fmt.Sprintf("on hand %d plus %d is past the largest number", row.OnHand, quantity))
	}
	row.OnHand += quantity
	return row, nil
}

func reply(order, messageType string, body any) []flow.Message {
	return []flow.Message{{Topic: topics.OrderReplies, Type: messageType, Key: order, Body: body}}
}
