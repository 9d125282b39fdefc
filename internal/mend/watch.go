package mend

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/letter"
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

// outcome waits until all are handled, and tells which of them came back.
func (w *watcher) outcome(ctx context.Context, all []sent, wait time.Duration) (handled int, back []Back, err error) {
	up := time.After(wait)
	for {
		open, err := w.open(ctx, all)
		if err != nil {
			return handled, nil, err
		}
		handled = len(all) - len(open)
		if len(open) == 0 {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-up:
			back, err = w.back(ctx, all)
			if err == nil {
				err = fmt.Errorf("%w: %d of %d after %v, the first by %q", ErrIdle, len(open), len(all), wait, open[0].Letter.Group)
			}
			return handled, back, err
		case <-ctx.Done():
			return handled, nil, ctx.Err()
		}
	}
	back, err = w.back(ctx, all)
	return handled, back, err
}

// open are those that their group has not committed.
func (w *watcher) open(ctx context.Context, all []sent) (open []sent, err error) {
	at := map[string]map[string]map[int32]int64{}
	for _, s := range all {
		g := s.Letter.Group
		if at[g] == nil {
			if at[g], err = client.Committed(ctx, w.d.adm, w.d.name(g)); err != nil {
				return nil, err
			}
		}
		if at[g][s.record.Topic][s.record.Partition] <= s.record.Offset {
			open = append(open, s)
		}
	}
	return open, nil
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

// back are those that were put into dead-letter, or into the calendar, since.
func (w *watcher) back(ctx context.Context, all []sent) (back []Back, err error) {
	of := map[coordinates]Item{}
	for _, s := range all {
		of[w.d.at(s.Letter)] = s.Item
	}
	look := func(l letter.Letter, id string) {
		if it, ok := of[w.d.at(l)]; ok {
			back = append(back, Back{it, id, l.Cause, l.Error})
			delete(of, w.d.at(l))
		}
	}
	err = w.d.decided(ctx, topics.DeadLetter, w.from[topics.DeadLetter], func(r *kgo.Record) error {
		look(letter.Parse(r), fmt.Sprintf("%d/%d", r.Partition, r.Offset))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return back, w.d.decided(ctx, topics.Retry, w.from[topics.Retry], func(r *kgo.Record) error {
		var p schemas.Parked
		if len(r.Value) == 0 {
			return nil
		}
		if err := w.d.cfg.Serde.DecodeInto(ctx, topics.Retry, r.Value, &p); err != nil {
			return err
		}
		look(letter.Unpark(&p), "")
		return nil
	})
}
