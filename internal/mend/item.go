package mend

import (
	"cmp"
	"slices"
	"strings"

	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Item is what failed: an entry of the calendar or a dead letter.
type Item struct {
	ID        string // "<partition>/<offset>" of its record
	Topic     string // of its record, in the catalogue: retry-table or dead-letter
	Partition int32
	Offset    int64
	At        int64  // timestamp of its record, Unix ms
	Entry     string // key of its record, of an entry
	Due       int64  // of an entry, Unix ms: as its key says, for it may have been pulled forward
	To        string // catalogue topic that an entry goes to when it is due
	Letter    letter.Letter
	Done      *schemas.Audited // what a person did about a dead letter; nil: it is open

	was []byte // value of a letter before it was edited; nil: it was not
}

// Target is how the audit names the item's record.
func (it Item) Target() string { return letter.Target(it.Topic, it.Partition, it.Offset, it.At) }

// Deadline tells that nothing has failed yet.
func (it Item) Deadline() bool { return it.Topic == topics.RetryTable && it.Letter.Topic == "" }

// Kind is what went wrong, without what differs from one record to the next.
type Kind struct{ Group, Cause, Error string }

func (it Item) Kind() Kind {
	return Kind{it.Letter.Group, it.Letter.Cause, letter.Normal(it.Letter.Error)}
}

// queue is what entries of the calendar wait in, one behind the other.
type queue struct {
	partition  int32
	group, key string
}

func (it Item) queue() queue { return queue{it.Partition, it.Letter.Group, string(it.Letter.Key)} }

// Filter chooses items; what is empty does not matter.
type Filter struct {
	IDs       []string
	Key       string // of the row
	Group     string
	Cause     string
	Error     string // a part of the error, or of what letter.Normal makes of it
	DueBefore int64  // Unix ms, of entries
	Since     int64  // Unix ms: dead letters of then and later
}

// All tells that it chooses everything.
func (f Filter) All() bool {
	return len(f.IDs) == 0 && f.Key+f.Group+f.Cause+f.Error == "" && f.DueBefore == 0 && f.Since == 0
}

func (f Filter) fits(it Item) bool {
	l := it.Letter
	switch {
	case len(f.IDs) > 0 && !slices.Contains(f.IDs, it.ID),
		f.Key != "" && f.Key != string(l.Key),
		f.Group != "" && f.Group != l.Group,
		f.Cause != "" && f.Cause != l.Cause,
		f.Error != "" && !strings.Contains(l.Error, f.Error) && !strings.Contains(letter.Normal(l.Error), f.Error),
		f.DueBefore != 0 && it.Due >= f.DueBefore,
		f.Since != 0 && it.At < f.Since:
		return false
	}
	return !it.Deadline() || f.Cause != "" || len(f.IDs) > 0 // every order that waits has one
}

// Select returns the items that fit, in their order.
func (f Filter) Select(items []Item) []Item {
	return slices.DeleteFunc(slices.Clone(items), func(it Item) bool { return !f.fits(it) })
}

// Missing are the IDs that none of the items has.
func (f Filter) Missing(items []Item) []string {
	return missing(f.IDs, items, func(it Item) string { return it.ID })
}

func missing[T any](ids []string, there []T, id func(T) string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(want string) bool {
		return slices.ContainsFunc(there, func(t T) bool { return id(t) == want })
	})
}

// Queues adds to some entries of the calendar what waits in the same queues: it
// comes in order, so one alone cannot come before its turn.
func Queues(some, all []Item) []Item {
	wanted := map[queue]bool{}
	chosen := map[string]bool{}
	for _, it := range some {
		wanted[it.queue()] = !it.Deadline() || wanted[it.queue()]
		chosen[it.ID] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(it Item) bool { return !chosen[it.ID] && (it.Deadline() || !wanted[it.queue()]) })
}

// Sum is how many items are of one kind.
type Sum struct {
	Kind
	Count       int
	First, Last int64  // Unix ms
	Example     string // ID of the last one
}

// Sums counts items by kind, the largest number first.
func Sums(items []Item) []Sum {
	at := map[Kind]int{}
	var sums []Sum
	for _, it := range items {
		k := it.Kind()
		i, ok := at[k]
		if !ok {
			i = len(sums)
			at[k] = i
			sums = append(sums, Sum{Kind: k, First: it.At})
		}
		s := &sums[i]
		s.Count++
		s.First = min(s.First, it.At)
		if it.At >= s.Last {
			s.Last, s.Example = it.At, it.ID
		}
	}
	slices.SortStableFunc(sums, func(a, b Sum) int { return cmp.Compare(b.Count, a.Count) })
	return sums
}
