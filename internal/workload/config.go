package workload

import (
	"fmt"
	"math"
	"time"
)

// Config says what a workload is like. The zero value of a field is its default.
type Config struct {
	Seed      uint64
	Orders    int   // placements, faults not counted
	Customers int   // 0: 1,000, fewer where there are few orders
	Products  int   // 0: 10,000, fewer where there are few orders
	Start     int64 // event time of the set-up, Unix ms; 0: DefaultStart
	Stock     int64 // units received of every product, at most 1e12; 0: ample
	Credit    int64 // every customer's limit, minor units; 0: ample
	Faults    Faults
}

// Faults are what goes wrong: each is a rate from 0 to 1, of the orders where
// nothing else is said. They come on top: the orders of a seed stay the same,
// but for the SKU that UnknownProducts changes.
type Faults struct {
	Duplicates      float64 // the placement once more, some steps later: the same message, its time included
	Conflicts       float64 // the same order ID with another body, some steps later
	UnknownProducts float64 // one line's SKU is not set up
	Broke           float64 // of the customers: their limit is too small for any order
	SoldOut         float64 // of the products: one unit is received, no more
	Cancels         float64 // a cancel, some steps later
	Undecodable     float64 // a record under the order's key that nothing can decode
	EarlyDeliveries float64 // a delivery just before the placement or just after it
	Deliveries      float64 // a delivery, many steps later; the order need not be invoiced by then
}

// DefaultStart is 5 January 2026, 08:00 UTC.
const DefaultStart = int64(1_767_600_000_000)

const (
	ampleStock  = int64(1e9)
	ampleCredit = int64(1e15)
	maxStock    = int64(1e12)
	maxEntities = 1_000_000 // of customers, of products: tables of them are in memory
)

// Validate tells the first thing that is wrong.
func (c Config) Validate() error {
	for _, n := range []struct {
		name  string
		value int64
		max   int64
	}{
		{"orders", int64(c.Orders), math.MaxInt64},
		{"customers", int64(c.Customers), maxEntities},
		{"products", int64(c.Products), maxEntities},
		{"start", c.Start, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()},
		{"stock", c.Stock, maxStock},
		{"credit", c.Credit, math.MaxInt64},
	} {
		if n.value < 0 || n.value > n.max {
			return fmt.Errorf("workload: %s is %d, not 0 to %d", n.name, n.value, n.max)
		}
	}
	f := c.Faults
	for _, r := range []struct {
		name string
		rate float64
	}{
		{"duplicates", f.Duplicates}, {"conflicts", f.Conflicts}, {"unknown products", f.UnknownProducts},
		{"broke", f.Broke}, {"sold out", f.SoldOut}, {"cancels", f.Cancels}, {"undecodable", f.Undecodable},
		{"early deliveries", f.EarlyDeliveries}, {"deliveries", f.Deliveries},
	} {
		if !(r.rate >= 0 && r.rate <= 1) { // NaN too
			return fmt.Errorf("workload: the rate of %s is %v, not 0 to 1", r.name, r.rate)
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Customers == 0 {
		c.Customers = min(1_000, max(10, c.Orders/10))
	}
	if c.Products == 0 {
		c.Products = min(10_000, max(100, c.Orders))
	}
	if c.Start == 0 {
		c.Start = DefaultStart
	}
	if c.Stock == 0 {
		c.Stock = ampleStock
	}
	if c.Credit == 0 {
		c.Credit = ampleCredit
	}
	return c
}
