package order

import (
	"fmt"
	"unicode/utf8"

	"github.com/orderlog/orderlog/schemas"
)

// Limits of an order.
const (
	MaxLines    = 500
	MaxQuantity = 1_000_000_000
	MaxID       = 256 // bytes
)

// Reasons for which a PlaceOrder is rejected before anything is asked.
const (
	InvalidOrderID    = "invalid_order_id"
	InvalidCustomerID = "invalid_customer_id"
	InvalidCurrency   = "invalid_currency"
	InvalidSKU        = "invalid_sku"
	InvalidQuantity   = "invalid_quantity"
	InvalidDiscount   = "invalid_discount"
	InvalidPrice      = "invalid_unit_price"
	NoLines           = "no_lines"
	TooManyLines      = "too_many_lines"
	TotalTooLarge     = "total_too_large" // past int64; also when a price arrives
)

// place makes the row of a new order and asks all that can be asked now: every
// line's stock, and the credit if every line carries a quoted price.
func (s *step) place(b *schemas.PlaceOrder) {
	s.o = schemas.Order{
		OrderID:    b.OrderID,
		CustomerID: cut(b.CustomerID),
		Currency:   cut(b.Currency),
		PlacedAt:   s.at,
		ChangedAt:  s.at,
		BodyHash:   hash(b),
		VATBP:      vatRate(s.at),
		Lines:      lines(b.Lines),
		Credit:     schemas.CreditAsk{Ask: schemas.AskNone},
		Invoice:    schemas.InvoiceAsk{Ask: schemas.AskNone},
		CreditNote: schemas.InvoiceAsk{Ask: schemas.AskNone},
		Reasons:    faults(b),
	}
	s.ownLines = true
	s.enter(schemas.Placed, "")
	if len(s.o.Reasons) > 0 {
		s.enter(schemas.Rejected, "invalid")
		return
	}
	sum, complete, ok := quoted(s.o.Lines, s.o.VATBP)
	if !ok {
		s.because(TotalTooLarge)
		s.enter(schemas.Rejected, "invalid")
		return
	}
	s.askStock()
	if complete {
		s.askCredit(sum.gross())
	}
}

// placeAgain: the same body again is the same order, another is refused.
func (s *step) placeAgain(b *schemas.PlaceOrder) {
	if hash(b) != s.o.BodyHash {
		s.refuse(schemas.OrdersOrderPlace, "the order exists with another body")
	}
}

func hash(b *schemas.PlaceOrder) [16]byte {
	h, err := schemas.Hash(b)
	if err != nil {
		panic(fmt.Errorf("hashing order %q: %w", b.OrderID, err)) // a body that was decoded can be encoded
	}
	return h
}

// lines keeps nothing of an order that has too many.
func lines(wishes []schemas.PlaceLine) []schemas.Line {
	if len(wishes) > MaxLines {
		return nil
	}
	ls := make([]schemas.Line, len(wishes))
	for i, w := range wishes {
		ls[i] = schemas.Line{
			SKU: cut(w.SKU), Quantity: w.Quantity, QuotedPrice: w.UnitPrice, DiscountBP: w.DiscountBP, Stock: schemas.AskNone,
		}
	}
	return ls
}

// faults lists all that is wrong with an order, a code first.
func faults(b *schemas.PlaceOrder) (all []string) {
	fault := func(code, format string, args ...any) {
		all = append(all, code+": "+fmt.Sprintf(format, args...))
	}
	if what := idFault("ord_", b.OrderID); what != "" {
		fault(InvalidOrderID, "%s", what)
	}
	if what := idFault("cus_", b.CustomerID); what != "" {
		fault(InvalidCustomerID, "%s", what)
	}
	if !schemas.IsCurrency(b.Currency) {
		fault(InvalidCurrency, "%q is not three capital letters", cut(b.Currency))
	}
	switch n := len(b.Lines); {
	case n == 0:
		all = append(all, NoLines)
	case n > MaxLines:
		fault(TooManyLines, "%d, at most %d", n, MaxLines)
		return all
	}
	for i, l := range b.Lines {
		if what := idFault("sku_", l.SKU); what != "" {
			fault(InvalidSKU, "line %d %s", i+1, what)
		}
		if l.Quantity < 1 || l.Quantity > MaxQuantity {
			fault(InvalidQuantity, "line %d wants %d, not 1 to %d", i+1, l.Quantity, MaxQuantity)
		}
		if l.DiscountBP < 0 || l.DiscountBP > 10_000 {
			fault(InvalidDiscount, "line %d has %d, not 0 to 10000", i+1, l.DiscountBP)
		}
		if l.UnitPrice < 0 {
			fault(InvalidPrice, "line %d has %d", i+1, l.UnitPrice)
		}
	}
	return all
}

func idFault(prefix, id string) string {
	switch {
	case id == "" || id == prefix:
		return "is empty"
	case len(id) > MaxID:
		return fmt.Sprintf("has %d bytes, at most %d", len(id), MaxID)
	case len(id) < len(prefix) || id[:len(prefix)] != prefix:
		return fmt.Sprintf("%q does not begin with %s", id, prefix)
	}
	return ""
}

// cut keeps a string from outside within MaxID bytes, in whole characters.
func cut(s string) string {
	if len(s) <= MaxID {
		return s
	}
	n := MaxID
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
