package voucher

import (
	"flag"
	"testing"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/scenario"
	"github.com/orderlog/orderlog/schemas"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

func TestScenarios(t *testing.T) {
	scenario.Suite[schemas.Grants]{Rule: New(), ID: "order_id"}.Run(t, *update)
}

// A voucher is the same one whichever version of the order earned it.
func TestVoucherDependsOnNothingThatVaries(t *testing.T) {
	o := schemas.Order{
		OrderID: "ord_1", CustomerID: "cus_1", State: schemas.Delivered, Currency: Currency, Gross: Threshold,
		PlacedAt: 1_700_000_000_000, ChangedAt: 1_700_000_002_000, Version: 6,
		Timeline: []schemas.TimelineEntry{{At: 1_700_000_000_000, Type: schemas.OrderPlaced}, {At: 1_700_000_002_000, Type: schemas.OrderDelivered}},
	}
	later := o
	later.Version, later.ChangedAt = 7, 1_700_000_009_000
	later.Timeline = append(later.Timeline, schemas.TimelineEntry{At: 1_700_000_009_000, Type: schemas.OrderRefused})
	_, first := New().Decide(schemas.Grants{}, flow.Message{ID: "evt_1", At: 1_700_000_002_000, Body: &o})
	_, second := New().Decide(schemas.Grants{}, flow.Message{ID: "evt_2", At: 1_700_000_009_000, Body: &later})
	if len(first) != 2 || len(second) != 2 {
		t.Fatalf("got %d and %d messages", len(first), len(second))
	}
	if a, b := *first[0].Body.(*schemas.Voucher), *second[0].Body.(*schemas.Voucher); a != b || a.GrantedAt != 1_700_000_002_000 {
		t.Errorf("got %+v and %+v", a, b)
	}
}

func TestSkipKnowsOnlyWhatCannotMatter(t *testing.T) {
	for _, typ := range []string{schemas.OrderDelivered, schemas.VoucherGrantedEvent, schemas.OrderRefused, "", "order.unheard_of"} {
		if skip(typ) {
			t.Errorf("%q is skipped", typ)
		}
	}
	for _, typ := range []string{schemas.OrderPlaced, schemas.StockReservedEvent, schemas.CreditChargedEvent, schemas.OrderApproved, schemas.OrderInvoiced} {
		if !skip(typ) {
			t.Errorf("%q is not skipped", typ)
		}
	}
}
