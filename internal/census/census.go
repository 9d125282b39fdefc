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

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderlog/orderlog/kgoka"
)

// A table is counted no more often than every so often, and for one part in so many
// of the time: a million rows take one or two seconds, so they are counted every eight
// minutes or so. However long one count took, the next one is not far: alerts go by it.
const (
	countEvery  = 10 * time.Second
	countShare  = 300
	countLatest = 15 * time.Minute
)

// Never is when a sum is right until something moves.
const Never = math.MaxInt64

// Census is a sum over the rows of a table that are here, as last counted.
type Census[T any] struct {
	Of  string           // what is counted: "orders"
	Now func() time.Time // nil is time.Now
	Log *slog.Logger

	// Take counts the rows of p. It also returns when the sum is wrong even if nothing
	// has moved, in Unix ms, or Never.
	Take func(ctx context.Context, p *kgoka.Processor) (sum T, stale int64, err error)

	last atomic.Pointer[counted[T]]
}

// counted is a sum, and as of when it is right; or none, since when there are rows here.
type counted[T any] struct {
	sum *T
	at  time.Time
}

// Describe says nothing: several tell as of when they have counted.
func (c *Census[T]) Describe(chan<- *prometheus.Desc) {}

// Tell returns the last sum, nil if there is none. It tells ch as of when that is right,
// and nothing while nothing is to be counted, because the group has given nothing.
func (c *Census[T]) Tell(ch chan<- prometheus.Metric) *T {
	last := c.last.Load()
	if last == nil {
		return nil
	}
	ch <- AsOf(c.Of, last.at)
	return last.sum
}

// AsOf tells as of when something is counted. Who cannot count, tells of an age that grows.
func AsOf(what string, at time.Time) prometheus.Metric {
	return prometheus.MustNewConstMetric(countedAt, prometheus.GaugeValue, float64(at.UnixMilli())/1000, what)
}

var countedAt = desc("counted_timestamp_seconds", "As of when orders, products, the calendar and dead letters are counted, which is now and then; before the first time, since when that is tried.", "what")

// Follow counts, until ctx or p ends.
func (c *Census[T]) Follow(ctx context.Context, p *kgoka.Processor) {
	if c.Now == nil {
		c.Now = time.Now
	}
	for p.WaitReady(ctx) == nil {
		if moved := p.Moved(); p.Ready() { // still: to become ready is to move
			c.follow(ctx, moved, p)
			c.last.Store(nil)
		}
	}
}

// follow counts on what is assigned, until that changes.
func (c *Census[T]) follow(ctx context.Context, moved <-chan struct{}, p *kgoka.Processor) {
	var at map[int32]int64
	var stale int64
	c.last.Store(&counted[T]{nil, c.Now()})
	for failing := false; ; {
		began, asOf, wait := time.Now(), c.Now(), time.Duration(countEvery)
		if now := reach(p); !maps.Equal(at, now) || asOf.UnixMilli() >= stale {
			sum, until, err := c.Take(ctx, p)
			switch {
			case err == nil:
				if at != nil { // the first one may show what has waited for this instance, and is soon done
					wait = min(max(wait, countShare*time.Since(began)), countLatest)
				}
				c.last.Store(&counted[T]{&sum, asOf})
				at, stale, failing = now, until, false
			case !errors.Is(err, kgoka.ErrNotHere) && ctx.Err() == nil && !failing:
				c.Log.Warn(c.Of+" cannot be counted now, trying again", "error", err)
				failing = true
			}
		} else {
			c.last.Store(&counted[T]{c.last.Load().sum, asOf})
		}
		select {
		case <-time.After(wait):
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
