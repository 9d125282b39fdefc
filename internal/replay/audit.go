package replay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Actions on the audit.
const (
	didRun    = "replay.run"
	didUndo   = "replay.undo"
	didPause  = "replay.pause"
	didResume = "replay.resume"
)

// done returns the groups that a run of this ID has done before it was interrupted.
func (r *Replayer) done(ctx context.Context, id string) (map[string]bool, error) {
	groups := map[string]bool{}
	return groups, r.eachAudited(ctx, func(a *schemas.Audited) {
		if a.Target == id && (a.What == didRun || a.What == didUndo) {
			groups[a.Group] = true
		}
	})
}

// report writes what is done, and that the group goes on if it was paused for this.
func (r *Replayer) report(ctx context.Context, t *tx, id string, spec Spec, g *Group, why string, d deed, res *Outcome) error {
	before, after := moves{Of: d.of, Snapshot: res.Snapshot}, moves{Of: d.of, Mode: spec.Mode, Target: spec.Target.String(), Rows: res.Rows}
	for _, p := range g.changed() {
		meta := fmt.Sprintf("%x", p.id)
		before.Offsets = append(before.Offsets, place{p.Topic, p.Partition, p.Committed, meta})
		after.Offsets = append(after.Offsets, place{p.Topic, p.Partition, p.Target, meta})
	}
	a := schemas.Audited{What: d.what, Why: why, Target: id, Group: g.Name}
	var err error
	if a.Before, err = json.Marshal(before); err != nil {
		return err
	}
	if a.After, err = json.Marshal(after); err != nil {
		return err
	}
	if err := t.audit(ctx, a); err != nil {
		return err
	}
	if res.Resumed {
		if err := t.control(ctx, schemas.GroupControl{Group: g.Name, Why: why, Replay: id}); err != nil {
			return err
		}
	}
	return t.flush(ctx)
}

// moves is what the audit keeps of a run, before and after.
type moves struct {
	Of       string  `json:"of,omitempty"` // run that is undone
	Mode     string  `json:"mode,omitempty"`
	Target   string  `json:"target,omitempty"`
	Rows     int     `json:"rows,omitempty"`
	Snapshot string  `json:"snapshot,omitempty"` // of the group before
	Offsets  []place `json:"offsets"`
}

type place struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"` // -1: nothing was committed
	ID        string `json:"topic_id"`
}

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

// eachAudited reads the audit from its start.
func (r *Replayer) eachAudited(ctx context.Context, do func(*schemas.Audited)) error {
	span, err := client.Whole(ctx, r.adm, r.name(topics.Audit))
	if err != nil {
		return err
	}
	return span.Read(ctx, r.cfg.Opts, func(rec *kgo.Record) (bool, error) {
		a := new(schemas.Audited)
		if err := r.cfg.Serde.DecodeInto(ctx, topics.Audit, rec.Value, a); err != nil {
			return false, fmt.Errorf("audit record at %s/%d/%d: %w", rec.Topic, rec.Partition, rec.Offset, err)
		}
		do(a)
		return true, nil
	})
}
