// Package mend is how a person deals with what failed: it reads what stands in the
// calendar and on dead-letter, and acts on it. An action is records and the audit
// record that says so, in one transaction. What an action means, the groups that
// read its records know.
package mend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Config says what is mended, and who does it.
type Config struct {
	Opts      []kgo.Opt // brokers, dialer
	Serde     *schemas.Serde
	Namespace string
	Who       string // on the audit
	Now       func() time.Time
}

// Desk is where one person works. It is not safe for concurrent use.
type Desk struct {
	cfg        Config
	adm        *kadm.Client
	tx         *kgo.Client    // nil until it acts
	partitions map[string]int // by catalogue topic
}

// New makes a desk; it asks which topics there are.
func New(ctx context.Context, cfg Config) (*Desk, error) {
	adm, err := kadm.NewOptClient(cfg.Opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	d := &Desk{cfg: cfg, adm: adm, partitions: map[string]int{}}
	if err := d.look(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Desk) look(ctx context.Context) error {
	var names []string
	for _, t := range topics.All() {
		names = append(names, d.name(t.Name))
	}
	there, err := d.adm.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	for _, t := range topics.All() {
		found := there[d.name(t.Name)]
		if found.Err != nil || len(found.Partitions) == 0 {
			return fmt.Errorf("topic %q: %w", d.name(t.Name), client.ErrNoTopic)
		}
		d.partitions[t.Name] = len(found.Partitions)
	}
	return nil
}

// Close ends it. What was acted is committed.
func (d *Desk) Close() {
	if d.tx != nil {
		d.tx.Close()
	}
	d.adm.Close()
}

// Partitions is how many the topics have.
func (d *Desk) Partitions() int { return d.partitions[topics.OrderCommands] }

// Serde is what its records are encoded with.
func (d *Desk) Serde() *schemas.Serde { return d.cfg.Serde }

func (d *Desk) name(topic string) string { return topics.Prefixed(d.cfg.Namespace, topic) }

// bare takes the namespace off again.
func (d *Desk) bare(name string) string {
	for _, t := range topics.All() {
		if d.name(t.Name) == name {
			return t.Name
		}
	}
	return name
}

// Deed is an action: what it writes, if anything, and what the audit says of it.
// Records have their topic, as on the cluster, and partition.
type Deed struct {
	Records []*kgo.Record
	Audit   schemas.Audited // Who and At are filled in
}

// ErrTaken says that somebody else has begun to act.
var ErrTaken = errors.New("somebody else has begun to act on the same")

const (
	patience = 6 * time.Second // with a broker, within a transaction; twice that, and the broker ends what died
	batch    = 500             // deeds in a transaction: who reads what it writes to waits for its end
)

// TakeOver ends whatever another one is about to do who acts on the same kind of
// things: what was done before is on the audit then, and nothing is added to it but
// by this desk, or an error says so.
func (d *Desk) TakeOver(ctx context.Context, kind string) error {
	id := d.name("mend-" + kind)
	tx, err := kgo.NewClient(append(slices.Clone(d.cfg.Opts), kgo.TransactionalID(id), kgo.TransactionTimeout(2*patience),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(2))...)
	if err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	if _, _, err := tx.ProducerID(ctx); err != nil {
		tx.Close()
		return fmt.Errorf("taking over transactional ID %q: %w", id, err)
	}
	if d.tx != nil {
		d.tx.Close()
	}
	d.tx = tx
	return nil
}

// Act does all of the deeds, or none and returns an error; after one that tells of
// a lost answer, only the audit knows. TakeOver comes before.
func (d *Desk) Act(ctx context.Context, deeds ...Deed) error {
	var records []*kgo.Record
	for _, deed := range deeds {
		audit, err := d.audit(deed.Audit)
		if err != nil {
			return err
		}
		records = append(append(records, deed.Records...), audit)
	}
	ctx = context.WithoutCancel(ctx) // who interrupts waits for the end of what is half done
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := d.tx.BeginTransaction(); err != nil {
		return acting(err)
	}
	if err := d.write(ctx, records); err != nil {
		d.undo()
		return acting(err)
	}
	err := kgoka.EndTransaction(ctx, d.tx, kgo.TryCommit)
	if errors.Is(err, kerr.OperationNotAttempted) {
		d.undo()
	}
	return acting(err)
}

// write returns when the broker has all records, or not one more is on its way to
// be said to be there.
func (d *Desk) write(ctx context.Context, records []*kgo.Record) error {
	first := make(chan error, 1)
	for _, r := range records {
		d.tx.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case first <- err:
				default:
				}
			}
		})
	}
	err := d.tx.Flush(ctx)
	select {
	case err = <-first:
	default:
	}
	return err
}

// undo ends what was begun. Where the broker cannot be told, it does so by itself
// when the timeout is over.
func (d *Desk) undo() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if d.tx.AbortBufferedRecords(ctx) == nil {
		_ = kgoka.EndTransaction(ctx, d.tx, kgo.TryAbort)
	}
}

// ActAll has a desk do what deed says about each of all, some in a transaction, and
// returns how many are done.
func ActAll[T any](ctx context.Context, d *Desk, all []T, deed func(T) (Deed, error)) (n int, err error) {
	for some := range slices.Chunk(all, batch) {
		if err := actSome(ctx, d, some, deed); err != nil {
			return n, err
		}
		n += len(some)
	}
	return n, nil
}

// actSome is one transaction, which is not begun once ctx has ended.
func actSome[T any](ctx context.Context, d *Desk, some []T, deed func(T) (Deed, error)) error {
	var deeds []Deed
	for _, it := range some {
		one, err := deed(it)
		if err != nil {
			return err
		}
		deeds = append(deeds, one)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.Act(ctx, deeds...)
}

func acting(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.ProducerFenced):
		return fmt.Errorf("%w: %w", ErrTaken, err)
	}
	return fmt.Errorf("writing what was done: %w", err)
}

// audit is the record that says so.
func (d *Desk) audit(a schemas.Audited) (*kgo.Record, error) {
	a.Who, a.At = d.cfg.Who, d.cfg.Now().UnixMilli()
	m := flow.Message{ID: flow.NewID("evt", a.At, a.Who+"/"+a.What+"/"+a.Target, 0), Type: schemas.ActionTaken, At: a.At}
	return d.record(topics.Audit, client.PartitionOf(a.Who, d.partitions[topics.Audit]), m, &a)
}

// record is a message of ours on a partition of a catalogue topic.
func (d *Desk) record(topic string, partition int32, m flow.Message, body any) (*kgo.Record, error) {
	value, err := d.cfg.Serde.Encode(nil, topic, body)
	if err != nil {
		return nil, fmt.Errorf("%s for %s: %w", m.Type, topic, err)
	}
	return &kgo.Record{Topic: d.name(topic), Partition: partition, Key: []byte(schemas.KeyOf(body)), Value: value,
		Headers: event.Append(nil, "/orderlog/cli", event.Avro, m)}, nil
}
