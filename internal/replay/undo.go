package replay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderlog/orderlog/schemas"
)

// Event is a run, or the undoing of one, as the audit has it.
type Event struct {
	ID     string `json:"replay"`
	What   string `json:"what"`
	Who    string `json:"who"`
	At     int64  `json:"at_ms"`
	Why    string `json:"why,omitempty"`
	Mode   string `json:"mode"`
	Target string `json:"target"`
	Undone bool   `json:"undone"`

	before, after moves
}

// Status is how a group stands.
type Status struct {
	Group   string                `json:"group"`
	State   string                `json:"state"`
	Members []string              `json:"members"`
	Paused  *schemas.GroupControl `json:"paused,omitempty"`
	Open    bool                  `json:"open_transaction"` // of a replay that lives, or died before its end
	Last    *Event                `json:"last,omitempty"`   // run or undoing
}

// Half says that a replay was begun and has changed nothing yet: what it changes, and
// that the group goes on, are one transaction.
func (s *Status) Half() bool { return s.Paused != nil && s.Paused.Replay != "" }

// Status looks at groups; it changes nothing.
func (r *Replayer) Status(ctx context.Context, groups []string) ([]*Status, error) {
	var ids []string
	for _, name := range groups {
		ids = append(ids, r.name(TransactionalID(name)))
	}
	txns, err := r.transactions(ctx, ids)
	if err != nil {
		return nil, err
	}
	said, err := r.controls(ctx)
	if err != nil {
		return nil, err
	}
	events, err := r.events(ctx)
	if err != nil {
		return nil, err
	}
	var all []*Status
	for i, name := range groups {
		g := &Group{Name: name, full: r.name(name)}
		if err := r.describe(ctx, g); err != nil {
			return nil, err
		}
		s := &Status{Group: name, State: g.State, Members: g.Members, Open: txns[ids[i]].State == "Ongoing"}
		if c := said[name]; c != nil && c.Paused {
			s.Paused = c
		}
		if es := events[name]; len(es) > 0 {
			s.Last = es[len(es)-1]
		}
		all = append(all, s)
	}
	return all, nil
}

// transactions describes them when none is between its end and the markers of it, which
// readers of committed records wait for.
func (r *Replayer) transactions(ctx context.Context, ids []string) (txns kadm.DescribedTransactions, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = poll(ctx, func() (bool, error) {
		txns, err = r.adm.DescribeTransactions(ctx, ids...)
		if err != nil {
			return false, fmt.Errorf("describing transactions: %w", err)
		}
		return !slices.ContainsFunc(txns.Sorted(), func(t kadm.DescribedTransaction) bool {
			return strings.HasPrefix(t.State, "Prepare")
		}), nil
	})
	return txns, err
}

// events returns runs and undoings of groups, the oldest first.
func (r *Replayer) events(ctx context.Context) (map[string][]*Event, error) {
	all := map[string][]*Event{}
	var bad error
	err := r.eachAudited(ctx, func(a *schemas.Audited) {
		if a.What != didRun && a.What != didUndo {
			return
		}
		e := &Event{ID: a.Target, What: a.What, Who: a.Who, At: a.At, Why: a.Why}
		if err := errors.Join(json.Unmarshal(a.Before, &e.before), json.Unmarshal(a.After, &e.after)); err != nil {
			bad = fmt.Errorf("audit of replay %s: %w", a.Target, err)
		}
		e.Mode, e.Target = e.after.Mode, e.after.Target
		all[a.Group] = append(all[a.Group], e)
	})
	for _, es := range all {
		sortEvents(es)
	}
	return all, errors.Join(err, bad)
}

// ErrNothing says that there is nothing to undo.
var ErrNothing = errors.New("there is nothing to undo")

// Undo brings a group back to where it was before its last run that is not undone, or
// has it go on if a run was interrupted before it changed anything. The answer is nil
// then.
func (r *Replayer) Undo(ctx context.Context, group string, how How) (*Result, error) {
	all, err := r.Status(ctx, []string{group})
	if err != nil {
		return nil, err
	}
	if s := all[0]; s.Half() {
		return nil, r.resume(ctx, group, s.Paused.Replay, how.Why)
	}
	e, err := r.last(ctx, group)
	if err != nil {
		return nil, err
	}
	spec, err := r.before(ctx, group, e)
	if err != nil {
		return nil, err
	}
	return r.run(ctx, spec, how, deed{didUndo, e.ID})
}

// last returns a group's last run that is not undone.
func (r *Replayer) last(ctx context.Context, group string) (*Event, error) {
	events, err := r.events(ctx)
	if err != nil {
		return nil, err
	}
	es := events[group]
	for i := len(es) - 1; i >= 0; i-- {
		if es[i].What == didRun && !es[i].Undone {
			return es[i], nil
		}
	}
	return nil, fmt.Errorf("group %s: %w", group, ErrNothing)
}

// before is the way back of a run: to a snapshot if it changed rows.
func (r *Replayer) before(ctx context.Context, group string, e *Event) (Spec, error) {
	u, err := unitOf(group)
	if err != nil {
		return Spec{}, err
	}
	if e.before.Snapshot != "" {
		if r.cfg.Store == nil {
			return Spec{}, fmt.Errorf("replay %s changed rows (%s): to go back it needs to know where snapshots are", e.ID, e.Mode)
		}
		return ToSnapshot(ctx, r.cfg.Store, e.before.Snapshot, r.cfg.Namespace, group)
	}
	ids, err := r.topicIDs(ctx, u.Inputs)
	if err != nil {
		return Spec{}, err
	}
	spec := Spec{Groups: []string{group}, Target: Target{Kind: ToBefore}}
	for _, p := range e.before.Offsets {
		if id := fmt.Sprintf("%x", ids[p.Topic]); id != p.ID {
			return Spec{}, fmt.Errorf("topic %q has been made anew since replay %s: its offsets are of another log", p.Topic, e.ID)
		}
		spec.Target.File = append(spec.Target.File, Line{Topic: p.Topic, Partition: p.Partition, Offset: p.Offset})
	}
	return spec, nil
}

// Pause has all instances leave a group, until Resume.
func (r *Replayer) Pause(ctx context.Context, group, why string, wait time.Duration, tell func(string)) error {
	said, err := r.controls(ctx)
	if err != nil {
		return err
	}
	g := &Group{Name: group, full: r.name(group)}
	if c := said[group]; c != nil && c.Paused {
		if c.Replay != "" {
			return fmt.Errorf("group %s: %w: %s, of %s", group, ErrBusy, c.Replay, c.Who)
		}
	} else if err := r.pause(ctx, g, "", why); err != nil {
		return err
	}
	return r.empty(ctx, g, How{Wait: wait, Tell: tell})
}

// Resume has a group go on, whoever has paused it. A replay that is at work on it is
// refused its end, one that died is forgotten.
func (r *Replayer) Resume(ctx context.Context, group, why string) error {
	return r.resume(ctx, group, "", why)
}

func sortEvents(es []*Event) {
	slices.SortStableFunc(es, func(a, b *Event) int { return cmp.Compare(a.At, b.At) })
	undone := map[string]bool{}
	for _, e := range es {
		undone[e.after.Of] = true
	}
	for _, e := range es {
		e.Undone = e.What == didRun && undone[e.ID]
	}
}
