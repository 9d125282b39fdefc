package why

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// entryID is what an entry of the calendar and what it is dispatched as have in
// common: the record that is parked, its place in the queue and its time. A deadline
// is of no record.
type entryID struct {
	of       Place
	seq, due int64
	key      string
}

// entry is the one that a record is, or came from.
func (r *Record) entry() (entryID, bool) {
	l := r.letter
	return entryID{Place{l.Topic, l.Partition, l.Offset}, l.Seq, l.Due, string(l.Key)}, l.Due != 0
}

// link puts every record below its cause, and returns those that have none, or one
// that is gone: then that is at the top, and says so.
func (p *past) link() (tops []*Record) {
	at, ids, entries := map[Place]*Record{}, map[string]*Record{}, map[entryID]*Record{}
	for _, r := range p.records {
		at[r.Place] = r
		if _, known := ids[r.ID]; !known && r.ID != "" {
			ids[r.ID] = r
		}
		if id, ok := r.entry(); ok && r.parked() {
			entries[id] = r
		}
	}
	for id, r := range p.standing { // what put it there may have gone
		if entries[id] == nil {
			entries[id], at[r.Place] = r, r
			p.records = append(p.records, r)
		}
	}
	gone := map[Place]*Record{}
	for _, r := range p.records {
		r.Cause = p.cause(r, at, entries, ids)
		if r.Cause == nil || *r.Cause == r.Place {
			r.Cause = nil
			tops = append(tops, r)
			continue
		}
		above := at[*r.Cause]
		if above == nil {
			above = gone[*r.Cause]
		}
		if above == nil {
			above = p.lost(*r.Cause, r)
			gone[*r.Cause] = above
			tops = append(tops, above)
		}
		above.Caused = append(above.Caused, r)
	}
	slices.SortStableFunc(tops, func(a, b *Record) int { return inOrder(a.first(), b.first()) })
	return tops
}

// first is the record, or of one that is gone what it caused.
func (r *Record) first() *Record {
	if r.Gone != "" {
		return &Record{Place: r.Place, Time: r.Caused[0].Time}
	}
	return &Record{Place: r.Place, Time: r.Time}
}

func (r *Record) parked() bool {
	_, ok := r.body.(*schemas.Parked)
	return ok
}

// cause is what was being handled when a record was written, nil if it came from
// outside. What comes back to its group has no origin: it is known by what was parked.
func (p *past) cause(r *Record, at map[Place]*Record, entries map[entryID]*Record, ids map[string]*Record) *Place {
	if origin, index, ok := p.r.origin(r.rec); ok {
		r.index = index
		return &origin
	}
	switch b := r.body.(type) {
	case *schemas.Audited:
		if target := p.target(b); at[target] != nil {
			return &target
		}
		return nil
	case *schemas.LedgerEntry: // of what the worker wrote
		return &Place{p.r.name(topics.Effects), r.Partition, b.Offset}
	}
	l := r.letter
	if dead, ok := p.deadLetter(l.Redriven); ok {
		return &dead
	}
	if id, ok := r.entry(); ok && !r.parked() {
		if e := entries[id]; e != nil {
			return &e.Place
		}
	}
	if l.Topic != "" {
		return &Place{l.Topic, l.Partition, l.Offset}
	}
	if by := ids[causation(r)]; by != nil {
		return &by.Place
	}
	return nil
}

// causation is the ID of the event that a record says has caused it.
func causation(r *Record) string {
	if r.parked() {
		return event.Header(r.letter.Original(), event.Causation)
	}
	return event.Header(r.rec, event.Causation)
}

// deadLetter is the place of one by its ID, "<partition>/<offset>".
func (p *past) deadLetter(id string) (Place, bool) {
	partition, offset, _ := strings.Cut(id, "/")
	n, err1 := strconv.ParseInt(partition, 10, 32)
	at, err2 := strconv.ParseInt(offset, 10, 64)
	return Place{p.r.name(topics.DeadLetter), int32(n), at}, err1 == nil && err2 == nil
}

// lost is a record that is named as a cause and was not found.
func (p *past) lost(at Place, by *Record) *Record {
	r := &Record{Place: at}
	t := p.r.catalogued(at.Topic)
	start, known := p.r.starts[at.Topic][at.Partition]
	switch {
	case at.Topic == "":
		r.Gone = "its topic has been deleted, or made anew"
	case known && at.Offset < start:
		r.Gone = fmt.Sprintf("no longer on the log, which begins at %d", start)
	case t.Compact:
		r.Gone = "no longer on the log: compacted"
	default:
		r.Gone = "not among the order's records: looked for from " + string(event.AppendTime(nil, p.since.UnixMilli())) + " on"
	}
	r.Says = "unknown: named by " + by.Place.String()
	return r
}
