package workload

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/orderlog/orderlog/processors/order"
)

func within(t *testing.T, what string, got, low, high float64) {
	t.Helper()
	if !(got >= low && got <= high) {
		t.Errorf("%s: %.4f, want %.4f to %.4f", what, got, low, high)
	}
}

func TestMix(t *testing.T) {
	const n = 20_000
	w := shop(t, Config{Seed: 11, Orders: n})
	var lines, quoted, discounted, single, net float64
	customers, products, seen := map[string]int{}, map[string]int{}, map[int]bool{}
	for b := range placements(w) {
		customers[b.CustomerID]++
		seen[len(b.Lines)] = true
		priced := 0
		for _, l := range b.Lines {
			products[l.SKU]++
			lines++
			if l.UnitPrice > 0 {
				priced++
			}
			if l.DiscountBP > 0 {
				discounted++
			}
			if l.Quantity == 1 {
				single++
			}
			if l.Quantity < 1 || l.Quantity > order.MaxQuantity || l.DiscountBP < 0 || l.DiscountBP > 2000 {
				t.Errorf("%+v", l)
			}
			net += float64(l.UnitPrice*l.Quantity*(10_000-l.DiscountBP)) / 10_000
		}
		if priced != 0 && priced != len(b.Lines) {
			t.Errorf("%d of %d lines are quoted", priced, len(b.Lines))
		}
		if priced > 0 {
			quoted++
		}
	}
	within(t, "lines of an order", lines/n, 2.95, 3.05)
	within(t, "fully quoted orders", quoted/n, 0.78, 0.82)
	within(t, "discounted lines", discounted/lines, 0.13, 0.17)
	within(t, "lines of one unit", single/lines, 0.50, 0.54)
	within(t, "net of a quoted order, EUR", net/quoted/100, 200, 800)
	if len(seen) != 8 {
		t.Errorf("numbers of lines: %v", slices.Sorted(maps.Keys(seen)))
	}
	within(t, "orders of the first fifth of customers", topShare(customers, 200), 0.60, 0.72)
	within(t, "lines of the first fifth of products", topShare(products, 2000), 0.72, 0.85)
	within(t, "orders of the best customer", topShare(customers, 1), 0.015, 0.03)
	within(t, "lines of the best product", topShare(products, 1), 0.01, 0.02)
	within(t, "customers who order", float64(len(customers)), 990, 1000)
}

// topShare is what the n largest have of all.
func topShare(count map[string]int, n int) float64 {
	c := slices.Sorted(maps.Values(count))
	slices.Reverse(c)
	top, all := 0, 0
	for i, x := range c {
		all += x
		if i < n {
			top += x
		}
	}
	return float64(top) / float64(all)
}

func TestPrices(t *testing.T) {
	ps, names, middle := newProducts(10_000), map[string]bool{}, 0.0
	for _, p := range ps {
		names[p.sku] = true
		if p.price < 100 || p.price > 50_000 {
			t.Errorf("%+v", p)
		}
		if p.price >= 1000 && p.price < 10_000 {
			middle++
		}
	}
	if len(names) != len(ps) {
		t.Errorf("%d SKUs", len(names))
	}
	within(t, "products for 10 to 100 EUR", middle/float64(len(ps)), 0.50, 0.60)
}

func TestAmongIsEven(t *testing.T) {
	for _, f := range []float64{0, 0.001, 0.05, 1.0 / 3, 0.5, 0.99, 1} {
		for _, phase := range []uint32{0, 1 << 30, 1<<32 - 1} {
			t.Run(fmt.Sprint(f, " ", phase), func(t *testing.T) {
				chosen := 0.0
				for i := range 1000 {
					if newRate(f).among(i, phase) {
						chosen++
					}
					within(t, "chosen", chosen, f*float64(i+1)-1, f*float64(i+1)+1)
				}
			})
		}
	}
}

func TestSharesDrawsEveryIndex(t *testing.T) {
	s := newShares(4, func(i int) uint64 { return []uint64{1, 0, 3, 6}[i] })
	var n [4]float64
	r := newRand(2, orderStream)
	for range 10_000 {
		n[s.draw(r)]++
	}
	within(t, "weight 1", n[0], 850, 1150)
	within(t, "weight 0", n[1], 0, 0)
	within(t, "weight 3", n[2], 2800, 3200)
	within(t, "weight 6", n[3], 5800, 6200)
}
