package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Span is a piece of a topic: some partitions, from one offset to another.
type Span struct {
	Topic string          // full name
	From  map[int32]int64 // partitions to read, and the first offset of each
	To    map[int32]int64 // offset to end before; nil: never ends
}

// Whole is the span from the log's start to what is committed now. Partitions
// given are the only ones of it.
func Whole(ctx context.Context, adm *kadm.Client, topic string, partitions ...int32) (Span, error) {
	from, err := Starts(ctx, adm, topic)
	if err != nil {
		return Span{}, err
	}
	to, err := Ends(ctx, adm, topic)
	if err != nil {
		return Span{}, err
	}
	return Span{Topic: topic, From: from, To: to}.Only(partitions...), nil
}

// Only leaves these partitions, all if none is given.
func (s Span) Only(partitions ...int32) Span {
	if len(partitions) == 0 {
		return s
	}
	s.From = maps.Clone(s.From)
	maps.DeleteFunc(s.From, func(p int32, _ int64) bool { return !slices.Contains(partitions, p) })
	return s
}

// Starts returns the first offset of every partition.
func Starts(ctx context.Context, adm *kadm.Client, topic string) (map[int32]int64, error) {
	return plain(topic)(adm.ListStartOffsets(fresh(ctx), topic))
}

// Ends returns the end of every partition for a read_committed reader: the last
// stable offset.
func Ends(ctx context.Context, adm *kadm.Client, topic string) (map[int32]int64, error) {
	return plain(topic)(adm.ListCommittedOffsets(fresh(ctx), topic))
}

// Written returns the end of every partition with what is not decided yet. A
// read_committed reader that reads to there waits until it is.
func Written(ctx context.Context, adm *kadm.Client, topic string) (map[int32]int64, error) {
	return plain(topic)(adm.ListEndOffsets(fresh(ctx), topic))
}

// At returns the first offset of every partition whose record is of that time
// or later, the end where there is none.
func At(ctx context.Context, adm *kadm.Client, topic string, t time.Time) (map[int32]int64, error) {
	return plain(topic)(adm.ListOffsetsAfterMilli(fresh(ctx), t.UnixMilli(), topic))
}

// fresh has kadm ask the broker which partitions there are; see topicplan.
func fresh(ctx context.Context) context.Context { return kadm.WithAuthorizedOps(ctx) }

func plain(topic string) func(kadm.ListedOffsets, error) (map[int32]int64, error) {
	return func(listed kadm.ListedOffsets, err error) (map[int32]int64, error) {
		if err == nil {
			err = listed.Error()
		}
		switch {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			return nil, fmt.Errorf("topic %q: %w", topic, ErrNoTopic)
		case err != nil:
			return nil, fmt.Errorf("offsets of topic %q: %w", topic, err)
		}
		offsets := make(map[int32]int64)
		for p, o := range listed[topic] {
			offsets[p] = o.Offset
		}
		return offsets, nil
	}
}

// silence is how long a reader waits for records that must be there.
const silence = 15 * time.Second

// Read calls each with every committed record of the span, in order within a
// partition, until the span ends or each answers false or an error. It uses a
// client of its own.
func (s Span) Read(ctx context.Context, opts []kgo.Opt, each func(*kgo.Record) (more bool, err error)) error {
	from := map[int32]kgo.Offset{}
	for p, offset := range s.From {
		if s.To == nil || offset < s.To[p] {
			from[p] = kgo.NewOffset().At(offset)
		}
	}
	if len(from) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(append(slices.Clone(opts),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.Topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // the last offset before an end is often a transaction marker's
		kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("reading topic %q: %w", s.Topic, err)
	}
	defer cl.Close()
	open := make(map[int32]bool, len(from))
	for p := range from {
		open[p] = true
	}
	for len(open) > 0 {
		fetches, err := s.poll(ctx, cl)
		if err != nil {
			return err
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			if s.To != nil && r.Offset >= s.To[r.Partition] {
				delete(open, r.Partition)
				continue
			}
			if !r.Attrs.IsControl() {
				if more, err := each(r); err != nil || !more {
					return err
				}
			}
			if s.To != nil && r.Offset >= s.To[r.Partition]-1 {
				delete(open, r.Partition)
			}
		}
	}
	return nil
}

func (s Span) poll(ctx context.Context, cl *kgo.Client) (kgo.Fetches, error) {
	wait := ctx
	if s.To != nil {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, silence)
		defer cancel()
	}
	fetches := cl.PollFetches(wait)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case wait.Err() != nil && fetches.NumRecords() == 0:
		return nil, fmt.Errorf("reading topic %q: nothing came for %v though records are left", s.Topic, silence)
	}
	for _, e := range fetches.Errors() {
		return nil, fmt.Errorf("reading topic %q, partition %d: %w", e.Topic, e.Partition, e.Err)
	}
	return fetches, nil
}
