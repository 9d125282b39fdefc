package client

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/topics"
)

// Batch sends records in the background. Its first error ends it.
type Batch struct {
	c   *Client
	mu  sync.Mutex
	err error
}

// Batch begins an empty one.
func (c *Client) Batch() *Batch { return &Batch{c: c} }

// Send hands a record, whose topic is a full name, to the producer; it blocks
// while too much is under way. It returns the batch's error so far, and sends
// nothing then.
func (b *Batch) Send(ctx context.Context, r *kgo.Record) error {
	if err := b.keep(ctx.Err()); err != nil {
		return err
	}
	sent := b.c.cfg.Trace.Send(ctx, r)
	b.c.cl.Produce(ctx, r, func(r *kgo.Record, err error) {
		sent(err)
		b.keep(explain(r.Topic, err))
	})
	return nil
}

// Wait returns the batch's error once everything that was sent is done.
func (b *Batch) Wait(ctx context.Context) error { return b.keep(b.c.cl.Flush(ctx)) }

// Err returns the batch's error so far, of records that were sent some time ago.
func (b *Batch) Err() error { return b.keep(nil) }

// keep remembers and returns the first error.
func (b *Batch) keep(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	return b.err
}

// SendAll sends every message of seq and waits until the broker has them all.
// sent, if not nil, is called before each is handed to the producer. It stops at
// the first error.
func (c *Client) SendAll(ctx context.Context, seq iter.Seq[flow.Message], sent func(flow.Message)) error {
	b := c.Batch()
	for m := range seq {
		r, err := c.Record(m)
		if b.keep(err) != nil {
			break
		}
		if sent != nil {
			sent(m)
		}
		if b.Send(ctx, r) != nil {
			break
		}
	}
	return b.Wait(ctx)
}

// WaitRead returns when the groups (bare names) have read all there is for them,
// and nothing that they wrote meanwhile is left for one of them. A group that has
// committed no offsets and has no commands topic of its own counts as done. A
// broker that is away is waited for, for half a minute.
func (c *Client) WaitRead(ctx context.Context, groups ...string) error {
	return patiently(ctx, func() (bool, error) { return c.idle(ctx, groups) })
}

// Unmanned returns the first of the groups (bare names) that nobody runs, "" if there
// is none. A broker that is away is waited for, for half a minute.
func (c *Client) Unmanned(ctx context.Context, groups ...string) (unmanned string, err error) {
	var names []string
	for _, g := range groups {
		names = append(names, topics.Prefixed(c.cfg.Namespace, g))
	}
	err = patiently(ctx, func() (bool, error) {
		described, err := c.adm.DescribeGroups(ctx, names...)
		if err != nil {
			return false, fmt.Errorf("describing groups: %w", err)
		}
		for i, n := range names {
			if len(described[n].Members) == 0 {
				unmanned = groups[i]
				break
			}
		}
		return true, nil
	})
	return unmanned, err
}

// patiently asks until done says yes, or fails for another reason than that a broker is
// away or not ready.
func patiently(ctx context.Context, done func() (bool, error)) error {
	var away time.Time
	for {
		yes, err := done()
		switch {
		case err == nil && yes:
			return nil
		case err == nil:
			away = time.Time{}
		case ctx.Err() != nil || !kerr.IsRetriable(err) && !group.Away(err):
			return err
		case away.IsZero():
			away = time.Now()
		case time.Since(away) > 30*time.Second:
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// idle says whether the groups have read all, and wrote nothing while that was seen.
func (c *Client) idle(ctx context.Context, groups []string) (bool, error) {
	before, err := c.written(ctx)
	if err != nil {
		return false, err
	}
	if done, err := c.allRead(ctx, groups); err != nil || !done {
		return false, err
	}
	after, err := c.written(ctx)
	return err == nil && after == before, err
}

// written is the sum of the catalogue's end offsets: it grows with every commit.
func (c *Client) written(ctx context.Context) (sum int64, err error) {
	var names []string
	for _, t := range topics.All() {
		names = append(names, topics.Prefixed(c.cfg.Namespace, t.Name))
	}
	ends, err := c.adm.ListCommittedOffsets(ctx, names...)
	if err != nil {
		return 0, fmt.Errorf("end offsets: %w", err)
	}
	ends.Each(func(o kadm.ListedOffset) { sum += max(o.Offset, 0) })
	return sum, nil
}

func (c *Client) allRead(ctx context.Context, groups []string) (bool, error) {
	for _, g := range groups {
		var commands []string // a group that has committed nothing has not read its commands
		if t, ok := topics.Find(g + "-commands"); ok {
			commands = append(commands, topics.Prefixed(c.cfg.Namespace, t.Name))
		}
		done := true
		err := eachUnread(ctx, c.cfg.Opts, c.adm, topics.Prefixed(c.cfg.Namespace, g), commands, func() bool { done = false; return false })
		if err != nil || !done {
			return false, err
		}
	}
	return true, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
