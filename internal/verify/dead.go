package verify

import (
	"cmp"
	"errors"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// deadLetters knows what was given up, by the coordinates of the original, and
// what of it persons have brought back.
type deadLetters struct {
	mu      sync.Mutex
	letters map[string]deadLetter       // by what the audit calls it
	brought map[string]*schemas.Audited // likewise

	cancelled map[string]bool // orders of which a person has cancelled an entry of the calendar, maybe the deadline

	// As of the last cut.
	stands map[coordinates]bool   // some letter about it was not brought back
	again  map[coordinates]*again // none stands, and some was
	causes map[string]int64       // of those that stand, "<original topic>: <cause>"
	total  int64
}

type deadLetter struct {
	coordinates
	cause  string
	record *kgo.Record // as it was; see keptWhole
}

// again is what a person has brought back: handled, unless it is parked.
type again struct {
	key  string
	body any // nil: as it was
}

type coordinates struct {
	topic     string // as on the cluster
	partition int32
	offset    int64
}

func newDeadLetters() *deadLetters {
	return &deadLetters{letters: map[string]deadLetter{}, brought: map[string]*schemas.Audited{}, cancelled: map[string]bool{}}
}

func (d *deadLetters) add(r *kgo.Record) error {
	l := letter.Parse(r)
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := deadLetter{coordinates{l.Topic, l.Partition, l.Offset}, l.Topic + ": " + cmp.Or(l.Cause, "unknown cause"), nil}
	if keptWhole(l.Topic) {
		kept.record = l.Original()
	}
	d.letters[letter.Target(topics.DeadLetter, r.Partition, r.Offset, r.Timestamp.UnixMilli())] = kept
	return nil
}

// actions is one partition of the audit.
type actions struct{ w *world }

func (a actions) add(r *kgo.Record) error {
	act := new(schemas.Audited)
	err := a.w.serde.DecodeInto(a.w.ctx, topics.Audit, r.Value, act)
	switch {
	case errors.Is(err, schemas.ErrRegistry):
		return err
	case err != nil:
		return nil
	}
	a.w.dead.mu.Lock()
	defer a.w.dead.mu.Unlock()
	switch {
	case act.What == schemas.Redriven || act.What == schemas.Edited:
		a.w.dead.brought[act.Target] = act
	case act.What == schemas.EntryCancelled && act.Group == "order":
		a.w.dead.cancelled[act.Key] = true
	}
	return nil
}

// sort finds out which letters stand. It follows the reading of both topics.
func (d *deadLetters) sort(w *world) error {
	d.stands, d.again, d.causes, d.total = map[coordinates]bool{}, map[coordinates]*again{}, map[string]int64{}, 0
	for target, l := range d.letters {
		if act := d.brought[target]; act != nil {
			a, err := w.again(l, act)
			if err != nil {
				return err
			}
			d.again[l.coordinates] = a
			continue
		}
		d.stands[l.coordinates] = true
		d.causes[l.cause]++
		d.total++
	}
	for at := range d.stands {
		delete(d.again, at)
	}
	return nil
}

func (w *world) again(l deadLetter, act *schemas.Audited) (*again, error) {
	a := &again{key: act.Key}
	if act.What != schemas.Edited {
		return a, nil
	}
	for topic := range w.inboxes {
		if w.names(topic) != l.topic {
			continue
		}
		var err error
		if a.body, err = w.serde.Decode(w.ctx, topic, act.After); errors.Is(err, schemas.ErrRegistry) {
			return nil, err
		}
	}
	return a, nil
}
