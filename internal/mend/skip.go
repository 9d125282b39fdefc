package mend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/calendar"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Lost is what a queue waits for in vain: its first places are those of entries
// that are nowhere any more.
type Lost struct {
	Group, Key string
	First      int64 // of the places
	Count      int64
	Due        int64  // when it was, or would be, their turn, Unix ms
	Behind     []Item // entries that wait behind them
}

// Errors of queues that need no skipping.
var (
	ErrNoQueue  = errors.New("nothing waits for it")
	ErrHead     = errors.New("whose turn it is, is there")
	ErrUnderway = errors.New("it is under way")
)

// Lost finds out what is lost at the head of a row's queue. What may still come,
// because it stands in the calendar, or is on its way there or back, is not.
func (d *Desk) Lost(ctx context.Context, group, key string) (l Lost, err error) {
	before, err := d.queueOf(ctx, group, key)
	if err != nil {
		return l, err
	}
	// An entry that goes on while this looks is seen where it goes to: what is read
	// of these topics begins before the calendar is looked at, and ends after.
	ways, err := d.ways(ctx, group, key)
	if err != nil {
		return l, err
	}
	// What a group has committed is visible before its transaction has ended on every
	// partition: this waits for that.
	entries, _, err := d.calendar(ctx, func(do func(*kgo.Record) error) error { return d.decided(ctx, topics.RetryTable, nil, do) })
	if err != nil {
		return l, err
	}
	l = Lost{Group: group, Key: key, First: before.First, Due: before.Due}
	end := before.Next
	for _, it := range entries {
		if it.Deadline() || it.queue() != (queue{ways.partition, group, key}) || it.Letter.Seq < l.First {
			continue
		}
		l.Behind = append(l.Behind, it)
		end = min(end, it.Letter.Seq)
	}
	slices.SortFunc(l.Behind, func(a, b Item) int { return cmp.Compare(a.Letter.Seq, b.Letter.Seq) })
	if end == before.First {
		return l, fmt.Errorf("%w: entry %s", ErrHead, l.Behind[0].ID)
	}
	onWay, err := ways.look(ctx)
	if err != nil {
		return l, err
	}
	after, err := d.queueOf(ctx, group, key)
	switch {
	case err != nil:
		return l, err
	case onWay || after != before:
		return l, ErrUnderway
	}
	l.Count = end - l.First
	return l, nil
}

// Skip has a queue go on without what is lost: a record for each place comes to the
// group as if it were what was lost, and becomes a dead letter. After an error the
// first places may be skipped: Lost finds the rest.
func (d *Desk) Skip(ctx context.Context, l Lost, why string) error {
	var places []int64
	for seq := l.First; seq < l.First+l.Count; seq++ {
		places = append(places, seq)
	}
	_, err := ActAll(ctx, d, places, func(seq int64) (Deed, error) { return d.skip(l, seq, why), nil })
	return err
}

func (d *Desk) skip(l Lost, seq int64, why string) Deed {
	loop := topics.Loop(l.Group)
	said := "it was lost, and " + d.cfg.Who + " has the queue go on without it"
	if why != "" {
		said += ": " + why
	}
	// Not a null, which groups do not see.
	one := letter.Letter{Group: l.Group, Class: letter.Transient, Key: []byte(l.Key), Value: []byte{}, Seq: seq, Cancel: said}
	return Deed{
		Records: []*kgo.Record{{Topic: d.name(loop), Partition: client.PartitionOf(l.Key, d.partitions[loop]), Key: one.Key, Value: one.Value, Headers: one.Headers()}},
		Audit:   schemas.Audited{What: "retries.skip", Why: why, Target: fmt.Sprintf("place.%d", seq), Group: l.Group, Key: l.Key},
	}
}

func (d *Desk) queueOf(ctx context.Context, group, key string) (q graph.Queue, err error) {
	_, note, err := d.Row(ctx, group, key)
	if err != nil {
		return q, err
	}
	if q, err = graph.QueueOf(note); err != nil {
		return q, fmt.Errorf("row %q of %s-table: %w", key, group, err)
	}
	if q.First == q.Next {
		return q, ErrNoQueue
	}
	return q, nil
}

// ways are those on which entries of a queue go to the calendar, and back.
type ways struct {
	d          *Desk
	group, key string
	partition  int32
	from       map[string]int64 // by catalogue topic: what was handled up to there
}

func (d *Desk) ways(ctx context.Context, group, key string) (ways, error) {
	w := ways{d, group, key, client.PartitionOf(key, d.partitions[topics.Retry]), map[string]int64{}}
	for topic, reader := range map[string]string{topics.Retry: calendar.Name, topics.Loop(group): group} {
		start, err := client.Starts(ctx, d.adm, d.name(topic))
		if err != nil {
			return w, err
		}
		at, err := client.Committed(ctx, d.adm, d.name(reader))
		if err != nil {
			return w, err
		}
		w.from[topic] = max(start[w.partition], at[d.name(topic)][w.partition])
	}
	return w, nil
}

// look tells whether one is there now, or has been since.
func (w ways) look(ctx context.Context) (found bool, err error) {
	for topic, from := range w.from {
		err := w.d.decided(ctx, topic, map[int32]int64{w.partition: from}, func(r *kgo.Record) error {
			if topic != topics.Retry {
				found = found || string(r.Key) == w.key
				return nil
			}
			var p schemas.Parked
			if len(r.Value) == 0 {
				return nil
			}
			err := w.d.cfg.Serde.DecodeInto(ctx, topics.Retry, r.Value, &p)
			if errors.Is(err, schemas.ErrRegistry) {
				return err
			}
			found = found || err == nil && p.Topic != "" && p.Group == w.group && string(p.Key) == w.key
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	return found, nil
}
