package track

import (
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{nil, 50, 0},
		{hundred[:1], 0, 1},
		{hundred[:1], 99, 1},
		{hundred[:2], 50, 1},
		{hundred[:2], 51, 2},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.1, 100},
		{hundred, 100, 100},
	} {
		if got := Percentile(c.sorted, c.p); got != c.want {
			t.Errorf("percentile %v of %d: %d, want %d", c.p, len(c.sorted), got, c.want)
		}
	}
}
