// Package ledger runs the group "effects": every effect that was asked for has a
// row, which says what became of it. A worker beside the group sends what is
// pending, outside of transactions: that it begins is committed before the first
// byte goes out, and what came of it after. So what was sent is never sent again,
// whatever is replayed; a try whose end nobody wrote down is repeated, and counted.
//
// How an effect is sent is internal/effect's business; when it is tried again
// after a failure, the calendar's.
package ledger

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Name is that of the group, without namespace.
const Name = "effects"

// Names of the visitors.
const (
	look  = "look"  // finds what is to be sent
	write = "write" // changes rows for the worker
)

const source = event.DefaultSource + "/" + Name

// Ledger is the group's graph and its worker, in one process.
type Ledger struct {
	env    graph.Env
	to     *effect.Endpoints
	writer *writer

	mu      sync.Mutex
	shift   *shift             // of the assignment at hand; nil: nothing is begun
	flying  map[string]try     // begun here, and not written down yet
	counts  map[string]*counts // by lane
	workers sync.WaitGroup
}

// New returns a ledger whose effects go to those endpoints. The calendar's clock is
// env.Now; nil is time.Now.
func New(env graph.Env, to *effect.Endpoints) *Ledger {
	if env.Now == nil {
		env.Now = time.Now
	}
	return &Ledger{env: env, to: to, writer: newWriter(), flying: map[string]try{}, counts: map[string]*counts{}}
}

// Inputs are the catalogue topics that it reads.
func Inputs() []string { return []string{topics.Effects, topics.EffectsLoop} }

func (l *Ledger) name(topic string) string { return topics.Prefixed(l.env.Namespace, topic) }

func (l *Ledger) now() int64 { return l.env.Now().UnixMilli() }

// Runtime is cfg as the group needs it.
func (l *Ledger) Runtime(cfg kgoka.Config) kgoka.Config {
	cfg.Origins, cfg.Coalesce = true, true
	cfg.SamePartition = []string{l.name(topics.Retry)}
	return cfg
}

// Graph is that of the group.
func (l *Ledger) Graph() *goka.GroupGraph {
	return goka.DefineGroup(goka.Group(l.name(Name)), goka.Persist(kgoka.Bytes{}),
		goka.Input(goka.Stream(l.name(topics.Effects)), kgoka.Bytes{}, func(c goka.Context, _ any) { l.handle(kgoka.From(c), l.enter) }),
		goka.Loop(kgoka.Bytes{}, func(c goka.Context, _ any) { l.handle(kgoka.From(c), l.comeBack) }),
		goka.Visitor(look, func(c goka.Context, _ any) { l.saw(l.row(kgoka.From(c))) }),
		goka.Visitor(write, func(c goka.Context, steps any) { l.step(kgoka.From(c), steps.(map[string][]*step)) }),
		goka.Output(goka.Stream(l.name(topics.Retry)), kgoka.Bytes{}),
		goka.Output(goka.Stream(l.name(topics.DeadLetter)), kgoka.Bytes{}))
}

// handle does with a record what do says, and writes the change.
func (l *Ledger) handle(c kgoka.Context, do func(kgoka.Context, *trace.Span) change) {
	span, next := l.env.Trace.Handle(c.Record(), false)
	l.put(c, do(c, span), next)
	span.End()
}

// enter makes the row of an effect that is new.
func (l *Ledger) enter(c kgoka.Context, span *trace.Span) change {
	if c.Row() != nil {
		span.Pass("asked for before") // whatever became of it, once is enough
		return change{}
	}
	return l.entered(c, span, c.Offset(), c.Timestamp().UnixMilli())
}

func (l *Ledger) entered(c kgoka.Context, span *trace.Span, offset, asked int64) change {
	if e, ok := l.effect(c, span); ok {
		return entered(e, offset, asked, l.now())
	}
	return change{}
}

// comeBack is called with what the calendar or a person brings back.
func (l *Ledger) comeBack(c kgoka.Context, span *trace.Span) change {
	back := letter.Parse(c.Record())
	switch {
	case c.Row() == nil && back.Topic == "":
		return l.enter(c, span)
	case c.Row() == nil:
		return l.entered(c, span, back.Offset, back.Timestamp)
	}
	e, ok := l.effect(c, span)
	if !ok {
		return change{}
	}
	return returned(l.row(c), back, event.Header(c.Record(), event.Type), e, l.now())
}

// effect decodes the input; what is none goes to dead-letter.
func (l *Ledger) effect(c kgoka.Context, span *trace.Span) (e schemas.Effect, ok bool) {
	refuse := func(cause, detail string) {
		span.Bury(cause)
		l.env.Refuse(c, Name, cause, detail)
	}
	err := l.decode(c, topics.Effects, c.Record().Value, &e)
	switch {
	case err != nil:
		refuse("undecodable", err.Error())
	case e.EffectID != c.Key():
		refuse("key mismatch", fmt.Sprintf("record key %q, but its body belongs to %q", c.Key(), e.EffectID))
	default:
		return e, true
	}
	return e, false
}

// row is the one at hand, which there must be.
func (l *Ledger) row(c kgoka.Context) (row schemas.LedgerEntry) {
	if err := l.decode(c, topics.EffectsTable, c.Row(), &row); err != nil {
		c.Fail(fmt.Errorf("row %q of %s: %w", c.Key(), topics.EffectsTable, err)) // our own table: not for a dead letter
	}
	return row
}

func (l *Ledger) decode(c kgoka.Context, topic string, value []byte, into any) error {
	return l.env.Waiting(c, topic, func(ctx context.Context) error { return l.env.Serde.DecodeInto(ctx, topic, value, into) })
}

// put writes a change and lets the worker know. The transaction may fail yet: then
// the worker finds nothing to do.
func (l *Ledger) put(c kgoka.Context, ch change, in trace.Parent) {
	l.write(c, ch, in)
	if ch.fate != stays {
		l.saw(ch.row)
	}
}

// write writes what a change brings. What happens next goes on in that trace: it
// stands in a note beside the row, as long as there is something to do.
func (l *Ledger) write(c kgoka.Context, ch change, in trace.Parent) {
	row := ch.row
	if ch.fate == stays {
		return
	}
	var note []byte
	if row.State == schemas.Pending || row.State == schemas.Sending {
		note = in.Encode()
	}
	if !bytes.Equal(note, c.Note()) {
		c.SetNote(note)
	}
	c.SetRow(l.encode(c, topics.EffectsTable, &row), l.headers(row, "effect."+row.State))
	switch ch.fate {
	case parks:
		lt := l.letter(c, ch, in)
		lt.Seq, lt.Due = row.Tries, row.Due
		key := retry.Key(row.Due, fmt.Sprintf("%08d.%s.%s", row.Tries, Name, row.EffectID))
		c.EmitRecord(l.name(topics.Retry), key, l.encode(c, topics.Retry, lt.Parked(topics.EffectsLoop)), l.headers(row, schemas.RecordParked))
	case buries:
		lt := l.letter(c, ch, in)
		c.EmitRecord(l.name(topics.DeadLetter), row.EffectID, lt.Value, lt.Headers())
		if to := l.env.Report; to != nil {
			f := report.Failure{Kind: report.DeadLetter, Processor: Name, Cause: ch.cause, Topic: lt.Topic, Partition: lt.Partition, Offset: lt.Offset,
				Order: row.OrderID, TraceID: in.TraceID()}
			c.OnCommit(func() { to.Report(f) })
		}
	}
}

// letter is about an effect as it was asked for, and what became of it.
func (l *Ledger) letter(c kgoka.Context, ch change, in trace.Parent) letter.Letter {
	row, e := ch.row, ch.row.Effect()
	kind := schemas.NotificationsEmailSend
	if e.Kind == schemas.KindWebhook {
		kind = schemas.NotificationsWebhookSend
	}
	why := row.Text
	if row.Code != 0 {
		why = fmt.Sprintf("%d %s", row.Code, row.Text)
	}
	return letter.Letter{Topic: l.name(topics.Effects), Partition: c.Partition(), Offset: row.Offset, Timestamp: row.AskedAt,
		Key: []byte(e.EffectID), Value: l.encode(c, topics.Effects, &e), Own: in.Append(l.headers(row, kind)),
		Group: Name, Class: ch.class, Cause: ch.cause, Error: why, Attempts: row.Attempts}
}

// headers are those of what a row's change is written as.
func (l *Ledger) headers(row schemas.LedgerEntry, kind string) []kgo.RecordHeader {
	id := flow.NewID("evt", row.ChangedAt, row.EffectID+"/"+kind, int(row.Tries))
	return event.Append(nil, source, "", flow.Message{ID: id, Type: kind, At: row.ChangedAt, Correlation: row.OrderID})
}

func (l *Ledger) encode(c kgoka.Context, topic string, body any) []byte {
	value, err := l.env.Serde.Encode(nil, topic, body)
	if err != nil {
		c.Fail(fmt.Errorf("effect %q for %s: %w", c.Key(), topic, err)) // it was read with the same fields
	}
	return value
}
