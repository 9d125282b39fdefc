package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/track"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// world is a running app and what a test does to it from outside.
type world struct {
	*app.App
	t       testing.TB
	cl      *kgo.Client
	tracker *track.Tracker
	sent    int
}

func config(t testing.TB) app.Config {
	level := slog.LevelError
	if os.Getenv("ORDERLOG_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return app.Config{Partitions: 4, Rules: processors.Config{OpeningLimit: 100_000},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))}
}

func start(t testing.TB, cfg app.Config) *world {
	t.Helper()
	a, err := app.New(cfg)
	must(t, err)
	must(t, a.Start(t.Context()))
	t.Cleanup(func() { must(t, a.Stop()) })
	w := &world{App: a, t: t}
	w.cl, err = kgo.NewClient(a.ClientOpts()...)
	must(t, err)
	t.Cleanup(w.cl.Close)
	w.tracker, err = track.Start(a.ClientOpts(), cfg.Namespace, time.Now)
	must(t, err)
	t.Cleanup(w.tracker.Stop)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var day0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC).UnixMilli()

// command is a message from outside whose type and topic follow from its body.
func command(topic string, body any) flow.Message {
	return flow.Message{Topic: topic, Key: schemas.KeyOf(body), Type: schemas.TypeOf(body), At: day0, Body: body}
}

func price(sku string, cents int64) flow.Message {
	return command(topics.InventoryCommands, &schemas.SetPrice{SKU: sku, Name: sku, Price: cents, Currency: "EUR"})
}

func receive(sku string, n int64) flow.Message {
	return command(topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: n})
}

func limit(customer string, cents int64) flow.Message {
	return command(topics.CreditCommands, &schemas.SetLimit{CustomerID: customer, Limit: cents, Currency: "EUR"})
}

func place(id, customer string, lines ...schemas.PlaceLine) flow.Message {
	return command(topics.OrderCommands, &schemas.PlaceOrder{OrderID: id, CustomerID: customer, Currency: "EUR", Lines: lines})
}

func deliver(id string) flow.Message {
	return command(topics.OrderCommands, &schemas.DeliverOrder{OrderID: id})
}

// record is m as a client would send it.
func (w *world) record(m flow.Message) *kgo.Record {
	w.t.Helper()
	w.sent++
	m.ID = flow.NewID("evt", m.At, fmt.Sprint("test ", w.sent), 0)
	v, err := w.Serde().Encode(nil, m.Topic, m.Body)
	must(w.t, err)
	return &kgo.Record{Topic: m.Topic, Key: []byte(m.Key), Value: v, Headers: event.Append(nil, event.DefaultSource, event.Avro, m)}
}

func (w *world) send(ms ...flow.Message) {
	w.t.Helper()
	w.produce(w.records(ms)...)
}

func (w *world) records(ms []flow.Message) []*kgo.Record {
	w.t.Helper()
	rs := make([]*kgo.Record, len(ms))
	for i, m := range ms {
		rs[i] = w.record(m)
	}
	return rs
}

func (w *world) produce(rs ...*kgo.Record) {
	w.t.Helper()
	must(w.t, w.cl.ProduceSync(w.t.Context(), rs...).FirstErr())
}

func (w *world) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	w.t.Cleanup(cancel)
	return ctx
}

// states waits until the orders stand like this.
func (w *world) states(want map[string]int) {
	w.t.Helper()
	_, err := w.tracker.Wait(w.within(20*time.Second), func(got map[string]int) bool { return maps.Equal(got, want) })
	if err != nil {
		w.t.Fatalf("want %v: %v", want, err)
	}
}

// quiet waits until every group has read everything and the log proves itself.
func (w *world) quiet() {
	w.t.Helper()
	report, err := verify.Run(w.t.Context(), verify.Config{Client: w.ClientOpts(), Serde: w.Serde(), Wait: 20 * time.Second,
		StuckAfter: time.Minute, Now: time.Now, OpeningLimit: 100_000, Log: slog.New(slog.DiscardHandler)})
	must(w.t, err)
	if !report.OK {
		report.Text(w.t.Output(), false)
		w.t.Fatal("the books do not balance")
	}
}

func (w *world) content() content.Content {
	w.t.Helper()
	c, err := content.Read(w.t.Context(), w.ClientOpts(), w.Serde(), "")
	must(w.t, err)
	return c
}

// deadLetters returns cause -> number.
func (w *world) deadLetters() map[string]int {
	w.t.Helper()
	n := map[string]int{}
	must(w.t, content.EachRecord(w.t.Context(), w.ClientOpts(), topics.DeadLetter, func(r *kgo.Record) error {
		n[event.Header(r, "dl_cause")]++
		return nil
	}))
	return n
}

func (w *world) admin() *kadm.Client { return kadm.NewClient(w.cl) }
