package graph

import (
	"encoding/binary"
	"errors"
	"time"
)

// note is what a group remembers beside a row, or beside a row that is not there
// yet: the queue of the records that wait for it in the calendar, the deadline that it
// has there, and since when the row is as it is. Whoever leaves the queue does it in
// the order of the places; these are never given again, so that a record which comes
// back twice is known.
type note struct {
	first, next int64 // place whose turn it is, and the next to be given: equal if none waits
	due         int64 // of the one whose turn it is, Unix ms; others wait for the same time
	cancelled   bool  // what waits shall not be tried again
	deadline    int64 // Unix ms; 0: none

	// Of a row whose state is not its last, in Unix ms; 0: not known. They tell of
	// real time, where a message may be of any year.
	made  int64 // timestamp of the record that the row was made for
	since int64 // by the clock here, since when it is in its state; not before made
}

func (n note) waits() bool { return n.first < n.next }

// Queue is what waits for a row in the calendar: places from First up to, not
// including, Next. It is First's turn when it is due (Unix ms).
type Queue struct{ First, Next, Due int64 }

// QueueOf reads the note beside a row of a rule's table.
func QueueOf(noted []byte) (Queue, error) {
	n, err := parseNote(noted)
	return Queue{n.first, n.next, n.due}, err
}

// place is one in the queue, and when it is due.
type place struct{ seq, due int64 }

// arrival is what the queue must know of a record that has come.
type arrival struct {
	back      bool  // out of the calendar
	seq       int64 // from that place
	cancelled bool  // a person does not want it tried again
	overtakes bool  // it need not wait
	row       bool  // there is a row
	now       int64 // Unix ms
}

// action is what to do with a record.
type action int

const (
	decide    action = iota
	wait             // in the calendar, at a place
	pass             // it has left the queue before
	giveUp           // it shall not be tried
	giveUpAll        // nor shall those that wait
)

// outOfTurn is how much later a record that has come before its turn, and whose
// predecessor is overdue, looks again.
const outOfTurn = 5 * time.Minute

// arrive tells what to do with a record, and where it waits if it must.
func (n note) arrive(a arrival) (note, action, place) {
	switch {
	case !a.back && !n.waits():
		return n, decide, place{}
	case !a.back && a.overtakes && a.row:
		return n, decide, place{}
	case !a.back && a.overtakes:
		n.cancelled = true
		return n, giveUpAll, place{}
	case !a.back:
		n.next++
		return n, wait, place{n.next - 1, n.due}
	case a.seq < n.first:
		return n, pass, place{}
	case a.seq >= n.next: // the note is lost, but nothing shall be
		if !n.waits() {
			n.first, n.next = a.seq, a.seq
		}
		a.seq = n.next // nobody will come from the places between
		n.next++
	}
	switch {
	case a.seq > n.first:
		if n.due <= a.now { // not now again, and all who wait at the same time
			n.due = a.now + outOfTurn.Milliseconds()
		}
		return n, wait, place{a.seq, n.due}
	case n.cancelled || a.cancelled:
		return n, giveUp, place{}
	}
	return n, decide, place{}
}

// fail is where a record waits that was decided on in vain, until due if it is its turn.
func (n note) fail(a arrival, due int64) (note, place) {
	switch {
	case a.back:
		n.due = due
		return n, place{a.seq, due}
	case !n.waits():
		n.due = due
	}
	n.next++
	return n, place{n.next - 1, n.due}
}

// leave is the queue without the record of that place, if it was its turn.
func (n note) leave(seq int64) note {
	if n.waits() && seq == n.first {
		n.first++
	}
	if !n.waits() {
		n.due, n.cancelled = 0, false
	}
	return n
}

// Layouts: the queue and the deadline; the times, too.
const (
	noteLayout  = 1
	agingLayout = 2
)

// encode is nil for a note that says nothing.
func (n note) encode() []byte {
	if n == (note{}) {
		return nil
	}
	b := append(make([]byte, 0, 32), noteLayout)
	for _, v := range [...]int64{n.first, n.next, n.due, n.deadline} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	if n.since != 0 {
		b[0] = agingLayout
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(n.made)), uint64(n.since-n.made))
	}
	if n.cancelled {
		return append(b, 1)
	}
	return append(b, 0)
}

var errNote = errors.New("malformed note, or one of a later version")

func parseNote(b []byte) (n note, err error) {
	if len(b) == 0 {
		return n, nil
	}
	rest, fields := b[1:], [...]*int64{&n.first, &n.next, &n.due, &n.deadline, &n.made, &n.since}
	here := len(fields)
	switch b[0] {
	case noteLayout:
		here -= 2
	case agingLayout:
	default:
		return note{}, errNote
	}
	for _, v := range fields[:here] {
		u, w := binary.Uvarint(rest)
		if w <= 0 || u > 1<<63-1 {
			return note{}, errNote
		}
		*v, rest = int64(u), rest[w:]
	}
	n.since += n.made
	if len(rest) != 1 || rest[0] > 1 || n.first > n.next || n.since < n.made {
		return note{}, errNote
	}
	n.cancelled = rest[0] == 1
	return n, nil
}
