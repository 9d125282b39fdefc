package graph

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/topics"
)

type handler[S any] struct {
	env   Env
	p     flow.Processor[S]
	table string                  // catalogue name of the rule's table
	zero  []byte                  // what a row that is not there would be written as
	names map[string]string       // what it writes: catalogue topic -> name on the cluster
	reads map[string]topics.Topic // what it reads: name on the cluster -> catalogue
	from  string                  // ce_source of what it writes

	spare  sync.Pool // of *job[S]
	logged sync.Map  // causes that were logged
}

// job is one record on its way, and room for what it needs. It is used again.
type job[S any] struct {
	c    kgoka.Context
	rec  *kgo.Record    // as it first came
	past *letter.Letter // what went wrong with it before; nil: nothing
	back *letter.Letter // past, of what the calendar brings back; nil: it is in no queue
	in   topics.Topic   // on which it first came
	m    flow.Message

	span  *trace.Span
	trace trace.Parent // of what is written

	was, note note // of its row, as written and as it shall be
	row       S
	decided[S]
	seen    Decision
	untimed int // decisions to come before one is timed

	headers []kgo.RecordHeader
	values  [][]byte
}

// decided is what the rule says of a message.
type decided[S any] struct {
	next    S
	rowType string
	outs    []flow.Message

	from, to string // states of the row, before and after
	last     bool   // it stays in that

	waits    bool // next does
	wait     time.Duration
	deadline flow.Message
}

func newHandler[S any](p flow.Processor[S], env Env) *handler[S] {
	h := &handler[S]{env: env, p: p, table: p.Name + "-table", names: map[string]string{}, reads: map[string]topics.Topic{}, from: event.DefaultSource + "/" + p.Name}
	if h.env.Now == nil {
		h.env.Now = time.Now
	}
	h.spare.New = func() any { return new(job[S]) }
	h.zero, _ = env.Serde.Encode(nil, h.table, new(S)) // an error here is every row's error, and reported there
	for _, t := range slices.Concat(p.Outputs, []string{topics.Retry, topics.DeadLetter}) {
		h.names[t] = topics.Prefixed(env.Namespace, t)
	}
	for _, t := range p.Inputs {
		h.reads[topics.Prefixed(env.Namespace, t)], _ = topics.Find(t)
	}
	return h
}

// handle is called with what comes by an input.
func (h *handler[S]) handle(c kgoka.Context, in topics.Topic) {
	rec := c.Record()
	if !h.says(h.p.Skip, event.Header(rec, event.Type)) {
		h.run(c, rec, in, nil)
	}
}

// says asks the rule about a message by its type. If that panics, the message is
// one like others.
func (h *handler[S]) says(ask func(messageType string) bool, messageType string) (yes bool) {
	if ask == nil {
		return false
	}
	defer func() {
		if v := recover(); v != nil {
			yes = false
			if _, again := h.logged.LoadOrStore("panic about "+messageType, true); !again {
				if h.env.Report != nil {
					h.env.Report.Report(report.Failure{Kind: report.Panic, Processor: h.p.Name, Cause: "asked about a type", Type: fmt.Sprintf("%T", v), Stack: string(debug.Stack())})
				}
				h.env.Log.Error("rule panics when it is asked about a type", "group", h.p.Name, "type", messageType, "error", v, "stack", string(debug.Stack()))
			}
		}
	}()
	return ask(messageType)
}

// comeBack is called with what the calendar dispatches, and with what a person
// brings back: it goes the way of the topic on which it first came.
func (h *handler[S]) comeBack(c kgoka.Context) {
	l := letter.Parse(c.Record())
	h.run(c, l.Original(), h.reads[l.Topic], &l)
}

func (h *handler[S]) run(c kgoka.Context, rec *kgo.Record, in topics.Topic, past *letter.Letter) {
	j := h.spare.Get().(*job[S])
	j.c, j.rec, j.in, j.past = c, rec, in, past
	if past != nil && past.Redriven == "" {
		j.back = past
	}
	j.span, j.trace = h.env.Trace.Handle(c.Record(), in.External)
	if past != nil {
		j.span.Again(len(past.Attempts) + 1)
	}
	h.live(j)
	j.span.End()
	j.c, j.rec, j.past, j.back, j.m, j.decided, j.seen = nil, nil, nil, nil, flow.Message{}, decided[S]{}, Decision{}
	j.span, j.trace = nil, trace.Parent{}
	h.spare.Put(j)
}

// live is the life of one record: wait for its turn, decode, decide, write.
func (h *handler[S]) live(j *job[S]) {
	j.m = event.Parse(j.rec)
	j.m.Topic = j.in.Name
	if !h.recall(j) || h.takenAway(j) || j.back != nil && !h.turn(j) {
		return
	}
	if err := h.body(j); err != nil {
		h.bury(j, h.letter(j).Failed(h.now(), letter.Poison, cause(err), err.Error(), ""))
		return
	}
	if j.back == nil && !h.turn(j) {
		return
	}
	old := j.c.Row()
	var row S
	if old != nil {
		err := h.env.Waiting(j.c, h.table, func(ctx context.Context) error { return h.env.Serde.DecodeInto(ctx, h.table, old, &j.row) })
		if err != nil {
			j.c.Fail(fmt.Errorf("row %q of %s: %w", j.m.Key, h.table, err)) // our own table: not for a dead letter
			return
		}
		row = j.row
	}
	began := h.timed(j)
	var p *rulePanic
	if j.decided, p = h.decide(row, j.m); p != nil {
		h.report(j, report.Panic, causePanic, p)
		h.fail(j, causePanic, fmt.Sprint(p.value), p.stack)
		return
	}
	if !began.IsZero() {
		h.env.Observer.Took(time.Since(began), j.rec)
	}
	if err := h.write(j, old); err != nil {
		h.fail(j, "unencodable", err.Error(), "")
	}
}

type rulePanic struct {
	value any
	stack string
}

// decide calls the rule. A panic in it is a bug of the rule, not of the record's
// neighbours: it is caught here, where nothing has been written yet.
func (h *handler[S]) decide(row S, m flow.Message) (d decided[S], p *rulePanic) {
	defer func() {
		if v := recover(); v != nil {
			p = &rulePanic{v, string(debug.Stack())}
		}
	}()
	if h.env.BeforeDecide != nil {
		h.env.BeforeDecide(m)
	}
	d.next, d.outs = h.p.Decide(row, m)
	d.outs = flow.Derive(m, d.outs)
	d.rowType = h.p.RowType(d.next)
	if h.p.Deadline != nil {
		d.wait, d.deadline, d.waits = h.p.Deadline(d.next)
	}
	if h.p.State != nil {
		d.from, _ = h.p.State(row)
		d.to, d.last = h.p.State(d.next)
	}
	return d, nil
}

// write encodes everything first, so that a record which cannot be written
// leaves nothing behind but its note.
func (h *handler[S]) write(j *job[S], old []byte) error {
	row, err := h.env.Serde.Encode(nil, h.table, &j.next)
	if err != nil {
		return err
	}
	j.values = j.values[:0]
	for _, o := range j.outs {
		var v []byte
		if _, refusal := o.Body.(*flow.Refusal); !refusal {
			if v, err = h.env.Serde.Encode(nil, o.Topic, o.Body); err != nil {
				return fmt.Errorf("%s for %s: %w", o.Type, o.Topic, err)
			}
		}
		j.values = append(j.values, v)
	}
	due, err := h.deadline(j)
	if err != nil {
		return err
	}
	h.age(j)
	h.leave(j)
	there := old != nil
	if !there {
		old = h.zero
	}
	changed := !bytes.Equal(row, old)
	if changed {
		m := flow.Message{ID: flow.NewID("evt", j.m.At, j.m.ID, -1), Type: j.rowType, At: j.m.At, Correlation: j.m.Correlation, Causation: j.m.ID}
		j.c.SetRow(row, h.headers(j, m))
	}
	for i, o := range j.outs {
		if r, refusal := o.Body.(*flow.Refusal); refusal {
			h.deadLetter(j, h.letter(j).Failed(h.now(), letter.Poison, "refused", r.Reason, ""))
			continue
		}
		j.c.EmitRecord(h.names[o.Topic], o.Key, j.values[i], h.headers(j, o))
	}
	h.enter(j, due)
	if h.env.Observer != nil {
		h.tell(j, there, changed)
	}
	return nil
}

// headers are good until the next ones. Every header costs each reader an
// allocation, so records between processors go without the content type: Avro
// is what a record is unless it says otherwise.
func (h *handler[S]) headers(j *job[S], m flow.Message) []kgo.RecordHeader {
	j.headers = j.trace.Append(event.Append(j.headers[:0], h.from, "", m))
	return j.headers
}
