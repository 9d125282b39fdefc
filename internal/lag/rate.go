package lag

import (
	"maps"
	"slices"
	"time"

	"github.com/orderlog/orderlog/internal/figure"
)

// history is over how many rounds rates are taken.
const history = 5

// sample is how far a group was on a topic, as the sum over its partitions.
type sample struct {
	at          time.Time
	partitions  int   // that were told of
	read, ended int64 // offsets
}

// rate fills in rates, and when groups will have read all.
func (r *Reader) rate(round *Round) {
	now := map[stream]sample{}
	for i := range round.Partitions {
		p := &round.Partitions[i]
		of := stream{p.Group, p.Topic}
		s := now[of]
		now[of] = sample{round.At, s.partitions + 1, s.read + p.at(), s.ended + p.Stable}
	}
	maps.DeleteFunc(r.moves, func(of stream, _ []sample) bool { _, there := now[of]; return !there })
	group := map[string]figure.Figure{}
	for i := range round.Topics {
		t := &round.Topics[i]
		of := stream{t.Group, t.Topic}
		s := now[of]
		moves := r.moves[of]
		if n := len(moves); n > 0 && (s.read < moves[n-1].read || s.ended < moves[n-1].ended || s.partitions != moves[n-1].partitions) {
			moves = nil // it was put back, the topic made anew, or a leader does not answer, or does again
		}
		if len(moves) >= history {
			moves = slices.Delete(moves, 0, len(moves)-history+1)
		}
		moves = append(moves, s)
		r.moves[of] = moves
		if passed := s.at.Sub(moves[0].at).Seconds(); passed > 0 {
			t.In, t.Out = figure.Figure(float64(s.ended-moves[0].ended)/passed), figure.Figure(float64(s.read-moves[0].read)/passed)
		}
		if t.CatchUp = catchUp(s.ended-s.read, t.In, t.Out); t.Records == 0 {
			t.CatchUp = 0 // of what is left nothing is a record
		}
		if before, ok := group[t.Group]; !ok || !t.CatchUp.Known() {
			group[t.Group] = t.CatchUp
		} else if before.Known() {
			group[t.Group] = max(before, t.CatchUp)
		}
	}
	for i := range round.Groups {
		g := &round.Groups[i]
		if left, reads := group[g.Group]; reads {
			g.CatchUp = left
		}
	}
}

// catchUp is in how many seconds lag offsets will have been read, if in come and out are
// read in a second. What is read within a second anyway is not being behind: a group
// that keeps up always has something in hand.
func catchUp(lag int64, in, out figure.Figure) figure.Figure {
	left := figure.Figure(lag)
	switch {
	case lag <= 0:
		return 0
	case !in.Known():
		return unknown
	case left <= out:
		return left / out
	case out > in:
		return left / (out - in)
	}
	return never
}
