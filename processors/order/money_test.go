package order

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/orderlog/orderlog/schemas"
)

func TestLineMoney(t *testing.T) {
	for _, c := range []struct {
		name                     string
		price, quantity, off, bp int64
		net, vat                 int64
		ok                       bool
	}{
		{"plain", 1000, 3, 0, 1900, 3000, 570, true},
		{"half a cent up, net", 1, 1, 5000, 1900, 1, 0, true},
		{"below half a cent", 1, 1, 5001, 1900, 0, 0, true},
		{"half a cent up, vat", 50, 1, 0, 1900, 50, 10, true}, // 9.5
		{"reduced rate", 1000, 1, 0, 1600, 1000, 160, true},
		{"free", 1000, 3, 10000, 1900, 0, 0, true},
		{"no price", 0, MaxQuantity, 0, 1900, 0, 0, true},
		{"largest net", math.MaxInt64, 1, 0, 0, math.MaxInt64, 0, true},
		{"net fits, gross does not", math.MaxInt64, 1, 0, 1, 0, 0, false},
		{"product past int64, result not", math.MaxInt64, 2, 5000, 0, math.MaxInt64, 0, true},
		{"net past int64 by one", math.MaxInt64/2 + 1, 2, 0, 0, 0, 0, false},
		{"all at its largest", math.MaxInt64, MaxQuantity, 0, 1900, 0, 0, false},
	} {
		m, ok := lineMoney(c.price, c.quantity, c.off, c.bp)
		if ok != c.ok || m != (money{c.net, c.vat}) {
			t.Errorf("%s: got %v %v, want %d+%d %v", c.name, m, ok, c.net, c.vat, c.ok)
		}
	}
}

// The obvious version, in whole numbers of any size.
func bigLine(price, quantity, off, bp int64) (net, vat *big.Int) {
	round := func(n *big.Int) *big.Int {
		n.Add(n, big.NewInt(5000))
		return n.Div(n, big.NewInt(10000))
	}
	net = new(big.Int).Mul(big.NewInt(price), big.NewInt(quantity))
	net = round(net.Mul(net, big.NewInt(10000-off)))
	vat = round(new(big.Int).Mul(net, big.NewInt(bp)))
	return net, vat
}

func TestMoneyEqualsBigNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bp := rapid.SampledFrom([]int64{0, 1, ReducedVAT, StandardVAT, 10000}).Draw(t, "vat")
		lines := make([]schemas.Line, rapid.IntRange(1, 4).Draw(t, "lines"))
		total := new(big.Int)
		for i := range lines {
			// A price of any number of bits, so that sums near the limit are common.
			price := int64(rapid.Uint64Range(1, math.MaxInt64).Draw(t, "price") >> rapid.IntRange(0, 62).Draw(t, "shift"))
			lines[i] = schemas.Line{
				QuotedPrice: max(price, 1),
				Quantity:    rapid.Int64Range(1, MaxQuantity).Draw(t, "quantity"),
				DiscountBP:  rapid.Int64Range(0, 10000).Draw(t, "discount"),
			}
			l := lines[i]
			net, vat := bigLine(l.QuotedPrice, l.Quantity, l.DiscountBP, bp)
			total.Add(total, net).Add(total, vat)
			m, ok := lineMoney(l.QuotedPrice, l.Quantity, l.DiscountBP, bp)
			if fits := new(big.Int).Add(net, vat).IsInt64(); ok != fits {
				t.Fatalf("line %+v: ok %v, fits %v", l, ok, fits)
			}
			if ok && (m.net != net.Int64() || m.vat != vat.Int64()) {
				t.Fatalf("line %+v: got %v, want %v + %v", l, m, net, vat)
			}
		}
		sum, complete, ok := quoted(lines, bp)
		if ok != total.IsInt64() || ok && (!complete || sum.gross() != total.Int64()) {
			t.Fatalf("order: got %v %v %v, want %v", sum, complete, ok, total)
		}
	})
}

func TestVATRateByDay(t *testing.T) {
	for day, want := range map[string]int64{
		"2020-06-30T23:59:59Z": StandardVAT,
		"2020-07-01T00:00:00Z": ReducedVAT,
		"2020-12-31T23:59:59Z": ReducedVAT,
		"2021-01-01T00:00:00Z": StandardVAT,
		"2014-01-03T00:00:00Z": StandardVAT,
	} {
		at, err := time.Parse(time.RFC3339, day)
		if err != nil {
			t.Fatal(err)
		}
		o := decideOne(schemas.Order{}, at.UnixMilli(), place("ord_1", schemas.PlaceLine{SKU: "sku_a", Quantity: 1}))
		if o.VATBP != want {
			t.Errorf("placed %s: vat %d, want %d", day, o.VATBP, want)
		}
	}
}
