package app_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// kept is an exporter that forgets nothing.
type kept struct{ *tracetest.InMemoryExporter }

func (kept) Shutdown(context.Context) error { return nil }

// traced is a world whose spans and failures are kept.
type traced struct {
	*world
	*client.Client
	to kept

	mu       sync.Mutex
	failures []report.Failure
}

func (w *traced) Report(f report.Failure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, f)
}

func startTraced(t *testing.T, cfg app.Config) *traced {
	w := &traced{to: kept{tracetest.NewInMemoryExporter()}}
	var err error
	cfg.Trace, err = trace.New(w.to, 10_000, sdk.AlwaysSample(), "test")
	must(t, err)
	cfg.Report = w
	w.world = start(t, cfg)
	w.tracker.Stop()
	w.Client, err = client.New(client.Config{Opts: w.ClientOpts(), Serde: w.Serde(), Trace: w.Trace()})
	must(t, err)
	t.Cleanup(w.Close)
	return w
}

// commands sends them as people do: each is handled before the next.
func (w *traced) commands(ms ...flow.Message) {
	w.t.Helper()
	for _, m := range ms {
		w.sent++
		m.ID = flow.NewID("evt", m.At, fmt.Sprint("test ", w.sent), 0)
		must(w.t, w.Command(w.t.Context(), m))
		time.Sleep(time.Minute)
	}
}

// spans ends tracing, and returns all by their IDs.
func (w *traced) spans() map[otel.SpanID]tracetest.SpanStub {
	w.t.Helper()
	must(w.t, w.Trace().Close())
	all := map[otel.SpanID]tracetest.SpanStub{}
	for _, s := range w.to.GetSpans() {
		all[s.SpanContext.SpanID()] = s
	}
	return all
}

func attr(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if a.Key == attribute.Key(key) {
			return a.Value.AsString()
		}
	}
	return ""
}

// draw shows a trace as a tree; a span whose parent is missing is an error.
func (w *traced) draw(id otel.TraceID) string {
	w.t.Helper()
	all, below := w.spans(), map[otel.SpanID][]tracetest.SpanStub{}
	for _, s := range all {
		if s.SpanContext.TraceID() != id {
			continue
		}
		if p := s.Parent; p.IsValid() && (p.TraceID() != id || all[p.SpanID()].Name == "") {
			w.t.Errorf("%s has a parent that nobody has seen", s.Name)
		}
		below[s.Parent.SpanID()] = append(below[s.Parent.SpanID()], s)
	}
	var b strings.Builder
	var show func(of otel.SpanID, indent string)
	show = func(of otel.SpanID, indent string) {
		slices.SortFunc(below[of], func(x, y tracetest.SpanStub) int {
			return cmp.Or(x.StartTime.Truncate(time.Second).Compare(y.StartTime.Truncate(time.Second)), cmp.Compare(x.Name+attr(x, "orderlog.type"), y.Name+attr(y, "orderlog.type")))
		})
		for _, s := range below[of] {
			line := fmt.Sprintf("%-40s %-26s %s", indent+s.Name, attr(s, "orderlog.type"), attr(s, "orderlog.outcome"))
			fmt.Fprintln(&b, strings.TrimRight(line, " "))
			show(s.SpanContext.SpanID(), indent+"  ")
		}
	}
	show(otel.SpanID{}, "")
	return b.String()
}

// All that happens about an order, whoever does it and when, is one trace: the page
// about traces shows it.
func TestOneTraceOfAnOrder(t *testing.T) {
	page, err := os.ReadFile("../../docs/traces.md")
	must(t, err)
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		l, err := cfg.Listen("tcp", "127.0.0.1:8080")
		must(t, err)
		var called atomic.Value
		hook := http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called.Store(r.Header.Get("traceparent")) })}
		go hook.Serve(l)
		defer hook.Close()
		effects := effect.Default()
		effects.Webhooks = []effect.Webhook{{Name: "erp", URL: "http://127.0.0.1:8080", Secrets: [][]byte{make([]byte, 32)}, Timeout: 20 * time.Second, Concurrency: 1}}
		cfg.Effects, cfg.Dir = &effects, t.TempDir()
		w := startTraced(t, cfg)
		w.commands(price("sku_pen", 15_000), receive("sku_pen", 10))
		w.commands(place("ord_a", "cus_a", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}), deliver("ord_a"))

		id := trace.OfOrder("ord_a")
		got := w.draw(id)
		if !strings.Contains(string(page), "```\n"+got+"```\n") {
			t.Errorf("docs/traces.md shows another trace than this one:\n%s", got)
		}
		all := w.spans()
		parent := trace.Parse([]byte(called.Load().(string)), nil)
		if parent.TraceID() != id.String() {
			t.Errorf("the webhook carries %q", parent.ID)
		}
		transactions := 0
		for _, s := range all {
			if strings.HasSuffix(s.Name, " transaction") {
				transactions++
			}
			if strings.HasSuffix(s.Name, " process") && (len(s.Links) != 1 || !strings.HasSuffix(all[s.Links[0].SpanContext.SpanID()].Name, " transaction")) {
				t.Errorf("%s does not say in which transaction it was", s.Name)
			}
		}
		if transactions < 10 {
			t.Errorf("%d transactions", transactions)
		}
		if len(w.failures) > 0 {
			t.Errorf("failures %+v", w.failures)
		}
	})
}

// An effect that is parked because its endpoint fails goes on in the order's trace.
func TestTraceOfAnEffectThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		l, err := cfg.Listen("tcp", "127.0.0.1:8080")
		must(t, err)
		var calls atomic.Int64
		var carried sync.Map
		hook := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			carried.Store(r.Header.Get("traceparent"), true)
			if calls.Add(1) == 1 {
				w.WriteHeader(http.StatusRequestTimeout) // of this try alone
			}
		})}
		go hook.Serve(l)
		defer hook.Close()
		cfg.Effects = &effect.Config{Webhooks: []effect.Webhook{{Name: "erp", URL: "http://127.0.0.1:8080", Secrets: [][]byte{make([]byte, 32)}, Timeout: 20 * time.Second, Concurrency: 1}}}
		cfg.Schedule, cfg.HTTP = retry.Schedule{time.Minute}, "127.0.0.1:80"
		w := startTraced(t, cfg)
		w.commands(place("ord_a", "cus_a")) // without lines: it is rejected at once
		time.Sleep(10 * time.Minute)
		exported := w.scrape(cfg.Dial, "orderlog_trace_spans_exported_total")[""]
		all := w.spans()
		if exported == 0 || exported > float64(len(all)) {
			t.Errorf("%v of %d spans are counted", exported, len(all))
		}
		var outcomes []string
		for id, s := range all {
			if s.Name != "send webhook erp" {
				continue
			}
			outcomes = append(outcomes, attr(s, "orderlog.outcome"))
			if s.SpanContext.TraceID() != trace.OfOrder("ord_a") || all[s.Parent.SpanID()].Name != "effects process" {
				t.Errorf("%s is in trace %s, below %q", s.Name, s.SpanContext.TraceID(), all[s.Parent.SpanID()].Name)
			}
			if _, ok := carried.Load("00-" + s.SpanContext.TraceID().String() + "-" + id.String() + "-01"); !ok {
				t.Errorf("the endpoint was not told of %s", id)
			}
		}
		slices.Sort(outcomes)
		if !slices.Equal(outcomes, []string{"sent", "transient"}) {
			t.Errorf("outcomes %q", outcomes)
		}
	})
}

// What is parked goes on in its trace when it comes back, and so does a dead letter that
// a person brings back. Who is told of failures is told of each once.
func TestTraceOfWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		var mended atomic.Bool
		cfg.BeforeDecide = func(m flow.Message) {
			if m.Key == "ord_bug" && !mended.Load() {
				panic("a customer's name")
			}
		}
		w := startTraced(t, cfg)
		d, err := mend.New(t.Context(), mend.Config{Opts: w.ClientOpts(), Serde: w.Serde(), Who: "ann", Now: time.Now})
		must(t, err)
		defer d.Close()
		must(t, d.TakeOver(t.Context(), "retries"))
		w.commands(price("sku_pen", 100), receive("sku_pen", 10))
		line := schemas.PlaceLine{SKU: "sku_pen", Quantity: 1, UnitPrice: 100}
		w.commands(deliver("ord_bug")) // it waits behind nothing, and fails
		mended.Store(true)
		time.Sleep(10 * time.Minute) // it comes back: there is no such order
		w.commands(place("ord_bug", "cus_a", line))
		letters, err := d.Letters(t.Context(), mend.Filter{Key: "ord_bug"}, false)
		must(t, err)
		_, err = d.Redrive(t.Context(), letters, mend.Redrive{})
		must(t, err)
		time.Sleep(time.Minute)

		var outcomes []string
		for _, s := range w.spans() {
			if attr(s, "orderlog.type") != schemas.OrdersOrderDeliver || !strings.HasSuffix(s.Name, " process") {
				continue
			}
			if s.SpanContext.TraceID() != trace.OfOrder("ord_bug") {
				t.Errorf("%s is in trace %s", s.Name, s.SpanContext.TraceID())
			}
			attempt := int64(1)
			for _, a := range s.Attributes {
				if a.Key == "orderlog.attempt" {
					attempt = a.Value.AsInt64()
				}
			}
			text := fmt.Sprintf("%d %s %s %q", attempt, attr(s, "orderlog.outcome"), s.Status.Code, s.Status.Description)
			for _, e := range s.Events {
				text += " " + e.Name
			}
			outcomes = append(outcomes, text)
		}
		slices.Sort(outcomes)
		want := []string{`1 parked Error "panic" parked`, `2 dead-letter Error "refused" dead-letter`, `3 handled Unset ""`}
		if !slices.Equal(outcomes, want) {
			t.Errorf("%q\nwant %q", outcomes, want)
		}

		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.failures) != 2 {
			t.Fatalf("failures %+v", w.failures)
		}
		id := trace.OfOrder("ord_bug").String()
		bug, dead := w.failures[0], w.failures[1]
		if bug.Kind != report.Panic || bug.Type != "string" || bug.Order != "ord_bug" || bug.TraceID != id || !strings.Contains(bug.Stack, "BeforeDecide") && !strings.Contains(bug.Stack, "trace_test.go") {
			t.Errorf("%+v", bug)
		}
		if dead.Kind != report.DeadLetter || dead.Cause != "refused" || dead.Topic != topics.OrderCommands || dead.TraceID != id {
			t.Errorf("%+v", dead)
		}
	})
}

// A process that does not trace hands on what others have begun.
func TestTraceHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		cfg.Schedule = retry.Schedule{time.Minute}
		cfg.BeforeDecide = func(m flow.Message) {
			if m.Key == "cus_bug" {
				panic("a bug in the rule")
			}
		}
		w := start(t, cfg)
		w.tracker.Stop()
		const parent, state = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1"
		with := func(m flow.Message) *kgo.Record {
			r := w.record(m)
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "traceparent", Value: []byte(parent)}, kgo.RecordHeader{Key: "tracestate", Value: []byte(state)})
			return r
		}
		w.send(price("sku_pen", 15_000), receive("sku_pen", 10))
		line := schemas.PlaceLine{SKU: "sku_pen", Quantity: 1, UnitPrice: 15_000}
		w.produce(with(place("ord_a", "cus_a", line)), with(place("ord_bug", "cus_bug", line)), with(deliver("ord_none")))
		time.Sleep(time.Minute)
		w.produce(with(deliver("ord_a")))
		time.Sleep(10 * time.Minute)
		seen := map[string]int{}
		for _, topic := range []string{topics.OrderTable, topics.InventoryTasks, topics.CreditTasks, topics.OrderReplies, topics.Invoices, topics.Vouchers, topics.Retry, topics.DeadLetter, topics.Loop("credit")} {
			must(t, content.EachRecord(t.Context(), w.ClientOpts(), topic, func(r *kgo.Record) error {
				if len(r.Value) == 0 {
					return nil
				}
				if p := trace.Of(r); string(p.ID) != parent || string(p.State) != state {
					t.Errorf("%s at %s/%d/%d carries %q, %q", event.Header(r, event.Type), r.Topic, r.Partition, r.Offset, p.ID, p.State)
				}
				seen[topic]++
				return nil
			}))
			if seen[topic] == 0 {
				t.Errorf("nothing on %s", topic)
			}
		}
	})
}
