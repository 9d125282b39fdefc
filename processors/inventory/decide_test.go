package inventory

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
	scenario.Suite[schemas.Stock]{Rule: New(), ID: "sku"}.Run(t, *update)
}

func TestCommandsAtTheLimits(t *testing.T) {
	full := schemas.Stock{SKU: "sku_a", Priced: true, Price: 100, Currency: "EUR", OnHand: math.MaxInt64 - 5}
	for _, c := range []struct {
		name   string
		row    schemas.Stock
		body   any
		onHand int64
		ok     bool
	}{
		{"one", schemas.Stock{}, &schemas.ReceiveStock{SKU: "sku_a", Quantity: 1}, 1, true},
		{"most", schemas.Stock{}, &schemas.ReceiveStock{SKU: "sku_a", Quantity: MaxReceipt}, MaxReceipt, true},
		{"too much", schemas.Stock{}, &schemas.ReceiveStock{SKU: "sku_a", Quantity: MaxReceipt + 1}, 0, false},
		{"nothing", schemas.Stock{}, &schemas.ReceiveStock{SKU: "sku_a"}, 0, false},
		{"less than nothing", schemas.Stock{}, &schemas.ReceiveStock{SKU: "sku_a", Quantity: -1}, 0, false},
		{"no product", schemas.Stock{}, &schemas.ReceiveStock{Quantity: 1}, 0, false},
		{"last that fits", full, &schemas.ReceiveStock{SKU: "sku_a", Quantity: 5}, math.MaxInt64, true},
		{"past int64", full, &schemas.ReceiveStock{SKU: "sku_a", Quantity: 6}, full.OnHand, false},
		{"release past int64", full, &schemas.ReleaseStock{SKU: "sku_a", Quantity: 6}, full.OnHand, false},
		{"free", schemas.Stock{}, &schemas.SetPrice{SKU: "sku_a", Currency: "EUR"}, 0, true},
		{"negative price", full, &schemas.SetPrice{SKU: "sku_a", Currency: "EUR", Price: -1}, full.OnHand, false},
		{"no currency", full, &schemas.SetPrice{SKU: "sku_a", Price: 1}, full.OnHand, false},
		{"small letters", full, &schemas.SetPrice{SKU: "sku_a", Currency: "eur", Price: 1}, full.OnHand, false},
		{"price of no product", full, &schemas.SetPrice{Currency: "EUR", Price: 1}, full.OnHand, false},
	} {
		row, outs := New().Decide(c.row, flow.Message{Key: "sku_a", Body: c.body})
		if row.OnHand != c.onHand {
			t.Errorf("%s: on hand %d, want %d", c.name, row.OnHand, c.onHand)
		}
		if c.ok && (len(outs) > 0 || row.SKU != "sku_a") {
			t.Errorf("%s: row %+v, messages %+v", c.name, row, outs)
		}
		if !c.ok && (len(outs) != 1 || outs[0].Type != flow.RefusalType || row != c.row) {
			t.Errorf("%s: not refused: row %+v, messages %+v", c.name, row, outs)
		}
	}
}
