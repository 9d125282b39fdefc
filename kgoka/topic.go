package kgoka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

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
	return !errors.As(err, new(localError))
}

// localError is one that no broker has a part in: waiting does not mend it.
type localError struct{ error }

func (l localError) Unwrap() error { return l.error }

// prepare sees to it that the group's topics are there and have the same number
// of partitions, so that equal keys meet. The inputs, joined tables and outputs on
// the same partition must be there; the table and the loop are made.
func (p *Processor) prepare(ctx context.Context) error {
	outside := slices.Concat(p.graph.InputStreams().Topics(), p.graph.JointTables().Topics(), p.cfg.SamePartition)
	for _, topic := range outside {
		n, err := countPartitions(ctx, p.adm, topic)
		switch {
		case err != nil:
			return err
		case p.npart == 0:
			p.npart = n
		case p.npart != n:
			return fmt.Errorf("topic %q has %d partitions and topic %q has %d: what group %q consumes, joins and emits to the same partition must have the same number, or equal keys do not meet",
				topic, n, outside[0], p.npart, p.group)
		}
	}
	for _, topic := range p.graph.LookupTables().Topics() {
		n, err := countPartitions(ctx, p.adm, topic)
		if err != nil {
			return err
		}
		p.lookups[topic].tables = make([]*table, n)
	}
	if loop := p.graph.LoopStream(); loop != nil {
		if err := p.ensure(ctx, loop.Topic(), outside[0], nil); err != nil {
			return err
		}
	}
	if p.tableTopic == "" {
		return nil
	}
	return p.ensure(ctx, p.tableTopic, outside[0], map[string]*string{"cleanup.policy": kadm.StringPtr("compact")})
}

func countPartitions(ctx context.Context, cl *kgo.Client, topic string) (n int, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		ts, err := topicIDs(ctx, cl, topic)
		n = len(ts[topic].Partitions)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("topic %q: %w", topic, err)
	}
	return n, nil
}

// ensure makes a topic, or checks that it has as many partitions as the one it is to be like.
func (p *Processor) ensure(ctx context.Context, topic, like string, config map[string]*string) error {
	adm := kadm.NewClient(p.adm)
	err := retry(ctx, func(ctx context.Context) error {
		ts, err := adm.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		if !errors.Is(ts[topic].Err, kerr.UnknownTopicOrPartition) {
			if have := len(ts[topic].Partitions); ts[topic].Err == nil && have != p.npart {
				return localError{fmt.Errorf("has %d partitions, not %d like topic %q", have, p.npart, like)}
			}
			return ts[topic].Err
		}
		_, err = adm.CreateTopic(ctx, int32(p.npart), p.cfg.Replication, config, topic)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return err
		}
		// The answer comes before the partitions have leaders.
		ends, err := adm.ListEndOffsets(ctx, topic)
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

// topicIDs returns the IDs and partition counts of topics.
func topicIDs(ctx context.Context, cl *kgo.Client, topics ...string) (map[string]kadm.TopicDetail, error) {
	ts, err := kadm.NewClient(cl).ListTopics(ctx, topics...)
	if err != nil {
		return nil, err
	}
	return ts, ts.Error()
}

// topicLog is what the brokers have of a topic; offsets are by partition.
type topicLog struct {
	identity
	start, end []int64       // first offset, and the one after the last
	tombstones time.Duration // how long a deletion surely stays in the log
}

func logOf(ctx context.Context, cl *kgo.Client, topic string) (l topicLog, err error) {
	ts, err := topicIDs(ctx, cl, topic)
	if err != nil {
		return l, err
	}
	l.identity = identity{ts[topic].ID, int32(len(ts[topic].Partitions))}
	adm := kadm.NewClient(cl)
	if l.tombstones, err = tombstonesOf(ctx, adm, topic); err != nil {
		return l, err
	}
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return l, err
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return l, err
	}
	l.start, err = byPartition(starts[topic], l.parts)
	if err == nil {
		l.end, err = byPartition(ends[topic], l.parts)
	}
	return l, err
}

// tombstonesOf returns a topic's delete.retention.ms. Who may not see it gets the brokers' default.
func tombstonesOf(ctx context.Context, adm *kadm.Client, topic string) (time.Duration, error) {
	all, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return 0, err
	}
	one, _ := all.On(topic, nil)
	for _, c := range one.Configs {
		if ms, err := strconv.ParseInt(c.MaybeValue(), 10, 64); err == nil && c.Key == "delete.retention.ms" {
			return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond, nil
		}
	}
	return 24 * time.Hour, nil
}

func byPartition(list map[int32]kadm.ListedOffset, n int32) ([]int64, error) {
	offs := make([]int64, n)
	for num := range n {
		o, ok := list[num]
		if !ok {
			return nil, kerr.UnknownTopicOrPartition
		}
		if o.Err != nil {
			return nil, o.Err
		}
		offs[num] = o.Offset
	}
	return offs, nil
}

// toRead takes tables of a topic, to be read up to what is committed now.
func (b *base) toRead(ctx context.Context, role Role, topic string, nums ...int32) ([]*table, error) {
	ts, err := b.take(ctx, role, topic, nums...)
	if err != nil || len(ts) == 0 {
		return nil, err
	}
	return ts, b.setGoals(ctx, ts, role == RoleActive)
}

// setGoals makes the ends that committed records have now the goals of tables, which
// are of one topic. On a group's own table it first waits until no transaction is open on
// them. Only a predecessor's can be, and behind its first record there may be rows
// that a later owner committed, which are not readable before it ends.
func (b *base) setGoals(ctx context.Context, tables []*table, own bool) error {
	topic := tables[0].topic
	start := time.Now()
	for warned := false; ; {
		var stable, ends kadm.ListedOffsets
		err := retry(ctx, func(ctx context.Context) (err error) {
			adm := kadm.NewClient(b.adm)
			if stable, err = adm.ListCommittedOffsets(ctx, topic); err != nil {
				return err
			}
			if ends, err = adm.ListEndOffsets(ctx, topic); err != nil {
				return err
			}
			return errors.Join(stable.Error(), ends.Error())
		})
		if err != nil {
			return fmt.Errorf("end of table %q: %w", topic, err)
		}
		var open *table
		for _, t := range tables {
			s, e := stable[topic][t.part].Offset, ends[topic][t.part].Offset
			t.setGoal(s)
			if s < e {
				open = t
			}
		}
		if open == nil || !own {
			return nil
		}
		if wait := time.Since(start); wait > 2*b.cfg.TransactionTimeout && !warned {
			b.cfg.Log.Warn("a table cannot be read yet: a transaction is open on it", "topic", topic, "partition", open.part,
				"open_at", stable[topic][open.part].Offset, "end", ends[topic][open.part].Offset, "since", wait.Round(time.Millisecond))
			warned = true
		}
		if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
