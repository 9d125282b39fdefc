package client

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/topics"
)

// SendAll sends every message of seq and waits until the broker has them all.
// sent, if not nil, is called before each is handed to the producer. It stops at
// the first error.
func (c *Client) SendAll(ctx context.Context, seq iter.Seq[flow.Message], sent func(flow.Message)) error {
	var mu sync.Mutex
	var failed error
	check := func(err error) error {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
		return failed
	}
	for m := range seq {
		if check(ctx.Err()) != nil {
			break
		}
		if sent != nil {
			sent(m)
		}
		c.CommandAsync(ctx, m, func(err error) { check(err) })
	}
	return check(c.Flush(ctx))
}

// WaitRead returns when the groups (bare names) have read all there is for them:
// on their command topics, even before their first commit, and on what else they
// have committed offsets for.
func (c *Client) WaitRead(ctx context.Context, groups ...string) error {
	for _, g := range groups {
		group := topics.Prefixed(c.cfg.Namespace, g)
		var commands []string
		if t, ok := topics.Find(g + "-commands"); ok {
			commands = append(commands, topics.Prefixed(c.cfg.Namespace, t.Name))
		}
		for {
			done := true
			if err := eachUnread(ctx, c.cfg.Opts, c.adm, group, commands, func() bool { done = false; return false }); err != nil {
				return err
			}
			if done {
				break
			}
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
