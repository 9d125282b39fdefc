package mend

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// watcher finds out what became of redriven letters: a group has handled what lies
// below its offsets, and what it could not handle stands on one of two topics.
type watcher struct {
	d    *Desk
	from map[string]map[int32]int64 // ends before anything was redriven
}

func (d *Desk) watch(ctx context.Context) (*watcher, error) {
	w := &watcher{d: d, from: map[string]map[int32]int64{}}
	for _, topic := range []string{topics.DeadLetter, topics.Retry} {
		var err error
		if w.from[topic], err = client.Written(ctx, d.adm, d.name(topic)); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// outcome waits until all are handled, and reports what became of them.
func (w *watcher) outcome(ctx context.Context, all []sent, wait time.Duration, rep *Report) error {
	up := time.After(wait)
	for {
		seen, open, err := w.seen(ctx, all)
		switch {
		case err != nil:
			return err
		case len(open) == 0:
			return w.report(ctx, all, rep)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-up:
			idle := fmt.Errorf("%w: %d of %d after %v, the first by %q", ErrIdle, len(open), len(all), wait, open[0].Letter.Group)
			return cmp.Or(w.report(ctx, seen, rep), idle)
		case <-ctx.Done():
			rep.Handled += len(seen)
			return ctx.Err()
		}
	}
}

// seen are those that their group has committed; open are the others.
func (w *watcher) seen(ctx context.Context, all []sent) (seen, open []sent, err error) {
	at := map[string]map[string]map[int32]int64{}
	for _, s := range all {
		g := s.Letter.Group
		if at[g] == nil {
			if at[g], err = client.Committed(ctx, w.d.adm, w.d.name(g)); err != nil {
				return nil, nil, err
			}
		}
		if at[g][s.record.Topic][s.record.Partition] <= s.record.Offset {
			open = append(open, s)
		} else {
			seen = append(seen, s)
		}
	}
	return seen, open, nil
}

// coordinates tell one input of a group from another.
type coordinates struct {
	group, topic string
	partition    int32
	offset       int64
}

func (d *Desk) at(l letter.Letter) coordinates {
	return coordinates{strings.TrimPrefix(l.Group, d.name("")), l.Topic, l.Partition, l.Offset}
}

// report adds what became of those that their groups have seen.
func (w *watcher) report(ctx context.Context, seen []sent, rep *Report) error {
	again, err := w.again(ctx)
	if err != nil {
		return err
	}
	for _, s := range seen {
		switch b, ok := again[w.d.at(s.Letter)]; {
		case ok && b.As == "" && b.Cause == graph.CauseBehind: // nobody has tried it yet
			rep.Behind = append(rep.Behind, s.ID)
			continue
		case ok:
			b.Item = s.Item
			rep.Back = append(rep.Back, b)
		}
		rep.Handled++
	}
	return nil
}

// again is what was put into the calendar, or into dead-letter, since: of each letter
// the last word.
func (w *watcher) again(ctx context.Context) (map[coordinates]Back, error) {
	again := map[coordinates]Back{}
	err := w.d.decided(ctx, topics.Retry, w.from[topics.Retry], func(r *kgo.Record) error {
		var p schemas.Parked
		if len(r.Value) == 0 {
			return nil
		}
		if err := w.d.cfg.Serde.DecodeInto(ctx, topics.Retry, r.Value, &p); err != nil {
			return err
		}
		again[w.d.at(letter.Unpark(&p))] = Back{Cause: p.Cause, Error: p.Error}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return again, w.d.decided(ctx, topics.DeadLetter, w.from[topics.DeadLetter], func(r *kgo.Record) error {
		l := letter.Parse(r)
		again[w.d.at(l)] = Back{As: fmt.Sprintf("%d/%d", r.Partition, r.Offset), Cause: l.Cause, Error: l.Error}
		return nil
	})
}
