package graph

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/flow"
)

// Observer is told what one rule does. Its methods are called from any goroutine,
// within transactions; what they are given is good until they return.
type Observer interface {
	// Took is told how long the rule took for a record: for one in timedOf.
	Took(d time.Duration, rec *kgo.Record)

	// Decided is told what is written for a record. What it returns, unless that is
	// nil, is called once it is committed; see kgoka.Context.OnCommit.
	Decided(d *Decision) (committed func())
}

// Decision is what a rule has made of a record.
type Decision struct {
	Transaction any   // that writes it, see kgoka.Context
	Partition   int32 // whose records are decided on one after the other

	Record    *kgo.Record    // as it first came
	Old, New  any            // pointers to the row as the rule has it; Old is nil if there was none
	RowType   string         // event that the row is written for; "" if it is not
	Outs      []flow.Message // what is written beside it
	From, To  string         // state of the row before and after; "" of no row, or if the rule names none
	MadeAt    int64          // timestamp of the record that made the row, Unix ms; 0: not known
	EnteredAt int64          // since when it was in From by the clock, Unix ms; 0: not known
}

// timedOf is how many decisions there are for one that is timed: to look at the clock
// twice may take as long as to decide.
const timedOf = 16

// timed is when a decision that is to be timed begins, and zero for others.
func (h *handler[S]) timed(j *job[S]) (began time.Time) {
	if h.env.Observer == nil {
		return began
	}
	if j.untimed--; j.untimed >= 0 {
		return began
	}
	j.untimed = timedOf - 1
	return time.Now()
}

// age notes since when the row is in its state, unless that is its last.
func (h *handler[S]) age(j *job[S]) {
	switch n := &j.note; {
	case j.from == j.to:
	case j.last:
		n.made, n.since = 0, 0
	default:
		if j.from == "" {
			n.made = max(0, j.rec.Timestamp.UnixMilli())
		}
		n.since = max(h.now(), n.made)
	}
}

func (h *handler[S]) tell(j *job[S], there, changed bool) {
	d := &j.seen
	*d = Decision{Transaction: j.c.Transaction(), Partition: j.c.Record().Partition, Record: j.rec, New: &j.next, Outs: j.outs, From: j.from, To: j.to, MadeAt: j.was.made, EnteredAt: j.was.since}
	if there {
		d.Old = &j.row
	}
	if changed {
		d.RowType = j.rowType
	}
	if j.from == "" && j.to != "" {
		d.MadeAt = j.rec.Timestamp.UnixMilli()
	}
	if f := h.env.Observer.Decided(d); f != nil {
		j.c.OnCommit(f)
	}
}

// MadeAt reads off the note beside a row the timestamp (Unix ms) of the record that the
// row was made for; 0: it is not known, or the row is in its last state.
func MadeAt(noted []byte) (int64, error) {
	n, err := parseNote(noted)
	return n.made, err
}
