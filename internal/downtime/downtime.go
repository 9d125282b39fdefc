// Package downtime says how long a consumer group may stay down before something
// that it needs is gone: records, or where it stands. These are the rules; look.go
// asks a cluster what they are applied to.
//
// Every figure is what is certain: brokers delete and compact whole segments, of
// which the last one stays, so what may be gone is often still there. Two more
// things expire and do no harm: a transactional ID (transactional.id.expiration.ms),
// which a group takes anew at its start, and deletions in the log of a table
// (delete.retention.ms), since kgoka does not trust a local table that is as old.
package downtime

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
)

// Forever is a downtime without an end.
const Forever = time.Duration(math.MaxInt64)

// Loss is what ends a safe downtime.
type Loss string

// Losses, the worst first.
const (
	Records Loss = "records" // nobody will ever handle them
	Offsets Loss = "offsets" // where the group stands: it does not go on until somebody says from where
	History Loss = "history" // versions that were followed by others: who acts on the last one of each key still ends right
)

func (l Loss) badness() int { return slices.Index([]Loss{History, Offsets, Records}, l) }

// Keep is for how long a topic's records stay, and the offsets of those who read it.
type Keep struct {
	Delete  bool          // cleanup.policy has "delete"
	Compact bool          // and "compact"
	Age     time.Duration // retention.ms, counts if Delete
	Bytes   int64         // retention.bytes of a partition, counts if Delete; -1: any number
	Lag     time.Duration // min.compaction.lag.ms, counts if Compact
	Offsets time.Duration // offsets.retention.minutes of the brokers
}

// Names of settings.
const (
	cleanupPolicy    = "cleanup.policy"
	retentionMs      = "retention.ms"
	retentionBytes   = "retention.bytes"
	compactionLag    = "min.compaction.lag.ms"
	offsetsRetention = "offsets.retention.minutes"
)

// Place is how a group stands on a partition.
type Place struct {
	Behind time.Duration // age of the first record that it has not read; 0: it has read all
	Lost   bool          // the log begins behind where it stands
	Down   bool          // it has no members
	New    bool          // it has committed nothing, which nobody can forget

	// Of a topic that is kept by size.
	Unread float64 // bytes behind where it stands
	Rate   float64 // bytes a second that come
}

// Limit is one way in which a downtime ends badly.
type Limit struct {
	Loses   Loss
	Setting string        // of the topic or the brokers, that says so
	Whole   time.Duration // for a group that has read all
	Left    time.Duration // for this one, from now on; at most Whole
}

// Limits are those of a group at p, the one that comes first at the front; none if
// it may stay down for ever.
func (k Keep) Limits(p Place) []Limit {
	var ls []Limit
	add := func(loses Loss, setting string, whole, left time.Duration) {
		if p.Lost && loses != Offsets {
			left = 0
		}
		if whole != Forever || left == 0 {
			ls = append(ls, Limit{loses, setting, whole, min(whole, max(0, left))})
		}
	}
	if k.Delete {
		add(Records, retentionMs, k.Age, less(k.Age, p.Behind))
		if k.Bytes >= 0 {
			size := float64(k.Bytes)
			add(Records, retentionBytes, fill(size, p.Rate), fill(size-p.Unread, p.Rate))
		}
	}
	if k.Compact {
		add(History, compactionLag, k.Lag, less(k.Lag, p.Behind))
	}
	if !p.New {
		add(Offsets, offsetsRetention, k.Offsets, k.offsets(p))
	}
	slices.SortStableFunc(ls, func(a, b Limit) int {
		return cmp.Or(cmp.Compare(a.Left, b.Left), cmp.Compare(b.Loses.badness(), a.Loses.badness()))
	})
	return ls
}

// offsets is how long they stay. Brokers count from when the last member left, and
// do not tell when that was: what has come since is unread, so not later than that.
func (k Keep) offsets(p Place) time.Duration {
	if !p.Down {
		return k.Offsets
	}
	return less(k.Offsets, p.Behind)
}

func less(d, by time.Duration) time.Duration {
	if d == Forever {
		return d
	}
	return d - by
}

// fill is how long it takes until so many bytes have come.
func fill(bytes, rate float64) time.Duration {
	switch seconds := bytes / rate; {
	case bytes <= 0:
		return 0
	case rate <= 0 || seconds > Forever.Seconds():
		return Forever
	default:
		return time.Duration(seconds * float64(time.Second))
	}
}

// span reads a number of units; a negative one, none, and one that is too large, is
// without end.
func span(value string, unit time.Duration) time.Duration {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || n > int64(Forever/unit) {
		return Forever
	}
	return time.Duration(n) * unit
}
