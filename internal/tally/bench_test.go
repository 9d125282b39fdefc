package tally

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/schemas"
)

// BenchmarkOrder is what it costs to count an order of three lines, placed to
// invoiced: what six processors decide of 19 records.
func BenchmarkOrder(b *testing.B) {
	c := New(nil)
	var decided []func() func()
	add := func(processor string, d graph.Decision, times int) {
		p := c.Processor(processor)
		for range times {
			d := d
			d.Record, d.MadeAt, d.EnteredAt = new(kgo.Record), 1, 1
			d.Transaction = &d
			decided = append(decided, func() func() { return p.Decided(&d) })
		}
	}
	outs := func(n int) []flow.Message {
		ms := make([]flow.Message, n)
		for i := range ms {
			ms[i].Type = schemas.InventoryStockReserve
		}
		return ms
	}
	order := func(states ...string) *schemas.Order {
		o := &schemas.Order{Currency: "EUR", Gross: 11900}
		for _, s := range states {
			o.State = s
			o.Timeline = append(o.Timeline, schemas.TimelineEntry{Type: "order." + s})
		}
		return o
	}
	placed, approved, invoiced := order(schemas.Placed), order(schemas.Placed, schemas.Approved), order(schemas.Placed, schemas.Approved, schemas.Invoiced)
	add("order", graph.Decision{New: placed, RowType: schemas.OrderPlaced, To: schemas.Placed, Outs: outs(4)}, 1)
	add("inventory", graph.Decision{New: new(schemas.Stock), RowType: schemas.StockChanged, Outs: outs(1)}, 3)
	add("credit", graph.Decision{New: new(schemas.Account), RowType: schemas.AccountChanged, Outs: outs(1)}, 1)
	add("order", graph.Decision{Old: placed, New: placed, RowType: schemas.StockReservedEvent, From: schemas.Placed, To: schemas.Placed}, 3)
	add("order", graph.Decision{Old: placed, New: approved, RowType: schemas.OrderApproved, From: schemas.Placed, To: schemas.Approved, Outs: outs(1)}, 1)
	add("invoicing", graph.Decision{New: new(schemas.Series), RowType: schemas.InvoiceIssuedEvent, Outs: outs(2)}, 1)
	add("order", graph.Decision{Old: approved, New: invoiced, RowType: schemas.OrderInvoiced, From: schemas.Approved, To: schemas.Invoiced}, 1)
	took, rec := c.Processor("order"), new(kgo.Record)
	b.ReportAllocs()
	for b.Loop() {
		for _, d := range decided {
			d()()
		}
		took.Took(time.Microsecond, rec) // one in 16
	}
}
