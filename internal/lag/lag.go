// Package lag says how far the consumer groups of a cluster are behind: in offsets, in
// records and in seconds, and how long they may stay so (see internal/downtime). A
// Round is what one look at the cluster shows; table, JSON and metrics are made of
// it. It reads, and changes nothing.
package lag

import (
	"math"
	"slices"
	"time"

	"github.com/orderlog/orderlog/internal/calendar"
	"github.com/orderlog/orderlog/internal/downtime"
	"github.com/orderlog/orderlog/internal/figure"
	"github.com/orderlog/orderlog/internal/ledger"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/topics"
)

// Expected is a group that is told of even where it is not there, and what it reads
// even where it has committed nothing. Names are those on the cluster.
type Expected struct {
	Name     string
	Topics   []string
	Optional bool // left out if it has never run: who tells nobody is not behind
}

// Pipeline lists the processors' groups with their inputs.
func Pipeline(namespace string) (groups []Expected) {
	add := func(name string, inputs []string, optional bool) {
		g := Expected{Name: topics.Prefixed(namespace, name), Optional: optional}
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

// Round is what one look at a cluster has shown.
type Round struct {
	At         time.Time   `json:"at"`
	Groups     []Group     `json:"groups"`     // by name
	Topics     []Topic     `json:"topics"`     // of each group, by group and name
	Partitions []Partition `json:"partitions"` // of those, by group, topic and number

	Logs   []Log         `json:"-"` // each partition that somebody reads, once
	Took   time.Duration `json:"-"`
	Read   int           `json:"-"` // bytes of records
	Unsafe error         `json:"-"` // why safe downtimes are not known, or not all
	Faults []error       `json:"-"` // why some figures are not known
}

// Group is one consumer group.
type Group struct {
	Group   string `json:"group"`
	State   string `json:"state"` // Stable, Empty ...; Dead: nobody ever ran it
	Members int    `json:"members"`

	// CatchUp is in how many seconds it will have read all, at the rates of the last
	// rounds: +Inf if never, NaN as long as there was one round only.
	CatchUp figure.Figure `json:"catch_up_seconds"`
}

// Topic is how far one group is on one topic: the sum of its partitions, or the worst
// of them.
type Topic struct {
	Group      string        `json:"group"`
	Topic      string        `json:"topic"`
	Partitions int           `json:"partitions"`
	Lag        int64         `json:"lag"`
	Beyond     int           `json:"beyond_end,omitempty"` // partitions whose committed offset is; they have no lag
	Records    int64         `json:"records"`
	Estimated  bool          `json:"estimated,omitempty"`
	Seconds    figure.Figure `json:"lag_seconds"`      // the worst
	In         figure.Figure `json:"in_per_second"`    // offsets that are written
	Out        figure.Figure `json:"out_per_second"`   // offsets that are read
	CatchUp    figure.Figure `json:"catch_up_seconds"` // as Group.CatchUp
	Safe       *Safe         `json:"safe,omitempty"`   // the least; not known where one of the partitions' is not, and may be it
}

// Partition is how far one group is on one partition.
type Partition struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing yet
	Start     int64  `json:"start"`     // of the log
	End       int64  `json:"end"`       // of the log, the high watermark
	Stable    int64  `json:"stable"`    // up to there transactions are decided: who reads what is committed reads no further

	// Lag is what Kafka's own tools show: End less Committed. It counts offsets, of
	// which some are not records. -1: nothing is committed; or, as any other negative
	// one, what is committed lies Beyond the end.
	Lag int64 `json:"lag"`

	// Records is how many are still to come, up to Stable, to one who reads what is
	// committed: markers, aborted records and gaps do not count.
	Records int64 `json:"records"`

	// Seconds is the age of the next of them: 0 if there is none, NaN if it has not
	// been read.
	Seconds figure.Figure `json:"lag_seconds"`

	// Estimated says that not all up to Stable has been read, so that Records follows
	// from the share of records among the offsets that have been; or that Seconds is
	// that of an earlier record, and no less than it should be.
	Estimated bool `json:"estimated,omitempty"`

	// Safe is how the group's downtime ends, if it goes down now or is; nil: it may
	// stay down for ever.
	Safe *Safe `json:"safe,omitempty"`
}

// at is the offset from which the group goes on. Where it has committed nothing, or what
// the log does not have, that is taken for the log's start, though a foreign group may be
// set to begin at the end.
func (p *Partition) at() int64 {
	if p.Beyond() {
		return p.Start
	}
	return max(p.Committed, p.Start)
}

// Beyond tells whether the group has committed an offset that the log has not reached:
// the topic was made anew, or lost its end.
func (p *Partition) Beyond() bool { return p.Committed > p.End }

// Lost tells whether records were deleted that the group has not read.
func (p *Partition) Lost() bool { return p.Committed >= 0 && p.Committed < p.Start }

// Safe is a downtime in which nothing is lost. It is not known, NaN, where settings or
// sizes cannot be read, or the age of the first record that is not handled.
type Safe struct {
	Left    figure.Figure `json:"seconds"`           // from now on
	Whole   figure.Figure `json:"whole_seconds"`     // for a group that has read all
	Loses   downtime.Loss `json:"loses,omitempty"`   // after that
	Setting string        `json:"setting,omitempty"` // that says so
}

// Urgency orders downtimes: what is lost already comes first, and then what is not known,
// which may be next.
func (s *Safe) Urgency() float64 {
	switch {
	case s == nil:
		return math.Inf(1)
	case !s.Left.Known():
		return math.SmallestNonzeroFloat64
	}
	return float64(s.Left)
}

var unknown, never = figure.Unknown(), figure.Never()

// worse is the larger one; what is unknown is no worse than what is known.
func worse(a, b figure.Figure) figure.Figure {
	switch {
	case !a.Known():
		return b
	case !b.Known():
		return a
	}
	return max(a, b)
}
