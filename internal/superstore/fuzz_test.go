package superstore

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/orderlog/orderlog/schemas"
)

func seeds(f *testing.F) {
	for _, s := range []string{
		"", "\n", "a,b\n", "a,\"b\"\r\n", "\"a\"\"b\nc\",d", "\"a", "\"a\"b\nc", "a\"b\",\"\"\n\"\"\n", ",\n,,", "\r", "a\r", "\"a\"\r", "\ufeff\"x\"",
		"A,1970-01-02,1970-01-03,C,P,N,1.5,1,0.2\nA,1970-01-02,1970-01-04,C,Q,\"N\nN\",16.448,2,0.2\n",
		"B,1970-01-02,1970-01-03,C,P,\"N,1,1,0\nA,1970-01-02,1970-01-04,C,Q,\"N\nN\",16.448,2,1\nA,1970-01-02,1970-01-04,D,Q,N,1,2,1\n",
	} {
		f.Add(s)
	}
}

// Where the standard library finds no fault, it finds the same fields in the
// same lines. (It has CRLF inside quotes its own way.)
func FuzzRows(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "\r") || strings.HasPrefix(text, "\ufeff") || len(text) > maxRow {
			t.Skip()
		}
		theirs := csv.NewReader(strings.NewReader(text))
		theirs.FieldsPerRecord = -1
		ours := newRows(strings.NewReader(text))
		for {
			want, err := theirs.Read()
			if err != nil && err != io.EOF {
				return
			}
			got, errToo := ours.next()
			if err != errToo || !slices.Equal(got, want) {
				t.Fatalf("%q, %v, not %q, %v", got, errToo, want, err)
			}
			if err == io.EOF {
				return
			}
			if line, _ := theirs.FieldPos(0); line != ours.line {
				t.Fatalf("%q begins in line %d, not %d", got, ours.line, line)
			}
		}
	})
}

// Whatever comes:
//   - it is read, and the same if it comes byte by byte;
//   - bad rows have the numbers of lines that are there, in rising order, and a column;
//   - strictly read, the first of them is the error;
//   - orders come by time and ID, have lines, and are delivered no earlier;
//   - every line is of a product in the file, at its price.
func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		text = head + text
		file, bad := read(t, strings.NewReader(text))
		again, badToo := read(t, iotest.OneByteReader(strings.NewReader(text)))
		if said(file) != said(again) || !slices.Equal(bad, badToo) {
			t.Fatalf("%v\n%s\nby bytes %v\n%s", bad, said(file), badToo, said(again))
		}
		last := 1
		for _, b := range bad {
			if b.Line <= last || b.Line > strings.Count(text, "\n")+1 || b.Column == "" || b.Reason == "" {
				t.Fatalf("after line %d: %+v", last, b)
			}
			last = b.Line
		}
		_, _, err := Read(strings.NewReader(text), Options{Strict: true})
		var re *RowError
		if errors.As(err, &re) != (len(bad) > 0) || re != nil && *re != bad[0] {
			t.Fatalf("strictly %v, else %v", err, bad)
		}
		checkOrders(t, file)
	})
}

func checkOrders(t *testing.T, f *File) {
	prices := map[string]int64{}
	for _, p := range f.Products {
		prices[p.SKU] = p.Price
	}
	var lastAt int64
	var lastID string
	for m := range f.Orders() {
		o := m.Body.(*schemas.PlaceOrder)
		d, ok := f.Delivery(o.OrderID)
		if m.At < lastAt || m.At == lastAt && m.Key <= lastID || !ok || d.At < m.At || len(o.Lines) == 0 || !slices.Contains(f.Customers, o.CustomerID) {
			t.Fatalf("after %d %s: %+v", lastAt, lastID, m)
		}
		lastAt, lastID = m.At, m.Key
		for _, l := range o.Lines {
			if price, ok := prices[l.SKU]; !ok || price != l.UnitPrice || price < 0 || l.Quantity < 1 || l.DiscountBP < 0 || l.DiscountBP > 10_000 {
				t.Fatalf("%s: %+v, price %d", o.OrderID, l, price)
			}
		}
	}
}
