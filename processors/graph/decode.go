package graph

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
)

// maxRecord is the largest value, in bytes, from outside that a rule is shown.
// What rules make of it may be larger.
const maxRecord = 256 << 10

// poison is why no rule can be shown a record, ever.
type poison struct{ cause, detail string }

func (e poison) Error() string { return e.detail }

func cause(err error) string {
	var p poison
	if errors.As(err, &p) {
		return p.cause
	}
	return "undecodable"
}

// body decodes the value into the message's body and checks that it belongs here.
func (h *handler[S]) body(j *job[S]) (err error) {
	in, m, rec := j.in, &j.m, j.rec
	switch {
	case in.Name == "":
		return poison{"unknown topic", fmt.Sprintf("it came back, but %q is no input of %s", rec.Topic, h.p.Name)}
	case in.External && len(rec.Value) > maxRecord:
		return poison{"oversized", fmt.Sprintf("value of %d bytes, at most %d are read", len(rec.Value), maxRecord)}
	case in.External && event.IsJSON(rec):
		if m.Body, err = schemas.DecodeJSON(m.Type, rec.Value); err == nil {
			err = schemas.Allowed(in.Name, m.Body)
		}
	default:
		err = h.env.Waiting(j.c, in.Name, func(ctx context.Context) error {
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
		return poison{"unknown type", fmt.Sprintf("message type %q does not go with a %s", m.Type, schemas.RecordOf(m.Body))}
	}
	if key := schemas.KeyOf(m.Body); key != m.Key {
		return poison{"key mismatch", fmt.Sprintf("record key %q, but its body belongs to %q", m.Key, key)}
	}
	if n := h.env.Partitions; in.External && n > 0 && kgoka.Partition(m.Key, n) != j.c.Record().Partition {
		// Its row and every answer to it are elsewhere: it would wait for ever.
		return poison{"wrong partition", fmt.Sprintf("murmur2 puts %q on partition %d of %d, its producer did not (librdkafka: partitioner=murmur2_random)",
			m.Key, kgoka.Partition(m.Key, n), n)}
	}
	return nil
}

// Waiting decodes, and waits for a registry that is away: the record is not at
// fault. It may take longer than a transaction lasts; then the batch is repeated.
func (e Env) Waiting(c kgoka.Context, topic string, decode func(context.Context) error) error {
	ctx := c.Context()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := decode(ctx)
		if !errors.Is(err, schemas.ErrRegistry) {
			return err
		}
		e.Log.Warn("schema registry is away, waiting", "group", c.Group(), "topic", topic, "error", err, "retry_in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			c.Fail(ctx.Err())
			return err
		}
	}
}
