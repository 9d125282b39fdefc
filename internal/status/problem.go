package status

import (
	"fmt"
	"maps"
	"slices"
)

// Problem is something that somebody should know of, and perhaps act on.
type Problem struct {
	Bad  bool   `json:"bad"` // data or orders are in danger, or nothing goes on; else: look when there is time
	What string `json:"what"`
	Do   string `json:"do"` // a command that shows more, "" if it mends itself
}

// BehindLong is from where on a lag is a problem, in seconds.
const BehindLong = 30

// From where on something else is one.
const (
	behindBad    = 300
	overdueLong  = 60
	pendingLong  = 300
	downtimeLong = 24 * 3600
	downtimeBad  = 3600
	abortsMany   = 0.05 // of the transactions

	uncountedSoon = 60   // what is empty is counted more often
	uncountedLong = 1800 // what is large is counted more often
)

// problems judges a sample: the worst first, and none is nil.
func problems(s *Sample, gathering error) []Problem {
	found := []Problem{}
	add := func(bad bool, do, what string, args ...any) {
		found = append(found, Problem{bad, fmt.Sprintf(what, args...), do})
	}
	for _, p := range s.Processors {
		if p.Recovering > 0 {
			add(false, "", "%s reads %s of its tables back, %s left", p.Name, plural(p.Recovering, "partition"), p.Left.Duration())
		}
		if p.Behind > BehindLong {
			ahead := "may catch up or not"
			switch {
			case p.CatchUp.Endless():
				ahead = "does not catch up"
			case p.CatchUp.Known():
				ahead = "catches up in " + p.CatchUp.Duration()
			}
			add(p.Behind > behindBad, "orderlog lag "+p.Name, "%s is %s behind (%s records) and %s", p.Name, p.Behind.Duration(), p.Lag.Count(), ahead)
		}
		if p.Aborts > abortsMany*(p.Transactions+p.commits+p.Aborts) {
			add(false, "", "%s aborts %s transactions/s and repeats them", p.Name, p.Aborts.Rate())
		}
	}
	if d := s.Downtime; d != nil && d.Left < downtimeLong {
		add(d.Left < downtimeBad, "orderlog lag "+d.Group, "%s loses something of %s if it is down for %s more", d.Group, d.Topic, d.Left.Duration())
	}
	if s.Calendar.Overdue > 0 && s.Calendar.Oldest > overdueLong {
		add(true, "orderlog retries list", "%s of the calendar should have been dispatched, the first one %s ago", plural(int(s.Calendar.Overdue), "entry"), s.Calendar.Oldest.Duration())
	}
	for _, e := range s.Effects {
		if e.Oldest > pendingLong {
			add(false, "orderlog effects list", "%s has not taken %s, the oldest for %s", e.Name, plural(int(e.Pending), "effect"), e.Oldest.Duration())
		}
	}
	if n := s.DeadLetters.Open; n > 0 {
		wait := "waits"
		if n > 1 {
			wait = "wait"
		}
		add(false, "orderlog dlq groups", "%s %s for somebody, the oldest for %s", plural(int(n), "dead letter"), wait, s.DeadLetters.Oldest.Duration())
	}
	for _, what := range slices.Sorted(maps.Keys(s.counted)) {
		if age := s.counted[what]; age > uncountedLong {
			add(false, "", "%s: not counted for %s, and what is told is as old", what, age.Duration())
		}
	}
	if gathering != nil {
		add(false, "", "not all figures could be gathered: %v", gathering)
	}
	slices.SortStableFunc(found, func(a, b Problem) int {
		switch {
		case a.Bad == b.Bad:
			return 0
		case a.Bad:
			return -1
		}
		return 1
	})
	return found
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem := len(what) - 1; what[stem] == 'y' {
		return Figure(n).Count() + " " + what[:stem] + "ies"
	}
	return Figure(n).Count() + " " + what + "s"
}
