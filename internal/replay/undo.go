package replay

import (
	"context"
	"errors"
	"fmt"
)

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
