package lag

import (
	"math"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/figure"
)

func TestCatchUp(t *testing.T) {
	for _, c := range []struct {
		lag           int64
		in, out, want figure.Figure
	}{
		{0, unknown, unknown, 0},
		{0, 100, 0, 0},
		{1, unknown, unknown, unknown},
		{1, 0, 0, never},
		{100, 0, 10, 10},
		{100, 5, 10, 20},
		{100, 10, 10, never},
		{100, 20, 10, never},
		{50, 100, 100, .5}, // in hand
		{101, 100, 100, never},
	} {
		if got := catchUp(c.lag, c.in, c.out); got != c.want && (got.Known() || c.want.Known()) {
			t.Errorf("%d behind, %v in, %v out: %v, want %v", c.lag, c.in, c.out, got, c.want)
		}
	}
}

// Rates are those of the last rounds, and begin anew where a group was put back.
func TestRates(t *testing.T) {
	w := newWorld(t)
	w.topic("in", 2)
	w.put(w.cl, "in", make([]time.Duration, 100)...)
	r := w.reader(nil)
	for _, c := range []struct {
		at        int64 // of the group, ten seconds later than before
		more      int   // records that have come
		out, in   figure.Figure
		catchUp   figure.Figure
		catchesUp string
	}{
		{0, 0, unknown, unknown, unknown, "one round says nothing"},
		{10, 0, 1, 0, 90, "9 s more for each 9"},
		{30, 0, 1.5, 0, 70 / 1.5, "the mean of two"},
		{30, 30, 1, 1, never, "as many come"},
		{130, 0, 3.25, .75, 0, "all read"},
		{20, 0, unknown, unknown, unknown, "put back"},
		{20, 0, 0, 0, never, "and down"},
	} {
		w.put(w.cl, "in", make([]time.Duration, c.more)...)
		w.commit("g", "in", 0, c.at)
		got := w.round(r)
		topic, g := got.Topics[0], got.Groups[0]
		if !same(topic.Out, c.out) || !same(topic.In, c.in) || !same(topic.CatchUp, c.catchUp) || !same(g.CatchUp, c.catchUp) {
			t.Errorf("at %d (%s): %+v, %+v", c.at, c.catchesUp, topic, g)
		}
		w.now = w.now.Add(10 * time.Second)
	}
}

// A partition whose leader does not answer for a round has not been put back, nor is it
// read at once when it is back.
func TestRatesOfWhatIsToldOf(t *testing.T) {
	w := newWorld(t)
	r := w.reader(nil)
	for i, partitions := range []int{2, 2, 1, 2} {
		round := &Round{At: w.now.Add(time.Duration(i) * 10 * time.Second), Groups: []Group{{Group: "g"}}}
		for p := range partitions {
			round.Partitions = append(round.Partitions, Partition{Group: "g", Topic: "in", Partition: int32(p), Committed: 50, Start: 0, Stable: 60, End: 60, Records: 10})
		}
		round.sum()
		r.rate(round)
		got, want := round.Topics[0], figure.Figure(0)
		if i != 1 {
			want = unknown
		}
		if !same(got.Out, want) || !same(got.In, want) {
			t.Errorf("round %d: %v in, %v out, want %v", i, got.In, got.Out, want)
		}
	}
}

func same(a, b figure.Figure) bool {
	return a == b || !a.Known() && !b.Known() || math.Abs(float64(a-b)) < 1e-9
}
