// Package why says how an order came to be what it is: its versions, and the records
// that caused one another, from commands to effects. It reads the logs and nothing
// else, and tells what they no longer have.
package why

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/schemas"
)

// Chain is an order's past. Every record is below the one that was being handled
// when it was written; commands from outside are at the top.
type Chain struct {
	Order   string
	State   string    // now; "" of an order that is not there yet
	Tops    []*Record // the oldest first
	Missing []string  // what must have been, and is on no log any more
}

// Record is one of the past, or one that is named as a cause and is gone.
type Record struct {
	Place
	Depth int    `json:"depth"`           // 0: at the top
	Time  int64  `json:"time_ms"`         // of the record, Unix ms; 0: gone
	At    int64  `json:"at_ms"`           // event time
	Type  string `json:"type"`            // ce_type
	ID    string `json:"id"`              // ce_id
	Key   string `json:"key"`             //
	Cause *Place `json:"cause,omitempty"` // nil: from outside
	Says  string `json:"says"`            // what was asked or decided, in words
	Open  string `json:"open,omitempty"`  // what it waits for
	Gone  string `json:"gone,omitempty"`  // why it cannot be shown

	Caused []*Record `json:"-"` // in the order in which they were written

	rec    *kgo.Record
	letter letter.Letter // what went wrong with it, if something did
	body   any           // nil: none, or fault says why
	fault  error         // why it cannot be decoded
	index  int32         // among what its cause has caused
}

// Walk calls each with every record, causes first, until one returns an error.
func (c *Chain) Walk(each func(*Record) error) error {
	var below func([]*Record) error
	below = func(rs []*Record) error {
		for _, r := range rs {
			if err := each(r); err != nil {
				return err
			}
			if err := below(r.Caused); err != nil {
				return err
			}
		}
		return nil
	}
	return below(c.Tops)
}

// Why returns what is left of an order's past. Each topic is read once, where records
// of the order can stand, from some minutes before the order's first record on; if
// that is gone, before the order was placed by its own account. The error is
// client.ErrNoOrder if nothing is left.
func (r *Reader) Why(ctx context.Context, order string) (*Chain, error) {
	p := &past{r: r, order: order, standing: map[entryID]*Record{}}
	for _, step := range []func(context.Context) error{p.orders, p.asks, p.failures, p.progress} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	if len(p.records) == 0 {
		return nil, fmt.Errorf("order %q: %w", order, client.ErrNoOrder)
	}
	c := &Chain{Order: order, Missing: p.missing()}
	if p.now != nil {
		c.State = p.now.State
	}
	c.Tops = p.link()
	p.tell()
	_ = c.Walk(func(r *Record) error {
		slices.SortStableFunc(r.Caused, inOrder)
		for _, below := range r.Caused {
			below.Depth = r.Depth + 1
		}
		return nil
	})
	return c, nil
}

func inOrder(a, b *Record) int {
	return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.Time, b.Time), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Offset, b.Offset))
}

// margin is by how much clocks may differ of those who write an order's records.
const margin = 5 * time.Minute

// past is what has been found so far.
type past struct {
	r        *Reader
	order    string
	now      *schemas.Order // last version; nil: none
	since    time.Time      // when its first record was written, less the margin
	effects  []string       // IDs
	records  []*Record
	standing map[entryID]*Record // rows of the calendar
	read     map[string]progress // by topic, of whoever handles what is on it
}

// progress is how far a group is.
type progress struct {
	group string
	at    map[int32]int64
}
