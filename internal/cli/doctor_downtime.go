package cli

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/orderlog/orderlog/internal/downtime"
	"github.com/orderlog/orderlog/internal/lag"
)

// examineDowntime warns of groups that may not stay down for as long as they should.
func examineDowntime(f *findings, round *lag.Round, floor time.Duration) {
	if round.Unsafe != nil {
		f.warn("the user needs DESCRIBE_CONFIGS on the topics and the cluster", "how long groups may stay down is not known: %v", round.Unsafe)
		return
	}
	var short []*lag.Partition
	var least *lag.Partition
	all := true
	for _, l := range shortest(round.Partitions) {
		if !l.Safe.Left.Known() {
			f.warn("`orderlog lag` says what cannot be read", "how long group %s may stay down is not known, on %s", l.Group, l.Topic)
			all = false
			continue
		}
		if least == nil || l.Safe.Left < least.Safe.Left {
			least = l
		}
		if float64(l.Safe.Left) < floor.Seconds() {
			short = append(short, l)
		}
	}
	for _, l := range short {
		f.warn(remedy(l), "group %s may stay down for %s only, on %s: %s (%s)", l.Group, l.Safe.Left.Duration(), l.Topic, gone(l.Safe.Loses), l.Safe.Setting)
	}
	switch {
	case len(short) > 0 || !all:
	case least == nil:
		f.ok("groups may stay down for any time")
	default:
		f.ok("groups may stay down for %s before anything that they need is gone; %s has the least, on %s (%s)",
			least.Safe.Left.Duration(), least.Group, least.Topic, least.Safe.Setting)
	}
}

// shortest are the partitions with the least time left of every group and topic,
// where there is an end to it.
func shortest(lags []lag.Partition) []*lag.Partition {
	var least []*lag.Partition
	for i := range lags {
		l := &lags[i]
		if l.Safe == nil || l.Lost() { // it is too late, as examineGroups tells
			continue
		}
		same := slices.IndexFunc(least, func(o *lag.Partition) bool { return o.Group == l.Group && o.Topic == l.Topic })
		switch {
		case same < 0:
			least = append(least, l)
		case l.Safe.Urgency() < least[same].Safe.Urgency():
			least[same] = l
		}
	}
	slices.SortStableFunc(least, func(a, b *lag.Partition) int { return cmp.Compare(a.Safe.Urgency(), b.Safe.Urgency()) })
	return least
}

func gone(loses downtime.Loss) string {
	switch loses {
	case downtime.Offsets:
		return "then the brokers forget where it stands"
	case downtime.History:
		return "then versions that others have followed are gone; it still ends right"
	}
	return "then records are gone that it has not handled"
}

// remedy is what to do: nothing but time helps a group that is behind.
func remedy(l *lag.Partition) string {
	raise := fmt.Sprintf("raise %s", l.Safe.Setting)
	if l.Safe.Left < l.Safe.Whole {
		return fmt.Sprintf("let it run: it is behind; or %s, which is worth %s to a group that is not", raise, l.Safe.Whole.Duration())
	}
	return raise
}
