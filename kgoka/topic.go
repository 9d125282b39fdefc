package kgoka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// topicManager answers goka's questions about topics. goka gives it no context,
// so it asks for one: a question waits for the broker as long as that lives.
type topicManager struct {
	adm    *kadm.Client
	ctx    func() context.Context
	table  string // the group's own
	settle time.Duration
	factor int16
	warn   func(msg string, args ...any)
}

var _ goka.TopicManager = (*topicManager)(nil)

// Close leaves the client to the Processor, which made it.
func (m *topicManager) Close() error { return nil }

// retry calls fn until it succeeds or fails for a reason that waiting does not
// mend. A topic that is not there may be too new to be known: that gets 5 s.
func retry(ctx context.Context, fn func(ctx context.Context) error) error {
	start := time.Now()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := fn(try)
		cancel()
		unknown := errors.Is(err, kerr.UnknownTopicOrPartition)
		if err == nil || ctx.Err() != nil || !passing(err) || unknown && time.Since(start) > 5*time.Second {
			return err
		}
		pause(ctx, wait)
	}
}

// passing says whether waiting may mend err: the broker is away, or busy.
func passing(err error) bool {
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return ke.Retriable || ke.Code == kerr.UnknownServerError.Code
	}
	_, local := errors.AsType[*localError](err)
	return !local
}

// localError is one that no broker has a part in: waiting does not mend it.
type localError struct{ error }

func (l *localError) Unwrap() error { return l.error }

func (m *topicManager) Partitions(topic string) (nums []int32, err error) {
	err = retry(m.ctx(), func(ctx context.Context) error {
		ts, err := m.adm.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		nums = ts[topic].Partitions.Numbers()
		return ts[topic].Err
	})
	if err != nil {
		return nil, fmt.Errorf("topic %q: %w", topic, err)
	}
	return nums, nil
}

func (m *topicManager) EnsureTableExists(topic string, n int) error {
	compact := "compact"
	return m.ensure(topic, n, m.factor, map[string]*string{"cleanup.policy": &compact})
}

func (m *topicManager) EnsureStreamExists(topic string, n int) error {
	return m.ensure(topic, n, m.factor, nil)
}

func (m *topicManager) EnsureTopicExists(topic string, n, factor int, config map[string]string) error {
	cfg := map[string]*string{}
	for k, v := range config {
		cfg[k] = &v
	}
	return m.ensure(topic, n, int16(factor), cfg)
}

func (m *topicManager) ensure(topic string, n int, factor int16, config map[string]*string) error {
	err := retry(m.ctx(), func(ctx context.Context) error {
		ts, err := m.adm.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		if !errors.Is(ts[topic].Err, kerr.UnknownTopicOrPartition) {
			if have := len(ts[topic].Partitions); ts[topic].Err == nil && have != n {
				return &localError{fmt.Errorf("has %d partitions, not %d like the inputs", have, n)}
			}
			return ts[topic].Err
		}
		_, err = m.adm.CreateTopic(ctx, int32(n), factor, config, topic)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return err
		}
		// The answer comes before the partitions have leaders.
		ends, err := m.adm.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("topic %q: %w", topic, err)
	}
	return nil
}

func (m *topicManager) GetOffset(topic string, part int32, at int64) (off int64, err error) {
	start := time.Now()
	err = retry(m.ctx(), func(ctx context.Context) error {
		var list kadm.ListedOffsets
		var err error
		switch at {
		case sarama.OffsetOldest:
			list, err = m.adm.ListStartOffsets(ctx, topic)
		case sarama.OffsetNewest:
			list, err = m.settled(ctx, start, topic, part)
		default:
			list, err = m.adm.ListOffsetsAfterMilli(ctx, at, topic)
		}
		if err != nil {
			return err
		}
		o, ok := list.Lookup(topic, part)
		if !ok {
			return kerr.UnknownTopicOrPartition
		}
		off = o.Offset
		return o.Err
	})
	if err != nil {
		return 0, fmt.Errorf("offset of %s/%d: %w", topic, part, err)
	}
	return off, nil
}

// settled returns the ends of a topic as a read-committed reader sees them. On
// the group's own table it first waits until no transaction is open on the
// partition. Only a predecessor's can be, and behind its first record there may
// be rows that a later owner committed, which are not readable before it ends.
func (m *topicManager) settled(ctx context.Context, start time.Time, topic string, part int32) (kadm.ListedOffsets, error) {
	for warned := false; ; {
		stable, err := m.adm.ListCommittedOffsets(ctx, topic)
		if err != nil || topic != m.table {
			return stable, err
		}
		ends, err := m.adm.ListEndOffsets(ctx, topic)
		if err != nil {
			return nil, err
		}
		s, _ := stable.Lookup(topic, part)
		e, _ := ends.Lookup(topic, part)
		if s.Offset >= e.Offset || s.Err != nil || e.Err != nil {
			return stable, nil
		}
		if now := time.Since(start); now > m.settle && !warned {
			m.warn("a table cannot be recovered yet: a transaction is open on it", "topic", topic, "partition", part, "open_at", s.Offset, "end", e.Offset, "since", now)
			warned = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// topicIDs returns the IDs and partition counts of topics.
func topicIDs(ctx context.Context, cl *kgo.Client, topics ...string) (map[string]kadm.TopicDetail, error) {
	ts, err := kadm.NewClient(cl).ListTopics(ctx, topics...)
	if err != nil {
		return nil, err
	}
	return ts, ts.Error()
}
