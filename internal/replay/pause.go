package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

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

// empty waits until nobody is in the group.
func (r *Replayer) empty(ctx context.Context, g *Group, how How) error {
	wait, cancel := context.WithTimeout(ctx, how.Wait)
	defer cancel()
	told := false
	var lost error
	err := poll(wait, func() (bool, error) {
		if lost = r.describe(wait, g); group.Away(lost) {
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
	if group.Away(lost) {
		return lost
	}
	if err != nil && wait.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("group %s: %w after %v: %s", g.Name, ErrNotEmpty, how.Wait, strings.Join(g.Members, ", "))
	}
	return err
}

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

// resume has a group go on that was paused by a replay, or, without an ID, by whomever.
func (r *Replayer) resume(ctx context.Context, group, id, why string) error {
	return r.say(ctx, schemas.GroupControl{Group: group, Why: why, Replay: id}, didResume, func(is *schemas.GroupControl) (bool, error) {
		return id == "" || is != nil && is.Replay == id, nil
	})
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

func onlyReplays(members []string) bool {
	return !slices.ContainsFunc(members, func(m string) bool { return !isReplay(m) })
}

func isReplay(member string) bool { return strings.HasPrefix(member, clientID+" ") }

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
