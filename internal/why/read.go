package why

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Config says whose orders are looked at.
type Config struct {
	Opts      []kgo.Opt // brokers, dialer
	Serde     *schemas.Serde
	Namespace string
}

// Reader reads what the logs have of orders. It is not safe for concurrent use.
type Reader struct {
	cfg        Config
	adm        *kadm.Client
	names      map[[16]byte]string // topics by their IDs, as on the cluster
	partitions int                 // of every topic

	mu     sync.Mutex
	starts map[string]map[int32]int64 // of the logs that were read
}

// New asks which topics there are.
func New(ctx context.Context, cfg Config) (*Reader, error) {
	adm, err := kadm.NewOptClient(cfg.Opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	r := &Reader{cfg: cfg, adm: adm, names: map[[16]byte]string{}, starts: map[string]map[int32]int64{}}
	if err := r.look(ctx); err != nil {
		adm.Close()
		return nil, err
	}
	return r, nil
}

// Close ends it.
func (r *Reader) Close() { r.adm.Close() }

func (r *Reader) look(ctx context.Context) error {
	var all []string
	for _, t := range topics.All() {
		all = append(all, r.name(t.Name))
	}
	there, err := r.adm.ListTopics(ctx, all...)
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	log := there[r.name(topics.OrderTable)]
	if log.Err != nil || len(log.Partitions) == 0 {
		return fmt.Errorf("topic %q: %w", r.name(topics.OrderTable), client.ErrNoTopic)
	}
	r.partitions = len(log.Partitions)
	for name, t := range there {
		r.names[t.ID] = name
	}
	return nil
}

func (r *Reader) name(topic string) string { return topics.Prefixed(r.cfg.Namespace, topic) }

// catalogued is a topic's entry in the catalogue; the zero one of others.
func (r *Reader) catalogued(name string) topics.Topic {
	for _, t := range topics.All() {
		if r.name(t.Name) == name {
			return t
		}
	}
	return topics.Topic{}
}

// partitionsOf are those on which records of these keys stand.
func (r *Reader) partitionsOf(keys ...string) []int32 {
	var ps []int32
	for _, k := range keys {
		ps = append(ps, client.PartitionOf(k, r.partitions))
	}
	slices.Sort(ps)
	return slices.Compact(ps)
}

// read calls each with the records of a catalogue topic's partitions, all if there
// are none, that were written at since or later; a time before 1970 is the log's start. A
// topic that is not there has none.
func (r *Reader) read(ctx context.Context, topic string, partitions []int32, since time.Time, each func(*kgo.Record) error) error {
	span, err := client.Whole(ctx, r.adm, r.name(topic), partitions...)
	if errors.Is(err, client.ErrNoTopic) {
		return nil
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.starts[span.Topic] = maps.Clone(span.From)
	r.mu.Unlock()
	if since.UnixMilli() > 0 { // brokers take others for something else
		at, err := client.At(ctx, r.adm, span.Topic, since)
		if err != nil {
			return err
		}
		for p, start := range span.From {
			span.From[p] = max(start, at[p])
		}
	}
	return span.Read(ctx, r.cfg.Opts, func(rec *kgo.Record) (bool, error) { return true, each(rec) })
}

// decode returns the body of a record that stands, or first stood, on a catalogue
// topic.
func (r *Reader) decode(ctx context.Context, topic string, rec *kgo.Record) (any, error) {
	if event.IsJSON(rec) {
		return schemas.DecodeJSON(event.Header(rec, event.Type), rec.Value)
	}
	return r.cfg.Serde.Decode(ctx, topic, rec.Value)
}

// origin is the input that was being handled when a record was written, with the
// record's place among what it caused.
func (r *Reader) origin(rec *kgo.Record) (p Place, index int32, ok bool) {
	header := event.Header(rec, kgoka.OriginHeader)
	if header == "" {
		return p, 0, false
	}
	o, err := kgoka.ParseOrigin([]byte(header))
	if err != nil {
		return p, 0, false
	}
	return Place{r.names[o.TopicID], o.Partition, o.Offset}, o.Index, true
}

// Place is where a record stands.
type Place struct {
	Topic     string `json:"topic"` // as on the cluster; "" of one that is there no more
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func placeOf(rec *kgo.Record) Place { return Place{rec.Topic, rec.Partition, rec.Offset} }

// String is "topic/partition/offset".
func (p Place) String() string {
	return fmt.Sprintf("%s/%d/%d", cmp.Or(p.Topic, "(a topic that was deleted)"), p.Partition, p.Offset)
}
