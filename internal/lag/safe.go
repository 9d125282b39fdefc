package lag

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/orderlog/orderlog/internal/downtime"
	"github.com/orderlog/orderlog/internal/figure"
)

// settingsEvery is how often settings and sizes of topics are asked for. What they are
// for takes days.
const settingsEvery = time.Minute

// settings are what downtimes follow from.
type settings struct {
	at    time.Time
	keeps map[string]downtime.Keep
	flows map[string]map[int32]downtime.Flow
	err   error
}

// safe fills in how downtimes end.
func (r *Reader) safe(ctx context.Context, round *Round) error {
	read := map[string]bool{}
	for i := range round.Partitions {
		read[round.Partitions[i].Topic] = true
	}
	s := &r.settings
	fresh := round.At.Sub(s.at) < settingsEvery
	for t := range read {
		_, known := s.keeps[t]
		fresh = fresh && (known || s.err != nil)
	}
	if !fresh {
		*s = r.look(ctx, round.At, slices.Sorted(maps.Keys(read)))
	}
	state := map[string]string{}
	for _, g := range round.Groups {
		state[g.Group] = cmp.Or(g.State, r.states[g.Group])
	}
	r.states = state
	for i := range round.Partitions {
		p := &round.Partitions[i]
		p.Safe = s.safe(p, state[p.Group] == "Empty" || state[p.Group] == dead)
	}
	return s.err
}

// safe is how the downtime of a group ends on p, which is down or not.
func (s *settings) safe(p *Partition, down bool) *Safe {
	keep, known := s.keeps[p.Topic]
	flow, measured := s.flows[p.Topic][p.Partition]
	if !known || keep.Delete && keep.Bytes >= 0 && !measured && p.End > p.Start {
		return &Safe{Left: unknown, Whole: unknown}
	}
	limits := keep.Limits(downtime.Place{Behind: time.Duration(float64(p.Seconds.Or(0)) * float64(time.Second)), Lost: p.Lost(), New: p.Committed < 0,
		Down: down, Unread: float64(max(0, p.Stable-p.at())) * flow.Each, Rate: flow.Rate})
	switch {
	case len(limits) == 0:
		return nil
	case !p.Seconds.Known() && limits[0].Left > 0: // for one that has read all
		return &Safe{Left: unknown, Whole: unknown}
	}
	safe := &Safe{figure.Figure(limits[0].Left.Seconds()), figure.Figure(limits[0].Whole.Seconds()), limits[0].Loses, limits[0].Setting}
	if limits[0].Whole == downtime.Forever {
		safe.Whole = never
	}
	return safe
}

func (r *Reader) look(ctx context.Context, now time.Time, topics []string) settings {
	s := settings{at: now}
	if s.keeps, s.err = downtime.Keeps(ctx, r.adm, topics...); s.err != nil {
		return s
	}
	var sized []string
	for t, k := range s.keeps {
		if k.Delete && k.Bytes >= 0 {
			sized = append(sized, t)
		}
	}
	s.flows, s.err = downtime.Flows(ctx, r.adm, now, sized...)
	return s
}
