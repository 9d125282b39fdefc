// Package client talks to orderlog from outside, as any Kafka client may: it
// sends commands and reads orders. It knows no rule.
package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Config says what to talk to.
type Config struct {
	Opts      []kgo.Opt // brokers, dialer
	Serde     *schemas.Serde
	Namespace string
	Source    string        // ce_source of commands; event.DefaultSource if empty
	Linger    time.Duration // how long a command may wait for others; for bulk
	Trace     *trace.Tracer // nil: commands begin no traces
}

// Client sends commands with an idempotent producer and reads the order log.
// It is safe for concurrent use.
type Client struct {
	cfg Config
	cl  *kgo.Client
	adm *kadm.Client
}

// New makes a client; it connects at first use.
func New(cfg Config) (*Client, error) {
	if cfg.Source == "" {
		cfg.Source = event.DefaultSource
	}
	cl, err := kgo.NewClient(append(slices.Clone(cfg.Opts),
		kgo.ProducerLinger(cfg.Linger),
		kgo.RecordPartitioner(partitioner()),
		kgo.UnknownTopicRetries(2))...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	return &Client{cfg: cfg, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close ends it; commands that were not flushed are lost.
func (c *Client) Close() { c.cl.Close() }

// Command sends m and waits until the broker has it. Topic, Key, Type, ID, At
// and Body are the caller's to fill.
func (c *Client) Command(ctx context.Context, m flow.Message) error {
	r, err := c.Record(m)
	if err != nil {
		return err
	}
	sent := c.cfg.Trace.Send(ctx, r)
	err = c.cl.ProduceSync(ctx, r).FirstErr()
	sent(err)
	return explain(r.Topic, err)
}

// Record is what Command sends for m.
func (c *Client) Record(m flow.Message) (*kgo.Record, error) {
	value, err := c.cfg.Serde.Encode(nil, m.Topic, m.Body)
	if err != nil {
		return nil, fmt.Errorf("command %s for %q: %w", m.Type, m.Key, err)
	}
	return &kgo.Record{
		Topic: topics.Prefixed(c.cfg.Namespace, m.Topic), Key: []byte(m.Key), Value: value,
		Headers: event.Append(nil, c.cfg.Source, event.Avro, m),
	}, nil
}

// ErrNoTopic says that a topic does not exist.
var ErrNoTopic = errors.New("no such topic")

func explain(topic string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("topic %q: %w", topic, ErrNoTopic)
	}
	return fmt.Errorf("sending to topic %q: %w", topic, err)
}

// partitioner is murmur2 of the key, as in Java, and sticky without a key.
func partitioner() kgo.Partitioner { return kgo.StickyKeyPartitioner(nil) }

// PartitionOf says on which of n partitions a key's records stand.
func PartitionOf(key string, n int) int32 {
	r := &kgo.Record{Key: []byte(key)}
	return int32(partitioner().ForTopic("").Partition(r, n))
}
