package graph

import (
	"fmt"
	"strconv"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/topics"
)

// CauseBehind is that of entries of the calendar with which nothing is wrong: they
// wait for an earlier record of their key.
const CauseBehind = "behind"

// causePanic is that of records on which the rule panicked.
const causePanic = "panic"

// causeCancelled is that of dead letters that nobody wants to be tried any more.
const causeCancelled = "cancelled"

func (h *handler[S]) now() int64 { return h.env.Now().UnixMilli() }

// recall reads the note of the row.
func (h *handler[S]) recall(j *job[S]) bool {
	n, err := parseNote(j.c.Note())
	if err != nil {
		j.c.Fail(fmt.Errorf("note of row %q of %s: %w", j.rec.Key, h.table, err)) // our own table
		return false
	}
	j.was, j.note = n, n
	if n.deadline != 0 && event.Header(j.rec, letter.HeaderDue) == strconv.FormatInt(n.deadline, 10) {
		j.note.deadline = 0 // this is it
	}
	return true
}

// leave takes the record out of the queue, if it was there, and sees to the note,
// which is written with the row or beside it.
func (h *handler[S]) leave(j *job[S]) {
	if j.back != nil {
		j.note = j.note.leave(j.back.Seq)
	}
	h.keep(j)
}

func (h *handler[S]) keep(j *job[S]) {
	if j.note != j.was {
		j.c.SetNote(j.note.encode())
	}
}

func (h *handler[S]) arrival(j *job[S]) arrival {
	if j.back != nil {
		return arrival{now: h.now(), back: true, seq: j.back.Seq, cancelled: j.back.Cancel != ""}
	}
	return arrival{now: h.now(), overtakes: h.says(h.p.Overtakes, j.m.Type), row: j.c.Row() != nil}
}

// turn tells whether the rule may be shown the record now; it sees to it otherwise.
func (h *handler[S]) turn(j *job[S]) bool {
	if j.back == nil && !j.note.waits() {
		return true
	}
	n, what, at := j.note.arrive(h.arrival(j))
	if what == decide {
		j.note = n
		return true
	}
	l := h.letter(j)
	switch what {
	case wait:
		if j.back == nil {
			l.Class, l.Cause, l.Error = letter.Transient, CauseBehind, "an earlier record of its key is parked"
		}
		h.park(j, l, n, at)
		return false
	case giveUp:
		j.note = n
		l.Cause, l.Error = causeCancelled, "what it is about was cancelled while it waited"
		if l.Cancel != "" {
			l.Error = l.Cancel
		}
		h.bury(j, l)
	case giveUpAll:
		j.note = n
		l.Class, l.Cause, l.Error = letter.Poison, causeCancelled, "what could be cancelled is parked, and will not be tried again"
		h.bury(j, l)
	case pass:
		j.span.Pass("came back twice")
		h.log("a record came back twice", j, l)
	}
	return false
}

// letter is about the record, with what went wrong before.
func (h *handler[S]) letter(j *job[S]) letter.Letter {
	l := letter.Of(j.rec)
	if j.past != nil {
		l = *j.past
	}
	l.Group = h.p.Name
	return l
}

// fail parks a record that could not be handled for another attempt, and buries it
// if there is none.
func (h *handler[S]) fail(j *job[S], cause, err, stack string) {
	l := h.letter(j).Failed(h.now(), letter.Transient, cause, err, stack)
	wait, ok := h.env.Schedule.Next(len(l.Attempts), h.p.Name+"/"+string(l.Key))
	if !ok {
		h.bury(j, l)
		return
	}
	n, at := j.note.fail(h.arrival(j), h.now()+wait.Milliseconds())
	h.park(j, l, n, at)
}

// park enters the record in the calendar, at a place that the note n knows. What
// the broker might not take as an entry is buried instead; what was an entry before
// is not, until it is its turn, for others would wait for its place.
func (h *handler[S]) park(j *job[S], l letter.Letter, n note, at place) {
	if l.Size() > letter.MaxSize && (j.back == nil || at.seq == n.first) {
		h.bury(j, l)
		return
	}
	l.Seq, l.Due = at.seq, at.due
	value, err := h.env.Serde.Encode(nil, topics.Retry, l.Parked(topics.Loop(h.p.Name)))
	if err != nil {
		j.c.Fail(err) // our own record
		return
	}
	j.note = n
	h.keep(j)
	h.enter(j, entry{h.entryKey(at.due, fmt.Sprintf("%08d", at.seq), l.Key), value})
	j.span.Park(l.Cause, at.due, l.Cause != CauseBehind)
	h.log("record parked in the calendar", j, l)
}

// bury writes the record to dead-letter, in the transaction that consumes it.
func (h *handler[S]) bury(j *job[S], l letter.Letter) {
	h.leave(j)
	h.deadLetter(j, l)
}

func (h *handler[S]) deadLetter(j *job[S], l letter.Letter) {
	l.Seq, l.Due = 0, 0
	l = l.Fit()
	j.c.EmitRecord(h.names[topics.DeadLetter], string(l.Key), l.Value, l.Headers())
	j.span.Bury(l.Cause)
	h.report(j, report.DeadLetter, l.Cause, nil)
	h.log("record put into dead-letter", j, l)
}

// report tells of a failure of the record at hand, once what is done about it is
// committed. Of a panic p says more; nil: there was none.
func (h *handler[S]) report(j *job[S], kind report.Kind, cause string, p *rulePanic) {
	to := h.env.Report
	if to == nil {
		return
	}
	f := failure(kind, h.p.Name, cause, j.rec, j.trace)
	if p != nil {
		f.Type, f.Stack = fmt.Sprintf("%T", p.value), p.stack
	}
	j.c.OnCommit(func() { to.Report(f) })
}

// log says so of the first record with that cause.
func (h *handler[S]) log(what string, j *job[S], l letter.Letter) {
	if _, again := h.logged.LoadOrStore(what+l.Cause, true); !again {
		h.env.Log.Warn(what+"; further ones of this cause are not logged", "group", j.c.Group(), "cause", l.Cause, "error", l.Error, trace.Log(j.rec, j.trace))
	}
}
