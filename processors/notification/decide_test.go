package notification

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/scenario"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

func TestScenarios(t *testing.T) {
	rule := New(Config{Mail: "{customer}@example.invalid", Webhooks: []Webhook{{Name: "erp", Events: []string{"order.invoiced", "voucher.*"}}}})
	scenario.Suite[schemas.Notices]{Rule: rule, ID: "order_id"}.Run(t, *update)
}

// versions are all versions of an order that is delivered and earns a voucher,
// made by the order's own rule.
func versions(t *testing.T) []schemas.Order {
	t.Helper()
	rule := order.New(order.Config{})
	var row schemas.Order
	var all []schemas.Order
	for i, body := range []any{
		&schemas.PlaceOrder{OrderID: "ord_1", CustomerID: "cus_1", Currency: "EUR", Lines: []schemas.PlaceLine{{SKU: "sku_a", Quantity: 2}, {SKU: "sku_b", Quantity: 1}}},
		&schemas.StockReserved{OrderID: "ord_1", SKU: "sku_a", UnitPrice: 5000},
		&schemas.StockReserved{OrderID: "ord_1", Line: 1, SKU: "sku_b", UnitPrice: 100},
		&schemas.CreditCharged{OrderID: "ord_1", Amount: 12019},
		&schemas.InvoiceIssued{OrderID: "ord_1", Kind: schemas.KindInvoice, InvoiceID: "inv_1", Number: "A-2026-000001", IssuedAt: 1},
		&schemas.DeliverOrder{OrderID: "ord_1"},
		&schemas.CancelOrder{OrderID: "ord_1"}, // refused: it is delivered
		&schemas.VoucherGranted{OrderID: "ord_1", Strategy: "order-over-100", VoucherID: "vch_1", Amount: 500},
		&schemas.VoucherGranted{OrderID: "ord_1", Strategy: "another", VoucherID: "vch_2", Amount: 100},
	} {
		next, _ := rule.Decide(row, flow.Message{ID: fmt.Sprint("evt_", i), Type: schemas.TypeOf(body), Key: "ord_1", At: 1_700_000_000_000 + int64(i)*1000, Body: body})
		if next.Version != row.Version+1 {
			t.Fatalf("%T made version %d of %d", body, next.Version, row.Version)
		}
		row = next
		all = append(all, row)
	}
	return all
}

func effects(outs []flow.Message) (all []schemas.Effect) {
	for _, m := range outs {
		all = append(all, *m.Body.(*schemas.Effect))
	}
	return all
}

// Whatever versions compaction leaves, and however often and late old ones come
// again: each effect is asked for once, and is the same.
func TestEachEffectOnceWhateverIsSeen(t *testing.T) {
	rule := New(Config{Mail: "{customer}@example.invalid", Webhooks: []Webhook{{Name: "erp", Events: []string{"order.*"}}, {Name: "all"}}})
	all := versions(t)
	run := func(seen []schemas.Order) (got []schemas.Effect) {
		var row schemas.Notices
		for i := range seen {
			var outs []flow.Message
			row, outs = rule.Decide(row, flow.Message{ID: fmt.Sprint("evt_", i), Key: "ord_1", Body: &seen[i]})
			got = append(got, effects(outs)...)
		}
		return got
	}
	want := run(all)
	if n := 3 + 3 + 3 + 2 + 2; len(want) != n { // approved, invoiced, delivered: mail and both; vouchers: mail and one
		t.Fatalf("%d effects, want %d: %v", len(want), n, want)
	}
	ids := map[string]bool{}
	for _, e := range want {
		if ids[e.EffectID] {
			t.Errorf("two effects are called %s", e.EffectID)
		}
		ids[e.EffectID] = true
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		var seen []schemas.Order
		for i, o := range all {
			for range rng.IntN(3) {
				seen = append(seen, o, all[rng.IntN(i+1)])
			}
		}
		seen = append(seen, all[len(all)-1])
		if got := run(seen); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: versions %v make\n%v\nwant\n%v", seed, seen, got, want)
		}
	}
}

// What is configured later is told of what happens later.
func TestConfigurationChanges(t *testing.T) {
	all := versions(t)
	row, _ := New(Config{}).Decide(schemas.Notices{}, flow.Message{Body: &all[5]}) // delivered
	if row.Seen == 0 {
		t.Fatal("with nobody to be told, nothing was seen")
	}
	_, outs := New(Config{Webhooks: []Webhook{{Name: "late"}}}).Decide(row, flow.Message{Body: &all[7]})
	if got := effects(outs); len(got) != 1 || got[0].Event != schemas.VoucherGrantedEvent {
		t.Errorf("a webhook that is new is told of %v", got)
	}
	_, outs = New(Config{Mail: "all@example.com", Since: all[5].ChangedAt}).Decide(schemas.Notices{}, flow.Message{Body: &all[7]})
	if got := effects(outs); len(got) != 2 || got[0].Event != schemas.OrderDelivered || got[0].To != "all@example.com" {
		t.Errorf("since the delivery: %v", got)
	}
}

func TestWants(t *testing.T) {
	for _, c := range []struct {
		filters string
		event   string
		want    bool
	}{
		{"", schemas.OrderInvoiced, true},
		{"*", schemas.VoucherGrantedEvent, true},
		{"order.*", schemas.OrderInvoiced, true},
		{"order.*", schemas.VoucherGrantedEvent, false},
		{"order.invoiced", schemas.OrderInvoiced, true},
		{"order.invoiced", schemas.OrderApproved, false},
		{"order.invoice", schemas.OrderInvoiced, false},
		{"voucher.* order.approved", schemas.OrderApproved, true},
	} {
		if got := Wants(strings.Fields(c.filters), c.event); got != c.want {
			t.Errorf("Wants(%q, %s) = %v", c.filters, c.event, got)
		}
	}
}

// A skipped version has nothing to tell; every other may have.
func TestSkipKnowsOnlyWhatCannotMatter(t *testing.T) {
	skip := New(Config{}).Skip
	if !skip(schemas.OrderPlaced) {
		t.Error("a new order is not skipped")
	}
	for _, typ := range append(Events(), schemas.StockReservedEvent, schemas.OrderCancelled, schemas.OrderRefused, "", "order.unheard_of") {
		if skip(typ) {
			t.Errorf("%q is skipped", typ)
		}
	}
}

// The largest order that the rules let through still fits into a record: a
// broker takes a million bytes.
func TestTheLargestNoticeFits(t *testing.T) {
	bad := "sku_" + strings.Repeat("\x01", order.MaxID-4) // JSON needs six bytes for each
	o := schemas.Order{OrderID: "ord_" + bad[4:], CustomerID: "cus_" + bad[4:], Currency: "EUR"}
	for range order.MaxLines {
		o.Lines = append(o.Lines, schemas.Line{SKU: bad, Quantity: order.MaxQuantity, UnitPrice: 1 << 60, DiscountBP: 9999, Net: 1 << 60, VAT: 1 << 60})
		o.Reasons = append(o.Reasons, strings.Repeat("\x01", 1500))
	}
	for _, typ := range Events() {
		o.Timeline = []schemas.TimelineEntry{{Type: typ}}
		text := notice(&o, 0)
		if len(text) > 880_000 {
			t.Errorf("%s: %d bytes", typ, len(text))
		}
		var n Notice
		if err := json.Unmarshal([]byte(text), &n); err != nil || n.Data.OrderID != o.OrderID {
			t.Errorf("%s: reads back as %.100v, error %v", typ, n, err)
		}
		if typ == schemas.OrderRejected && (len(n.Data.Reasons) != maxReasons+1 || n.Data.Reasons[maxReasons] != "and 484 more") {
			t.Errorf("%d reasons: %q", len(n.Data.Reasons), n.Data.Reasons[len(n.Data.Reasons)-1])
		}
	}
}
