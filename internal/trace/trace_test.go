package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	otel "go.opentelemetry.io/otel/trace"
)

// kept is an exporter that forgets nothing.
type kept struct{ *tracetest.InMemoryExporter }

func (kept) Shutdown(context.Context) error { return nil }

func tracing(t *testing.T, sampler sdk.Sampler) (*Tracer, func() tracetest.SpanStubs) {
	t.Helper()
	to := kept{tracetest.NewInMemoryExporter()}
	tr, err := New(to, 1000, sampler, "test")
	if err != nil {
		t.Fatal(err)
	}
	return tr, func() tracetest.SpanStubs {
		t.Helper()
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		all := to.GetSpans()
		slices.SortStableFunc(all, func(a, b tracetest.SpanStub) int { return cmp.Compare(a.Name, b.Name) })
		return all
	}
}

func tracer(t *testing.T) *Tracer {
	tr, _ := tracing(t, sdk.AlwaysSample())
	t.Cleanup(func() { tr.Close() })
	return tr
}

func TestWhatTheEnvironmentAsksFor(t *testing.T) {
	for vars, want := range map[string]string{
		"":                          "off",
		"OTEL_TRACES_EXPORTER=otlp": "http/protobuf",
		"OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=http://x":                                              "off",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://x":                                                                        "http/protobuf",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://x":                                                                 "http/protobuf",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_SDK_DISABLED=True":                                                 "off",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://x OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                                       "grpc",
		"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf": "http/protobuf",
		"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=http/json":                                             "http/protobuf (a collector's port 4318)",
		"OTEL_TRACES_EXPORTER=zipkin":                                                                                 "want otlp or none",
		"OTEL_EXPORTER_OTLP_PROTOCOL=nonsense":                                                                        "off",
	} {
		got, err := protocolOf(func(name string) string {
			for kv := range strings.FieldsSeq(vars) {
				if k, v, _ := strings.Cut(kv, "="); k == name {
					return v
				}
			}
			return ""
		})
		if err != nil {
			got = err.Error()
		}
		if cmp.Or(got, "off") != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q: %q, want %q", vars, got, want)
		}
	}
	tr, err := FromEnv(func(string) string { return "" }, "1", nil)
	if tr != nil || err != nil || tr.Close() != nil {
		t.Errorf("asked for nothing: %v, %v", tr, err)
	}
	_, err = FromEnv(func(name string) string {
		return map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "many"}[name]
	}, "1", nil)
	if err == nil || !strings.Contains(err.Error(), `OTEL_BSP_MAX_QUEUE_SIZE="many"`) {
		t.Error(err)
	}
}

func command(topic, order string) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: []byte(order), Headers: headers("ce_type", "orders.order.place", "ce_correlationid", order)}
}

// All that is sent about an order is in one trace, whoever sends it; what is
// consumed is caused by what was sent.
func TestOneTraceOfAnOrder(t *testing.T) {
	place, placed := tracing(t, sdk.AlwaysSample())
	deliver, delivered := tracing(t, sdk.AlwaysSample())
	a, b, c := command("order-commands", "ord_1"), command("order-commands", "ord_1"), command("order-commands", "ord_2")
	place.Send(t.Context(), a)(nil)
	deliver.Send(t.Context(), b)(errors.New("nobody's business"))
	deliver.Send(t.Context(), c)(nil)
	if Of(a).TraceID() != OfOrder("ord_1").String() || Of(b).TraceID() != Of(a).TraceID() || Of(c).TraceID() == Of(a).TraceID() {
		t.Errorf("traces %s, %s, %s", Of(a).TraceID(), Of(b).TraceID(), Of(c).TraceID())
	}
	p := place.Processor("order", "shop.order")
	s, next := p.Handle(a, true)
	s.Again(2)
	s.End()
	p.Transaction(time.Now(), time.Second, 1, 3, nil)
	spans := placed()
	if len(spans) != 3 {
		t.Fatalf("%d spans", len(spans))
	}
	process, tx, send := spans[0], spans[1], spans[2]
	if process.Parent.SpanID() != send.SpanContext.SpanID() || send.Parent.IsValid() || send.SpanKind != otel.SpanKindProducer || process.SpanKind != otel.SpanKindConsumer {
		t.Errorf("%s is caused by %s, and that by %s", process.SpanContext.SpanID(), process.Parent.SpanID(), send.Parent.SpanID())
	}
	if parentOf(process.SpanContext).TraceID() != next.TraceID() || !next.Sampled() {
		t.Errorf("handed on is %s", next.ID)
	}
	if len(tx.Links) != 1 || tx.Links[0].SpanContext.SpanID() != send.SpanContext.SpanID() || tx.SpanContext.TraceID() == send.SpanContext.TraceID() ||
		len(process.Links) != 1 || process.Links[0].SpanContext.SpanID() != tx.SpanContext.SpanID() || tx.EndTime.Sub(tx.StartTime) != time.Second {
		t.Errorf("transaction %+v", tx)
	}
	if got := delivered(); got[0].Status.Code != codes.Error || got[0].Status.Description != "failed" || got[1].Status.Code == codes.Error {
		t.Errorf("%+v", got)
	}
	if service := process.Resource.String(); !strings.Contains(service, "service.name=orderlog") {
		t.Errorf("resource %s", service)
	}
}

// A batch that is repeated was handled once: the first time has left a transaction,
// and no spans of records.
func TestRepeatedTransaction(t *testing.T) {
	tr, ended := tracing(t, sdk.AlwaysSample())
	p := tr.Processor("order", "order")
	r := &kgo.Record{Topic: "order-replies", Key: []byte("ord_1"), Headers: headers("traceparent", sampled)}
	for _, err := range []error{errors.New("broken"), nil} {
		for range 200 {
			s, _ := p.Handle(r, false)
			s.Bury("refused")
			s.End()
		}
		p.Transaction(time.Now(), 0, 200, 1, err)
	}
	p.Transaction(time.Now(), 0, 5, 1, nil) // of records without traces
	count := map[string]int{}
	for _, s := range ended() {
		count[s.Name+" "+s.Status.Code.String()]++
		if s.Name == "order transaction" && len(s.Links) != maxLinks {
			t.Errorf("%d links", len(s.Links))
		}
		if s.Name == "order process" && (s.Status.Description != "refused" || s.Parent.TraceID().String() != Parse([]byte(sampled), nil).TraceID()) {
			t.Fatalf("%+v", s)
		}
	}
	if len(count) != 3 || count["order process Error"] != 200 || count["order transaction Error"] != 1 || count["order transaction Unset"] != 1 {
		t.Errorf("%v", count)
	}
}

// A sampler that takes nothing: no header travels but one that somebody else has
// set, and what is caused by an order does not begin traces of its own.
func TestNotSampled(t *testing.T) {
	tr, ended := tracing(t, sdk.ParentBased(sdk.TraceIDRatioBased(0)))
	theirs := command("order-commands", "ord_3")
	theirs.Headers = append(theirs.Headers, headers("traceparent", unsampled)...)
	p := tr.Processor("order", "order")
	for r, carried := range map[*kgo.Record]string{command("order-commands", "ord_1"): "", theirs: unsampled} {
		tr.Send(t.Context(), r)(nil)
		for _, outside := range []bool{true, false} {
			s, next := p.Handle(r, outside)
			s.End()
			if s != nil || string(next.ID) != carried {
				t.Errorf("%s: handed on is %q", r.Key, next.ID)
			}
		}
	}
	p.Transaction(time.Now(), 0, 2, 2, nil)
	if spans := ended(); len(spans) != 0 {
		t.Errorf("%d spans", len(spans))
	}
}

// hung is an exporter whose collector does not answer.
type hung struct{ taken []int }

func (h *hung) Shutdown(context.Context) error { return nil }

func (h *hung) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	h.taken = append(h.taken, len(spans))
	<-ctx.Done()
	return ctx.Err()
}

// A collector that hangs holds up nobody: what finds no room is dropped and counted, and
// the end is not long in coming.
func TestCollectorThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room, sent = 100, 1000
		tr, err := New(&hung{}, room, sdk.AlwaysSample(), "test")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for range sent {
			tr.Send(t.Context(), command("order-commands", "ord_1"))(nil)
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("it took %v to send", d)
		}
		if tr.queue.full.Load() != sent-room {
			t.Errorf("%d dropped", tr.queue.full.Load())
		}
		if err := tr.Close(); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > flushTime {
			t.Errorf("closed after %v: %v", time.Since(began), err)
		}
		time.Sleep(time.Hour) // the export gives up
		want := `
# HELP orderlog_trace_spans_dropped_total Spans that were lost: the queue was full, or the collector did not take them.
# TYPE orderlog_trace_spans_dropped_total counter
orderlog_trace_spans_dropped_total{cause="not taken"} 100
orderlog_trace_spans_dropped_total{cause="queue full"} 900
# HELP orderlog_trace_spans_exported_total Spans that the collector has taken.
# TYPE orderlog_trace_spans_exported_total counter
orderlog_trace_spans_exported_total 0
`
		if err := testutil.CollectAndCompare(tr, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	})
}

// The whole way, to a collector that speaks OTLP over HTTP.
func TestExport(t *testing.T) {
	got := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type")
	}))
	defer collector.Close()
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tr, err := FromEnv(func(name string) string { return env[name] }, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tr.Send(t.Context(), command("order-commands", "ord_1"))(nil)
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r != "POST /v1/traces application/x-protobuf" || tr.queue.exported.Load() != 1 {
		t.Errorf("%s, %d exported", r, tr.queue.exported.Load())
	}
}

// A sampler is one of six, as the specification of OpenTelemetry's environment has them.
func TestSamplers(t *testing.T) {
	for vars, want := range map[string]string{
		"":                                 "ParentBased{root:AlwaysOnSampler",
		"OTEL_TRACES_SAMPLER=Always_On":    "AlwaysOnSampler",
		"OTEL_TRACES_SAMPLER=always_off":   "AlwaysOffSampler",
		"OTEL_TRACES_SAMPLER=traceidratio": "TraceIDRatioBased{1}",
		"OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=0.5":              "TraceIDRatioBased{0.5}",
		"OTEL_TRACES_SAMPLER=parentbased_always_on":                                 "ParentBased{root:AlwaysOnSampler",
		"OTEL_TRACES_SAMPLER=parentbased_always_off":                                "ParentBased{root:AlwaysOffSampler",
		"OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0.01": "ParentBased{root:TraceIDRatioBased{0.01}",
		"OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=1.1":  "OTEL_TRACES_SAMPLER_ARG=",
		"OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=NaN":              "OTEL_TRACES_SAMPLER_ARG=",
		"OTEL_TRACES_SAMPLER=sometimes":                                             "OTEL_TRACES_SAMPLER=",
	} {
		env := map[string]string{}
		for _, v := range strings.Fields(vars) {
			name, value, _ := strings.Cut(v, "=")
			env[name] = value
		}
		s, err := samplerFromEnv(func(name string) string { return env[name] })
		got := fmt.Sprint(err)
		if err == nil {
			got = s.Description()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", vars, got, want)
		}
	}
}

// What goes wrong again and again is not logged again and again.
func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		c := complaints{log: slog.New(slog.NewTextHandler(&b, nil))}
		for range 90 {
			c.Handle(errors.New("away"))
			time.Sleep(time.Second)
		}
		if n := strings.Count(b.String(), "away"); n != 2 || !strings.Contains(b.String(), "errors_not_logged=59") {
			t.Errorf("%d lines:\n%s", n, b.String())
		}
	})
}

// A sampler that takes some: who sends and who handles decide alike of one order, and of
// one record that is about none; what begins within the pipeline is never sampled.
func TestSomeAreSampled(t *testing.T) {
	tr, _ := tracing(t, sdk.ParentBased(sdk.TraceIDRatioBased(0.5)))
	defer tr.Close()
	p := tr.Processor("order", "order")
	sampled := 0
	for i := range 200 {
		for _, make := range []func() *kgo.Record{
			func() *kgo.Record { return command("order-commands", fmt.Sprint("ord_", i)) },
			func() *kgo.Record {
				return &kgo.Record{Topic: "inventory-commands", Key: []byte("sku_1"), Headers: headers("ce_id", fmt.Sprint("evt_", i))}
			},
		} {
			sent, foreign := make(), make()
			tr.Send(t.Context(), sent)(nil)
			s, next := p.Handle(foreign, true)
			if Of(sent).TraceID() != next.TraceID() || (s == nil) != next.IsZero() {
				t.Fatalf("%s: sent in %q, handled in %q", sent.Key, Of(sent).ID, next.ID)
			}
			if s != nil {
				sampled++
			}
			if s, next := p.Handle(foreign, false); s != nil || !next.IsZero() {
				t.Fatalf("%s: begun within is %q", sent.Key, next.ID)
			}
		}
	}
	if sampled < 120 || sampled > 280 { // by IDs that are always the same
		t.Errorf("%d of 400", sampled)
	}
}
