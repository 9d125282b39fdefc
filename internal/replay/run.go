package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderlog/orderlog/topics"
)

// Step is one of a run. What is before Committed has not happened if the run ends
// there; nothing after it can be undone by a kill.
type Step string

// The steps, in their order; those from Emptied on are of each group.
const (
	Agreed    Step = "agreed"    // the plan is the one that was agreed to
	Paused    Step = "paused"    // instances are told to leave the groups
	Emptied   Step = "emptied"   // nobody is in the group
	Seated    Step = "seated"    // but this one
	Begun     Step = "begun"     // a transaction, and what another one has left open is undone
	Written   Step = "written"   // rows, audit and the word to go on are at the broker
	Moved     Step = "moved"     // so are the offsets
	Committed Step = "committed" // all of that has happened
)

// How is how a plan is run.
type How struct {
	Hash string        // of the plan that was agreed to; "": none, which agrees to whatever is not a warning
	Stop bool          // have instances leave the groups, and come back
	Wait time.Duration // for groups to be empty
	Why  string        // for the audit
	Tell func(string)  // what is being done or waited for; nil: nobody
}

// Result is what a run did.
type Result struct {
	ID     string    `json:"replay"`
	Mode   string    `json:"mode"`
	Target string    `json:"target"`
	Groups []Outcome `json:"groups"`
}

// Outcome is what it did to one group.
type Outcome struct {
	Group    string  `json:"group"`
	Changed  int     `json:"changed_partitions"`
	Again    int64   `json:"again"`
	Rows     int     `json:"rows"`               // written to the table
	Snapshot string  `json:"snapshot,omitempty"` // of the group before, where rows were written
	Resumed  bool    `json:"resumed"`            // its instances were told to go on
	Before   bool    `json:"before,omitempty"`   // it had been done by a run that was interrupted
	Seconds  float64 `json:"seconds,omitempty"`  // that the group was held
}

// Errors of a run that changes nothing.
var (
	ErrMoved   = errors.New("the plan is not the one that was agreed to")
	ErrWarned  = errors.New("the plan warns of a loss")
	ErrProblem = errors.New("the plan cannot be run")
	ErrBusy    = errors.New("another replay has paused the group")
	ErrGivenUp = errors.New("somebody has the group go on, or has paused it anew: this run is given up")
)

// errAbandoned is a run that ends as if it had been killed.
type errAbandoned struct{ error }

func (e errAbandoned) Unwrap() error { return e.error }

// Run does what the plan of spec says, in one transaction for each group.
func (r *Replayer) Run(ctx context.Context, spec Spec, how How) (*Result, error) {
	return r.run(ctx, spec, how, deed{what: didRun})
}

// deed is what the audit says of a run.
type deed struct {
	what string
	of   string // ID of the run that is undone
}

func (r *Replayer) run(ctx context.Context, spec Spec, how How, d deed) (_ *Result, err error) {
	if how.Tell == nil {
		how.Tell = func(string) {}
	}
	plan, err := r.look(ctx, spec)
	if err != nil {
		return nil, err
	}
	spec.Mode = plan.Mode // by its name
	id, err := r.agree(plan, how)
	if err != nil {
		return nil, err
	}
	if err := r.step(Agreed); err != nil {
		return nil, err
	}
	res := &Result{ID: id, Mode: plan.Mode, Target: plan.Target}
	done, err := r.done(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && !errors.As(err, new(errAbandoned)) {
			err = errors.Join(err, r.release(plan, id, how))
		}
	}()
	if err := r.clear(ctx, plan, id, how, done); err != nil {
		return res, err
	}
	for _, g := range plan.Groups {
		if done[g.Name] {
			res.Groups = append(res.Groups, Outcome{Group: g.Name, Before: true})
			continue
		}
		one, err := r.one(ctx, spec, id, g, how, d)
		if err != nil {
			return res, fmt.Errorf("group %s: %w", g.Name, err)
		}
		res.Groups = append(res.Groups, *one)
	}
	return res, nil
}

func (r *Replayer) step(s Step) error {
	if err := r.cfg.Step(s); err != nil {
		return errAbandoned{fmt.Errorf("abandoned before %s: %w", s, err)}
	}
	return nil
}

const asked = 6 // how long that half of a hash is

// agree returns the ID of the run: of the one that goes on, if it was interrupted.
func (r *Replayer) agree(p *Plan, how How) (id string, err error) {
	for _, g := range p.Groups {
		if len(g.Problems) > 0 {
			return "", fmt.Errorf("group %s: %w: %s", g.Name, ErrProblem, strings.Join(g.Problems, "; "))
		}
		if g.Paused == nil || g.Paused.Replay == "" {
			continue
		}
		if how.Hash == "" || !strings.HasPrefix(g.Paused.Replay, how.Hash+".") {
			return "", fmt.Errorf("group %s: %w: %s, of %s", g.Name, ErrBusy, g.Paused.Replay, g.Paused.Who)
		}
		id = g.Paused.Replay
	}
	switch {
	case id != "" && id[:min(len(id), asked)] != p.Hash[:asked]:
		return "", fmt.Errorf("%w: %s was about something else", ErrMoved, how.Hash)
	case id != "":
		return id, nil
	case how.Hash != "" && how.Hash != p.Hash:
		return "", fmt.Errorf("%w: that was %s, and it is %s now", ErrMoved, how.Hash, p.Hash)
	case how.Hash == "" && p.Warned():
		var all []string
		for _, g := range p.Groups {
			all = append(all, g.Warnings...)
		}
		return "", fmt.Errorf("%w: %s", ErrWarned, strings.Join(all, "; "))
	}
	return fmt.Sprintf("%s.%d", p.Hash, r.cfg.Now().UnixMilli()), nil
}

// stands says whether a run of this ID has done the group already, once its transaction
// has begun: nobody else can end one about the group then. It is an error if the group
// was paused for the run, and is so no more.
func (r *Replayer) stands(ctx context.Context, id string, agreed *Group) (done bool, err error) {
	if err := r.decided(ctx, topics.Audit); err != nil {
		return false, err
	}
	groups, err := r.done(ctx, id)
	if err != nil || groups[agreed.Name] {
		return groups[agreed.Name], err
	}
	if agreed.Paused == nil || agreed.Paused.Replay != id {
		return false, nil
	}
	is, err := r.paused(ctx, agreed.Name)
	if err == nil && (is == nil || is.Replay != id) {
		err = ErrGivenUp
	}
	return false, err
}

// one does a group: what is changed and that it was, in one transaction.
func (r *Replayer) one(ctx context.Context, spec Spec, id string, agreed *Group, how How, d deed) (_ *Outcome, err error) {
	if err := r.step(Emptied); err != nil {
		return nil, err
	}
	began := time.Now()
	how.Tell("holding " + agreed.Name)
	s, err := sit(ctx, r.cfg.Opts, r.cfg.Session, agreed)
	if err != nil {
		return nil, err
	}
	var t *tx
	defer func() {
		if errors.As(err, new(errAbandoned)) {
			s.abandon()
			if t != nil {
				t.cl.Close()
			}
			return
		}
		if t != nil {
			t.close()
		}
		s.leave()
	}()
	if err := r.step(Seated); err != nil {
		return nil, err
	}
	if t, err = r.begin(ctx, agreed.Name); err != nil {
		return nil, err
	}
	if err := r.step(Begun); err != nil {
		return nil, err
	}
	if done, err := r.stands(ctx, id, agreed); err != nil {
		return nil, err
	} else if done {
		return &Outcome{Group: agreed.Name, Before: true}, nil
	}
	m, err := modeOf(spec.Mode)
	if err != nil {
		return nil, err
	}
	g, err := r.settled(ctx, m, spec, agreed, how)
	if err != nil {
		return nil, err
	}
	res := &Outcome{Group: g.Name, Changed: len(g.changed()), Again: g.Again, Resumed: agreed.Paused != nil && agreed.Paused.Replay == id}
	if m.rows != nil {
		if res.Snapshot, err = r.keep(ctx, g, how); err != nil {
			return nil, err
		}
		how.Tell("writing rows of " + g.Name)
		rows, err := m.rows(ctx, r, g)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			t.write(ctx, row)
		}
		res.Rows = len(rows)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience) // what is left is short: who interrupts waits for it
	defer cancel()
	if err := r.report(ctx, t, id, spec, g, how.Why, d, res); err != nil {
		return nil, err
	}
	if err := r.step(Written); err != nil {
		return nil, err
	}
	if err := t.move(ctx, s, g); err != nil {
		return nil, err
	}
	if err := r.step(Moved); err != nil {
		return nil, err
	}
	if err := r.end(ctx, t, id, g.Name); err != nil {
		return nil, err
	}
	if res.Resumed {
		agreed.Paused = nil
	}
	if err := r.step(Committed); err != nil {
		return nil, err
	}
	res.Seconds = time.Since(began).Seconds()
	return res, nil
}

// settled looks at the group again, now that its offsets stay where they are.
func (r *Replayer) settled(ctx context.Context, m mode, spec Spec, agreed *Group, how How) (*Group, error) {
	g, err := r.group(kadm.RequireStable(ctx), agreed.unit, m, spec)
	if err != nil {
		return nil, err
	}
	switch {
	case len(g.Problems) > 0:
		return nil, fmt.Errorf("%w: %s", ErrProblem, strings.Join(g.Problems, "; "))
	case how.Hash == "" && len(g.Warnings) > 0:
		return nil, fmt.Errorf("%w: %s", ErrWarned, strings.Join(g.Warnings, "; "))
	}
	for _, of := range sorted(g.of) {
		if _, known := agreed.of[of]; !known && how.Hash != "" {
			return nil, fmt.Errorf("%w: it did not warn of %s", ErrMoved, g.of[of])
		}
	}
	return g, nil
}
