package kgoka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type offsets = map[string]map[int32]kgo.EpochOffset

// consume is the loop. The client holds rebalances back from the moment that a
// poll returns records, or was told to end, until AllowRebalance.
func (c *clients) consume(ctx context.Context, s *session) error {
	poll, cancel := context.WithCancel(s.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	defer s.visits.close()
	for poll.Err() == nil {
		fs := c.cl.PollRecords(s.visits.waiting(poll), c.limit)
		err := c.batch(s, fs)
		if v := s.visits.first(); v != nil && err == nil {
			err = c.visit(s, v)
		}
		c.cl.AllowRebalance()
		if err != nil {
			return err
		}
		if c.tries > 0 {
			pause(poll, min(10*time.Millisecond<<min(c.tries, 8), time.Second))
		}
	}
	return nil
}

// batch handles what a poll brought, in one transaction.
func (c *clients) batch(s *session, fs kgo.Fetches) error {
	if err := c.fetchError(fs); err != nil {
		return err
	}
	from, to := span(fs)
	if len(to) == 0 {
		return nil
	}
	if s.ended() { // polled for an assignment that is gone, after the next one came
		c.cl.SetOffsets(from)
		return nil
	}
	_, err := c.transact(s, from, to, func(b *batch) { s.handle(b, fs) })
	return err
}

// transact calls fn within a transaction by which the group goes from from to to.
// If that is aborted and can be repeated, it is no error.
func (c *clients) transact(s *session, from, to offsets, fn func(b *batch)) (committed bool, err error) {
	b := &batch{prod: c.prods[c.turn], ends: make([]atomic.Int64, c.p.npart)}
	for i := range b.ends {
		b.ends[i].Store(-1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.p.cfg.TransactionTimeout)
	defer cancel()
	if err := b.prod.begin(ctx, b); err != nil {
		return false, doubt{fmt.Errorf("beginning a transaction: %w", err)}
	}
	began := time.Now()
	fn(b)
	err = c.commit(ctx, s, b, to)
	s.tell(began, err)
	if err != nil {
		return false, c.abort(s, b, from, err)
	}
	return true, c.committed(s, b, to)
}

// span returns the first offsets of what was polled, without epochs as in
// fetched, and those after the last.
func span(fs kgo.Fetches) (from, to offsets) {
	from, to = offsets{}, offsets{}
	fs.EachPartition(func(fp kgo.FetchTopicPartition) {
		if len(fp.Records) == 0 {
			return
		}
		if from[fp.Topic] == nil {
			from[fp.Topic], to[fp.Topic] = map[int32]kgo.EpochOffset{}, map[int32]kgo.EpochOffset{}
		}
		first, last := fp.Records[0], fp.Records[len(fp.Records)-1]
		if _, ok := from[fp.Topic][fp.Partition]; !ok {
			from[fp.Topic][fp.Partition] = kgo.EpochOffset{Epoch: -1, Offset: first.Offset}
		}
		to[fp.Topic][fp.Partition] = kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}
	})
	return from, to
}

// commit ends the transaction. A batch that wrote nothing has none: the broker
// would keep its offsets hanging, so they are committed plainly.
func (c *clients) commit(ctx context.Context, s *session, b *batch, to offsets) error {
	if err := b.failed(); err != nil {
		return err
	}
	if s.outputs() == 0 {
		return c.commitPlain(ctx, to)
	}
	if err := b.prod.cl.Flush(ctx); err != nil {
		return doubt{fmt.Errorf("flushing: %w", err)}
	}
	if err := b.failed(); err != nil {
		return err
	}
	if err := b.prod.commitOffsets(ctx, c.membership, s.member, s.gen, to); err != nil {
		return fmt.Errorf("committing offsets: %w", err)
	}
	err := b.prod.end(ctx, kgo.TryCommit)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.OperationNotAttempted), errors.Is(err, kerr.TransactionAbortable):
		return fmt.Errorf("committing: %w", err)
	}
	return doubt{fmt.Errorf("committing, outcome unknown: %w", err)}
}

func (c *clients) commitPlain(ctx context.Context, to offsets) (err error) {
	c.cl.CommitOffsetsSync(c.withTopicIDs(ctx), to, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, e error) {
		if err = e; err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					err = fmt.Errorf("offset of %s/%d: %w", t.Topic, p.Partition, e)
				}
			}
		}
	})
	return err
}

// outputs is the number of records that the batch wrote.
func (s *session) outputs() (n int64) {
	for _, pt := range s.parts {
		n += pt.nOut
	}
	return n
}

// committed makes the transaction's rows the tables'.
func (c *clients) committed(s *session, b *batch, to offsets) error {
	c.p.pulse.begin(func() string { return "writing rows to the local table" })
	defer c.p.pulse.end()
	n := &c.p.count
	for topic, parts := range to {
		maps.Copy(s.at[topic], parts)
	}
	if s.outputs() == 0 {
		n.commits.Add(1)
	} else {
		n.transactions.Add(1)
		c.turn = 1 - c.turn
	}
	if err := b.prod.cl.EndTransaction(context.Background(), kgo.TryAbort); err != nil { // of a batch that wrote nothing: no request
		return doubt{err}
	}
	var errs []error
	for _, pt := range s.parts {
		if pt.table != nil {
			errs = append(errs, pt.table.commit(b.ends[pt.num].Load()))
		}
		n.in.Add(pt.nIn)
		n.out.Add(pt.nOut)
		n.skipped.Add(pt.nSkipped)
		n.visited.Add(pt.nVisited)
		for _, f := range pt.after {
			f()
		}
		pt.reset()
	}
	c.tries, c.limit = 0, min(2*c.limit, c.p.cfg.MaxPoll)
	return errors.Join(errs...)
}

// abort undoes the batch, here and at the broker, and goes back to its start.
func (c *clients) abort(s *session, b *batch, from offsets, cause error) error {
	c.p.count.abort(cause)
	c.limit, c.tries = max(1, c.limit/2), c.tries+1 // a batch too long for its transaction is shorter the next time
	for _, pt := range s.parts {
		if pt.table != nil {
			pt.table.abort()
		}
		pt.reset()
	}
	if errors.As(cause, new(doubt)) {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.p.cfg.TransactionTimeout)
	defer cancel()
	err := b.prod.cl.AbortBufferedRecords(ctx)
	if err == nil {
		err = b.prod.end(ctx, kgo.TryAbort)
	}
	if lasting(cause) {
		return cause
	}
	if err != nil {
		return doubt{fmt.Errorf("aborting after %w: %w", cause, err)}
	}
	c.p.cfg.Log.Warn("transaction aborted, repeating it", "error", cause)
	c.cl.SetOffsets(from)
	return nil
}

// lasting says whether repeating the batch would fail again.
func lasting(err error) bool {
	if errors.As(err, new(failure)) {
		return true
	}
	for _, e := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.TopicAuthorizationFailed,
		kerr.GroupAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.UnsupportedVersion} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
