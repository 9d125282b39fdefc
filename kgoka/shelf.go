package kgoka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// shelf holds the tables that are open here: in one database, or in memory.
type shelf struct {
	disk *disk // nil: memory
	adm  *kgo.Client
	log  *slog.Logger
	keep bool // rows that the group deletes stay in its own table's log

	mu    sync.Mutex
	open  map[place]*table
	parts map[string]int32 // of each topic, when the first of its tables was taken
}

// failed ends when rows cannot be written any more, with the reason as its cause.
func (s *shelf) failed() context.Context {
	if s.disk == nil {
		return context.Background()
	}
	return s.disk.lost
}

// take returns the tables of some partitions of a topic, opened where they are
// not yet. A table that cannot be of the log as it is now is emptied: reading
// makes it anew.
func (s *shelf) take(ctx context.Context, role Role, topic string, nums ...int32) (ts []*table, err error) {
	var l topicLog
	err = retry(ctx, func(ctx context.Context) error {
		l, err = logOf(ctx, s.adm, topic)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", topic, err)
	}
	s.mu.Lock()
	had := cmp.Or(s.parts[topic], l.parts)
	s.parts[topic] = had
	s.mu.Unlock()
	if l.parts != had || slices.ContainsFunc(nums, func(num int32) bool { return num >= had }) {
		return nil, localError{fmt.Errorf("table %q has got another number of partitions, %d now: its keys are elsewhere, and a new start reads it anew", topic, l.parts)}
	}
	if s.keep && (role == RoleActive || role == RoleStandby) {
		l.tombstones = math.MaxInt64
	}
	ts, errs := make([]*table, len(nums)), make([]error, len(nums))
	var opening sync.WaitGroup // after a crash, opening reads all keys
	for i, num := range nums {
		opening.Go(func() {
			if ts[i], errs[i] = s.fit(place{topic, num}, l); errs[i] == nil {
				ts[i].play(role)
			}
		})
	}
	opening.Wait()
	return ts, errors.Join(errs...)
}

// fit returns a table that is of the log l, or empty.
func (s *shelf) fit(at place, l topicLog) (*table, error) {
	s.mu.Lock()
	t := s.open[at]
	s.mu.Unlock()
	why := ""
	var err error
	if t == nil {
		if t, err = s.load(at); err != nil {
			why = "it cannot be used: " + err.Error()
		}
	}
	if why == "" {
		why = t.misfit(l)
	}
	if why != "" {
		if t.id != (identity{}) || err != nil {
			s.log.Warn("emptying a local table", "topic", at.topic, "partition", at.part, "reason", why)
		}
		if err := t.wipe(l.identity); err != nil {
			return nil, fmt.Errorf("emptying table %s: %w", at, err)
		}
	}
	t.bounds(l.start[at.part], l.end[at.part])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[at] = t
	return t, nil
}

// load returns a table even with an error: it can be wiped then.
func (s *shelf) load(at place) (*table, error) {
	if s.disk == nil {
		return newTable(at, nil)
	}
	st, err := s.disk.open(at)
	if err != nil {
		t, _ := newTable(at, nil)
		t.store = st
		return t, err
	}
	return newTable(at, st)
}

// misfit says why t cannot be of the log l, or "".
func (t *table) misfit(l topicLog) string {
	start, end := l.start[t.part], l.end[t.part]
	age := time.Since(time.UnixMilli(t.asOf))
	switch {
	case t.id == identity{}:
		return "it is new"
	case t.id.topic != l.topic:
		return "the topic was made anew"
	case t.id.parts != l.parts:
		return "the number of partitions changed"
	case t.at >= end:
		return fmt.Sprintf("it is ahead of the log: has offset %d, the log ends at %d", t.at, end-1)
	case t.at >= 0 && t.at+1 < start:
		return fmt.Sprintf("the log has lost what comes next: has offset %d, the log begins at %d", t.at, start)
	case t.at >= 0 && t.at+2 < end && age > l.tombstones/2: // the last record of a log stays; half is for the reading
		return fmt.Sprintf("it is %v old: rows deleted since may have left the log (delete.retention.ms is %v)", age.Round(time.Second), l.tombstones)
	}
	return ""
}

// retain closes the tables that are not wanted any more. In memory they stay: the
// partition may come back.
func (s *shelf) retain(wanted func(place) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for at, t := range s.open {
		switch {
		case wanted(at):
		case s.disk == nil:
			t.play("")
		default:
			delete(s.open, at)
			errs = append(errs, t.close())
		}
	}
	return errors.Join(errs...)
}

// stats returns the state of what is in use, in order.
func (s *shelf) stats() (all []TableStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.open {
		if st := t.stats(); st.Role != "" {
			all = append(all, st)
		}
	}
	slices.SortFunc(all, func(a, b TableStats) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

// Sizes returns how much the tables hold that Stats tells of, by topic and
// partition. One that cannot be looked at is left out.
func (s *shelf) Sizes() (all []TableSize) {
	s.mu.Lock() // stores are closed under it
	defer s.mu.Unlock()
	for _, t := range s.open {
		if size, err := t.size(); err == nil && size.Role != "" {
			all = append(all, size)
		}
	}
	slices.SortFunc(all, func(a, b TableSize) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

func (s *shelf) close() error {
	err := s.retain(func(place) bool { return false })
	if s.disk == nil {
		return nil
	}
	err = errors.Join(err, s.disk.close())
	if lost := s.failed(); lost.Err() != nil { // which all else follows from
		return context.Cause(lost)
	}
	return err
}
