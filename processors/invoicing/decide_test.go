package invoicing

import (
	"flag"
	"testing"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/scenario"
	"github.com/orderlog/orderlog/schemas"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

func TestScenarios(t *testing.T) {
	scenario.Suite[schemas.Series]{Rule: New(), ID: "series"}.Run(t, *update)
}

func TestInvoiceIDDependsOnOrderAndKindAlone(t *testing.T) {
	id := func(last int64, order, kind string) string {
		_, outs := New().Decide(schemas.Series{Series: "A-2026", Last: last}, flow.Message{
			ID: "evt_" + order + kind, At: 1_800_000_000_000,
			Body: &schemas.IssueInvoice{OrderID: order, Kind: kind, Series: "A-2026"},
		})
		return outs[0].Key
	}
	base := id(0, "ord_1", schemas.KindInvoice)
	if again := id(7, "ord_1", schemas.KindInvoice); again != base {
		t.Errorf("the same invoice with another number is %s, was %s", again, base)
	}
	for _, other := range []string{id(0, "ord_2", schemas.KindInvoice), id(0, "ord_1", schemas.KindCreditNote)} {
		if other == base {
			t.Errorf("another document has the same ID %s", other)
		}
	}
}
