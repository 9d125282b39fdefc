package kgoka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// producer is one of the two transactional producers that take turns: the broker
// completes one's transaction while the other's batch is being handled.
type producer struct {
	id       string
	cl       *kgo.Client
	implicit bool // the broker adds offsets to a transaction by itself (KIP-890)
	table    string
	batch    *batch
	promise  func(*kgo.Record, error)
	written  map[string]bool // topics that it has written to
	first    bool            // to one of them for the first time since a transaction was ended
}

// newProducer makes a producer and waits until the broker has ended whatever a
// predecessor of the same ID had open.
func newProducer(ctx context.Context, id string, cfg Config, table string, implicit bool, opts []kgo.Opt) (*producer, error) {
	v := kversion.Stable()
	if implicit {
		v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 5) // 6 wants topic IDs
	} else {
		v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4)
	}
	cl, err := kgo.NewClient(append(opts[:len(opts):len(opts)],
		kgo.TransactionalID(id), kgo.TransactionTimeout(cfg.TransactionTimeout),
		kgo.RecordPartitioner(partitioner(append([]string{table}, cfg.SamePartition...)...)), kgo.ProducerLinger(cfg.Linger),
		kgo.MaxBufferedRecords(1<<20), kgo.MaxVersions(v))...)
	if err != nil {
		return nil, err
	}
	p := &producer{id: id, cl: cl, implicit: implicit, table: table, written: map[string]bool{}}
	p.promise = p.acknowledged
	if _, _, err := cl.ProducerID(ctx); err != nil {
		cl.Close()
		return nil, fmt.Errorf("taking over transactional ID %q: %w", id, err)
	}
	return p, nil
}

// begin starts a transaction. Asking for the producer ID first gives a bound to
// what may be due after an error, which BeginTransaction would wait for without.
func (p *producer) begin(ctx context.Context, b *batch) error {
	p.batch = b
	if _, _, err := p.cl.ProducerID(ctx); err != nil {
		return err
	}
	return p.cl.BeginTransaction()
}

func (p *producer) produce(r *kgo.Record) { p.cl.Produce(context.Background(), r, p.promise) }

func (p *producer) acknowledged(r *kgo.Record, err error) {
	b := p.batch
	if !p.written[r.Topic] {
		p.written[r.Topic], p.first = err == nil, true
	}
	if err != nil {
		b.fail(fmt.Errorf("producing to %s/%d: %w", r.Topic, r.Partition, err))
		return
	}
	if r.Topic != p.table || int(r.Partition) >= len(b.ends) {
		return
	}
	for end := &b.ends[r.Partition]; ; {
		old := end.Load()
		if old >= r.Offset || end.CompareAndSwap(old, r.Offset) {
			return
		}
	}
}

// end ends the transaction, after all that it has written was acknowledged or given up.
func (p *producer) end(ctx context.Context, how kgo.TransactionEndTry) error {
	if !p.first {
		return p.cl.EndTransaction(ctx, how)
	}
	err := EndTransaction(ctx, p.cl, how)
	p.first = errors.Is(err, kerr.OperationNotAttempted)
	return err
}

// EndTransaction does what the client's does, once the client has noted which
// topics it has written to. kgo (1.22) sends the first records of a topic before it has
// stored the topic's partitions, and among those EndTransaction looks for what was written:
// in between, it takes a transaction for an empty one, aborts it, whatever it was asked, and
// returns nil. All that runs on kgo's metadata loop comes after the storing; of such is the
// purge of a topic, and one of this name cannot exist.
// OPERATION_NOT_ATTEMPTED: ctx has ended before, or the client lost its producer ID; the
// transaction can be aborted.
func EndTransaction(ctx context.Context, cl *kgo.Client, how kgo.TransactionEndTry) error {
	stored := make(chan struct{})
	go func() {
		cl.PurgeTopicsFromProducing(".")
		close(stored)
	}()
	select {
	case <-stored:
		return cl.EndTransaction(ctx, how)
	case <-ctx.Done():
		return fmt.Errorf("waiting for topics to be known: %w: %w", kerr.OperationNotAttempted, ctx.Err())
	}
}

// commitOffsets makes offsets part of the transaction, on behalf of the member
// that consumed them: a later generation of the group refuses it.
func (p *producer) commitOffsets(ctx context.Context, m *membership, member string, gen int32, offs offsets) error {
	id, epoch, err := p.cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	if !p.implicit {
		if err := p.addOffsets(ctx, m.p.group, id, epoch); err != nil {
			return err
		}
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = p.id, m.p.group, id, epoch
	req.MemberID, req.InstanceID, req.Generation = member, &m.p.cfg.Instance, gen
	for topic, parts := range offs {
		t := kmsg.NewTxnOffsetCommitRequestTopic()
		t.Topic = topic
		meta := commitMeta(m.ids[topic], m.ids[m.p.tableTopic])
		for num, o := range parts {
			pt := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			pt.Partition, pt.Offset, pt.LeaderEpoch, pt.Metadata = num, o.Offset, o.Epoch, meta
			t.Partitions = append(t.Partitions, pt)
		}
		req.Topics = append(req.Topics, t)
	}
	return retryTxn(ctx, func() error {
		resp, err := req.RequestWith(ctx, p.cl)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, pt := range t.Partitions {
				if err := kerr.ErrorForCode(pt.ErrorCode); err != nil {
					return fmt.Errorf("offset of %s/%d: %w", t.Topic, pt.Partition, err)
				}
			}
		}
		return nil
	})
}

func (p *producer) addOffsets(ctx context.Context, group string, id int64, epoch int16) error {
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = p.id, group, id, epoch
	return retryTxn(ctx, func() error {
		resp, err := req.RequestWith(ctx, p.cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// retryTxn repeats what the broker asks to repeat: the transaction before is
// still being completed, or the coordinator is moving.
func retryTxn(ctx context.Context, fn func() error) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := fn()
		ke, ok := errors.AsType[*kerr.Error](err)
		if !ok || !ke.Retriable && ke != kerr.ConcurrentTransactions || ctx.Err() != nil {
			return err
		}
		pause(ctx, wait)
	}
}

// ImplicitOffsets asks whether the cluster runs transactions by KIP-890, where a
// transactional offset commit needs no announcement (AddOffsetsToTxn). It is for those
// who commit offsets by requests of their own.
func ImplicitOffsets(ctx context.Context, cl *kgo.Client) (bool, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "kgoka", "1"
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return false, err
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" && f.MaxVersionLevel >= 2 {
			return true, nil
		}
	}
	return false, kerr.ErrorForCode(resp.ErrorCode)
}
