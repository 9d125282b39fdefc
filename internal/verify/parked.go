package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// calendar is one partition of the calendar's table.
type calendar struct {
	w         *world
	entries   map[string]*schemas.Parked // by key; without deadlines
	deadlines map[string]string          // by key: whose
	pauses    map[string]bool
	faults    []Violation
}

func newCalendar(w *world) *calendar {
	return &calendar{w: w, entries: map[string]*schemas.Parked{}, deadlines: map[string]string{}, pauses: map[string]bool{}}
}

func (cal *calendar) add(r *kgo.Record) error {
	key := string(r.Key)
	delete(cal.entries, key)
	delete(cal.deadlines, key)
	delete(cal.pauses, key)
	if len(r.Value) == 0 {
		return nil
	}
	body, err := cal.w.serde.Decode(cal.w.ctx, topics.RetryTable, r.Value)
	switch {
	case errors.Is(err, schemas.ErrRegistry):
		return err
	case err != nil:
		cal.faults = append(cal.faults, violation(topics.RetryTable, "an entry that cannot be read", key, where(r)+": "+err.Error()))
	}
	switch b := body.(type) {
	case *schemas.Parked:
		if b.Topic != "" {
			cal.entries[key] = b
		} else {
			cal.deadlines[key] = string(b.Key)
		}
	case *schemas.RetryCommand:
		cal.pauses[key] = true
	}
	return nil
}

// parked is what groups have set aside and not handled since: it is on its way to
// the calendar, in it, or on its way back. Some of it may be handled already in
// what is read after.
type parked struct {
	at     map[coordinates]bool
	on     map[slot][]command         // by where it first stood
	keys   map[string]map[string]bool // by group
	causes map[string]int64           // "<group>: <cause>"

	effects int // of them
}

type slot struct {
	topic     string
	partition int32
}

func isLoop(topic string) bool { return strings.HasSuffix(topic, "-loop") }

// park finds out what is parked.
func (w *world) park() error {
	w.parked = parked{at: map[coordinates]bool{}, on: map[slot][]command{}, keys: map[string]map[string]bool{}, causes: map[string]int64{}}
	for _, cal := range w.calendar {
		for _, p := range cal.entries {
			if err := w.parkOne(letter.Unpark(p)); err != nil {
				return err
			}
		}
	}
	for topic, ins := range w.inboxes {
		for _, in := range ins {
			for _, c := range in.late {
				var l letter.Letter
				switch b := c.body.(type) {
				case *schemas.Parked:
					l = letter.Unpark(b)
				case *letter.Letter:
					l = *b
				}
				if c.offset < in.committed || l.Topic == "" {
					continue
				}
				if isLoop(topic) {
					l.Group = reads[topic]
				}
				if err := w.parkOne(l); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *world) parkOne(l letter.Letter) error {
	at := coordinates{l.Topic, l.Partition, l.Offset}
	if w.parked.at[at] || w.dead.stands[at] {
		return nil
	}
	w.parked.at[at] = true
	w.parked.causes[l.Group+": "+l.Cause]++
	if l.Group == reads[topics.Effects] {
		w.parked.effects++
	}
	if w.parked.keys[l.Group] == nil {
		w.parked.keys[l.Group] = map[string]bool{}
	}
	w.parked.keys[l.Group][string(l.Key)] = true
	for topic, ins := range w.inboxes {
		if w.names(topic) != l.Topic || int(l.Partition) >= len(ins) {
			continue
		}
		r := l.Original()
		body, fault, err := ins[l.Partition].body(r)
		if err != nil {
			return err
		}
		to := slot{topic, l.Partition}
		w.parked.on[to] = append(w.parked.on[to], command{pos: pos{l.Partition, l.Offset, l.Timestamp}, key: string(l.Key), body: body, fault: fault})
	}
	return nil
}

// parkedFor tells whether something is parked that an order may wait for.
func (w *world) parkedFor(o *order) bool {
	in := func(group, key string) bool { return w.parked.keys[group][key] }
	if in("order", o.id) || o.credit.Ask == schemas.Asked && in("credit", o.customer) {
		return true
	}
	if (o.invoice.Ask == schemas.Asked || o.creditNote.Ask == schemas.Asked) && len(w.parked.keys["invoicing"]) > 0 {
		return true
	}
	return slices.ContainsFunc(o.lines, func(l line) bool { return l.stock == schemas.Asked && in("inventory", l.sku) })
}

// listParked counts what is parked, and finds what should have come back.
func listParked(w *world) Check {
	c := begin("parked")
	c.Checked = int64(len(w.parked.at))
	for _, cause := range sortedKeys(w.parked.causes) {
		c.note(count(w.parked.causes[cause]) + " " + cause)
	}
	paused := slices.ContainsFunc(w.calendar, func(cal *calendar) bool { return len(cal.pauses) > 0 })
	if paused {
		c.note("some are paused: what is overdue is not told")
	}
	for _, cal := range w.calendar {
		c.fail(cal.faults...)
		for key, p := range cal.entries {
			due, _, _ := retry.ParseKey(key) // not p.Due: a person may have moved it
			if late := w.now - due; late > w.stuckAfter && !paused {
				c.fail(Violation{What: "it is overdue", Keys: []string{string(p.Key)}, Detail: fmt.Sprintf("%s for %d s: is %q running?", key, late/1000, "retry")})
			}
		}
	}
	return c.done()
}
