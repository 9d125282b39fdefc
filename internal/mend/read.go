package mend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// each reads what is committed of a catalogue topic.
func (d *Desk) each(ctx context.Context, topic string, do func(*kgo.Record) error) error {
	span, err := client.Whole(ctx, d.adm, d.name(topic))
	if err != nil {
		return err
	}
	return span.Read(ctx, d.cfg.Opts, func(r *kgo.Record) (bool, error) { return true, do(r) })
}

// decided reads a catalogue topic from some offsets, or its start, to where it is
// written now; it waits until all of that is committed, or is not.
func (d *Desk) decided(ctx context.Context, topic string, from map[int32]int64, do func(*kgo.Record) error) error {
	span, err := client.Whole(ctx, d.adm, d.name(topic))
	if err != nil {
		return err
	}
	if span.To, err = client.Written(ctx, d.adm, d.name(topic)); err != nil {
		return err
	}
	if from != nil {
		span.From = from
	}
	return span.Read(ctx, d.cfg.Opts, func(r *kgo.Record) (bool, error) { return true, do(r) })
}

func item(topic string, r *kgo.Record, l letter.Letter) Item {
	return Item{ID: fmt.Sprintf("%d/%d", r.Partition, r.Offset), Topic: topic, Partition: r.Partition, Offset: r.Offset, At: r.Timestamp.UnixMilli(), Letter: l}
}

// Letters returns the dead letters that are open and fit, the oldest first; with
// done, also those that a person has dealt with.
func (d *Desk) Letters(ctx context.Context, f Filter, done bool) ([]Item, error) {
	acts := dealt{}
	err := d.each(ctx, topics.Audit, acts.add(ctx, d))
	if err != nil {
		return nil, err
	}
	items := []Item{}
	err = d.each(ctx, topics.DeadLetter, func(r *kgo.Record) error {
		it := item(topics.DeadLetter, r, letter.Parse(r))
		it.Letter.Group = strings.TrimPrefix(it.Letter.Group, d.name("")) // the calendar's has its namespace
		it.Done = acts[it.Target()]
		if f.fits(it) && (done || it.Done == nil) {
			items = append(items, it)
		}
		return nil
	})
	slices.SortFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return items, err
}

// dealt is what was done about dead letters, by target.
type dealt map[string]*schemas.Audited

func (acts dealt) add(ctx context.Context, d *Desk) func(*kgo.Record) error {
	return func(r *kgo.Record) error {
		a, err := Audited(ctx, d.cfg.Serde, r)
		if err == nil && closes(a) {
			acts[a.Target] = a
		}
		return err
	}
}

// closes tells whether a dead letter is open no more after that.
func closes(a *schemas.Audited) bool {
	return a.What == schemas.Redriven || a.What == schemas.Edited || a.What == schemas.Discarded
}

// Audited decodes a record of the audit.
func Audited(ctx context.Context, serde *schemas.Serde, r *kgo.Record) (*schemas.Audited, error) {
	a := new(schemas.Audited)
	if err := serde.DecodeInto(ctx, topics.Audit, r.Value, a); err != nil {
		return nil, fmt.Errorf("audit record at %s/%d/%d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	return a, nil
}

// Calendar returns what stands in the calendar, in the order in which it is due,
// and what is paused.
func (d *Desk) Calendar(ctx context.Context) (entries []Item, pauses []*schemas.RetryCommand, err error) {
	return d.calendar(ctx, func(do func(*kgo.Record) error) error { return d.each(ctx, topics.RetryTable, do) })
}

// calendar is Calendar of what read brings.
func (d *Desk) calendar(ctx context.Context, read func(do func(*kgo.Record) error) error) (entries []Item, pauses []*schemas.RetryCommand, err error) {
	pauses = []*schemas.RetryCommand{}
	standing := map[string]Item{}
	paused := map[string]*schemas.RetryCommand{}
	err = read(func(r *kgo.Record) error {
		key := string(r.Key)
		delete(standing, fmt.Sprint(r.Partition, key))
		delete(paused, fmt.Sprint(r.Partition, key))
		if len(r.Value) == 0 {
			return nil
		}
		body, err := d.cfg.Serde.Decode(ctx, topics.RetryTable, r.Value)
		if err != nil {
			return fmt.Errorf("entry %q at %s/%d/%d: %w", key, r.Topic, r.Partition, r.Offset, err)
		}
		switch b := body.(type) {
		case *schemas.Parked:
			it := item(topics.RetryTable, r, letter.Unpark(b))
			it.Entry, it.To = key, b.To
			it.Due, _, _ = retry.ParseKey(key)
			standing[fmt.Sprint(r.Partition, key)] = it
		case *schemas.RetryCommand:
			paused[fmt.Sprint(r.Partition, key)] = b
		}
		return nil
	})
	for _, it := range standing {
		entries = append(entries, it)
	}
	slices.SortFunc(entries, func(a, b Item) int {
		return cmp.Or(strings.Compare(a.Entry, b.Entry), cmp.Compare(a.Partition, b.Partition))
	})
	for _, b := range paused { // each stands on every partition
		if !slices.ContainsFunc(pauses, func(p *schemas.RetryCommand) bool { return p.Entry == b.Entry }) {
			pauses = append(pauses, b)
		}
	}
	slices.SortFunc(pauses, func(a, b *schemas.RetryCommand) int { return strings.Compare(a.Entry, b.Entry) })
	return entries, pauses, err
}

// ErrNoTable says that a group is none that has rows.
var ErrNoTable = errors.New("no such processor, or it has no table")

// Row returns the row of a group's table, and the note beside it, as of now; nil
// where there is none.
func (d *Desk) Row(ctx context.Context, group, key string) (row, note []byte, err error) {
	table, ok := topics.Find(group + "-table")
	if !ok || !table.Compact {
		return nil, nil, fmt.Errorf("group %q: %w", group, ErrNoTable)
	}
	span, err := client.Whole(ctx, d.adm, d.name(table.Name), client.PartitionOf(key, d.partitions[table.Name]))
	if err != nil {
		return nil, nil, err
	}
	err = span.Read(ctx, d.cfg.Opts, func(r *kgo.Record) (bool, error) {
		if string(r.Key) != key {
			return true, nil
		}
		row, note = nil, nil
		if len(r.Value) > 0 {
			row = r.Value
		}
		for _, h := range r.Headers {
			if h.Key == kgoka.NoteHeader {
				note = h.Value
			}
		}
		return true, nil
	})
	return row, note, err
}
