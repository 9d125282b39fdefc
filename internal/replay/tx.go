package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const (
	patience   = 20 * time.Second // with a broker, in a step
	txnTimeout = time.Minute      // after which the broker ends what died, unless somebody takes over before
)

// tx is one transaction about one group.
type tx struct {
	r        *Replayer
	id       string
	cl       *kgo.Client
	implicit bool       // see kgoka.ImplicitOffsets
	failed   chan error // the first record that did not come
}

// TransactionalID is that of whoever replays a group, without namespace.
func TransactionalID(group string) string { return "replay-" + group }

// begin starts a transaction about a group; what another replay of the group has
// begun and not ended is undone, and it cannot go on.
func (r *Replayer) begin(ctx context.Context, group string) (_ *tx, err error) {
	t := &tx{r: r, id: r.name(TransactionalID(group)), failed: make(chan error, 1)}
	if t.implicit, err = r.implicit(ctx); err != nil {
		return nil, err
	}
	v := kversion.Stable()
	v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 5) // 6 wants topic IDs
	if !t.implicit {
		v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
	}
	t.cl, err = kgo.NewClient(append(slices.Clone(r.cfg.Opts), kgo.TransactionalID(t.id), kgo.TransactionTimeout(txnTimeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(2), kgo.MaxVersions(v))...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, _, err = t.cl.ProducerID(ctx); err == nil {
		err = t.cl.BeginTransaction()
	}
	if err != nil {
		t.cl.Close()
		return nil, fmt.Errorf("taking over transactional ID %q: %w", t.id, err)
	}
	return t, nil
}

func (r *Replayer) implicit(ctx context.Context) (bool, error) {
	cl, err := kgo.NewClient(r.cfg.Opts...)
	if err != nil {
		return false, fmt.Errorf("kafka client: %w", err)
	}
	defer cl.Close()
	reach, cancel := context.WithTimeout(ctx, txnTimeout)
	defer cancel()
	var is bool
	var lost error
	err = poll(reach, func() (bool, error) {
		is, lost = kgoka.ImplicitOffsets(reach, cl)
		return !group.Away(lost), nil
	})
	if lost != nil {
		err = lost
	}
	return is, err
}

// write sends a record; flush tells whether all came.
func (t *tx) write(ctx context.Context, r *kgo.Record) {
	t.cl.Produce(ctx, r, func(r *kgo.Record, err error) {
		if err != nil {
			select {
			case t.failed <- fmt.Errorf("writing to %s/%d: %w", r.Topic, r.Partition, err):
			default:
			}
		}
	})
}

// say writes a message of ours to the partition of its key.
func (t *tx) say(ctx context.Context, topic string, m flow.Message) error {
	listed, err := t.r.adm.ListTopics(kadm.WithAuthorizedOps(ctx), t.r.name(topic))
	n := len(listed[t.r.name(topic)].Partitions)
	if err == nil && n == 0 {
		err = client.ErrNoTopic
	}
	if err != nil {
		return fmt.Errorf("topic %q: %w", t.r.name(topic), err)
	}
	value, err := t.r.cfg.Serde.Encode(nil, topic, m.Body)
	if err != nil {
		return err
	}
	key := schemas.KeyOf(m.Body)
	t.write(ctx, &kgo.Record{Topic: t.r.name(topic), Partition: client.PartitionOf(key, n), Key: []byte(key), Value: value,
		Headers: event.Append(nil, "/orderlog/cli", event.Avro, m)})
	return nil
}

// audit says who has done what.
func (t *tx) audit(ctx context.Context, a schemas.Audited) error {
	a.Who, a.At = t.r.cfg.Who, t.r.cfg.Now().UnixMilli()
	return t.say(ctx, topics.Audit, flow.Message{Type: schemas.ActionTaken, At: a.At,
		ID: flow.NewID("evt", a.At, a.Who+"/"+a.What+"/"+a.Target+"/"+a.Group, 0), Body: &a})
}

// control says whether the group shall run.
func (t *tx) control(ctx context.Context, c schemas.GroupControl) error {
	c.Who, c.At = t.r.cfg.Who, t.r.cfg.Now().UnixMilli()
	kind := schemas.GroupResumed
	if c.Paused {
		kind = schemas.GroupPaused
	}
	return t.say(ctx, topics.Control, flow.Message{Type: kind, At: c.At, ID: flow.NewID("evt", c.At, c.Who+"/"+kind+"/"+c.Group+"/"+c.Replay, 0), Body: &c})
}

// move makes the group's new offsets part of the transaction, as the member that has
// the seat. The broker refuses them from anybody who has it no longer.
func (t *tx) move(ctx context.Context, s *seat, g *Group) error {
	id, epoch, err := t.cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	if !t.implicit {
		if err := t.addOffsets(ctx, g.full, id, epoch); err != nil {
			return fmt.Errorf("offsets of group %q: %w", g.full, err)
		}
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = t.id, g.full, id, epoch
	req.MemberID, req.Generation = s.member, s.generation
	byTopic := map[string][]*Part{}
	for _, p := range g.Parts { // those that stay, too: the broker's look at the seat is for the rows as well
		if p.Target >= 0 {
			byTopic[p.Topic] = append(byTopic[p.Topic], p)
		}
	}
	for _, topic := range sorted(byTopic) {
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic = topic
		for _, p := range byTopic[topic] {
			pt := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			pt.Partition, pt.Offset, pt.Metadata = p.Partition, p.Target, kmsg.StringPtr(kgoka.CommitMetadata(p.id, g.ids[g.Table]))
			rt.Partitions = append(rt.Partitions, pt)
		}
		req.Topics = append(req.Topics, rt)
	}
	if len(req.Topics) == 0 {
		return nil
	}
	return again(ctx, func() error {
		resp, err := req.RequestWith(ctx, t.cl)
		if err != nil {
			return err
		}
		for _, rt := range resp.Topics {
			for _, pt := range rt.Partitions {
				if err := kerr.ErrorForCode(pt.ErrorCode); err != nil {
					return fmt.Errorf("offset of group %q on %s/%d: %w", g.full, rt.Topic, pt.Partition, err)
				}
			}
		}
		return nil
	})
}

func (t *tx) addOffsets(ctx context.Context, group string, id int64, epoch int16) error {
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = t.id, group, id, epoch
	return again(ctx, func() error {
		resp, err := req.RequestWith(ctx, t.cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// again repeats what the broker asks to repeat.
func again(ctx context.Context, do func() error) error {
	for {
		err := do()
		ke, ok := errors.AsType[*kerr.Error](err)
		if !ok || !ke.Retriable && ke != kerr.ConcurrentTransactions {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// flush returns when the broker has all records.
func (t *tx) flush(ctx context.Context) error {
	err := t.cl.Flush(ctx)
	select {
	case err = <-t.failed:
	default:
	}
	return err
}

// commit ends it; on an error nobody knows yet whether it came about.
func (t *tx) commit(ctx context.Context) error {
	return kgoka.EndTransaction(ctx, t.cl, kgo.TryCommit)
}

// close undoes what is not committed. Where the broker cannot be told, it does so by
// itself.
func (t *tx) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience/2)
	defer cancel()
	if t.cl.AbortBufferedRecords(ctx) == nil {
		_ = kgoka.EndTransaction(ctx, t.cl, kgo.TryAbort)
	}
	t.cl.Close()
}

// decided waits until all that is written on a topic can be read: a replay of another
// group that died may hold it back.
func (r *Replayer) decided(ctx context.Context, bare string) error {
	topic := r.name(bare)
	high, err := client.Written(ctx, r.adm, topic)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, txnTimeout+patience)
	defer cancel()
	err = poll(ctx, func() (bool, error) {
		ends, err := client.Ends(ctx, r.adm, topic)
		if err != nil {
			return false, err
		}
		for num, end := range high {
			if ends[num] < end {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("topic %q: the transaction of another replay stays open: %w", topic, err)
	}
	return err
}

// end commits. Where the answer is lost, the audit knows: the next transaction of the
// same ID begins when this one is decided, be it that of who has taken over.
func (r *Replayer) end(ctx context.Context, t *tx, id, group string) error {
	lost := t.commit(ctx)
	if lost == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), txnTimeout+2*patience)
	defer cancel()
	var err error
	if !errors.Is(lost, kerr.ProducerFenced) && !errors.Is(lost, kerr.InvalidProducerEpoch) {
		var next *tx
		if next, err = r.begin(ctx, group); err == nil {
			next.close()
		}
	}
	if err == nil {
		err = r.decided(ctx, topics.Audit)
	}
	var done map[string]bool
	if err == nil {
		done, err = r.done(ctx, id)
	}
	switch {
	case err != nil:
		return fmt.Errorf("committing: %w; whether it came about is not known: %w", lost, err)
	case !done[group]:
		return fmt.Errorf("committing: %w", lost)
	}
	return nil
}

// poll asks until the answer is yes.
func poll(ctx context.Context, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
