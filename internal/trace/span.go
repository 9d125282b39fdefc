package trace

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/orderlog/orderlog/internal/event"
)

// Attributes beside those of the semantic conventions for messaging.
const (
	attrOrder       = attribute.Key("orderlog.order")
	attrType        = attribute.Key("orderlog.type")    // of the record, its ce_type
	attrOutcome     = attribute.Key("orderlog.outcome") // handled, or one of those below
	attrCause       = attribute.Key("orderlog.cause")
	attrAttempt     = attribute.Key("orderlog.attempt")     // of a record that comes back, from 2 on
	attrDue         = attribute.Key("orderlog.due")         // when it comes back, if it is parked
	attrTransaction = attribute.Key("orderlog.transaction") // committed, aborted
	attrOut         = attribute.Key("orderlog.records_out")
	attrEffect      = attribute.Key("orderlog.effect")
	attrEndpoint    = attribute.Key("orderlog.endpoint")
	attrCode        = attribute.Key("orderlog.code") // an endpoint's answer
)

// Send begins the span of a record that is about to be sent, and has the record
// carry it. What is returned ends it, with what came of it. A record that carries a
// trace already stays in it; one about an order begins the order's. Of a trace that
// is not sampled it carries nothing: see Handle.
func (t *Tracer) Send(ctx context.Context, r *kgo.Record) (sent func(error)) {
	if t == nil {
		return func(error) {}
	}
	p := Of(r)
	if !p.IsZero() && !p.Sampled() {
		return func(error) {}
	}
	if !p.IsZero() {
		ctx = otel.ContextWithRemoteSpanContext(ctx, p.spanContext())
	}
	about := subject(r)
	if p.IsZero() && !otel.SpanContextFromContext(ctx).IsValid() && !t.begins(about) {
		return func(error) {}
	}
	ctx = context.WithValue(ctx, subjectKey{}, about)
	_, span := t.orders.Start(ctx, "send "+r.Topic, otel.WithSpanKind(otel.SpanKindProducer))
	if !span.IsRecording() {
		return func(error) {}
	}
	span.SetAttributes(semconv.MessagingSystemKafka, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("send"),
		semconv.MessagingDestinationName(r.Topic), key(r), attrOrder.String(orderOf(r)), attrType.String(event.Header(r, event.Type)))
	r.Headers = parentOf(span.SpanContext()).Append(without(r.Headers))
	return func(err error) {
		span.SetAttributes(semconv.MessagingDestinationPartitionID(strconv.Itoa(int(r.Partition))), semconv.MessagingKafkaOffset(int(r.Offset)))
		if err != nil {
			span.SetStatus(codes.Error, reason(err))
		}
		span.End()
	}
}

// orderOf is the order that a record is about, "" if it is none.
func orderOf(r *kgo.Record) string {
	if order := event.Header(r, event.Correlation); order != "" {
		return order
	}
	if strings.HasPrefix(string(r.Key), "ord_") {
		return string(r.Key)
	}
	return ""
}

// subject is what the ID of a trace derives from that begins with a record.
func subject(r *kgo.Record) string {
	if order := orderOf(r); order != "" {
		return order
	}
	return event.Header(r, event.ID)
}

func key(r *kgo.Record) attribute.KeyValue {
	return semconv.MessagingKafkaMessageKey(strings.ToValidUTF8(string(r.Key), "?"))
}

func without(hs []kgo.RecordHeader) []kgo.RecordHeader {
	var left []kgo.RecordHeader
	for _, h := range hs {
		if h.Key != HeaderParent && h.Key != HeaderState {
			left = append(left, h)
		}
	}
	return left
}

// reason is an error in a fixed word: its text may have what is nobody's business.
func reason(err error) string {
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return e.Message
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return "failed"
}

// Processor makes the spans of one group's records. A span ends, for whoever looks
// at traces, only when the transaction is committed that handles its record: of one
// that is aborted, which is handled again, nothing is left but the transaction's own
// span. Nil: tracing is off.
type Processor struct {
	t     *Tracer
	name  string
	group string

	mu     sync.Mutex
	spans  []*Span // of the transaction at hand
	causes []otel.Link
}

// maxLinks is how many records a transaction's span points at, as by the SDK's default.
const maxLinks = 128

// Processor returns one for a processor, and the group that Kafka knows it by.
func (t *Tracer) Processor(name, group string) *Processor {
	if t == nil {
		return nil
	}
	return &Processor{t: t, name: name, group: group}
}

// Span is what a processor does with one record. It is used by one goroutine. Nil:
// nothing is kept of it.
type Span struct {
	span  otel.Span
	ended time.Time
}

// Handle begins the span of a record that was consumed. What it causes carries the
// Parent that is returned. There is no span of a record whose trace is not sampled,
// nor one if tracing is off: then the record's own Parent is handed on.
//
// A record from outside may come from somebody who does not trace: it begins a
// trace, if that is sampled. If it is not, nothing is handed on, for a header costs
// each reader something; whoever asks the sampler again, by the same ID, hears the same. All
// other records without a Parent are of traces that are not sampled.
func (p *Processor) Handle(r *kgo.Record, outside bool) (*Span, Parent) {
	cause := Of(r)
	if p == nil || cause.IsZero() && !outside || !cause.IsZero() && !cause.Sampled() {
		return nil, cause
	}
	about := subject(r)
	if cause.IsZero() && !p.t.begins(about) {
		return nil, cause
	}
	ctx := context.WithValue(context.Background(), subjectKey{}, about)
	from := cause.spanContext()
	if from.IsValid() {
		ctx = otel.ContextWithRemoteSpanContext(ctx, from)
	}
	_, span := p.t.orders.Start(ctx, p.name+" process", otel.WithSpanKind(otel.SpanKindConsumer))
	if !span.IsRecording() {
		return nil, cause
	}
	span.SetAttributes(semconv.MessagingSystemKafka, semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"),
		semconv.MessagingDestinationName(r.Topic), semconv.MessagingDestinationPartitionID(strconv.Itoa(int(r.Partition))),
		semconv.MessagingKafkaOffset(int(r.Offset)), semconv.MessagingConsumerGroupName(p.group),
		key(r), attrOrder.String(orderOf(r)), attrType.String(event.Header(r, event.Type)), attrOutcome.String("handled"))
	next := parentOf(span.SpanContext())
	s := &Span{span: span}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spans = append(p.spans, s)
	if len(p.causes) < maxLinks {
		if !from.IsValid() {
			from = span.SpanContext() // the trace begins here
		}
		p.causes = append(p.causes, otel.Link{SpanContext: from})
	}
	return s, next
}

// End says that the callback has returned.
func (s *Span) End() {
	if s != nil {
		s.ended = time.Now()
	}
}

// Again says which attempt at the record this is.
func (s *Span) Again(attempt int) {
	if s != nil {
		s.span.SetAttributes(attrAttempt.Int(attempt))
	}
}

// Park says that the record waits in the calendar until due (Unix ms). failed: because
// it could not be handled, and not for others before it.
func (s *Span) Park(cause string, due int64, failed bool) {
	if s != nil {
		s.outcome("parked", cause, failed, attrDue.String(time.UnixMilli(due).UTC().Format(time.RFC3339)))
	}
}

// Bury says that the record has become a dead letter.
func (s *Span) Bury(cause string) { s.outcome("dead-letter", cause, true) }

// Pass says that nothing was done about the record, and why.
func (s *Span) Pass(cause string) { s.outcome("passed", cause, false) }

func (s *Span) outcome(what, cause string, failed bool, more ...attribute.KeyValue) {
	if s == nil {
		return
	}
	s.span.SetAttributes(attrOutcome.String(what))
	s.span.AddEvent(what, otel.WithAttributes(append(more, attrCause.String(cause))...))
	if failed {
		s.span.SetStatus(codes.Error, cause)
	}
}

// Transaction is told of every transaction's end: when it began, how long it took, how
// many records it consumed and produced, and why it was not committed. If it was,
// the spans of its records end; it has a span itself, in a trace of its own, that
// points at what caused them.
func (p *Processor) Transaction(began time.Time, took time.Duration, in, out int64, err error) {
	if p == nil {
		return
	}
	p.mu.Lock()
	spans, causes := p.spans, p.causes
	p.spans, p.causes = nil, nil
	p.mu.Unlock()
	if len(spans) == 0 {
		return
	}
	_, own := p.t.batches.Start(context.Background(), p.name+" transaction", otel.WithTimestamp(began), otel.WithLinks(causes...), otel.WithAttributes(
		semconv.MessagingSystemKafka, semconv.MessagingConsumerGroupName(p.group), semconv.MessagingBatchMessageCount(int(in)), attrOut.Int64(out)))
	defer own.End(otel.WithTimestamp(began.Add(took)))
	if err != nil {
		own.SetAttributes(attrTransaction.String("aborted"))
		own.SetStatus(codes.Error, reason(err))
		return
	}
	own.SetAttributes(attrTransaction.String("committed"))
	for _, s := range spans {
		s.span.AddLink(otel.Link{SpanContext: own.SpanContext()})
		s.span.End(otel.WithTimestamp(s.ended))
	}
}

// Effect is something outside Kafka that is tried.
type Effect struct{ ID, Order, Event, Endpoint string }

// Try begins the span of a try to send an effect, which cause asked for. The context
// is for the sender: what it calls is told of the trace. What is returned beside it
// ends the span, with what came of the try and the code of the answer, 0 if there was none.
func (p *Processor) Try(ctx context.Context, cause Parent, e Effect) (context.Context, func(outcome string, code int, failed bool)) {
	if from := cause.spanContext(); from.IsValid() {
		ctx = otel.ContextWithRemoteSpanContext(ctx, from)
	}
	if p == nil || !cause.Sampled() {
		return ctx, func(string, int, bool) {}
	}
	ctx, span := p.t.orders.Start(ctx, "send "+e.Endpoint, otel.WithSpanKind(otel.SpanKindClient),
		otel.WithAttributes(attrOrder.String(e.Order), attrEffect.String(e.ID), attrEndpoint.String(e.Endpoint), attrType.String(e.Event)))
	return ctx, func(outcome string, code int, failed bool) {
		span.SetAttributes(attrOutcome.String(outcome))
		if code != 0 {
			span.SetAttributes(attrCode.Int(code))
		}
		if failed {
			span.SetStatus(codes.Error, outcome)
		}
		span.End()
	}
}
