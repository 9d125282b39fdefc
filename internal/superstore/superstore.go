// Package superstore reads order files of the Superstore shape, one CSV row per
// order line, and turns them into the messages that set up the shop, place the
// orders and deliver them. Sending them, and unpacking the file, is left to others.
//
// The rules:
//   - Columns go by the name in the header, in any order; others are passed over.
//     All nine of Order ID, Order Date, Ship Date, Customer ID, Product ID,
//     Product Name, Sales, Quantity and Discount must be there.
//   - IDs and names are taken as they come, no-break spaces and all. Spaces around
//     a number or a date mean nothing.
//   - A product's list price is Sales / (1 - Discount) / Quantity of its first row,
//     rounded half up to cents, and its name is that of its first row. Every line
//     quotes the list price.
//   - A line's discount is Discount in basis points, rounded half up.
//   - The order time is Order Date, midnight UTC. Orders come by (Order Date,
//     Order ID), their lines in the file's order.
//   - An order is delivered at its last line's Ship Date.
//   - A bad row is reported and otherwise as if it were not there: the first row of
//     a product is its first good one. Bad is a row that cannot be split, that has
//     fewer or more fields than the header, a value that is not what its column
//     holds, a customer or an Order Date that differs from the order's first row,
//     and a discount of 100 % where the list price depends on it.
package superstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/orderlog/orderlog/schemas"
)

// currency of every amount: a file of this shape names none.
const currency = "EUR"

// Options say how to read a file.
type Options struct {
	Strict bool // the first bad row is an error
}

// File is what a file says, bad rows left out.
type File struct {
	Products  []Product // by first row
	Customers []string  // IDs, by first row

	orders []placement // by time and ID
	byID   map[string]int
}

// Product is what its first row says.
type Product struct {
	SKU, Name string
	Price     int64 // list price in cents
}

type placement struct {
	at, shipped int64 // Unix ms
	body        *schemas.PlaceOrder
}

// RowError says why a row is left out.
type RowError struct {
	Line   int    `json:"line"`   // of the file, the header's first being 1; where the row begins
	Column string `json:"column"` // its name in the header, "field N" beyond that
	Reason string `json:"reason"`
}

func (e *RowError) Error() string {
	return fmt.Sprintf("line %d, column %q: %s", e.Line, e.Column, e.Reason)
}

// Read reads a whole file, which may begin with a byte order mark. Bad rows are
// returned and do not stop it unless Strict is set: then the error is the
// *RowError, and there is no File. Any other error says that the file cannot be
// read at all, or not to its end.
func Read(r io.Reader, o Options) (*File, []RowError, error) {
	rows := newRows(r)
	head, err := newHeader(rows)
	if err != nil {
		return nil, nil, err
	}
	b := newBuilder()
	var bad []RowError
	for {
		err := readRow(rows, head, b)
		if err == io.EOF {
			return b.file(), bad, nil
		}
		var re *RowError
		if errors.As(err, &re) {
			bad = append(bad, *re)
			if o.Strict {
				return nil, bad, re
			}
		} else if err != nil {
			return nil, bad, fmt.Errorf("reading line %d: %w", rows.ahead, err)
		}
	}
}

// readRow takes one row into the file, or tells in a *RowError why not.
func readRow(rows *rows, head *header, b *builder) error {
	cells, err := rows.next()
	var f *fault
	if errors.As(err, &f) {
		return &RowError{rows.line, head.name(f.field), f.reason}
	}
	if err != nil {
		return err
	}
	l, c, reason := head.parse(cells)
	if reason == "" {
		c, reason = b.add(l)
	}
	if reason != "" {
		return &RowError{rows.line, c, reason}
	}
	return nil
}

// builder collects rows. Its maps go by the IDs of the file, without prefix.
type builder struct {
	f         *File
	products  map[string]*product
	customers map[string]string // with prefix
	orders    map[string]int    // index into f.orders
}

type product struct {
	sku   string
	price int64
}

func newBuilder() *builder {
	return &builder{f: &File{}, products: map[string]*product{}, customers: map[string]string{}, orders: map[string]int{}}
}

// add takes a line over, or names the column for which it cannot and the reason.
// It keeps no part of the line's strings, which are parts of a longer one.
func (b *builder) add(l line) (column, reason string) {
	i, known := b.orders[l.order]
	if known {
		if column, reason = b.conflict(&b.f.orders[i], l); reason != "" {
			return column, reason
		}
	}
	p := b.products[l.product]
	if p == nil {
		price, column, reason := l.listPrice()
		if reason != "" {
			return column, reason
		}
		p = b.product(l, price)
	}
	if !known {
		i = b.order(l)
	}
	o := &b.f.orders[i]
	o.shipped = max(o.shipped, l.shipped)
	o.body.Lines = append(o.body.Lines, schemas.PlaceLine{
		SKU: p.sku, Quantity: l.quantity, UnitPrice: p.price, DiscountBP: l.discountBP(),
	})
	return "", ""
}

func (b *builder) conflict(o *placement, l line) (column, reason string) {
	switch {
	case o.body.CustomerID[len(customerPrefix):] != l.customer:
		return colCustomerID, fmt.Sprintf("%q, but the order began with %q", shown(l.customer), shown(o.body.CustomerID[len(customerPrefix):]))
	case o.at != l.ordered:
		return colOrderDate, fmt.Sprintf("%s, but the order began with %s", day(l.ordered), day(o.at))
	}
	return "", ""
}

func (b *builder) product(l line, price int64) *product {
	p := &product{skuPrefix + l.product, price}
	b.products[p.sku[len(skuPrefix):]] = p
	b.f.Products = append(b.f.Products, Product{SKU: p.sku, Name: strings.Clone(l.name), Price: price})
	return p
}

func (b *builder) order(l line) int {
	customer, ok := b.customers[l.customer]
	if !ok {
		customer = customerPrefix + l.customer
		b.customers[customer[len(customerPrefix):]] = customer
		b.f.Customers = append(b.f.Customers, customer)
	}
	id := orderPrefix + l.order
	i := len(b.f.orders)
	b.orders[id[len(orderPrefix):]] = i
	b.f.orders = append(b.f.orders, placement{
		at: l.ordered, body: &schemas.PlaceOrder{OrderID: id, CustomerID: customer, Currency: currency},
	})
	return i
}

func (b *builder) file() *File {
	f := b.f
	slices.SortFunc(f.orders, func(x, y placement) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.body.OrderID, y.body.OrderID))
	})
	f.byID = make(map[string]int, len(f.orders))
	for i, o := range f.orders {
		f.byID[o.body.OrderID] = i
	}
	return f
}
