package schemas

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/orderlog/orderlog/topics"
)

func TestDescribeOrder(t *testing.T) {
	s := NewLocalSerde()
	o := &Order{OrderID: "ord_1", State: Placed, BodyHash: [16]byte{0xab, 15: 0x01}, Lines: []Line{{SKU: "sku_<1>", Quantity: 2}},
		Credit: CreditAsk{Ask: AskNone}, CreditNote: InvoiceAsk{Number: "CN"}, Reasons: []string{"a", `"b"`}}
	value, err := s.Encode(nil, topics.OrderTable, o)
	if err != nil {
		t.Fatal(err)
	}
	record, text, err := s.Describe(t.Context(), value)
	want := `{"order_id":"ord_1","state":"placed","version":0,"entered_by":0,"customer_id":"","currency":"","placed_at":0,"changed_at":0,` +
		`"body_hash":"ab000000000000000000000000000001","vat_bp":0,` +
		`"lines":[{"sku":"sku_<1>","quantity":2,"quoted_price":0,"discount_bp":0,"unit_price":0,"net":0,"vat":0,"stock":""}],` +
		`"net":0,"vat":0,"gross":0,"credit":{"ask":"none","amount":0,"opened":0},"invoice":{"ask":"","invoice_id":"","number":"","issued_at":0},` +
		`"credit_note":{"ask":"","invoice_id":"","number":"CN","issued_at":0},"vouchers":[],"reasons":["a","\"b\""],"refused_commands":0,"timeline":[]}`
	if record != "Order" || string(text) != want || err != nil {
		t.Errorf("%s, error %v\n got %s\nwant %s", record, err, text, want)
	}
}

// foreign has what our own schemas do without.
const foreign = `{"type":"record","name":"Parcel","namespace":"shop","fields":[
	{"name":"z","type":["null","string",{"type":"record","name":"Box","fields":[{"name":"y","type":"int"},{"name":"b","type":"bytes"}]}]},
	{"name":"also","type":["Box","null"]},
	{"name":"tags","type":{"type":"map","values":["null","long"]}},
	{"name":"kind","type":{"type":"enum","name":"Kind","symbols":["SMALL","LARGE"]}},
	{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"due","type":["null",{"type":"long","logicalType":"timestamp-millis"}]},
	{"name":"weight","type":"double"},
	{"name":"tree","type":{"type":"record","name":"Tree","fields":[{"name":"next","type":["null","Tree"]}]}}]}`

func TestDescribeWhatIsNotOurs(t *testing.T) {
	reg := newFakeRegistry()
	s := reg.serde(t, reg.config())
	id, _, err := reg.RegisterSchema("parcels", sr.Schema{Schema: foreign})
	if err != nil {
		t.Fatal(err)
	}
	value := appendHead(nil, uint32(id))
	value = append(value, 4, 14, 4, 0xca, 0xfe)          // z: Box{7, cafe}
	value = append(value, 2)                             // also: null
	value = append(value, 4, 2, 'b', 2, 8, 2, 'a', 0, 0) // tags: b: 4, a: null
	value = append(value, 2)                             // kind: LARGE
	value = append(value, 0)                             // at: the epoch
	value = append(value, 2, 0)                          // due: the epoch
	value = binary.LittleEndian.AppendUint64(value, math.Float64bits(math.Inf(1)))
	value = append(value, 2, 2, 0) // tree: two deep
	// Below the first level a recursive schema is no longer followed: the branch
	// of the union shows there.
	for range 5 { // the same text every time
		record, text, err := s.Describe(t.Context(), value)
		want := `{"z":{"y":7,"b":"cafe"},"also":null,"tags":{"a":null,"b":4},"kind":"LARGE","at":"1970-01-01T00:00:00Z","due":"1970-01-01T00:00:00Z","weight":"+Inf","tree":{"next":{"next":{"shop.Tree":{"next":null}}}}}`
		if record != "shop.Parcel" || err != nil || string(text) != want {
			t.Fatalf("%s, error %v\n got %s\nwant %s", record, err, text, want)
		}
		if !json.Valid(text) {
			t.Fatal("not JSON")
		}
	}
}

func TestDescribeWhatAnotherVersionWrote(t *testing.T) {
	reg := newFakeRegistry()
	s := reg.serde(t, reg.config())
	id, _, err := reg.RegisterSchema("elsewhere", sr.Schema{Schema: later})
	if err != nil {
		t.Fatal(err)
	}
	record, text, err := s.Describe(t.Context(), append(appendHead(nil, uint32(id)), laterBody...))
	want := `{"note":"note","lines":[{"quantity":3,"gift":true,"sku":"sku_1","unit_price":10}],"currency":"EUR","customer_id":"cus_1","order_id":"ord_1"}`
	if record != "PlaceOrder" || string(text) != want || err != nil {
		t.Errorf("%s, error %v\n got %s\nwant %s", record, err, text, want)
	}
}

// What Decode reads leniently, Describe shows as Decode reads it.
func TestDescribeAgreesWithDecode(t *testing.T) {
	s := NewLocalSerde()
	body, err := s.Decode(t.Context(), topics.InventoryTable, oddTrue)
	if want := (&Stock{SKU: "s", Name: "n", Price: 1}); err != nil || !reflect.DeepEqual(body, want) {
		t.Errorf("decoded %+v, error %v", body, err)
	}
	_, text, err := s.Describe(t.Context(), oddTrue)
	if want := `{"sku":"s","name":"n","priced":false,"price":1,"currency":"","on_hand":0}`; err != nil || string(text) != want {
		t.Errorf("described %s, error %v", text, err)
	}
}

func TestDescribeRefuses(t *testing.T) {
	reg := newFakeRegistry()
	s := reg.serde(t, reg.config())
	ids := map[string]uint32{}
	for name, schema := range map[string]sr.Schema{
		"nulls": {Schema: `{"type":"record","name":"N","fields":[{"name":"n","type":{"type":"array","items":"null"}}]}`},
		"list":  {Schema: `{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}`},
		"json":  {Schema: `{"type":"object"}`, Type: sr.TypeJSON},
	} {
		id, _, err := reg.RegisterSchema(name, schema)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = uint32(id)
	}
	place, err := s.Encode(nil, topics.OrderCommands, sampleOf("PlaceOrder"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		value []byte
		want  error
	}{
		{"nothing", nil, ErrNotWire},
		{"text", []byte("hello"), ErrNotWire},
		{"unknown id", appendHead(nil, 4711), ErrUnknownSchema},
		{"not Avro", appendHead(nil, ids["json"]), ErrIncompatible},
		{"cut", place[:len(place)-1], ErrBody},
		{"one byte more", append(place, 0), ErrBody},
		// Counts that a reader must not believe: 2^31 items of no size, and a
		// nesting as deep as the value is long.
		{"billions of nulls", binary.AppendVarint(appendHead(nil, ids["nulls"]), 1<<31-1), ErrBody},
		{"a deep list", append(appendHead(nil, ids["list"]), []byte(strings.Repeat("\x02", 1<<20))...), ErrBody},
	} {
		if record, text, err := s.Describe(t.Context(), c.value); !errors.Is(err, c.want) || text != nil {
			t.Errorf("%s: %s %s, error %v", c.name, record, text, err)
		}
	}
}
