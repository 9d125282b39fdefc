package superstore

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/orderlog/orderlog/examples"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const head = "Order ID,Order Date,Ship Date,Customer ID,Product ID,Product Name,Sales,Quantity,Discount\n"

func read(t testing.TB, r io.Reader) (*File, []RowError) {
	t.Helper()
	f, bad, err := Read(r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f, bad
}

// said is all of a file as text.
func said(f *File) string {
	var b strings.Builder
	for _, p := range f.Products {
		fmt.Fprintf(&b, "product %s %d %s\n", p.SKU, p.Price, p.Name)
	}
	for _, c := range f.Customers {
		fmt.Fprintf(&b, "customer %s\n", c)
	}
	for m := range f.Orders() {
		o := m.Body.(*schemas.PlaceOrder)
		d, _ := f.Delivery(m.Key)
		fmt.Fprintf(&b, "order %d %s %s %d\n", m.At, o.OrderID, o.CustomerID, d.At)
		for _, l := range o.Lines {
			fmt.Fprintf(&b, "line %s %d %d %d\n", l.SKU, l.Quantity, l.UnitPrice, l.DiscountBP)
		}
	}
	return b.String()
}

func superstore(t testing.TB) io.Reader {
	t.Helper()
	r, err := examples.Superstore()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The digest was computed by another program, in another language, from the same rules.
func TestRealFile(t *testing.T) {
	f, bad := read(t, superstore(t))
	if len(bad) > 0 || len(f.Products) != 1862 || len(f.Customers) != 793 || f.Placements() != 5009 {
		t.Errorf("%d products, %d customers, %d orders, bad rows %v", len(f.Products), len(f.Customers), f.Placements(), bad)
	}
	const want = "f2cd3a87faca1cd77de021420ae7b1d8e0dbfb7721f20edaa076295acf2c4e4c"
	sum := sha256.Sum256([]byte(said(f)))
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("digest %s", got)
	}
}

// The same table in other clothes is the same file.
func TestRealFileRewritten(t *testing.T) {
	want := said(first(read(t, superstore(t))))
	table, err := csv.NewReader(superstore(t)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\ufeff")
	for _, row := range table {
		slices.Reverse(row)
		for i, cell := range row {
			if i > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, `"%s"`, strings.ReplaceAll(cell, `"`, `""`))
		}
		b.WriteString("\r\n")
	}
	f, bad := read(t, strings.NewReader(b.String()))
	if len(bad) > 0 || said(f) != want {
		t.Errorf("differs; bad rows %v", bad)
	}
}

func first[T, U any](v T, _ U) T { return v }

func TestRules(t *testing.T) {
	for _, c := range []struct{ name, rows, want string }{
		{
			"list price and name of the first row, the quote on every line",
			"A-1,2017-01-02,2017-01-03,C,P,First,16.448,2,0.2\n" + "A-2,2017-01-03,2017-01-05,C,P,Second,999,1,0\n",
			"product sku_P 1028 First\ncustomer cus_C\n" +
				"order 1483315200000 ord_A-1 cus_C 1483401600000\nline sku_P 2 1028 2000\n" +
				"order 1483401600000 ord_A-2 cus_C 1483574400000\nline sku_P 1 1028 0\n",
		},
		{
			"halves go up, whatever the binary fraction",
			"A,1970-01-02,1970-01-02,C,P,N,1.005,1,0\nA,1970-01-02,1970-01-02,C,Q,N,1.0049999,1,0\n" +
				"A,1970-01-02,1970-01-02,C,R,N,0.1,3,0\nA,1970-01-02,1970-01-02,C,S,N,0.145,1,0.5\n" +
				"A,1970-01-02,1970-01-02,C,T,N,0.015,3,0.00005\nA,1970-01-02,1970-01-02,C,U,N,0,1,0.00004999\n",
			"product sku_P 101 N\nproduct sku_Q 100 N\nproduct sku_R 3 N\nproduct sku_S 29 N\nproduct sku_T 1 N\nproduct sku_U 0 N\n" +
				"customer cus_C\norder 86400000 ord_A cus_C 86400000\n" +
				"line sku_P 1 101 0\nline sku_Q 1 100 0\nline sku_R 3 3 0\nline sku_S 1 29 5000\nline sku_T 3 1 1\nline sku_U 1 0 0\n",
		},
		{
			"orders by date and ID, lines as they come, apart and twice of one product; the last Ship Date",
			"B,1970-01-03,1970-01-04,C,P,N,1,1,0\nC,1970-01-02,1970-01-03,D,P,N,1,1,0\nA,1970-01-03,1970-01-03,C,P,N,1,1,0\n" +
				"B,1970-01-03,1970-01-06,C,Q,N,2,1,0\nB,1970-01-03,1970-01-05,C,P,N,1,2,0\n",
			"product sku_P 100 N\nproduct sku_Q 200 N\ncustomer cus_C\ncustomer cus_D\n" +
				"order 86400000 ord_C cus_D 172800000\nline sku_P 1 100 0\n" +
				"order 172800000 ord_A cus_C 172800000\nline sku_P 1 100 0\n" +
				"order 172800000 ord_B cus_C 432000000\nline sku_P 1 100 0\nline sku_Q 1 200 0\nline sku_P 2 100 0\n",
		},
		{
			"quotes, commas, line breaks and no-break spaces as they come; space around numbers and dates; the last line unended",
			"A, 1970-01-02 ,\u00a01970-01-02,C, P\u00a01,\"6\"\" shelf, \u00a0red\r\nor blue \", 5.00\u00a0, 1.0,\u00a00\r\n\r\n\nA,1970-01-02,1970-01-02,C,Q,6\" shelf,1,1,0",
			"product sku_ P\u00a01 500 6\" shelf, \u00a0red\r\nor blue \nproduct sku_Q 100 6\" shelf\n" +
				"customer cus_C\norder 86400000 ord_A cus_C 86400000\nline sku_ P\u00a01 1 500 0\nline sku_Q 1 100 0\n",
		},
		{
			"all of it given away, but not in the product's first row",
			"A,1970-01-02,1970-01-02,C,P,N,1,1,0\nA,1970-01-02,1970-01-02,C,P,N,0,1,1\n",
			"product sku_P 100 N\ncustomer cus_C\norder 86400000 ord_A cus_C 86400000\nline sku_P 1 100 0\nline sku_P 1 100 10000\n",
		},
		{"no rows", "", ""},
	} {
		f, bad := read(t, strings.NewReader(head+c.rows))
		if got := said(f); got != c.want || len(bad) > 0 {
			t.Errorf("%s: bad rows %v\n%s\nnot\n%s", c.name, bad, got, c.want)
		}
	}
}

func TestBadRows(t *testing.T) {
	const good = "A,1970-01-02,1970-01-03,C,P,N,1,1,0\n"
	for _, c := range []struct{ row, want string }{
		{"A,1970-01-02,1970-01-03,C,P,N,1,1\n", `line 3, column "Discount": the row has 8 fields, the header 9`},
		{"A,1970-01-02,1970-01-03,C,P,N,M,1,1,0\n", `line 3, column "field 10": the row has 10 fields, the header 9`},
		{"\u00a0,1970-01-02,1970-01-03,C,P,N,1,1,0\n", `line 3, column "Order ID": is empty`},
		{"A\x07,1970-01-02,1970-01-03,C,P,N,1,1,0\n", `line 3, column "Order ID": "A\a" has a control character`},
		{strings.Repeat("x", 253) + ",1970-01-02,1970-01-03,C,P,N,1,1,0\n", `line 3, column "Order ID": 253 bytes, at most 252`},
		{"A,02.01.1970,1970-01-03,C,P,N,1,1,0\n", `line 3, column "Order Date": "02.01.1970" is not a date like 2017-12-31`},
		{"B,2017-02-29,1970-01-03,C,P,N,1,1,0\n", `line 3, column "Order Date": "2017-02-29" is not a date like 2017-12-31`},
		{"B,1970-01-01,1970-01-03,C,P,N,1,1,0\n", `line 3, column "Order Date": 1970-01-01 is not after 1970-01-01`},
		{"A,1970-01-02, ,C,P,N,1,1,0\n", `line 3, column "Ship Date": is empty`},
		{"A,1970-01-03,1970-01-02,C,P,N,1,1,0\n", `line 3, column "Ship Date": 1970-01-02 is before the Order Date 1970-01-03`},
		{"A,1970-01-02,1970-01-03,,P,N,1,1,0\n", `line 3, column "Customer ID": is empty`},
		{"A,1970-01-02,1970-01-03,C,P\xff,N,1,1,0\n", `line 3, column "Product ID": "P\xff" is not UTF-8`},
		{"A,1970-01-02,1970-01-03,C,P,,1,1,0\n", `line 3, column "Product Name": is empty`},
		{"A,1970-01-02,1970-01-03,C,P,caf\xe9,1,1,0\n", `line 3, column "Product Name": "caf\xe9" is not UTF-8`},
		{"A,1970-01-02,1970-01-03,C,P,N,,1,0\n", `line 3, column "Sales": is empty`},
		{"A,1970-01-02,1970-01-03,C,P,N,-1.5,1,0\n", `line 3, column "Sales": -1.5 is negative`},
		{"A,1970-01-02,1970-01-03,C,P,N,1e3,1,0\n", `line 3, column "Sales": "1e3" is not a number like 12.34`},
		{"A,1970-01-02,1970-01-03,C,P,N,1/3,1,0\n", `line 3, column "Sales": "1/3" is not a number like 12.34`},
		{"A,1970-01-02,1970-01-03,C,P,N,1.,1,0\n", `line 3, column "Sales": "1." is not a number like 12.34`},
		{"A,1970-01-02,1970-01-03,C,P,N,NaN,1,0\n", `line 3, column "Sales": "NaN" is not a number like 12.34`},
		{"A,1970-01-02,1970-01-03,C,Q,N,99999999999999999999,1,0\n", `line 3, column "Sales": the list price has too many digits`},
		{"A,1970-01-02,1970-01-03,C,P,N,1,0,0\n", `line 3, column "Quantity": 0 is not a whole number from 1 to 1000000000`},
		{"A,1970-01-02,1970-01-03,C,P,N,1,-2,0\n", `line 3, column "Quantity": -2 is negative`},
		{"A,1970-01-02,1970-01-03,C,P,N,1,1.5,0\n", `line 3, column "Quantity": 1.5 is not a whole number from 1 to 1000000000`},
		{"A,1970-01-02,1970-01-03,C,P,N,1,1000000001,0\n", `line 3, column "Quantity": 1000000001 is not a whole number from 1 to 1000000000`},
		{"A,1970-01-02,1970-01-03,C,P,N,1,1,20%\n", `line 3, column "Discount": "20%" is not a number like 12.34`},
		{"A,1970-01-02,1970-01-03,C,P,N,1,1,1.00000001\n", `line 3, column "Discount": 1.00000001 is more than 1, which is 100 %`},
		{"A,1970-01-02,1970-01-03,C,Q,N,1,1,1\n", `line 3, column "Discount": of 100 % there is no list price, and this is the product's first row`},
		{"A,1970-01-02,1970-01-03,D,P,N,1,1,0\n", `line 3, column "Customer ID": "D", but the order began with "C"`},
		{"A,1970-01-03,1970-01-03,C,P,N,1,1,0\n", `line 3, column "Order Date": 1970-01-03, but the order began with 1970-01-02`},
		{"A,1970-01-02,1970-01-03,\"C\"x,P,N,1,1,0\n", `line 3, column "Customer ID": text after the closing quote`},
		{"A,1970-01-02,1970-01-03,C,P,\"N,1,1,0\n", `line 3, column "Product Name": the quote is not closed`},
		{"A,1970-01-02,1970-01-03,C,P," + strings.Repeat("N", maxRow) + ",1,1,0\n",
			`line 3, column "Product Name": the row is longer than 64 KiB: is a quote not closed?`},
		{strings.Repeat("N", 3*maxRow) + "\n", `line 3, column "Order ID": the row is longer than 64 KiB: is a quote not closed?`},
	} {
		want := said(first(read(t, strings.NewReader(head+good+good))))
		f, bad := read(t, strings.NewReader(head+good+c.row+good))
		if len(bad) != 1 || bad[0].Error() != c.want {
			t.Errorf("%.80q: %v, not %s", c.row, bad, c.want)
		}
		if got := said(f); got != want {
			t.Errorf("%.80q: the rest is\n%s\nnot\n%s", c.row, got, want)
		}
		_, bad, err := Read(strings.NewReader(head+good+c.row+good), Options{Strict: true})
		var re *RowError
		if !errors.As(err, &re) || re.Error() != c.want || len(bad) != 1 {
			t.Errorf("%.80q: strict: %v, %v", c.row, bad, err)
		}
	}
}

// A bad row gives a product neither name nor price, and an order no customer.
func TestBadRowsLeaveNothing(t *testing.T) {
	f, bad := read(t, strings.NewReader(head+
		"A,1970-01-02,1970-01-03,C,P,Bad,7,1,1\n"+
		"A,1970-01-05,1970-01-05,D,P,Good,5,1,0\n"+
		"A,1970-01-02,1970-01-03,E,Q,N,1,1,0\n"))
	want := "product sku_P 500 Good\ncustomer cus_D\norder 345600000 ord_A cus_D 345600000\nline sku_P 1 500 0\n"
	if got := said(f); got != want || len(bad) != 2 {
		t.Errorf("bad rows %v\n%s", bad, got)
	}
}

func TestLineNumbersAreOfTheFile(t *testing.T) {
	const good = "A,1970-01-02,1970-01-03,C,P,\"N\nN\r\nN\",1,1,0\r\n"
	f, bad := read(t, strings.NewReader("\ufeff"+head+ // line 1
		good+ // 2 to 4
		"\r\n\n"+ // 5, 6
		"A,1970-01-02,1970-01-03,C,P,\"N\n\nN\",x,1,0\n"+ // 7 to 9
		"A,1970-01-02,1970-01-03,C,P,\"N,1,1,0\n"+ // 10, which goes on to the next quote, but need not
		good+ // 11 to 13
		"A,1970-01-02,1970-01-03,C,P,N,1,1,y"))
	got := fmt.Sprint(lineNumbers(bad))
	if got != "[7 10 14]" || f.Placements() != 1 || len(must(f.Orders()).Body.(*schemas.PlaceOrder).Lines) != 2 {
		t.Errorf("%s: %v", got, bad)
	}
}

func lineNumbers(bad []RowError) (ns []int) {
	for _, b := range bad {
		ns = append(ns, b.Line)
	}
	return ns
}

func must[T any](s iter.Seq[T]) (v T) {
	for v = range s {
		return v
	}
	panic("nothing there")
}

func TestHeader(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"", "reading the header: the file is empty"},
		{"\ufeff\r\n\n", "reading the header: the file is empty"},
		{"\"Order ID,\n", "reading the header: the quote is not closed"},
		{"Order ID,Product Name,Sales,Quantity,order date,Ship Date,Product ID,Discount\n",
			`reading the header: missing columns: "Order Date", "Customer ID"`},
		{"Sales," + head, `reading the header: two columns are called "Sales"`},
	} {
		f, bad, err := Read(strings.NewReader(c.file), Options{})
		if err == nil || err.Error() != c.want || f != nil || bad != nil {
			t.Errorf("%q: %v", c.file, err)
		}
	}
	f, bad := read(t, strings.NewReader("\ufeff\"Discount\",Profit,Quantity ,Order\u00a0ID,Profit,\u00a0Sales,Product Name,,Product ID,Customer ID,Ship Date,Order Date\n"+
		"0,z,1,A,z,1,N,z,P,C,1970-01-03,1970-01-02\n"))
	if f.Placements() != 1 || len(bad) > 0 {
		t.Errorf("%d orders, %v", f.Placements(), bad)
	}
}

func TestReadFails(t *testing.T) {
	broken := errors.New("broken")
	const row = "A,1970-01-02,1970-01-03,C,P,N,1,1,0\n"
	for _, c := range []struct{ file, want string }{
		{"", "reading the header: broken"},
		{head + row, "reading line 3: broken"},
		{head + row + "A,1970", "reading line 3: broken"},
		{head + strings.Repeat("x", 2*maxRow), "reading line 2: broken"},
	} {
		f, _, err := Read(io.MultiReader(strings.NewReader(c.file), iotest.ErrReader(broken)), Options{})
		if !errors.Is(err, broken) || err.Error() != c.want || f != nil {
			t.Errorf("%.60q: %v", c.file, err)
		}
	}
}

func TestMessages(t *testing.T) {
	f, _ := read(t, strings.NewReader(head+
		"B,2017-01-03,2017-01-05,D,Q,N,2,1,0\nA,2017-01-02,2017-01-04,C,P,N,1,1,0\n"))
	const start = 1483315200000
	setup := slices.Collect(f.Setup(7, 900))
	want := []flow.Message{
		{Topic: topics.InventoryCommands, Type: schemas.InventoryPriceSet, Key: "sku_Q", Body: &schemas.SetPrice{SKU: "sku_Q", Name: "N", Price: 200, Currency: "EUR"}},
		{Topic: topics.InventoryCommands, Type: schemas.InventoryStockReceive, Key: "sku_Q", Body: &schemas.ReceiveStock{SKU: "sku_Q", Quantity: 7}},
		{Topic: topics.InventoryCommands, Type: schemas.InventoryPriceSet, Key: "sku_P", Body: &schemas.SetPrice{SKU: "sku_P", Name: "N", Price: 100, Currency: "EUR"}},
		{Topic: topics.InventoryCommands, Type: schemas.InventoryStockReceive, Key: "sku_P", Body: &schemas.ReceiveStock{SKU: "sku_P", Quantity: 7}},
		{Topic: topics.CreditCommands, Type: schemas.CreditLimitSet, Key: "cus_D", Body: &schemas.SetLimit{CustomerID: "cus_D", Limit: 900, Currency: "EUR"}},
		{Topic: topics.CreditCommands, Type: schemas.CreditLimitSet, Key: "cus_C", Body: &schemas.SetLimit{CustomerID: "cus_C", Limit: 900, Currency: "EUR"}},
	}
	for i := range want {
		want[i].At, want[i].ID = start, setup[i].ID
	}
	if !reflect.DeepEqual(setup, want) || f.Setups() != len(want) {
		t.Errorf("%d: %+v", f.Setups(), setup)
	}
	for m := range f.Setup(0, 0) {
		switch b := m.Body.(type) {
		case *schemas.ReceiveStock:
			if b.Quantity != AmpleStock {
				t.Errorf("%+v", b)
			}
		case *schemas.SetLimit:
			if b.Limit != AmpleCredit {
				t.Errorf("%+v", b)
			}
		}
	}
	place := must(f.Orders())
	if place.Topic != topics.OrderCommands || place.Type != schemas.OrdersOrderPlace || place.Key != "ord_A" || place.At != start {
		t.Errorf("%+v", place)
	}
	d, ok := f.Delivery("ord_A")
	if !ok || d.Topic != topics.OrderCommands || d.Type != schemas.OrdersOrderDeliver || d.Key != "ord_A" || d.At != start+2*24*3600_000 ||
		*d.Body.(*schemas.DeliverOrder) != (schemas.DeliverOrder{OrderID: "ord_A"}) {
		t.Errorf("%+v", d)
	}
	if _, ok := f.Delivery("A"); ok {
		t.Error("a delivery of an order that is not there")
	}
}

func all(f *File, stock int64) (ms []flow.Message) {
	ms = slices.AppendSeq(slices.Collect(f.Setup(stock, 0)), f.Orders())
	for m := range f.Orders() {
		d, _ := f.Delivery(m.Key)
		ms = append(ms, d)
	}
	return ms
}

// The same file gives the same messages, and no two of them share an ID. An
// order that has changed in the meantime is another message.
func TestIDs(t *testing.T) {
	f, _ := read(t, superstore(t))
	again, _ := read(t, superstore(t))
	ms := all(f, 10)
	if !reflect.DeepEqual(ms, all(again, 10)) {
		t.Error("the second time is different")
	}
	seen := map[string]bool{}
	for _, m := range ms {
		if seen[m.ID] {
			t.Fatalf("twice: %+v", m)
		}
		seen[m.ID] = true
	}
	const row = "A,1970-01-02,1970-01-03,C,P,N,1,1,0\n"
	one, _ := read(t, strings.NewReader(head+row))
	two, _ := read(t, strings.NewReader(head+row+row))
	if a, b := must(one.Orders()), must(two.Orders()); a.Key != b.Key || a.ID == b.ID {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestIterationStops(t *testing.T) {
	f, _ := read(t, superstore(t))
	for _, s := range []iter.Seq[flow.Message]{f.Setup(0, 0), f.Orders()} {
		for _, n := range []int{1, 2, 3} {
			left := n
			for range s {
				if left--; left == 0 {
					break
				}
			}
		}
	}
	left := 2*len(f.Products) + 1
	for range f.Setup(0, 0) { // within the customers
		if left--; left == 0 {
			break
		}
	}
}

// What is read in pieces is the same: every place where a read may end.
func TestPieces(t *testing.T) {
	text, err := io.ReadAll(superstore(t))
	if err != nil {
		t.Fatal(err)
	}
	file := "\ufeff" + strings.ReplaceAll(string(text[:20_000]), "\n", "\r\n")
	f, bad := read(t, strings.NewReader(file))
	g, badToo := read(t, iotest.OneByteReader(strings.NewReader(file)))
	if said(f) != said(g) || !slices.Equal(bad, badToo) || len(bad) != 1 || f.Placements() < 20 {
		t.Errorf("%v, %v", bad, badToo)
	}
}
