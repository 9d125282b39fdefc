// Package lag says how far consumer groups are behind, and how long they may stay
// so: see internal/downtime. It reads, and changes nothing.
package lag

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/calendar"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/downtime"
	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/internal/ledger"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/topics"
)

// Group is a consumer group, and what it reads even where it has committed nothing.
// Names are those on the cluster.
type Group struct {
	Name     string
	Topics   []string
	Optional bool // left out if it has never run: who tells nobody is not behind
}

// Pipeline lists the processors' groups with their inputs.
func Pipeline(namespace string) (groups []Group) {
	add := func(name string, inputs []string, optional bool) {
		g := Group{Name: topics.Prefixed(namespace, name), Optional: optional}
		for _, t := range inputs {
			g.Topics = append(g.Topics, topics.Prefixed(namespace, t))
		}
		groups = append(groups, g)
	}
	for _, r := range processors.All(processors.Config{}) {
		add(r.Name(), append(slices.Clone(r.Inputs()), topics.Loop(r.Name())), r.Name() == "notification")
	}
	add(calendar.Name, calendar.Inputs(), false)
	add(ledger.Name, ledger.Inputs(), true)
	return groups
}

// Partition is how far one group is on one partition.
type Partition struct {
	Group     string `json:"group"`
	State     string `json:"state"` // Stable, Empty ...; Dead: nobody ever ran it
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing yet
	Start     int64  `json:"start"`     // of the log
	End       int64  `json:"end"`       // last stable offset
	Lag       int64  `json:"lag"`       // offsets up to End, 0 where only markers are left

	// Behind is the age of the first record that is not handled, in seconds.
	Behind float64 `json:"behind_seconds"`

	// Safe is how the group's downtime ends, if it goes down now or is; nil: it may
	// stay down for ever, or the settings that say it cannot be read.
	Safe *Safe `json:"safe,omitempty"`
}

// Safe is a downtime in which nothing is lost.
type Safe struct {
	Left    float64       `json:"seconds"`       // from now on
	Whole   float64       `json:"whole_seconds"` // for a group that has read all
	Loses   downtime.Loss `json:"loses"`         // after that
	Setting string        `json:"setting"`       // that says so
}

// Reader reads lags of one cluster.
type Reader struct {
	Opts []kgo.Opt // brokers, dialer
	Adm  *kadm.Client
	Now  func() time.Time
}

// Read returns the lags of the groups, by topic and partition in each. Unsafe is why
// nothing is known about downtimes, nil if it is.
func (r Reader) Read(ctx context.Context, groups []Group) (lags []Partition, unsafe, err error) {
	var names []string
	for _, g := range groups {
		names = append(names, g.Name)
	}
	described, err := r.Adm.DescribeGroups(ctx, names...)
	if err != nil {
		return nil, nil, fmt.Errorf("describing groups: %w", err)
	}
	log := ends{adm: r.Adm, byTopic: map[string]bounds{}}
	lags = []Partition{}
	for _, g := range groups {
		committed, err := group.Offsets(ctx, r.Adm, g.Name) // none if nobody ever ran it
		if err != nil {
			return nil, nil, err
		}
		if len(committed) == 0 && g.Optional {
			continue
		}
		names := slices.Concat(g.Topics, slices.Collect(maps.Keys(committed)))
		slices.Sort(names)
		for _, topic := range slices.Compact(names) {
			b, err := log.of(ctx, topic)
			if errors.Is(err, client.ErrNoTopic) {
				continue // doctor's business
			}
			if err != nil {
				return nil, nil, err
			}
			for _, p := range slices.Sorted(maps.Keys(b.end)) {
				l := Partition{Group: g.Name, State: described[g.Name].State, Topic: topic, Partition: p, Committed: -1, Start: b.start[p], End: b.end[p]}
				if o, ok := committed.Lookup(topic, p); ok && o.Err == nil {
					l.Committed = o.At
				}
				l.Lag = max(0, l.End-max(l.Committed, l.Start))
				lags = append(lags, l)
			}
		}
	}
	if err := r.lookAhead(ctx, lags); err != nil {
		return nil, nil, err
	}
	return lags, r.safe(ctx, lags), nil
}

// bounds are a topic's first and last stable offsets.
type bounds struct{ start, end map[int32]int64 }

// ends remembers bounds, so that groups of one topic are compared with the same.
type ends struct {
	adm     *kadm.Client
	byTopic map[string]bounds
}

func (e ends) of(ctx context.Context, topic string) (b bounds, err error) {
	if b, ok := e.byTopic[topic]; ok {
		return b, nil
	}
	if b.start, err = client.Starts(ctx, e.adm, topic); err != nil {
		return b, err
	}
	if b.end, err = client.Ends(ctx, e.adm, topic); err != nil {
		return b, err
	}
	e.byTopic[topic] = b
	return b, nil
}

// lookAhead reads the first record that each group has not handled, which tells
// how old it is, and whether there is one at all behind the markers.
func (r Reader) lookAhead(ctx context.Context, lags []Partition) error {
	type reader struct{ group, topic string }
	behind := map[reader][]*Partition{}
	for i := range lags {
		if l := &lags[i]; l.Lag > 0 {
			key := reader{l.Group, l.Topic}
			behind[key] = append(behind[key], l)
		}
	}
	now := r.Now()
	for key, ls := range behind {
		span := client.Span{Topic: key.topic, From: map[int32]int64{}, To: map[int32]int64{}}
		open := map[int32]*Partition{}
		for _, l := range ls {
			span.From[l.Partition], span.To[l.Partition] = l.End-l.Lag, l.End
			open[l.Partition] = l
		}
		err := span.Read(ctx, r.Opts, func(rec *kgo.Record) (bool, error) {
			if l := open[rec.Partition]; l != nil {
				l.Behind = max(0, now.Sub(rec.Timestamp).Round(time.Millisecond).Seconds())
				delete(open, rec.Partition)
			}
			return len(open) > 0, nil
		})
		if err != nil {
			return err
		}
		for _, l := range open {
			l.Lag = 0
		}
	}
	return nil
}

// safe fills in how downtimes end.
func (r Reader) safe(ctx context.Context, lags []Partition) error {
	read := map[string]bool{}
	for _, l := range lags {
		read[l.Topic] = true
	}
	keeps, err := downtime.Keeps(ctx, r.Adm, slices.Sorted(maps.Keys(read))...)
	if err != nil {
		return err
	}
	var sized []string
	for t, k := range keeps {
		if k.Delete && k.Bytes >= 0 {
			sized = append(sized, t)
		}
	}
	flows, err := downtime.Flows(ctx, r.Adm, r.Now(), sized...)
	if err != nil {
		return err
	}
	for i := range lags {
		l := &lags[i]
		flow := flows[l.Topic][l.Partition]
		limits := keeps[l.Topic].Limits(downtime.Place{Behind: time.Duration(l.Behind * float64(time.Second)), Lost: l.Committed >= 0 && l.Committed < l.Start,
			Down: l.State == "Empty" || l.State == "Dead", New: l.Committed < 0,
			Unread: float64(l.Lag) * flow.Each, Rate: flow.Rate})
		if len(limits) > 0 {
			l.Safe = &Safe{limits[0].Left.Seconds(), limits[0].Whole.Seconds(), limits[0].Loses, limits[0].Setting}
		}
	}
	return nil
}
