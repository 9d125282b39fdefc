package kgoka

import (
	"context"
	"fmt"
	"sync"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Emitter writes to a topic from outside of a group: idempotently, so that what
// is sent again on the way is there once, and not in transactions.
type Emitter struct {
	topic string
	codec goka.Codec
	cl    *kgo.Client

	mu     sync.RWMutex
	closed bool
}

// NewEmitter prepares an emitter of stream. It does not talk to the brokers;
// emitting does.
func NewEmitter(cfg Config, stream goka.Stream, codec goka.Codec) (*Emitter, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configuration of emitter %q: %w", stream, err)
	}
	cfg = cfg.withDefaults()
	b := newBase(cfg, "emitter."+string(stream))
	cl, err := kgo.NewClient(append(b.clientOpts("producer"), kgo.RecordPartitioner(partitioner()),
		kgo.ProducerLinger(cfg.Linger), kgo.MaxBufferedRecords(1<<16))...)
	if err != nil {
		return nil, fmt.Errorf("emitter %q: %w", stream, err)
	}
	return &Emitter{topic: string(stream), codec: codec, cl: cl}, nil
}

// Emit encodes a value, nil for none, and sends it. The promise is kept when the
// broker has it; the error is the codec's. Emit waits when too much is on its way.
func (e *Emitter) Emit(key string, value any) (*goka.Promise, error) {
	return e.EmitWithHeaders(key, value, nil)
}

// EmitWithHeaders is Emit with headers.
func (e *Emitter) EmitWithHeaders(key string, value any, headers goka.Headers) (*goka.Promise, error) {
	rec := &kgo.Record{Topic: e.topic, Key: []byte(key), Headers: headerList(headers)}
	if value != nil {
		var err error
		if rec.Value, err = e.codec.Encode(value); err != nil {
			return nil, fmt.Errorf("encoding value of key %q for topic %q: %w", key, e.topic, err)
		}
	}
	promise, finish := goka.NewPromiseWithFinisher()
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return finish(nil, goka.ErrEmitterAlreadyClosed), nil
	}
	e.cl.Produce(context.Background(), rec, func(_ *kgo.Record, err error) { finish(nil, err) })
	return promise, nil
}

// EmitSync is Emit that returns when the broker has the record.
func (e *Emitter) EmitSync(key string, value any) error {
	return e.EmitSyncWithHeaders(key, value, nil)
}

// EmitSyncWithHeaders is EmitSync with headers.
func (e *Emitter) EmitSyncWithHeaders(key string, value any, headers goka.Headers) error {
	promise, err := e.EmitWithHeaders(key, value, headers)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	promise.Then(func(err error) { done <- err })
	return <-done
}

// Finish waits until all is sent and closes the emitter. A broker that is away is
// waited for.
func (e *Emitter) Finish() error {
	e.mu.Lock()
	closed := e.closed
	e.closed = true
	e.mu.Unlock()
	if closed {
		return goka.ErrEmitterAlreadyClosed
	}
	err := e.cl.Flush(context.Background())
	e.cl.Close()
	return err
}
