package schemas

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/orderlog/orderlog/topics"
)

func TestDecodeJSON(t *testing.T) {
	order := &PlaceOrder{OrderID: "ord_1", CustomerID: "cus_1", Currency: "EUR",
		Lines: []PlaceLine{{SKU: "sku_1", Quantity: 2}, {SKU: "sku_2", Quantity: 1, UnitPrice: 999, DiscountBP: 500}}}
	const lines = `"lines":[{"sku":"sku_1","quantity":2},{"sku":"sku_2","quantity":1,"unit_price":999,"discount_bp":500}]`
	for _, c := range []struct {
		name, msgType, text string
		want                any
	}{
		{"type in the header", OrdersOrderPlace, `{"order_id":"ord_1","customer_id":"cus_1","currency":"EUR",` + lines + `}`, order},
		{"type as a member", "", `{"order_id":"ord_1",` + lines + `,"type":"orders.order.place","customer_id":"cus_1","currency":"EUR"}`, order},
		{"both", OrdersOrderPlace, ` {"type":"orders.order.place","order_id":"ord_1","customer_id":"cus_1","currency":"EUR",` + lines + "}\n", order},
		{"default", OrdersOrderCancel, `{"order_id":"ord_1"}`, &CancelOrder{OrderID: "ord_1"}},
		{"two types of one record", InvoicingCreditNoteIssue, `{"order_id":"o","kind":"credit_note","series":"CN-2026","customer_id":"c","currency":"EUR","net":1,"vat":2,"gross":3,"vat_bp":4}`,
			&IssueInvoice{OrderID: "o", Kind: "credit_note", Series: "CN-2026", CustomerID: "c", Currency: "EUR", Net: 1, VAT: 2, Gross: 3, VATBP: 4}},
		{"largest", CreditLimitSet, `{"customer_id":"c","limit":9223372036854775807,"currency":"EUR"}`, &SetLimit{CustomerID: "c", Limit: 1<<63 - 1, Currency: "EUR"}},
		{"smallest", CreditLimitSet, `{"customer_id":"c","limit":-9223372036854775808,"currency":"EUR"}`, &SetLimit{CustomerID: "c", Limit: -1 << 63, Currency: "EUR"}},
		{"escapes", OrdersOrderCancel, `{"order_id":"ord_1","reason":"\u00fc \"\n"}`, &CancelOrder{OrderID: "ord_1", Reason: "ü \"\n"}},
	} {
		got, err := DecodeJSON(c.msgType, []byte(c.text))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, error %v, want %+v", c.name, got, err, c.want)
		}
	}
}

func TestDecodeJSONRefuses(t *testing.T) {
	place := func(line string) string {
		return `{"order_id":"o","customer_id":"c","currency":"EUR","lines":[{"sku":"s","quantity":1},` + line + `]}`
	}
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct{ name, msgType, text, want string }{
		{"no type", "", `{"order_id":"o"}`, "no message type"},
		{"unknown type", "orders.order.eat", `{}`, `unknown message type "orders.order.eat"`},
		{"near miss of a type", "order.order.place", `{}`, `did you mean "orders.order.place"?`},
		{"two types", OrdersOrderPlace, `{"type":"orders.order.cancel"}`, `"orders.order.place" by its header and "orders.order.cancel"`},
		{"type is no string", "", `{"type":7}`, `member "type" must name`},
		{"type is null", OrdersOrderCancel, `{"type":null,"order_id":"o"}`, `member "type" must name`},
		{"type twice", OrdersOrderCancel, `{"type":"orders.order.cancel","type":"orders.order.cancel","order_id":"o"}`, "type: given twice"},
		{"empty", OrdersOrderPlace, ``, "unexpected end"},
		{"null", OrdersOrderPlace, `null`, "want an object"},
		{"array", OrdersOrderPlace, `[]`, "cannot unmarshal array"},
		{"cut", OrdersOrderCancel, `{"order_id":"o"`, "unexpected end"},
		{"more after it", OrdersOrderCancel, `{"order_id":"o"} {}`, "after top-level value"},
		{"unknown member", OrdersOrderCancel, `{"order_id":"o","colour":"red"}`, "colour: unknown member"},
		{"near miss", OrdersOrderCancel, `{"order_id":"o","reasons":"r"}`, `reasons: unknown member, did you mean "reason"?`},
		{"camel case", OrdersOrderCancel, `{"orderId":"o"}`, `orderId: unknown member, did you mean "order_id"?`},
		{"letter case", OrdersOrderCancel, `{"Order_ID":"o"}`, `Order_ID: unknown member, did you mean "order_id"?`},
		{"unknown member of a line", OrdersOrderPlace, place(`{"sku":"s","quantity":1,"unitprice":5}`), `lines[1].unitprice: unknown member, did you mean "unit_price"?`},
		{"twice", OrdersOrderCancel, `{"order_id":"o","order_id":"p"}`, "order_id: given twice"},
		{"missing", OrdersOrderPlace, `{"order_id":"o","currency":"EUR","lines":[]}`, "customer_id: missing"},
		{"missing in a line", OrdersOrderPlace, place(`{"sku":"s"}`), "lines[1].quantity: missing"},
		{"fraction", OrdersOrderPlace, place(`{"sku":"s","quantity":1.5}`), "lines[1].quantity: want a whole number of 64 bits, got 1.5"},
		{"whole fraction", OrdersOrderPlace, place(`{"sku":"s","quantity":1.0}`), "got 1.0"},
		{"exponent", OrdersOrderPlace, place(`{"sku":"s","quantity":1e3}`), "got 1e3"},
		{"too large", OrdersOrderPlace, place(`{"sku":"s","quantity":9223372036854775808}`), "got 9223372036854775808"},
		{"number as text", OrdersOrderPlace, place(`{"sku":"s","quantity":"1"}`), `got "1"`},
		{"text as number", OrdersOrderCancel, `{"order_id":1}`, "order_id: want a string, got 1"},
		{"null text", OrdersOrderCancel, `{"order_id":null}`, "order_id: want a string, got null"},
		{"object for text", OrdersOrderCancel, `{"order_id":{}}`, "order_id: want a string, got {"},
		{"text for an array", OrdersOrderPlace, `{"order_id":"o","customer_id":"c","currency":"EUR","lines":"none"}`, `lines: want an array, got "none"`},
		{"number for an object", OrdersOrderPlace, place(`7`), "lines[1]: want an object, got 7"},
		{"true for a number", CreditLimitSet, `{"customer_id":"c","limit":true,"currency":"EUR"}`, "limit: want a whole number of 64 bits, got true"},
		{"long name", OrdersOrderCancel, `{"order_id":"o","` + long + `":1}`, "unknown member"},
		{"long text", CreditLimitSet, `{"customer_id":"c","limit":"` + long + `","currency":"EUR"}`, "limit: want"},
		{"long number", CreditLimitSet, `{"customer_id":"c","limit":1` + strings.Repeat("0", 1<<20) + `,"currency":"EUR"}`, "limit: want"},
		{"long type", "", `{"type":"` + long + `"}`, "unknown message type"},
		{"long no type", "", `{"type":[` + strings.Repeat("1,", 1<<19) + `1]}`, `member "type" must`},
	} {
		body, err := DecodeJSON(c.msgType, []byte(c.text))
		if !errors.Is(err, ErrBody) || !strings.Contains(err.Error(), c.want) || body != nil {
			t.Errorf("%s: body %v, error %v, want %q", c.name, body, err, c.want)
			continue
		}
		if len(err.Error()) > 300 {
			t.Errorf("%s: the error has %d bytes", c.name, len(err.Error()))
		}
	}
}

func TestNoHintWhereNothingIsNear(t *testing.T) {
	for name, want := range map[string]string{"x": "", "qt": "", "ab": "", "quantitiy": "quantity", "sku_id": "sku", "Unit-Price": "unit_price"} {
		got := hint(name, []string{"sku", "id", "quantity", "unit_price", "discount_bp"})
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("hint for %q: %q, want %q", name, got, want)
		}
	}
}

// What Describe shows, DecodeJSON reads: the JSON form loses nothing.
func TestDescribeAndDecodeJSONAreInverse(t *testing.T) {
	s := NewLocalSerde()
	for _, top := range topics.All() {
		for _, name := range top.Records {
			r, _ := Find(name)
			if len(r.Types) == 0 {
				continue // a document: no message type means it
			}
			t.Run(name, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					body := drawBody(t, r)
					value, err := s.Encode(nil, top.Name, body)
					if err != nil {
						t.Fatal(err)
					}
					record, text, err := s.Describe(t.Context(), value)
					if err != nil || record != name {
						t.Fatalf("record %q, error %v", record, err)
					}
					got, err := DecodeJSON(r.Types[0], text)
					if err != nil || !reflect.DeepEqual(got, body) {
						t.Fatalf("%s\nread back as %+v, error %v", text, got, err)
					}
				})
			})
		}
	}
}
