package superstore

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/orderlog/orderlog/processors/order"
)

// The columns that are needed.
const (
	colOrderID     = "Order ID"
	colOrderDate   = "Order Date"
	colShipDate    = "Ship Date"
	colCustomerID  = "Customer ID"
	colProductID   = "Product ID"
	colProductName = "Product Name"
	colSales       = "Sales"
	colQuantity    = "Quantity"
	colDiscount    = "Discount"
)

// Prefixes of the IDs.
const (
	orderPrefix    = "ord_"
	customerPrefix = "cus_"
	skuPrefix      = "sku_"
)

const (
	maxID     = order.MaxID - len(orderPrefix) // bytes; all prefixes are as long
	maxNumber = 40                             // characters
)

// header tells where the columns are.
type header struct {
	names []string
	at    map[string]int
}

func newHeader(r *rows) (*header, error) {
	cells, err := r.next()
	if err == io.EOF {
		return nil, errors.New("reading the header: the file is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	h := &header{at: map[string]int{}}
	for i, c := range cells {
		// Spreadsheets leave no-break spaces in headers that nobody sees.
		name := strings.TrimSpace(strings.ReplaceAll(c, "\u00a0", " "))
		h.names = append(h.names, name)
		if _, twice := h.at[name]; twice && slices.Contains(needed(), name) {
			return nil, fmt.Errorf("reading the header: two columns are called %q", name)
		}
		h.at[name] = i
	}
	var missing []string
	for _, name := range needed() {
		if _, ok := h.at[name]; !ok {
			missing = append(missing, fmt.Sprintf("%q", name))
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("reading the header: missing columns: %s", strings.Join(missing, ", "))
	}
	return h, nil
}

func needed() []string {
	return []string{colOrderID, colOrderDate, colShipDate, colCustomerID, colProductID, colProductName, colSales, colQuantity, colDiscount}
}

func (h *header) name(field int) string {
	if field < len(h.names) && h.names[field] != "" {
		return h.names[field]
	}
	return fmt.Sprintf("field %d", field+1)
}

// line is a row as it is understood.
type line struct {
	order, customer, product, name string
	ordered, shipped               int64 // Unix ms
	sales, discount                *big.Rat
	quantity                       int64
}

// parse understands a row, or names the first column it cannot and the reason.
func (h *header) parse(cells []string) (l line, column, reason string) {
	if len(cells) != len(h.names) {
		return l, h.name(min(len(cells), len(h.names))), fmt.Sprintf("the row has %d fields, the header %d", len(cells), len(h.names))
	}
	read := func(name string, into func(string) string) {
		if reason == "" {
			if reason = into(cells[h.at[name]]); reason != "" {
				column = name
			}
		}
	}
	read(colOrderID, id(&l.order))
	read(colOrderDate, date(&l.ordered))
	read(colShipDate, date(&l.shipped))
	read(colCustomerID, id(&l.customer))
	read(colProductID, id(&l.product))
	read(colProductName, text(&l.name))
	read(colSales, number(&l.sales))
	read(colQuantity, quantity(&l.quantity))
	read(colDiscount, discount(&l.discount))
	if reason == "" && l.shipped < l.ordered {
		return l, colShipDate, fmt.Sprintf("%s is before the Order Date %s", day(l.shipped), day(l.ordered))
	}
	return l, column, reason
}

// listPrice is Sales / (1 - Discount) / Quantity in cents, rounded half up.
func (l line) listPrice() (cents int64, column, reason string) {
	share := new(big.Rat).Sub(big.NewRat(1, 1), l.discount)
	if share.Sign() == 0 {
		return 0, colDiscount, "of 100 % there is no list price, and this is the product's first row"
	}
	price := share.Quo(l.sales, share)
	price.Mul(price, big.NewRat(100, l.quantity))
	whole := halfUp(price)
	if !whole.IsInt64() {
		return 0, colSales, "the list price has too many digits"
	}
	return whole.Int64(), "", ""
}

func (l line) discountBP() int64 {
	return halfUp(new(big.Rat).Mul(l.discount, big.NewRat(10_000, 1))).Int64()
}

// halfUp rounds a number that is not negative.
func halfUp(r *big.Rat) *big.Int {
	twice := new(big.Int).Lsh(r.Denom(), 1)
	n := new(big.Int).Lsh(r.Num(), 1)
	return n.Quo(n.Add(n, r.Denom()), twice)
}

func id(into *string) func(string) string {
	return func(s string) string {
		if reason := text(into)(s); reason != "" {
			return reason
		}
		switch {
		case len(s) > maxID:
			return fmt.Sprintf("%d bytes, at most %d", len(s), maxID)
		case strings.ContainsFunc(s, unicode.IsControl):
			return fmt.Sprintf("%q has a control character", shown(s))
		}
		return ""
	}
}

func text(into *string) func(string) string {
	return func(s string) string {
		*into = s
		switch {
		case strings.TrimSpace(s) == "":
			return "is empty"
		case !utf8.ValidString(s):
			return fmt.Sprintf("%q is not UTF-8", shown(s))
		}
		return ""
	}
}

func date(into *int64) func(string) string {
	return func(s string) string {
		t, err := time.Parse(time.DateOnly, strings.TrimSpace(s))
		switch {
		case strings.TrimSpace(s) == "":
			return "is empty"
		case err != nil:
			return fmt.Sprintf("%q is not a date like 2017-12-31", shown(s))
		case t.UnixMilli() <= 0:
			return fmt.Sprintf("%s is not after 1970-01-01", t.Format(time.DateOnly))
		}
		*into = t.UnixMilli()
		return ""
	}
}

func day(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateOnly) }

// number is a decimal that is not negative, without exponent.
func number(into **big.Rat) func(string) string {
	return func(s string) string {
		s = strings.TrimSpace(s)
		whole, part, point := strings.Cut(strings.TrimPrefix(s, "-"), ".")
		if s == "" {
			return "is empty"
		}
		if len(s) > maxNumber || !digits(whole) || point && !digits(part) {
			return fmt.Sprintf("%q is not a number like 12.34", shown(s))
		}
		r, ok := new(big.Rat).SetString(s)
		switch {
		case !ok:
			return fmt.Sprintf("%q is not a number like 12.34", shown(s))
		case r.Sign() < 0:
			return s + " is negative"
		}
		*into = r
		return ""
	}
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

func quantity(into *int64) func(string) string {
	return func(s string) string {
		var r *big.Rat
		if reason := number(&r)(s); reason != "" {
			return reason
		}
		if !r.IsInt() || r.Sign() == 0 || r.Cmp(big.NewRat(order.MaxQuantity, 1)) > 0 {
			return fmt.Sprintf("%s is not a whole number from 1 to %d", strings.TrimSpace(s), order.MaxQuantity)
		}
		*into = r.Num().Int64()
		return ""
	}
}

func discount(into **big.Rat) func(string) string {
	return func(s string) string {
		if reason := number(into)(s); reason != "" {
			return reason
		}
		if (*into).Cmp(big.NewRat(1, 1)) > 0 {
			return fmt.Sprintf("%s is more than 1, which is 100 %%", strings.TrimSpace(s))
		}
		return ""
	}
}

// shown is the head of a long value.
func shown(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
