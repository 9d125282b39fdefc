package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/schemas"
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

// Actions on the audit.
const (
	didRun    = "replay.run"
	didUndo   = "replay.undo"
	didPause  = "replay.pause"
	didResume = "replay.resume"
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

// done returns the groups that a run of this ID has done before it was interrupted.
func (r *Replayer) done(ctx context.Context, id string) (map[string]bool, error) {
	groups := map[string]bool{}
	return groups, r.eachAudited(ctx, func(a *schemas.Audited) {
		if a.Target == id && (a.What == didRun || a.What == didUndo) {
			groups[a.Group] = true
		}
	})
}

// clear has all instances leave the groups.
func (r *Replayer) clear(ctx context.Context, p *Plan, id string, how How, done map[string]bool) error {
	for _, g := range p.Groups {
		if done[g.Name] || g.Paused != nil {
			continue
		}
		if !how.Stop {
			if !onlyReplays(g.Members) {
				return fmt.Errorf("group %s: %w: %s", g.Name, ErrNotEmpty, strings.Join(g.Members, ", "))
			}
			continue
		}
		how.Tell("pausing " + g.Name)
		if err := r.pause(ctx, g, id, how.Why); err != nil { // empty or not: it says what is left to do after a kill
			return fmt.Errorf("pausing group %s: %w", g.Name, err)
		}
	}
	if err := r.step(Paused); err != nil {
		return err
	}
	for _, g := range p.Groups {
		if done[g.Name] {
			continue
		}
		if err := r.empty(ctx, g, how); err != nil {
			return err
		}
	}
	return nil
}

func onlyReplays(members []string) bool {
	return !slices.ContainsFunc(members, func(m string) bool { return !isReplay(m) })
}

func isReplay(member string) bool { return strings.HasPrefix(member, clientID+" ") }

// pause pauses a group that nobody has paused meanwhile. A person's pause stays.
func (r *Replayer) pause(ctx context.Context, g *Group, id, why string) error {
	c := schemas.GroupControl{Group: g.Name, Paused: true, Why: why, Replay: id}
	return r.say(ctx, c, didPause, func(is *schemas.GroupControl) (bool, error) {
		switch {
		case is == nil:
			g.Paused = &c
			return true, nil
		case is.Replay != "" && is.Replay != id:
			return false, fmt.Errorf("%w: %s, of %s", ErrBusy, is.Replay, is.Who)
		}
		g.Paused = is
		return false, nil
	})
}

// paused says who has paused a group; nil: it is not paused. In a transaction about the
// group that has begun, that stays so until it ends, or it cannot end.
func (r *Replayer) paused(ctx context.Context, group string) (*schemas.GroupControl, error) {
	if err := r.decided(ctx, topics.Control); err != nil {
		return nil, err
	}
	said, err := r.controls(ctx)
	if c := said[group]; err == nil && c != nil && c.Paused {
		return c, nil
	}
	return nil, err
}

// decided waits until all that is written on a topic can be read: a replay of another
// group that died may hold it back.
func (r *Replayer) decided(ctx context.Context, bare string) error {
	topic := r.name(bare)
	high, err := client.Written(ctx, r.adm, topic)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, txnTimeout+patience)
	defer cancel()
	err = poll(ctx, func() (bool, error) {
		ends, err := client.Ends(ctx, r.adm, topic)
		if err != nil {
			return false, err
		}
		for num, end := range high {
			if ends[num] < end {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("topic %q: the transaction of another replay stays open: %w", topic, err)
	}
	return err
}

// poll asks until the answer is yes.
func poll(ctx context.Context, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// say is a transaction of a control record and what the audit says of it, if that goes
// with who has the group paused then.
func (r *Replayer) say(ctx context.Context, c schemas.GroupControl, what string, goes func(is *schemas.GroupControl) (bool, error)) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), txnTimeout+2*patience)
	defer cancel()
	t, err := r.begin(ctx, c.Group)
	if err != nil {
		return err
	}
	defer t.close()
	is, err := r.paused(ctx, c.Group)
	if err != nil {
		return err
	}
	if ok, err := goes(is); !ok || err != nil {
		return err
	}
	a := schemas.Audited{What: what, Why: c.Why, Target: c.Replay, Group: c.Group}
	if err := t.control(ctx, c); err != nil {
		return err
	}
	if err := t.audit(ctx, a); err != nil {
		return err
	}
	if err := t.flush(ctx); err != nil {
		return err
	}
	return t.commit(ctx)
}

// empty waits until nobody is in the group.
func (r *Replayer) empty(ctx context.Context, g *Group, how How) error {
	wait, cancel := context.WithTimeout(ctx, how.Wait)
	defer cancel()
	told := false
	var lost error
	err := poll(wait, func() (bool, error) {
		if lost = r.describe(wait, g); away(lost) {
			return false, nil
		}
		if lost != nil || len(g.Members) == 0 {
			return true, lost
		}
		if !told {
			how.Tell(fmt.Sprintf("waiting for %s to be left by %s", g.Name, strings.Join(g.Members, ", ")))
		}
		told = true
		return false, nil
	})
	if away(lost) {
		return lost
	}
	if err != nil && wait.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("group %s: %w after %v: %s", g.Name, ErrNotEmpty, how.Wait, strings.Join(g.Members, ", "))
	}
	return err
}

// release has groups go on that this run has paused and not done, unless another process
// has taken the run over. Who interrupts a run waits for that.
func (r *Replayer) release(p *Plan, id string, how How) error {
	groups := slices.DeleteFunc(slices.Clone(p.Groups), func(g *Group) bool { return g.Paused == nil || g.Paused.Replay != id })
	if r.taken(groups) {
		how.Tell("another process goes on with " + id)
		return nil
	}
	var errs []error
	for _, g := range groups {
		how.Tell("resuming " + g.Name)
		if err := r.resume(context.Background(), g.Name, id, "the replay failed"); err != nil {
			errs = append(errs, fmt.Errorf("group %s stays paused: %w", g.Name, err))
		}
	}
	return errors.Join(errs...)
}

// taken says whether a replay sits in one of the groups. This one has left, or loses its
// seat while it looks.
func (r *Replayer) taken(groups []*Group) (is bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*r.cfg.Session)
	defer cancel()
	_ = poll(ctx, func() (bool, error) {
		for _, g := range groups {
			if err := r.describe(ctx, g); err != nil {
				return true, err
			}
			if is = slices.ContainsFunc(g.Members, isReplay); is {
				return false, nil
			}
		}
		return true, nil
	})
	return is
}

// resume has a group go on that was paused by a replay, or, without an ID, by whomever.
func (r *Replayer) resume(ctx context.Context, group, id, why string) error {
	return r.say(ctx, schemas.GroupControl{Group: group, Why: why, Replay: id}, didResume, func(is *schemas.GroupControl) (bool, error) {
		return id == "" || is != nil && is.Replay == id, nil
	})
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
	g, err := r.settled(ctx, spec, agreed, how)
	if err != nil {
		return nil, err
	}
	res := &Outcome{Group: g.Name, Changed: len(g.changed()), Again: g.Again, Resumed: agreed.Paused != nil && agreed.Paused.Replay == id}
	m, err := modeOf(spec.Mode)
	if err != nil {
		return nil, err
	}
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
func (r *Replayer) settled(ctx context.Context, spec Spec, agreed *Group, how How) (*Group, error) {
	ctx = kadm.RequireStable(ctx)
	m, err := modeOf(spec.Mode)
	if err != nil {
		return nil, err
	}
	g, err := r.group(ctx, agreed.unit, spec)
	if err != nil {
		return nil, err
	}
	if err := m.check(ctx, r, g); err != nil {
		return nil, err
	}
	g.judge(spec.Target)
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

// report writes what is done, and that the group goes on if it was paused for this.
func (r *Replayer) report(ctx context.Context, t *tx, id string, spec Spec, g *Group, why string, d deed, res *Outcome) error {
	before, after := moves{Of: d.of, Snapshot: res.Snapshot}, moves{Of: d.of, Mode: spec.Mode, Target: spec.Target.String(), Rows: res.Rows}
	for _, p := range g.changed() {
		meta := fmt.Sprintf("%x", p.id)
		before.Offsets = append(before.Offsets, place{p.Topic, p.Partition, p.Committed, meta})
		after.Offsets = append(after.Offsets, place{p.Topic, p.Partition, p.Target, meta})
	}
	if after.Mode == "" {
		after.Mode = Redeliver
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

// end commits. Where the answer is lost, the audit knows: the next transaction of the
// same ID begins when this one is decided, be it that of who has taken over.
func (r *Replayer) end(ctx context.Context, t *tx, id, group string) error {
	lost := t.commit(ctx)
	if lost == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), txnTimeout+2*patience)
	defer cancel()
	var err error
	if !errors.Is(lost, kerr.ProducerFenced) && !errors.Is(lost, kerr.InvalidProducerEpoch) {
		var next *tx
		if next, err = r.begin(ctx, group); err == nil {
			next.close()
		}
	}
	if err == nil {
		err = r.decided(ctx, topics.Audit)
	}
	var done map[string]bool
	if err == nil {
		done, err = r.done(ctx, id)
	}
	switch {
	case err != nil:
		return fmt.Errorf("committing: %w; whether it came about is not known: %w", lost, err)
	case !done[group]:
		return fmt.Errorf("committing: %w", lost)
	}
	return nil
}

// changed returns the partitions of which the offset changes.
func (g *Group) changed() (ps []*Part) {
	for _, p := range g.Parts {
		if p.Target != p.Committed && p.Target >= 0 {
			ps = append(ps, p)
		}
	}
	return ps
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
