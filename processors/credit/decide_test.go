package credit

import (
	"flag"
	"math"
	"testing"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/scenario"
	"github.com/orderlog/orderlog/schemas"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

func TestScenarios(t *testing.T) {
	scenario.Suite[schemas.Account]{Rule: New(Config{OpeningLimit: 1000}), ID: "customer_id"}.Run(t, *update)
}

func TestChargeAtTheLimits(t *testing.T) {
	for _, c := range []struct {
		name                   string
		limit, charged, amount int64
		ok                     bool
	}{
		{"to the limit", 1000, 400, 600, true},
		{"past the limit", 1000, 400, 601, false},
		{"nothing, at the limit", 1000, 1000, 0, true},
		{"limit lowered below what is charged", 100, 400, 0, false},
		{"sum past int64", math.MaxInt64, math.MaxInt64, 1, false},
		{"amount past any limit", math.MaxInt64, 1, math.MaxInt64, false},
		{"all there is", math.MaxInt64, 0, math.MaxInt64, true},
	} {
		row := schemas.Account{CustomerID: "cus_1", Currency: "EUR", Limit: c.limit, Charged: c.charged}
		next, outs := New(Config{}).Decide(row, flow.Message{Body: &schemas.ChargeCredit{OrderID: "ord_1", CustomerID: "cus_1", Amount: c.amount, Currency: "EUR"}})
		want := row
		event := schemas.CreditRefusedEvent
		if c.ok {
			want.Charged += c.amount
			event = schemas.CreditChargedEvent
		}
		if next != want || len(outs) != 1 || outs[0].Type != event {
			t.Errorf("%s: got %+v, %+v", c.name, next, outs)
		}
	}
}
