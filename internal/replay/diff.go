package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/voucher"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Kinds of Difference.
const (
	Changed   = "changed"
	OnlyHere  = "only here"  // in the table
	OnlyThere = "only there" // where the log is folded
)

// Difference is a row that is not what the log makes of it.
type Difference struct {
	Key   string `json:"key"`
	Kind  string `json:"kind"`
	Is    any    `json:"is,omitempty"`   // the row: a pointer to a type of package schemas
	Must  any    `json:"must,omitempty"` // what it must be
	Fault string `json:"fault,omitempty"`
}

// Compared is a table beside what the log makes of it.
type Compared struct {
	Group string `json:"group"`
	Table string `json:"table"`
	Note  string `json:"note,omitempty"` // why it is not compared

	Same      int `json:"same"`
	Changed   int `json:"changed"`
	OnlyHere  int `json:"only_here"`
	OnlyThere int `json:"only_there"`
	Open      int `json:"open"` // not known: they moved at each look, or wait in the calendar

	Differences []Difference `json:"differences,omitempty"` // by key
}

// Right tells whether nothing differs, and nothing is open.
func (c *Compared) Right() bool { return len(c.Differences)+c.Open == 0 }

// Comparable are the groups whose tables follow from the log.
func Comparable() []string { return append(verify.Rebuilt(), follower) }

// Diff computes what the table of a group must be, in memory, and compares row by row,
// what rows remember of their inputs aside. The group may run: a row that moves while
// the log is read is looked at again, until it is right or wait is over.
func (r *Replayer) Diff(ctx context.Context, name string, wait time.Duration) (*Compared, error) {
	u, err := unitOf(name)
	if err != nil {
		return nil, err
	}
	c := &Compared{Group: name, Table: r.name(u.Table)}
	if !slices.Contains(Comparable(), name) {
		c.Note = "its rows are the truth: there is nothing that they could be recomputed from"
		return c, nil
	}
	g := &Group{Name: name, Table: c.Table, unit: u}
	until := r.cfg.Now().Add(wait)
	before, _, err := r.rows(ctx, g)
	if err != nil {
		return nil, err
	}
	right := map[string]bool{}
	for {
		must, unclear, err := r.must(ctx, g)
		if err != nil {
			return nil, err
		}
		after, _, err := r.rows(ctx, g)
		if err != nil {
			return nil, err
		}
		*c = Compared{Group: c.Group, Table: c.Table, Same: len(right)}
		again := 0
		for _, key := range slices.Sorted(maps.Keys(union(before, after, must))) {
			if right[key] {
				continue
			}
			d, err := r.compare(ctx, g, key, after[key], must[key])
			switch {
			case err != nil:
				return nil, err
			case d == nil:
				if len(value(after[key])) > 0 {
					right[key] = true
					c.Same++
				}
			case name == follower && waits(after[key]):
				c.Open++
			case unclear[key] || !same(before[key], after[key]):
				c.Open++
				again++
			default:
				c.add(*d)
			}
		}
		if again == 0 || !r.cfg.Now().Before(until) {
			return c, nil
		}
		before = after
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Compared) add(d Difference) {
	switch d.Kind {
	case Changed:
		c.Changed++
	case OnlyHere:
		c.OnlyHere++
	case OnlyThere:
		c.OnlyThere++
	}
	c.Differences = append(c.Differences, d)
}

func union(before, after map[string]*kgo.Record, must map[string]any) map[string]bool {
	all := map[string]bool{}
	for _, rows := range []map[string]*kgo.Record{before, after} {
		for key := range rows {
			all[key] = true
		}
	}
	for key := range must {
		all[key] = true
	}
	return all
}

func value(r *kgo.Record) []byte {
	if r == nil {
		return nil
	}
	return r.Value
}

// same tells that a row was not written between two looks: what was computed from the
// log meanwhile is then of this row.
func same(a, b *kgo.Record) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Partition == b.Partition && a.Offset == b.Offset
}

// waits tells that a row's key has a queue in the calendar.
func waits(is *kgo.Record) bool { return is != nil && len(headerOf(is, kgoka.NoteHeader)) > 0 }

// compare returns nil for a row that is as it must be. Rows that older builds wrote
// are compared by what they say.
func (r *Replayer) compare(ctx context.Context, g *Group, key string, is *kgo.Record, must any) (*Difference, error) {
	d := &Difference{Key: key, Kind: Changed, Must: must}
	switch there := len(value(is)) > 0; {
	case !there && must == nil:
		return nil, nil
	case !there:
		d.Kind = OnlyThere
		return d, nil
	case must == nil:
		d.Kind = OnlyHere
	}
	body, err := r.cfg.Serde.Decode(ctx, g.unit.Table, is.Value)
	if errors.Is(err, schemas.ErrRegistry) {
		return nil, err
	}
	if err != nil {
		d.Fault = err.Error()
		return d, nil
	}
	if d.Is = body; must == nil {
		return d, nil
	}
	a, err := r.cfg.Serde.Encode(nil, g.unit.Table, body)
	if err != nil {
		return nil, fmt.Errorf("row %q: %w", key, err)
	}
	b, err := r.cfg.Serde.Encode(nil, g.unit.Table, must)
	if err != nil {
		return nil, fmt.Errorf("row %q: %w", key, err)
	}
	if bytes.Equal(a, b) {
		return nil, nil
	}
	return d, nil
}

// must is what rows must be. What is unclear cannot be told yet.
func (r *Replayer) must(ctx context.Context, g *Group) (must map[string]any, unclear map[string]bool, err error) {
	if g.Name == follower {
		return r.grants(ctx)
	}
	must, err = verify.Rows(ctx, verify.Config{Client: r.cfg.Opts, Serde: r.cfg.Serde, Namespace: r.cfg.Namespace}, g.Name)
	return must, nil, err
}

// grants runs the rule of the vouchers over what its group has read of the order log.
// Orders of which only later versions are left are unclear.
func (r *Replayer) grants(ctx context.Context) (map[string]any, map[string]bool, error) {
	read, err := group.Offsets(ctx, r.adm, r.name(follower))
	if err != nil {
		return nil, nil, err
	}
	log := r.name(topics.OrderTable)
	span, err := client.Whole(ctx, r.adm, log)
	if err != nil {
		return nil, nil, err
	}
	rule, rows := voucher.New(), map[string]*schemas.Grants{}
	unclear := map[string]bool{}
	err = span.Read(ctx, r.cfg.Opts, func(rec *kgo.Record) (bool, error) {
		key := string(rec.Key)
		if o, ok := read.Lookup(log, rec.Partition); !ok || rec.Offset >= o.At {
			unclear[key] = unclear[key] || rows[key] == nil
			return true, nil
		}
		row := rows[key]
		if row == nil {
			row = new(schemas.Grants)
			rows[key] = row
		}
		if len(rec.Value) == 0 {
			return true, nil
		}
		body, err := r.cfg.Serde.Decode(ctx, topics.OrderTable, rec.Value)
		if err != nil {
			return false, fmt.Errorf("order at %s/%d/%d: %w", log, rec.Partition, rec.Offset, err)
		}
		*row, _ = rule.Decide(*row, flow.Message{Key: key, Body: body})
		return true, nil
	})
	must := map[string]any{}
	for key, row := range rows {
		if len(row.Granted) > 0 {
			must[key] = row
		}
	}
	return must, unclear, err
}
