// Package census counts what stands in a processor's table: now and then, beside all
// else, and only if something has moved. What happens is counted by internal/tally.
package census

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"sync/atomic"
	"time"

	"github.com/orderlog/orderlog/kgoka"
)

// A table is counted no more often than every so often, and for one part in so many
// of the time: a million rows take seconds.
const (
	countEvery = 10 * time.Second
	countShare = 100
)

// Never is when a sum is right until something moves.
const Never = math.MaxInt64

// Census is a sum over the rows of a table that are here, as last counted.
type Census[T any] struct {
	Of  string           // what is counted, in a log line: "orders"
	Now func() time.Time // nil is time.Now
	Log *slog.Logger

	// Take counts the rows of p. It also returns when the sum is wrong even if nothing
	// has moved, in Unix ms, or Never.
	Take func(ctx context.Context, p *kgoka.Processor) (sum T, stale int64, err error)

	last atomic.Pointer[T]
}

// Last is the last sum, nil while nothing is counted: no partitions are here.
func (c *Census[T]) Last() *T { return c.last.Load() }

// Follow counts, until ctx or p ends.
func (c *Census[T]) Follow(ctx context.Context, p *kgoka.Processor) {
	if c.Now == nil {
		c.Now = time.Now
	}
	for {
		moved := p.Moved()
		if p.WaitReady(ctx) != nil {
			return
		}
		c.follow(ctx, moved, p)
		c.last.Store(nil)
	}
}

// follow counts on what is assigned, until that changes.
func (c *Census[T]) follow(ctx context.Context, moved <-chan struct{}, p *kgoka.Processor) {
	var at map[int32]int64
	var stale int64
	for failing := false; ; {
		began := time.Now()
		if now := reach(p); !maps.Equal(at, now) || c.Now().UnixMilli() >= stale {
			sum, until, err := c.Take(ctx, p)
			switch {
			case err == nil:
				c.last.Store(&sum)
				at, stale = now, until
			case !errors.Is(err, kgoka.ErrNotHere) && ctx.Err() == nil && !failing:
				c.Log.Warn(c.Of+" cannot be counted now, trying again", "error", err)
			}
			failing = err != nil
		}
		select {
		case <-time.After(max(countEvery, countShare*time.Since(began))):
		case <-moved:
			return
		case <-ctx.Done():
			return
		}
	}
}

// reach is how far the tables here stand for their log.
func reach(p *kgoka.Processor) map[int32]int64 {
	at := map[int32]int64{}
	for _, t := range p.Stats().Tables {
		if t.Role == kgoka.RoleActive {
			at[t.Partition] = t.Offset
		}
	}
	return at
}
