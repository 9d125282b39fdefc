package graph

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// causeDeadline is that of entries of the calendar that are no failures.
const causeDeadline = "deadline"

// entry is one of the calendar, to be made or, without a value, to be taken out.
type entry struct {
	key   string
	value []byte
}

// entryKey is that of what is due then. What it is and whose tells it from others.
func (h *handler[S]) entryKey(due int64, what string, key []byte) string {
	sum := sha256.Sum256(key)
	var room [64]byte
	return retry.Key(due, what+"."+h.p.Name+"."+string(hex.AppendEncode(room[:0], sum[:16])))
}

// enter writes an entry; of none it is silent.
func (h *handler[S]) enter(j *job[S], e entry) {
	if e.key == "" {
		return
	}
	if e.value == nil {
		j.c.EmitRecord(h.names[topics.Retry], e.key, nil, nil)
		return
	}
	m := flow.Message{ID: flow.NewID("evt", j.m.At, j.m.ID, -2), Type: schemas.RecordParked, At: j.m.At, Correlation: j.m.Correlation, Causation: j.m.ID}
	j.c.EmitRecord(h.names[topics.Retry], e.key, e.value, h.headers(j, m))
}

// deadline sets one for a row that begins to wait, and takes back that of a row
// which does so no more.
func (h *handler[S]) deadline(j *job[S]) (e entry, err error) {
	if h.p.Deadline == nil {
		return e, nil
	}
	switch at := &j.note.deadline; {
	case j.waits && *at == 0:
		due := h.now() + j.wait.Milliseconds()
		e, err = h.deadlineEntry(j, due, j.decided.deadline)
		if err == nil {
			*at = due
		}
	case !j.waits && *at != 0:
		e.key = h.entryKey(*at, causeDeadline, j.rec.Key)
		*at = 0
	}
	return e, err
}

// takenAway tells whether the record is a deadline that a person has cancelled. It is
// for the note alone: the next record after which the row waits sets another one.
func (h *handler[S]) takenAway(j *job[S]) bool {
	if j.past != nil || j.in.External || event.Header(j.rec, letter.HeaderCancel) == "" {
		return false
	}
	h.keep(j)
	return true
}

func (h *handler[S]) deadlineEntry(j *job[S], due int64, m flow.Message) (e entry, err error) {
	m.ID, m.Correlation, m.Causation = flow.NewID("evt", m.At, j.m.ID, -3), j.m.Correlation, j.m.ID
	l := letter.Letter{Group: h.p.Name, Cause: causeDeadline, Due: due, Key: []byte(m.Key), Own: j.trace.Append(event.Append(nil, h.from, "", m))}
	if l.Value, err = h.env.Serde.Encode(nil, m.Topic, m.Body); err != nil {
		return e, err
	}
	e.value, err = h.env.Serde.Encode(nil, topics.Retry, l.Parked(m.Topic))
	e.key = h.entryKey(due, causeDeadline, l.Key)
	return e, err
}
