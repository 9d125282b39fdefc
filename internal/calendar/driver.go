package calendar

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lovoo/goka"

	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/retry"
)

// none sorts behind all keys of entries.
const none = "~"

// again is how soon the clock is looked at again: it may have been set. Nothing
// else is looked at.
const again = 10 * time.Second

// Run runs the group's processor and the driver until ctx ends; it returns nil
// then, or the error of the first that fails.
func (c *Calendar) Run(ctx context.Context, p *kgoka.Processor) error {
	ctx, end := context.WithCancel(ctx)
	var driver sync.WaitGroup
	var failed error
	driver.Go(func() {
		if failed = c.drive(ctx, p); failed != nil {
			end()
		}
	})
	err := p.Run(ctx)
	end()
	driver.Wait()
	if err == nil {
		err = failed
	}
	return err
}

// drive begins anew with each assignment: what is due on partitions that were
// taken away, others dispatch.
func (c *Calendar) drive(ctx context.Context, p *kgoka.Processor) error {
	for {
		moved := p.Moved()
		if p.WaitReady(ctx) != nil {
			return nil
		}
		c.look("")
		err := c.watch(ctx, moved, p)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, goka.ErrVisitAborted) && !errors.Is(err, kgoka.ErrNotHere):
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
		}
	}
}

// watch dispatches what is due on what is assigned, when it is.
func (c *Calendar) watch(ctx context.Context, moved <-chan struct{}, p *kgoka.Processor) error {
	for {
		from, wait := c.soonest()
		if wait > 0 {
			select {
			case <-time.After(wait):
			case <-c.sooner:
			case <-moved:
				return nil
			case <-ctx.Done():
				return nil
			}
			continue
		}
		// What callbacks enter from here on is looked at once more. What they entered
		// before is committed when the visit begins: it waits for its turn.
		c.forget()
		to := retry.Key(c.env.Now().UnixMilli()+1, "")
		if _, err := p.Visit(ctx, due, from, to, nil); err != nil {
			return err
		}
		first, err := p.First(to)
		if err != nil {
			return err
		}
		if _, _, ok := retry.ParseKey(first); ok {
			c.look(first)
		}
	}
}

// soonest returns the least key to be looked at, and how long to wait before: not
// at all, or until the clock is to be looked at again.
func (c *Calendar) soonest() (key string, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == "" {
		return "", 0
	}
	at, _, ok := retry.ParseKey(c.next)
	if !ok {
		return c.next, again
	}
	return c.next, min(time.UnixMilli(at).Sub(c.env.Now()), again)
}

// forget begins a visit.
func (c *Calendar) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = none
}

// look has key looked at, when it is due; "" is all, now.
func (c *Calendar) look(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key >= c.next {
		return
	}
	c.next = key
	select {
	case c.sooner <- struct{}{}:
	default:
	}
}
