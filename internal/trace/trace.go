// Package trace follows orders through all hops, with OpenTelemetry: who sends a
// command begins a trace, records carry it in their headers, and processors add a
// span for each record of a trace that is sampled.
//
// It is off unless the environment asks for it. Where it is off, what a record
// carries is still handed on: that is a Parent, and needs nothing of this process.
package trace

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	global "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	otel "go.opentelemetry.io/otel/trace"
)

const scope = "github.com/orderlog/orderlog/internal/trace"

// flushTime is how long Close waits for a collector.
const flushTime = 3 * time.Second

// Tracer makes the spans of a process. Nil: tracing is off, and its methods do
// nothing.
type Tracer struct {
	orders  otel.Tracer // samples as the environment says
	batches otel.Tracer // of transactions: which are of interest, the records in them say
	sampler sdk.Sampler // of orders
	queue   *queue
}

// FromEnv returns what the standard variables ask for, nil if they ask for nothing:
//
//   - OTEL_TRACES_EXPORTER "otlp", or none and an OTEL_EXPORTER_OTLP_ENDPOINT or
//     OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: on
//   - OTEL_SDK_DISABLED "true", OTEL_TRACES_EXPORTER "none": off
//   - OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: http/protobuf,
//     the default, or grpc
//   - OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG: which traces, where one begins
//
// All others (OTEL_EXPORTER_OTLP_*, OTEL_BSP_*, OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES) are read by the SDK, from the process's environment
// whatever getenv is. What goes wrong later is logged, now and then.
func FromEnv(getenv func(string) string, version string, log *slog.Logger) (*Tracer, error) {
	protocol, err := protocolOf(getenv)
	if protocol == "" || err != nil {
		return nil, err
	}
	size, err := queueSize(getenv)
	if err != nil {
		return nil, err
	}
	sampler, err := samplerFromEnv(getenv)
	if err != nil {
		return nil, err
	}
	var to otlptrace.Client
	switch protocol {
	case "grpc":
		to = otlptracegrpc.NewClient()
	default:
		to = otlptracehttp.NewClient()
	}
	exporter, err := otlptrace.New(context.Background(), to) // waits for nobody
	if err != nil {
		return nil, fmt.Errorf("exporter of traces: %w", err)
	}
	global.SetErrorHandler(&complaints{log: log})
	return New(exporter, size, sampler, version)
}

// protocolOf says how spans are to be exported; "": not at all.
func protocolOf(getenv func(string) string) (string, error) {
	exporter := getenv("OTEL_TRACES_EXPORTER")
	asked := cmp.Or(exporter, getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
	switch {
	case asked == "", exporter == "none", strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true"):
		return "", nil
	case exporter != "" && exporter != "otlp":
		return "", fmt.Errorf("OTEL_TRACES_EXPORTER=%q: traces are exported by OTLP only: want otlp or none; a collector turns it into anything else", exporter)
	}
	p := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	if p != "http/protobuf" && p != "grpc" {
		return "", fmt.Errorf("OTLP protocol %q for traces: want http/protobuf (a collector's port 4318) or grpc (4317) in OTEL_EXPORTER_OTLP_PROTOCOL", p)
	}
	return p, nil
}

// New returns a Tracer whose spans go to an exporter, in the background, by a queue
// of so many. What does not fit in is dropped and counted. sampler decides where a trace
// begins, by its ID.
func New(to sdk.SpanExporter, queued int, sampler sdk.Sampler, version string) (*Tracer, error) {
	res, err := resource.New(context.Background(), resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("orderlog"), semconv.ServiceVersion(version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	q := newQueue(to, queued)
	orders := sdk.NewTracerProvider(sdk.WithResource(res), sdk.WithSpanProcessor(q), sdk.WithIDGenerator(ids{}), sdk.WithSampler(sampler))
	batches := sdk.NewTracerProvider(sdk.WithResource(res), sdk.WithSpanProcessor(q), sdk.WithIDGenerator(ids{}), sdk.WithSampler(sdk.AlwaysSample()))
	return &Tracer{orders: orders.Tracer(scope), batches: batches.Tracer(scope), sampler: sampler, queue: q}, nil
}

// Close exports what is queued, as far as the collector takes it within seconds.
func (t *Tracer) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := t.queue.Shutdown(ctx); err != nil {
		return fmt.Errorf("exporting the last spans: %w", err)
	}
	return nil
}

// OfOrder is the ID of the trace of an order, wherever it begins: it derives from
// the order's; that of a record which is about none, from the record's ce_id. So
// whoever sends the next command about it, and whoever takes one of a client that does
// not trace, is in the same trace, and a sampler that goes by the ID takes all of an
// order or nothing. One that a client has begun elsewhere keeps its own.
func OfOrder(order string) otel.TraceID {
	sum := sha256.Sum256([]byte("trace of " + order))
	return otel.TraceID(sum[:16])
}

// subjectKey is the key of what a trace begins for.
type subjectKey struct{}

// ids derives what it can.
type ids struct{}

func (g ids) NewIDs(ctx context.Context) (t otel.TraceID, s otel.SpanID) {
	if subject, ok := ctx.Value(subjectKey{}).(string); ok && subject != "" {
		t = OfOrder(subject)
	} else {
		binary.LittleEndian.PutUint64(t[:], rand.Uint64())
		binary.LittleEndian.PutUint64(t[8:], rand.Uint64())
	}
	return t, g.NewSpanID(ctx, t)
}

func (ids) NewSpanID(context.Context, otel.TraceID) (s otel.SpanID) {
	binary.LittleEndian.PutUint64(s[:], rand.Uint64())
	return s
}

// complaints logs errors of the SDK, at most one a minute.
type complaints struct {
	log  *slog.Logger
	mu   sync.Mutex
	last time.Time
	more int
}

// Handle makes it an otel.ErrorHandler.
func (c *complaints) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last) < time.Minute {
		c.more++
		return
	}
	c.log.Warn("exporting traces", "error", err, "errors_not_logged", c.more)
	c.last, c.more = time.Now(), 0
}
