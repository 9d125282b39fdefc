package trace

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// queue stands before the SDK's batch processor, which drops what does not fit and
// does not say so: it lets no more through than that one has room for, and counts.
type queue struct {
	sdk.SpanProcessor
	room int64

	held                    atomic.Int64 // handed over and not exported yet
	exported, full, refused atomic.Int64
}

// outlet is the exporter as the batch processor behind a queue has it.
type outlet struct {
	sdk.SpanExporter
	q *queue
}

// queueSize reads the standard variable.
func queueSize(getenv func(string) string) (int, error) {
	const name = "OTEL_BSP_MAX_QUEUE_SIZE"
	s := getenv(name)
	if s == "" {
		return sdk.DefaultMaxQueueSize, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s=%q: want a number of spans, 1 or more", name, s)
	}
	return n, nil
}

func newQueue(to sdk.SpanExporter, room int) *queue {
	q := &queue{room: int64(room)}
	q.SpanProcessor = sdk.NewBatchSpanProcessor(outlet{to, q}, sdk.WithMaxQueueSize(room))
	return q
}

func (q *queue) OnEnd(s sdk.ReadOnlySpan) {
	if q.held.Add(1) > q.room {
		q.held.Add(-1)
		q.full.Add(1)
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// ExportSpans is called by the batch processor, one call at a time.
func (o outlet) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	n := int64(len(spans))
	defer o.q.held.Add(-n)
	err := o.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		o.q.refused.Add(n)
	} else {
		o.q.exported.Add(n)
	}
	return err
}

var (
	exportedTotal = prometheus.NewDesc("orderlog_trace_spans_exported_total", "Spans that the collector has taken.", nil, nil)
	droppedTotal  = prometheus.NewDesc("orderlog_trace_spans_dropped_total", "Spans that were lost: the queue was full, or the collector did not take them.", []string{"cause"}, nil)
)

// Describe makes a Tracer a prometheus.Collector.
func (t *Tracer) Describe(ch chan<- *prometheus.Desc) { ch <- exportedTotal; ch <- droppedTotal }

// Collect is silent where tracing is off.
func (t *Tracer) Collect(ch chan<- prometheus.Metric) {
	if t == nil {
		return
	}
	put := func(d *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	put(exportedTotal, t.queue.exported.Load())
	put(droppedTotal, t.queue.full.Load(), "queue full")
	put(droppedTotal, t.queue.refused.Load(), "not taken")
}
