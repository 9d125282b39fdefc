package app

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// pauses knows which groups shall not run now.
type pauses struct {
	mu      sync.Mutex
	paused  map[string]bool
	changed chan struct{} // closed at the next change
}

func newPauses() *pauses { return &pauses{paused: map[string]bool{}, changed: make(chan struct{})} }

// set returns whether that is new.
func (p *pauses) set(group string, paused bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused[group] == paused {
		return false
	}
	p.paused[group] = paused
	close(p.changed)
	p.changed = make(chan struct{})
	return true
}

func (p *pauses) is(group string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused[group]
}

// await returns once the group is paused, or is not; false if ctx ends before.
func (p *pauses) await(ctx context.Context, group string, paused bool) bool {
	for ctx.Err() == nil {
		p.mu.Lock()
		is, changed := p.paused[group], p.changed
		p.mu.Unlock()
		if is == paused {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return false
}

// resting is a processor of a paused group: nothing is wrong with it.
type resting struct{}

func (resting) Ready() bool              { return true }
func (resting) Alive() error             { return nil }
func (resting) Sizes() []kgoka.TableSize { return nil }
func (resting) Stats() kgoka.Stats       { return kgoka.Stats{} }

// control reads which groups are paused, before any of them runs, and follows what is
// said of them until Stop.
func (a *App) control(ctx context.Context) error {
	adm, err := kadm.NewOptClient(a.client...)
	if err != nil {
		return err
	}
	defer adm.Close()
	said, read, err := replay.Controls(ctx, a.client, adm, a.serde, a.cfg.Namespace, a.unreadable)
	if err != nil {
		return err
	}
	for group, c := range said {
		if a.pauses.set(group, c.Paused); c.Paused && a.wanted(group) {
			a.cfg.Log.Warn("a paused group does not run", "group", group, "who", c.Who, "why", c.Why, "replay", c.Replay)
		}
	}
	next := client.Span{Topic: topics.Prefixed(a.cfg.Namespace, topics.Control), From: read.To}
	a.meanwhile(func(ctx context.Context) { a.follow(ctx, next) })
	return nil
}

func (a *App) unreadable(err error) {
	a.cfg.Log.Error("nobody obeys a control record that cannot be read", "error", err)
}

func (a *App) follow(ctx context.Context, next client.Span) {
	for ctx.Err() == nil {
		err := replay.EachControl(ctx, a.client, a.serde, next, a.unreadable, func(c *schemas.GroupControl) {
			if a.pauses.set(c.Group, c.Paused) && a.wanted(c.Group) {
				a.cfg.Log.Warn(map[bool]string{true: "the group is paused", false: "the group goes on"}[c.Paused], "group", c.Group, "who", c.Who, "why", c.Why, "replay", c.Replay)
			}
		})
		if err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("it cannot be read now which groups are paused, trying again", "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// supervise runs a processor whenever its group is not paused, until ctx ends.
func (a *App) supervise(ctx context.Context, name string) error {
	for a.pauses.await(ctx, name, false) {
		p, err := a.processor(name)
		if err != nil {
			return err
		}
		run, end := context.WithCancel(ctx)
		var watching sync.WaitGroup
		watching.Go(func() {
			if a.pauses.await(run, name, true) {
				end()
			}
		})
		err = a.runs[name](run, p)
		early := run.Err() == nil
		end()
		watching.Wait()
		if err != nil || early {
			return err
		}
		a.mu.Lock()
		delete(a.procs, name) // it runs once
		a.mu.Unlock()
	}
	return nil
}

// current says whether p is still to run: it is not if its group was paused.
func (a *App) current(name string, p *kgoka.Processor) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.procs[name] == p && !a.pauses.is(name)
}

// processor is the one that is to run next.
func (a *App) processor(name string) (*kgoka.Processor, error) {
	a.mu.Lock()
	p := a.procs[name]
	a.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := a.make[name]()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.procs[name] = p
	return p, nil
}
