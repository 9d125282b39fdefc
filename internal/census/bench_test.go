package census

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

var rowsOf = flag.Int("rows", 100_000, "orders in the table of BenchmarkCount")

// BenchmarkCount is how long it takes to count orders, with the table in memory and on
// disk. The broker is in this process.
func BenchmarkCount(b *testing.B) {
	var names []string
	for _, tp := range topics.All() {
		names = append(names, tp.Name)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, names...))
	must(b, err)
	defer c.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.MaxBufferedRecords(20_000))
	must(b, err)
	defer cl.Close()
	env := graph.Env{Partitions: 4, Serde: schemas.NewLocalSerde(), Log: slog.New(slog.DiscardHandler)}
	for i := range *rowsOf {
		o := delivered(i)
		v, err := env.Serde.Encode(nil, topics.OrderTable, &o)
		must(b, err)
		cl.Produce(b.Context(), &kgo.Record{Topic: topics.OrderTable, Key: []byte(o.OrderID), Value: v}, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	must(b, cl.Flush(b.Context()))
	for _, dir := range []string{"", b.TempDir()} {
		b.Run(map[bool]string{true: "memory", false: "disk"}[dir == ""], func(b *testing.B) {
			p, err := kgoka.NewProcessor(kgoka.Config{Brokers: c.ListenAddrs(), Instance: "1", Dir: dir, Log: env.Log}, graph.Of(order.New(order.Config{})).Graph(env))
			must(b, err)
			ctx, end := context.WithCancel(context.Background())
			ran := make(chan error, 1)
			go func() { ran <- p.Run(ctx) }()
			must(b, p.WaitReady(ctx))
			for b.Loop() {
				sum, _, err := NewOrders(env).Take(ctx, p)
				must(b, err)
				if n := sum.states[schemas.Delivered]; n != *rowsOf {
					b.Fatalf("%d orders", n)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(*rowsOf)*1e6, "µs/row")
			end()
			must(b, <-ran)
		})
	}
}

// delivered is an order of three lines, as large as most.
func delivered(i int) schemas.Order {
	id := fmt.Sprintf("ord_%08d", i)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	o := schemas.Order{OrderID: id, State: schemas.Delivered, Version: 9, CustomerID: "cus_00001", Currency: "EUR", PlacedAt: at, ChangedAt: at, VATBP: 1900, Net: 20_000, VAT: 3800, Gross: 23_800,
		Credit: schemas.CreditAsk{Ask: schemas.Granted, Amount: 23_800}, Invoice: schemas.InvoiceAsk{Ask: schemas.Granted, InvoiceID: "inv_" + id, Number: "A-2026-000001", IssuedAt: at}}
	for l := range 3 {
		o.Lines = append(o.Lines, schemas.Line{SKU: fmt.Sprintf("sku_%05d", l), Quantity: 2, UnitPrice: 1000, Net: 2000, VAT: 380, Stock: schemas.Granted})
	}
	for _, what := range []string{schemas.OrderPlaced, "stock.reserved", "stock.reserved", "stock.reserved", "credit.charged", "order.approved", "order.invoiced", "order.delivered"} {
		o.Timeline = append(o.Timeline, schemas.TimelineEntry{Type: what})
	}
	return o
}
