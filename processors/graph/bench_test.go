package graph

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/credit"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/processors/invoicing"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/processors/voucher"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// shop is the graphs without a log: what one writes the others are handed.
type shop struct {
	embedded
	b     *testing.B
	takes map[string][]taker // by topic
	queue []*kgo.Record

	rec  *kgo.Record
	mine taker // whose turn it is
}

type taker struct {
	table  string
	rows   map[string][]byte
	notes  map[string][]byte
	handle func(kgoka.Context)
}

func (s *shop) Context() context.Context { return s.b.Context() }
func (s *shop) Group() goka.Group        { return "" }
func (s *shop) Record() *kgo.Record      { return s.rec }
func (s *shop) Row() []byte              { return s.mine.rows[string(s.rec.Key)] }
func (s *shop) Note() []byte             { return s.mine.notes[string(s.rec.Key)] }
func (s *shop) SetNote(note []byte)      { s.mine.notes[string(s.rec.Key)] = note }
func (s *shop) Fail(err error)           { s.b.Fatal(err) }

func (s *shop) SetRow(row []byte, hs []kgo.RecordHeader) {
	s.mine.rows[string(s.rec.Key)] = row
	s.put(s.mine.table, s.rec.Key, row, hs)
}

func (s *shop) EmitRecord(topic, key string, value []byte, hs []kgo.RecordHeader) {
	s.put(topic, []byte(key), value, hs)
}

func (s *shop) put(topic string, key, value []byte, hs []kgo.RecordHeader) {
	if topic == topics.DeadLetter {
		s.b.Fatalf("dead letter: %s", event.Header(&kgo.Record{Headers: hs}, letter.HeaderError))
	}
	if len(s.takes[topic]) > 0 {
		s.queue = append(s.queue, &kgo.Record{Topic: topic, Key: key, Value: value, Headers: slices.Clone(hs)})
	}
}

func join[S any](s *shop, p flow.Processor[S], e Env) {
	h := newHandler(p, e)
	t := taker{p.Name + "-table", map[string][]byte{}, map[string][]byte{}, nil}
	for _, name := range p.Inputs {
		in, _ := topics.Find(name)
		t.handle = func(c kgoka.Context) { h.handle(c, in) }
		s.takes[name] = append(s.takes[name], t)
	}
}

// send hands over a record and all that follows from it.
func (s *shop) send(r *kgo.Record) {
	for s.queue = append(s.queue[:0], r); len(s.queue) > 0; s.queue = s.queue[1:] {
		s.rec = s.queue[0]
		for _, t := range s.takes[s.rec.Topic] {
			s.mine = t
			t.handle(s)
		}
	}
}

// BenchmarkOrder is what a graph does for one order of three lines, placed to
// invoiced, in all five groups: everything but the runtime and the log.
func BenchmarkOrder(b *testing.B) { benchmarkOrder(b, nil, "") }

// BenchmarkOrderTraced is BenchmarkOrder of an order that carries a trace.
func BenchmarkOrderTraced(b *testing.B) {
	const sampled, not = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	t, err := trace.New(tracetest.NewNoopExporter(), 1000, sdk.AlwaysSample(), "test")
	if err != nil {
		b.Fatal(err)
	}
	defer t.Close()
	on := t.Processor("all", "all")
	b.Run("off", func(b *testing.B) { benchmarkOrder(b, nil, sampled) })
	b.Run("not sampled", func(b *testing.B) { benchmarkOrder(b, on, not) })
	b.Run("decided here", func(b *testing.B) {
		t, err := trace.New(tracetest.NewNoopExporter(), 1000, sdk.TraceIDRatioBased(0), "test")
		if err != nil {
			b.Fatal(err)
		}
		defer t.Close()
		benchmarkOrder(b, t.Processor("all", "all"), "")
	})
	b.Run("sampled", func(b *testing.B) { benchmarkOrder(b, on, sampled) })
}

func benchmarkOrder(b *testing.B, t *trace.Processor, parent string) {
	serde := schemas.NewLocalSerde()
	e := Env{Serde: serde, Log: slog.New(slog.DiscardHandler), Trace: t}
	s := &shop{b: b, takes: map[string][]taker{}}
	join(s, order.New(order.Config{}), e)
	join(s, inventory.New(), e)
	join(s, credit.New(credit.Config{OpeningLimit: 1 << 50}), e)
	join(s, invoicing.New(), e)
	join(s, voucher.New(), e)

	const at, tail = 1767225600000, "_2ZQxXb5rKqjM0cQnVYt1uTzS9%02d"
	id := func(prefix string, i int) string { return prefix + fmt.Sprintf(tail, i%90+10) }
	n := 0
	command := func(topic, typ, key string, body any) *kgo.Record {
		n++
		v, err := serde.Encode(nil, topic, body)
		if err != nil {
			b.Fatal(err)
		}
		m := flow.Message{ID: flow.NewID("evt", at, key, n), Type: typ, At: at}
		r := &kgo.Record{Topic: topic, Key: []byte(key), Value: v, Headers: event.Append(nil, event.DefaultSource, event.Avro, m)}
		r.Headers = trace.Parse([]byte(parent), nil).Append(r.Headers)
		return r
	}
	place := schemas.PlaceOrder{CustomerID: id("cus", 1), Currency: "EUR"}
	for i := range 3 {
		sku := id("sku", i)
		s.send(command(topics.InventoryCommands, schemas.InventoryPriceSet, sku, &schemas.SetPrice{SKU: sku, Price: 13717, Currency: "EUR"}))
		s.send(command(topics.InventoryCommands, schemas.InventoryStockReceive, sku, &schemas.ReceiveStock{SKU: sku, Quantity: 1e12}))
		place.Lines = append(place.Lines, schemas.PlaceLine{SKU: sku, Quantity: 3})
	}
	var orders []*kgo.Record
	for i := range 90 {
		place.OrderID = id("ord", i)
		orders = append(orders, command(topics.OrderCommands, schemas.OrdersOrderPlace, place.OrderID, &place))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := orders[i%len(orders)]
		orders := s.takes[topics.OrderCommands][0]
		delete(orders.rows, string(r.Key))
		delete(orders.notes, string(r.Key))
		s.send(r)
		t.Transaction(time.Time{}, 0, 1, 1, nil)
	}
	var last schemas.Order
	if err := serde.DecodeInto(b.Context(), topics.OrderTable, s.takes[topics.OrderCommands][0].rows[place.OrderID], &last); err == nil && last.State != schemas.Invoiced {
		b.Errorf("the order is %s: %v", last.State, last.Timeline)
	}
}
