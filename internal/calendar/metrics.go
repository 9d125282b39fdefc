package calendar

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderlog/orderlog/internal/census"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/metric"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// figures are what a Calendar tells of itself. What stands is as last counted.
type figures struct {
	labels     letter.Labels
	standing   census.Census[map[kind]sum]
	dispatched *prometheus.CounterVec
	delay      *prometheus.HistogramVec
}

// kind is what entries are counted by.
type kind struct {
	letter.Label
	deadline, paused bool
}

func kindOf(deadline bool) string {
	if deadline {
		return "deadline"
	}
	return "retry"
}

type sum struct {
	entries, overdue int
	oldest           int64 // least due, Unix ms
}

var byKind = []string{"processor", "cause", "kind", "paused"}

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("orderlog_calendar_"+name, help, byKind, nil)
}

var (
	entries = desc("entries", "Entries of the calendar, on the partitions that this instance has: the sum is of all. Counted now and then.")
	overdue = desc("overdue", "Those of them that are due and have not been dispatched.")
	oldest  = desc("oldest_due_timestamp_seconds", "When the first of them is, or was, due: the minimum is of all.")
)

func newFigures() figures {
	return figures{
		dispatched: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orderlog_calendar_dispatched_total",
			Help: "Entries dispatched since the start because they were due."}, byKind[:3]),
		delay: metric.Histogram(prometheus.HistogramOpts{Name: "orderlog_calendar_dispatch_delay_seconds",
			Help:    "How long after it was due an entry was dispatched; the time for which it was paused counts.",
			Buckets: []float64{.005, .02, .1, .5, 2, 10, 60, 600, 3600, 86400}}, "kind"),
	}
}

// Describe says nothing: there are as many figures as groups and causes.
func (c *Calendar) Describe(chan<- *prometheus.Desc) {}

// Collect makes a Calendar a prometheus.Collector. What stands in it is known
// where Count runs.
func (c *Calendar) Collect(ch chan<- prometheus.Metric) {
	c.dispatched.Collect(ch)
	c.delay.Collect(ch)
	sums := c.standing.Tell(ch)
	if sums == nil {
		return
	}
	for k, s := range *sums {
		put := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, k.Group, k.Cause, kindOf(k.deadline), strconv.FormatBool(k.paused))
		}
		put(entries, float64(s.entries))
		put(overdue, float64(s.overdue))
		put(oldest, float64(s.oldest)/1000)
	}
}

// saw counts what is dispatched because it is due.
func (c *Calendar) saw(key string, p *schemas.Parked) {
	due, _, _ := retry.ParseKey(key) // not p.Due: it may have been pulled forward
	l, what := c.labels.Of(p.Group, p.Cause), kindOf(p.Topic == "")
	c.dispatched.WithLabelValues(l.Group, l.Cause, what).Inc()
	c.delay.WithLabelValues(what).Observe(c.env.Now().Sub(time.UnixMilli(due)).Seconds())
}

// Count counts what stands in p's table, for Collect, until ctx or p ends: beside all
// else, and only if something has moved, or become due.
func (c *Calendar) Count(ctx context.Context, p *kgoka.Processor) { c.standing.Follow(ctx, p) }

// count also returns when the first entry will be due that is not yet, in Unix ms.
func (c *Calendar) count(ctx context.Context, p *kgoka.Processor) (sums map[kind]sum, next int64, err error) {
	stops := map[string]bool{}
	err = p.Rows(retry.Pauses, "", func(key string, _, _ []byte) error {
		stops[key] = true
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	sums, next = map[kind]sum{}, census.Never
	now := c.env.Now().UnixMilli()
	var e schemas.Parked
	err = p.Rows("", retry.Pauses, func(key string, row, _ []byte) error {
		if err := c.env.Serde.DecodeInto(ctx, topics.RetryTable, row, &e); err != nil {
			return fmt.Errorf("row %q of %s: %w", key, topics.RetryTable, err)
		}
		due, _, _ := retry.ParseKey(key)
		k := kind{c.labels.Of(e.Group, e.Cause), e.Topic == "", paused(&e, func(key string) bool { return stops[key] })}
		s, seen := sums[k]
		s.entries++
		if !seen || due < s.oldest {
			s.oldest = due
		}
		if due <= now {
			s.overdue++
		} else {
			next = min(next, due)
		}
		sums[k] = s
		return ctx.Err()
	})
	return sums, next, err
}
