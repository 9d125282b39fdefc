package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// maxRecord is the largest value, in bytes, from outside that a rule is shown.
// What rules make of it may be larger.
const maxRecord = 256 << 10

type handler[S any] struct {
	env   Env
	p     flow.Processor[S]
	table string            // catalogue name of the rule's table
	zero  []byte            // what a row that is not there would be written as
	names map[string]string // catalogue topic -> name on the cluster
	from  string            // ce_source of what it writes

	spare  sync.Pool // of *scratch[S]
	parked sync.Map  // causes of dead letters that were logged
}

// scratch is what is needed while one record is handled, and then again.
type scratch[S any] struct {
	row, next S
	headers   []kgo.RecordHeader
	values    [][]byte
}

func newHandler[S any](p flow.Processor[S], env Env) *handler[S] {
	h := &handler[S]{env: env, p: p, table: p.Name + "-table", names: map[string]string{}, from: event.DefaultSource + "/" + p.Name}
	h.spare.New = func() any { return new(scratch[S]) }
	h.zero, _ = env.Serde.Encode(nil, h.table, new(S)) // an error here is every row's error, and reported there
	for _, t := range append([]string{topics.DeadLetter}, p.Outputs...) {
		h.names[t] = topics.Prefixed(env.Namespace, t)
	}
	return h
}

// handle is the life of one record: decode, decide, write.
func (h *handler[S]) handle(c kgoka.Context, in topics.Topic) {
	rec := c.Record()
	if h.p.Skip != nil && h.p.Skip(event.Header(rec, event.Type)) {
		return
	}
	m := event.Parse(rec)
	m.Topic = in.Name
	if err := h.body(c, rec, in, &m); err != nil {
		h.park(c, rec, cause(err), err.Error(), "")
		return
	}
	sc := h.spare.Get().(*scratch[S])
	defer h.spare.Put(sc)
	old := c.Row()
	var row S
	if old != nil {
		err := h.waiting(c, h.table, func(ctx context.Context) error { return h.env.Serde.DecodeInto(ctx, h.table, old, &sc.row) })
		if err != nil {
			c.Fail(fmt.Errorf("row %q of %s: %w", m.Key, h.table, err)) // our own table: not for a dead letter
			return
		}
		row = sc.row
	}
	next, outs, p := h.decide(row, m)
	if p != nil {
		h.park(c, rec, "panic", fmt.Sprint(p.value), p.stack)
		return
	}
	sc.next = next
	if err := h.write(c, rec, old, sc, m, outs); err != nil {
		h.park(c, rec, "unencodable", err.Error(), "")
	}
}

// body decodes the value into m.Body and checks that it belongs here.
func (h *handler[S]) body(c kgoka.Context, rec *kgo.Record, in topics.Topic, m *flow.Message) (err error) {
	switch {
	case in.External && len(rec.Value) > maxRecord:
		return parkErr{"oversized", fmt.Sprintf("value of %d bytes, at most %d are read", len(rec.Value), maxRecord)}
	case in.External && event.IsJSON(rec):
		if m.Body, err = schemas.DecodeJSON(m.Type, rec.Value); err == nil {
			err = schemas.Allowed(in.Name, m.Body)
		}
	default:
		err = h.waiting(c, in.Name, func(ctx context.Context) error {
			m.Body, err = h.env.Serde.Decode(ctx, in.Name, rec.Value)
			return err
		})
	}
	if err != nil {
		return err
	}
	if m.Type == "" {
		m.Type = schemas.TypeOf(m.Body)
	}
	if !schemas.Fits(m.Type, m.Body) {
		return parkErr{"unknown type", fmt.Sprintf("message type %q does not go with a %s", m.Type, schemas.RecordOf(m.Body))}
	}
	if key := schemas.KeyOf(m.Body); key != m.Key {
		return parkErr{"key mismatch", fmt.Sprintf("record key %q, but its body belongs to %q", m.Key, key)}
	}
	if n := h.env.Partitions; in.External && n > 0 && kgoka.Partition(m.Key, n) != rec.Partition {
		// Its row and every answer to it are elsewhere: it would wait for ever.
		return parkErr{"wrong partition", fmt.Sprintf("murmur2 puts %q on partition %d of %d, its producer did not (librdkafka: partitioner=murmur2_random)",
			m.Key, kgoka.Partition(m.Key, n), n)}
	}
	return nil
}

// waiting decodes, and waits for a registry that is away: the record is not at
// fault. It may take longer than a transaction lasts; then the batch is repeated.
func (h *handler[S]) waiting(c kgoka.Context, topic string, decode func(context.Context) error) error {
	ctx := c.Context()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := decode(ctx)
		if !errors.Is(err, schemas.ErrRegistry) {
			return err
		}
		h.env.Log.Warn("schema registry is away, waiting", "group", h.p.Name, "topic", topic, "error", err, "retry_in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			c.Fail(ctx.Err())
			return err
		}
	}
}

type rulePanic struct {
	value any
	stack string
}

// decide calls the rule. A panic in it is a bug of the rule, not of the record's
// neighbours: it is caught here, where nothing has been written yet.
func (h *handler[S]) decide(row S, m flow.Message) (next S, outs []flow.Message, p *rulePanic) {
	defer func() {
		if v := recover(); v != nil {
			p = &rulePanic{v, string(debug.Stack())}
		}
	}()
	if h.env.BeforeDecide != nil {
		h.env.BeforeDecide(m)
	}
	next, outs = h.p.Decide(row, m)
	return next, flow.Derive(m, outs), nil
}

// write encodes everything first, so that a record which cannot be written
// leaves nothing behind but its dead letter.
func (h *handler[S]) write(c kgoka.Context, rec *kgo.Record, old []byte, sc *scratch[S], m flow.Message, outs []flow.Message) error {
	row, err := h.env.Serde.Encode(nil, h.table, &sc.next)
	if err != nil {
		return err
	}
	sc.values = sc.values[:0]
	for _, o := range outs {
		var v []byte
		if _, refusal := o.Body.(*flow.Refusal); !refusal {
			if v, err = h.env.Serde.Encode(nil, o.Topic, o.Body); err != nil {
				return fmt.Errorf("%s for %s: %w", o.Type, o.Topic, err)
			}
		}
		sc.values = append(sc.values, v)
	}
	if old == nil {
		old = h.zero
	}
	if !bytes.Equal(row, old) {
		rm := flow.Message{ID: flow.NewID("evt", m.At, m.ID, -1), Type: h.p.RowType(sc.next), At: m.At, Correlation: m.Correlation, Causation: m.ID}
		c.SetRow(row, h.headers(sc, rm))
	}
	for i, o := range outs {
		if r, refusal := o.Body.(*flow.Refusal); refusal {
			h.park(c, rec, "refused", r.Reason, "")
			continue
		}
		c.EmitRecord(h.names[o.Topic], o.Key, sc.values[i], h.headers(sc, o))
	}
	return nil
}

// headers are good until the next ones. Every header costs each reader an
// allocation, so records between processors go without the content type: Avro
// is what a record is unless it says otherwise.
func (h *handler[S]) headers(sc *scratch[S], m flow.Message) []kgo.RecordHeader {
	sc.headers = event.Append(sc.headers[:0], h.from, "", m)
	return sc.headers
}
