package mend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Redrive is how dead letters go back to their groups.
type Redrive struct {
	Canaries int           // of each kind, which go first; the others wait for what becomes of them
	Rate     float64       // letters per second; 0: as fast as possible
	Wait     time.Duration // for what was redriven to be handled; 0: not at all, which goes without canaries only
	Why      string
	Progress func(redriven, total int) // called after each transaction
}

// Report is what came of it.
type Report struct {
	Done     int      // redriven, or discarded
	Canaries int      // that go first; 0 if there are no others
	Handled  int      // of those redriven, seen to be
	Back     []Back   // of them, those that came back
	Behind   []string // IDs of those redriven that wait in the calendar behind what is parked of their row
	Taken    []string // IDs that somebody else has dealt with meanwhile
}

// Back is a letter that could not be handled again.
type Back struct {
	Item
	As    string // its ID as a dead letter anew; "" : it is parked in the calendar
	Cause string
	Error string
}

// Errors of a redrive that ends early. What is redriven by then is on the audit, so
// that it can be run again for the rest.
var (
	ErrCanary = errors.New("a canary came back")
	ErrIdle   = errors.New("not handled in time")
)

// ErrCannot says that a letter cannot be redriven as it is.
var ErrCannot = errors.New("it cannot be redriven")

// Redrive brings open dead letters back to their groups, each once: the record and
// what the audit says of it are one transaction.
func (d *Desk) Redrive(ctx context.Context, items []Item, how Redrive) (rep Report, err error) {
	open, err := d.open(ctx, items, &rep)
	if err != nil {
		return rep, err
	}
	canaries, rest := canariesOf(open, how.Canaries)
	if len(rest) > 0 {
		rep.Canaries = len(canaries)
	}
	if err := d.round(ctx, canaries, len(open), how, &rep); err != nil {
		return rep, err
	}
	if len(rep.Back) > 0 && len(rest) > 0 {
		return rep, ErrCanary
	}
	err = d.round(ctx, rest, len(open), how, &rep)
	return rep, err
}

// open takes over and leaves away what somebody else has dealt with since the items
// were read.
func (d *Desk) open(ctx context.Context, items []Item, rep *Report) (open []Item, err error) {
	if err := d.TakeOver(ctx, "dlq"); err != nil {
		return nil, err
	}
	acts := dealt{}
	err = d.decided(ctx, topics.Audit, nil, acts.add(ctx, d))
	for _, it := range items {
		if acts[it.Target()] == nil {
			open = append(open, it)
		} else {
			rep.Taken = append(rep.Taken, it.ID)
		}
	}
	return open, err
}

// canariesOf chooses the first n of each kind, but none whose key has an earlier one
// that is not chosen: what goes back keeps its order. Both lists are in the order in
// which the letters stand on dead-letter.
func canariesOf(items []Item, n int) (canaries, rest []Item) {
	type row struct{ group, key string }
	items = slices.SortedFunc(slices.Values(items), func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	chosen, passed := map[Kind]int{}, map[row]bool{}
	for _, it := range items {
		k, r := it.Kind(), row{it.Letter.Group, string(it.Letter.Key)}
		if chosen[k] < n && !passed[r] {
			chosen[k]++
			canaries = append(canaries, it)
		} else {
			passed[r] = true
			rest = append(rest, it)
		}
	}
	return canaries, rest
}

// sent is a letter on its way: where its record stands now.
type sent struct {
	Item
	record *kgo.Record
}

// round redrives some letters and waits for what becomes of them.
func (d *Desk) round(ctx context.Context, items []Item, total int, how Redrive, rep *Report) error {
	if len(items) == 0 {
		return nil
	}
	w, err := d.watch(ctx)
	if err != nil {
		return err
	}
	size := batch
	if how.Rate > 0 {
		size = max(1, min(batch, int(how.Rate/4)))
	}
	began := time.Now()
	var away []sent
	for some := range slices.Chunk(items, size) {
		if how.Rate > 0 {
			due := began.Add(time.Duration(float64(len(away)) / how.Rate * float64(time.Second)))
			if err := pause(ctx, time.Until(due)); err != nil {
				return err
			}
		}
		err := actSome(ctx, d, some, func(it Item) (Deed, error) {
			deed, err := d.redriven(it, how.Why)
			away = append(away, sent{it, deed.Records[0]})
			return deed, err
		})
		if err != nil {
			return err
		}
		rep.Done += len(some)
		if how.Progress != nil {
			how.Progress(rep.Done, total)
		}
	}
	if how.Wait == 0 {
		return nil
	}
	return w.outcome(ctx, away, how.Wait, rep)
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// redriven is the action that brings back one letter; of one that was edited, the
// audit keeps what it was.
func (d *Desk) redriven(it Item, why string) (Deed, error) {
	r, err := d.Again(it)
	deed := Deed{Records: []*kgo.Record{r}, Audit: d.about(schemas.Redriven, it, why)}
	if was := it.was; was != nil {
		deed.Audit.What, deed.Audit.Before, deed.Audit.After = schemas.Edited, was, it.Letter.Value
	}
	return deed, err
}

// Discard is the action that closes a letter and writes nothing else.
func (d *Desk) Discard(ctx context.Context, items []Item, why string) (rep Report, err error) {
	open, err := d.open(ctx, items, &rep)
	if err != nil {
		return rep, err
	}
	rep.Done, err = ActAll(ctx, d, open, func(it Item) (Deed, error) { return Deed{Audit: d.about(schemas.Discarded, it, why)}, nil })
	return rep, err
}

func (d *Desk) about(what string, it Item, why string) schemas.Audited {
	return schemas.Audited{What: what, Why: why, Target: it.Target(), Group: it.Letter.Group, Key: string(it.Letter.Key)}
}

// Again is the record by which a letter goes back to its group: on its loop, where
// its row stands. The calendar, which has none, takes it on its topic as it stood
// there. An error is ErrCannot.
func (d *Desk) Again(it Item) (*kgo.Record, error) {
	l := it.Letter
	if l.Cut > 0 {
		return nil, fmt.Errorf("%w: only %d of its %d bytes were kept", ErrCannot, len(l.Value), l.Cut)
	}
	loop := topics.Loop(l.Group)
	if n := d.partitions[loop]; n > 0 {
		l = l.Redrive(it.ID)
		return &kgo.Record{Topic: d.name(loop), Partition: client.PartitionOf(string(l.Key), n), Key: l.Key, Value: l.Value, Headers: l.Headers()}, nil
	}
	topic := d.bare(l.Topic)
	if (topic == topics.Retry || topic == topics.RetryCommands) && int(l.Partition) < d.partitions[topic] {
		r := l.Original()
		return &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}, nil
	}
	return nil, fmt.Errorf("%w: there is no topic %s", ErrCannot, loop)
}
