package schemas

import (
	"encoding/hex"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/avro"

	"github.com/orderlog/orderlog/topics"
)

func TestEveryFileHasItsRecordAndTopic(t *testing.T) {
	files, err := fs.Glob(avsc, "avsc/*")
	if err != nil {
		t.Fatal(err)
	}
	var names, files2, placed []string
	for _, r := range Records() {
		names = append(names, r.Name)
	}
	for _, f := range files {
		files2 = append(files2, strings.TrimSuffix(strings.TrimPrefix(f, "avsc/"), ".avsc"))
	}
	for _, top := range topics.All() {
		placed = append(placed, top.Records...)
	}
	slices.Sort(names)
	slices.Sort(files2)
	slices.Sort(placed)
	if !slices.Equal(names, files2) {
		t.Errorf("records %v\nfiles   %v", names, files2)
	}
	if !slices.Equal(names, slices.Compact(placed)) {
		t.Errorf("records   %v\non topics %v", names, placed)
	}
}

// Every struct of types.go is a record or stands in one; every message type of
// events.go means exactly one record.
func TestNothingIsLeftOut(t *testing.T) {
	reached := map[string]bool{}
	var reach func(t reflect.Type)
	reach = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Slice, reflect.Pointer:
			reach(t.Elem())
		case reflect.Struct:
			reached[t.Name()] = true
			for i := range t.NumField() {
				reach(t.Field(i).Type)
			}
		}
	}
	for _, r := range Records() {
		reach(r.pointer)
	}
	for _, spec := range specs(t, "types.go") {
		if ts, ok := spec.(*ast.TypeSpec); ok && !reached[ts.Name.Name] {
			t.Errorf("type %s is in no record of the catalogue", ts.Name.Name)
		}
	}
	found := 0
	for _, spec := range specs(t, "events.go") {
		vs := spec.(*ast.ValueSpec)
		msgType, err := strconv.Unquote(vs.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		found++
		meant := slices.DeleteFunc(slices.Clone(Records()), func(r *Record) bool { return !slices.Contains(r.Types, msgType) })
		if len(meant) != 1 {
			t.Errorf("type %s (%s) means %d records, want 1", vs.Names[0].Name, msgType, len(meant))
		}
		for _, r := range Records() {
			if n := count(r.Types, msgType) + count(r.Also, msgType); n > 1 {
				t.Errorf("%s lists %s %d times", r.Name, msgType, n)
			}
		}
	}
	if found != len(messageTypes()) {
		t.Errorf("%d message types in events.go, %d in the catalogue", found, len(messageTypes()))
	}
}

func specs(t *testing.T, file string) (all []ast.Spec) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok != token.IMPORT {
			all = append(all, g.Specs...)
		}
	}
	return all
}

func count(list []string, s string) (n int) {
	for _, e := range list {
		if e == s {
			n++
		}
	}
	return n
}

// A Go field without an Avro field would silently not be written.
func TestGoTypesAndSchemasHaveTheSameFields(t *testing.T) {
	everyRecord(t, func(t *testing.T, r *Record) {
		if got := fullName(r.tree); got != r.FullName() {
			t.Errorf("schema is called %q", got)
		}
		sameFields(t, r.Name, r.pointer.Elem(), r)
	})
}

func sameFields(t *testing.T, name string, typ reflect.Type, r *Record) {
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		for typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		var want []string
		for i := range typ.NumField() {
			f := typ.Field(i)
			want = append(want, f.Tag.Get("avro"))
			if j := f.Tag.Get("json"); j != f.Tag.Get("avro") && j != "-" {
				t.Errorf("%s.%s: json tag %q, avro tag %q", path, f.Name, j, f.Tag.Get("avro"))
			}
			walk(path+"."+f.Name, f.Type)
		}
		if got := fieldsOf(r, typ.Name()); !slices.Equal(got, want) {
			t.Errorf("%s: schema has %v, Go type %v", path, got, want)
		}
	}
	walk(name, typ)
}

// fieldsOf returns the field names of the record called name within r's schema.
func fieldsOf(r *Record, name string) []string {
	todo := []*avro.SchemaNode{r.tree}
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		if n.Name == name {
			return fieldNames(n)
		}
		if n.Items != nil {
			todo = append(todo, n.Items)
		}
		for i := range n.Fields {
			todo = append(todo, &n.Fields[i].Type)
		}
	}
	return nil
}

func TestTypes(t *testing.T) {
	for _, c := range []struct {
		msgType string
		body    any
		fits    bool
	}{
		{OrdersOrderPlace, &PlaceOrder{}, true},
		{OrdersOrderPlace, &CancelOrder{}, false},
		{InvoicingCreditNoteIssue, &IssueInvoice{}, true},
		{InvoiceIssuedEvent, &InvoiceIssued{}, true},
		{InvoiceIssuedEvent, &Invoice{}, true},
		{InvoiceIssuedEvent, &Order{}, true},
		{StockRefusedEvent, &Order{}, true},
		{StockRefusedEvent, &StockReserved{}, false},
		{VoucherGrantedEvent, &Voucher{}, true},
		{VoucherGrantedEvent, &Grants{}, false},
		{"", &Order{}, false},
		{OrderPlaced, Order{}, false},
		{OrderPlaced, nil, false},
	} {
		if got := Fits(c.msgType, c.body); got != c.fits {
			t.Errorf("Fits(%q, %T) = %v", c.msgType, c.body, got)
		}
	}
	for msgType, want := range map[string]string{
		OrdersOrderPlace: "PlaceOrder", InvoicingInvoiceIssue: "IssueInvoice", InvoicingCreditNoteIssue: "IssueInvoice",
		InvoiceIssuedEvent: "InvoiceIssued", CreditNoteIssuedEvent: "InvoiceIssued", VoucherGrantedEvent: "VoucherGranted",
		StockReservedEvent: "StockReserved", OrderRefused: "Order",
	} {
		if r, ok := ForType(msgType); !ok || r.Name != want {
			t.Errorf("ForType(%q) = %v, want %s", msgType, r, want)
		}
	}
	if r, ok := ForType("orders.order.eat"); ok {
		t.Errorf("ForType of an unknown type = %s", r.Name)
	}
	everyRecord(t, func(t *testing.T, r *Record) {
		body := r.New()
		if got := RecordOf(body); got != r.Name {
			t.Errorf("RecordOf = %q", got)
		}
		if !Fits(TypeOf(body), body) {
			t.Errorf("its own default type %q does not fit", TypeOf(body))
		}
	})
	if TypeOf(nil) != "" || RecordOf(PlaceOrder{}) != "" || RecordOf(nil) != "" || KeyOf(nil) != "" {
		t.Error("something is said of a body that is not of the catalogue")
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		topic string
		body  any
		ok    bool
	}{
		{topics.OrderCommands, &PlaceOrder{}, true},
		{topics.OrderCommands, &SetLimit{}, false},
		{topics.OrderCommands, PlaceOrder{}, false},
		{topics.DeadLetter, &PlaceOrder{}, false},
		{"nowhere", &PlaceOrder{}, false},
		{topics.OrderCommands, nil, false},
	} {
		if err := Allowed(c.topic, c.body); (err == nil) != c.ok {
			t.Errorf("Allowed(%q, %T) = %v", c.topic, c.body, err)
		}
	}
}

// The key of a body is the ID that its topic is keyed by.
func TestKeyOfIsTheKeyOfTheTopic(t *testing.T) {
	field := map[string]string{"order": "order_id", "sku": "sku", "customer": "customer_id", "series": "series", "invoice": "invoice_id", "voucher": "voucher_id", "effect": "effect_id", "due": "entry", "who": "who", "group": "group"}
	for _, top := range topics.All() {
		for _, name := range top.Records {
			r, _ := Find(name)
			body := r.New()
			v := reflect.ValueOf(body).Elem()
			for i := range v.NumField() {
				if v.Field(i).Kind() == reflect.String {
					v.Field(i).SetString("the " + v.Type().Field(i).Tag.Get("avro"))
				}
			}
			want := "the " + field[top.Key]
			if name == "Parked" {
				want = ""
			}
			if got := KeyOf(body); got != want {
				t.Errorf("%s on %s: key is %q, want %q", name, top.Name, got, want)
			}
		}
	}
}

func TestHash(t *testing.T) {
	order := func() *PlaceOrder {
		return &PlaceOrder{OrderID: "ord_1", CustomerID: "cus_1", Currency: "EUR", Lines: []PlaceLine{{SKU: "sku_1", Quantity: 1}}}
	}
	want, err := Hash(order())
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Hash(order()); again != want {
		t.Error("the same body has two hashes")
	}
	seen := map[[16]byte]bool{want: true}
	for _, change := range []func(*PlaceOrder){
		func(o *PlaceOrder) { o.OrderID = "ord_2" },
		func(o *PlaceOrder) { o.Currency = "USD" },
		func(o *PlaceOrder) { o.Lines[0].Quantity = 2 },
		func(o *PlaceOrder) { o.Lines[0].UnitPrice = 1 },
		func(o *PlaceOrder) { o.Lines = append(o.Lines, o.Lines[0]) },
		func(o *PlaceOrder) { o.Lines = nil },
	} {
		o := order()
		change(o)
		h, err := Hash(o)
		if err != nil || seen[h] {
			t.Errorf("Hash(%+v) = %x, %v: seen before", o, h, err)
		}
		seen[h] = true
	}
	// Order rows keep hashes for good. This one was computed outside this
	// program, from the bytes that the Avro specification prescribes.
	if got := hex.EncodeToString(want[:]); got != "147f9e1ba389a173f27811a500e88381" {
		t.Errorf("hash is %s", got)
	}
	if _, err := Hash(PlaceOrder{}); err == nil {
		t.Error("a value that is not a pointer was hashed")
	}
}
