package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/processors/voucher"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

type embedded = kgoka.Context

// fake is the context of one record: it keeps what is written.
type fake struct {
	embedded
	ctx  context.Context
	rec  *kgo.Record
	row  []byte
	note []byte
	sent map[string][]*kgo.Record
}

type failed struct{ error }

func (f *fake) Context() context.Context                { return f.ctx }
func (f *fake) Group() goka.Group                       { return "g" }
func (f *fake) Record() *kgo.Record                     { return f.rec }
func (f *fake) Row() []byte                             { return f.row }
func (f *fake) SetRow(row []byte, _ []kgo.RecordHeader) { f.row = row }
func (f *fake) Note() []byte                            { return f.note }
func (f *fake) SetNote(note []byte)                     { f.note = note }
func (f *fake) Fail(err error)                          { panic(failed{err}) }
func (f *fake) EmitRecord(topic, key string, value []byte, hs []kgo.RecordHeader) {
	f.sent[topic] = append(f.sent[topic], &kgo.Record{Key: []byte(key), Value: value, Headers: slices.Clone(hs)})
}

func topic(t *testing.T, name string) topics.Topic {
	t.Helper()
	tp, ok := topics.Find(name)
	if !ok {
		t.Fatalf("no topic %s", name)
	}
	return tp
}

func env(s *schemas.Serde) Env { return Env{Serde: s, Log: slog.New(slog.DiscardHandler)} }

func encode(t *testing.T, s *schemas.Serde, topic string, body any) []byte {
	t.Helper()
	v, err := s.Encode(nil, topic, body)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestLargeOrderIsStillAnOrder: an order that fits within the limit for commands
// grows beyond it while it is worked on; followers must read it all the same.
func TestLargeOrderIsStillAnOrder(t *testing.T) {
	s := schemas.NewLocalSerde()
	o := schemas.Order{OrderID: "ord_1", CustomerID: "cus_1", Currency: voucher.Currency, State: schemas.Delivered, Gross: voucher.Threshold}
	for i := range 500 {
		sku := fmt.Sprintf("sku_%0250d", i)
		o.Lines = append(o.Lines, schemas.Line{SKU: sku, Quantity: 1, Stock: schemas.Granted})
		o.Timeline = append(o.Timeline, schemas.TimelineEntry{Type: schemas.StockReservedEvent, Detail: sku})
	}
	value := encode(t, s, topics.OrderTable, &o)
	if len(value) <= maxRecord {
		t.Fatalf("the order has only %d bytes", len(value))
	}
	c := &fake{ctx: t.Context(), sent: map[string][]*kgo.Record{},
		rec: &kgo.Record{Key: []byte("ord_1"), Value: value, Headers: []kgo.RecordHeader{{Key: event.Type, Value: []byte(schemas.OrderDelivered)}}}}
	newHandler(voucher.New(), env(s)).handle(c, topic(t, topics.OrderTable))
	if len(c.sent[topics.Vouchers]) != 1 || len(c.sent[topics.DeadLetter]) != 0 {
		t.Errorf("%d vouchers, %d dead letters", len(c.sent[topics.Vouchers]), len(c.sent[topics.DeadLetter]))
	}
}

// TestDeadLetterFits: whatever is parked, the broker takes it.
func TestDeadLetterFits(t *testing.T) {
	const most = 1_000_012 // of a batch, by kgo's default
	for _, n := range []int{300 << 10, 1 << 20, 5 << 20} {
		c := &fake{ctx: t.Context(), sent: map[string][]*kgo.Record{}, rec: &kgo.Record{Key: []byte("sku_1"), Value: make([]byte, n)}}
		newHandler(inventory.New(), env(schemas.NewLocalSerde())).handle(c, topic(t, topics.InventoryCommands))
		dead := c.sent[topics.DeadLetter]
		if len(dead) != 1 {
			t.Fatalf("%d bytes: %d dead letters", n, len(dead))
		}
		cut := event.Header(dead[0], letter.HeaderCut)
		if n < letter.MaxSize/2 && (cut != "" || len(dead[0].Value) != n) {
			t.Errorf("%d bytes: cut to %d", n, len(dead[0].Value))
		}
		if n > most && cut != fmt.Sprint(n) {
			t.Errorf("%d bytes: %s says %q", n, letter.HeaderCut, cut)
		}
		if got := letter.Parse(dead[0]).Size(); got > most {
			t.Errorf("%d bytes: the dead letter has %d", n, got)
		}
	}
}

// flaky fails requests for schemas while it is told to.
type flaky struct{ fail atomic.Int32 }

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "/schemas/ids/") && f.fail.Add(-1) >= 0 {
		return nil, errors.New("down")
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestRowOfAnotherBuild: a row whose schema must be asked for waits for the
// registry, as a record does; at the end of the context it gives up.
func TestRowOfAnotherBuild(t *testing.T) {
	reg := srfake.New()
	t.Cleanup(reg.Close)
	net := &flaky{}
	s, err := schemas.NewSerde(t.Context(), schemas.SerdeConfig{Registry: reg.URL(), HTTPClient: &http.Client{Transport: net}})
	if err != nil {
		t.Fatal(err)
	}
	cl, err := sr.NewClient(sr.URLs(reg.URL()))
	if err != nil {
		t.Fatal(err)
	}
	r, _ := schemas.Find("Stock")
	id, err := cl.RegisterSchema(t.Context(), "elsewhere", sr.Schema{Schema: strings.Replace(r.Avsc, "{", `{"build": "another",`, 1)}, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	row := encode(t, s, topics.InventoryTable, &schemas.Stock{SKU: "sku_1", OnHand: 2, Currency: "EUR"})
	if row[4] == byte(id) {
		t.Fatal("the row's schema is known")
	}
	row[4] = byte(id)
	call := func(ctx context.Context) (c *fake, err error) {
		defer func() {
			if f, ok := recover().(failed); ok {
				err = f.error
			}
		}()
		c = &fake{ctx: ctx, row: row, sent: map[string][]*kgo.Record{}, rec: &kgo.Record{Key: []byte("sku_1"),
			Value: encode(t, s, topics.InventoryCommands, &schemas.ReceiveStock{SKU: "sku_1", Quantity: 3})}}
		newHandler(inventory.New(), env(s)).handle(c, topic(t, topics.InventoryCommands))
		return c, nil
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	net.fail.Store(1)
	if _, err := call(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("at the end: %v", err)
	}
	net.fail.Store(1)
	c, err := call(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got schemas.Stock
	if err := s.DecodeInto(t.Context(), topics.InventoryTable, c.row, &got); err != nil || got.OnHand != 5 {
		t.Errorf("row %+v, %v", got, err)
	}
}
