package census

import (
	"context"
	"fmt"
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Orders are the orders that are here. It is a prometheus.Collector.
type Orders struct{ Census[orderSum] }

type orderSum struct {
	states map[string]int
	oldest int64 // Unix ms; least timestamp of the records that placed orders which are open
}

// NewOrders counts the rows of the processor order.
func NewOrders(env graph.Env) *Orders {
	return &Orders{Census[orderSum]{Of: "orders", Now: env.Now, Log: env.Log, Take: func(ctx context.Context, p *kgoka.Processor) (orderSum, int64, error) {
		sum := orderSum{map[string]int{}, math.MaxInt64}
		err := p.Rows("", "", func(key string, row, note []byte) error {
			state, err := env.Serde.OrderState(ctx, row)
			if err != nil {
				return fmt.Errorf("row %q of %s: %w", key, topics.OrderTable, err)
			}
			sum.states[state]++
			if state == schemas.Placed || state == schemas.Approved {
				at, err := graph.MadeAt(note)
				if err != nil {
					return fmt.Errorf("note of row %q of %s: %w", key, topics.OrderTable, err)
				}
				if at != 0 {
					sum.oldest = min(sum.oldest, at)
				}
			}
			return ctx.Err()
		})
		return sum, Never, err
	}}}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("orderlog_"+name, help, labels, nil)
}

var (
	orderCount = desc("orders", "Orders by the state that they are in, on the partitions that this instance has: the sum is of all. Counted now and then.", "state")
	oldestOpen = desc("oldest_open_order_timestamp_seconds", "Timestamp of the record that placed the oldest order which is placed or approved and no more; the minimum is of all instances. Not there while no order is open.")
	products   = desc("products", "Products by whether they are on hand, on the partitions that this instance has: ok, low (fewer than 10), out. Counted now and then.", "stock")
)

// Collect makes Orders a prometheus.Collector.
func (o *Orders) Collect(ch chan<- prometheus.Metric) {
	sum := o.Tell(ch)
	if sum == nil {
		return
	}
	for _, s := range schemas.OrderStates() {
		ch <- prometheus.MustNewConstMetric(orderCount, prometheus.GaugeValue, float64(sum.states[s]), s)
	}
	if sum.oldest != math.MaxInt64 {
		ch <- prometheus.MustNewConstMetric(oldestOpen, prometheus.GaugeValue, float64(sum.oldest)/1000)
	}
}

// Products are those that are here. It is a prometheus.Collector.
type Products struct{ Census[stockSum] }

type stockSum struct{ ok, low, out int }

// lowStock is how many there are on hand of a product that is not low.
const lowStock = 10

// NewProducts counts the rows of the processor inventory.
func NewProducts(env graph.Env) *Products {
	return &Products{Census[stockSum]{Of: "products", Now: env.Now, Log: env.Log, Take: func(ctx context.Context, p *kgoka.Processor) (sum stockSum, stale int64, err error) {
		var s schemas.Stock
		err = p.Rows("", "", func(key string, row, _ []byte) error {
			if err := env.Serde.DecodeInto(ctx, topics.InventoryTable, row, &s); err != nil {
				return fmt.Errorf("row %q of %s: %w", key, topics.InventoryTable, err)
			}
			switch {
			case s.OnHand >= lowStock:
				sum.ok++
			case s.OnHand > 0:
				sum.low++
			default:
				sum.out++
			}
			return ctx.Err()
		})
		return sum, Never, err
	}}}
}

// Collect makes Products a prometheus.Collector.
func (ps *Products) Collect(ch chan<- prometheus.Metric) {
	if sum := ps.Tell(ch); sum != nil {
		for stock, n := range map[string]int{"ok": sum.ok, "low": sum.low, "out": sum.out} {
			ch <- prometheus.MustNewConstMetric(products, prometheus.GaugeValue, float64(n), stock)
		}
	}
}
