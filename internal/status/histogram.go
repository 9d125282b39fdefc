package status

import (
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// bucket holds n observations above lower, up to upper.
type bucket struct{ lower, upper, n float64 }

// distribution are the buckets of a histogram, in order. Of a native one, only those
// that hold something.
type distribution []bucket

// distributionOf prefers native buckets, which are narrow.
func distributionOf(h *dto.Histogram) (d distribution) {
	if len(h.GetPositiveSpan()) == 0 {
		return classic(h)
	}
	if n := h.GetZeroCount(); n > 0 {
		d = append(d, bucket{0, h.GetZeroThreshold(), float64(n)})
	}
	// Bucket i is up to base^i, with base 2^(2^-schema); spans say where runs of them
	// begin, deltas how many each holds more than the one before.
	base := math.Exp2(math.Exp2(-float64(h.GetSchema())))
	index, at, n := int32(0), 0, int64(0)
	for _, span := range h.GetPositiveSpan() {
		index += span.GetOffset()
		for range span.GetLength() {
			n += h.GetPositiveDelta()[at]
			if n > 0 {
				d = append(d, bucket{math.Pow(base, float64(index-1)), math.Pow(base, float64(index)), float64(n)})
			}
			index++
			at++
		}
	}
	return d
}

func classic(h *dto.Histogram) (d distribution) {
	lower, below := 0.0, 0.0
	for _, b := range h.GetBucket() {
		n := float64(b.GetCumulativeCount())
		d = append(d, bucket{lower, b.GetUpperBound(), n - below})
		lower, below = b.GetUpperBound(), n
	}
	if rest := float64(h.GetSampleCount()) - below; rest > 0 {
		d = append(d, bucket{lower, math.Inf(1), rest})
	}
	return d
}

// since is what has come after before. A native histogram that grows halves its
// resolution: then two of before's buckets lie in one of now's.
func (now distribution) since(before distribution) distribution {
	const same = 1 + 1e-9 // bounds are computed
	came := slices.Clone(now)
	for i := range came {
		for _, b := range before {
			if b.upper <= came[i].upper*same && b.lower*same >= came[i].lower {
				came[i].n -= b.n
			}
		}
		if came[i].n < 0 {
			return now // it began anew
		}
	}
	return came
}

// quantile is q's, of 0 to 1, spread evenly within its bucket; not known if there is nothing.
func (d distribution) quantile(q float64) Figure {
	total := 0.0
	for _, b := range d {
		total += b.n
	}
	if total == 0 {
		return unknown
	}
	rank, below := q*total, 0.0
	for _, b := range d {
		if b.n > 0 && below+b.n >= rank {
			if math.IsInf(b.upper, 1) {
				return Figure(b.lower) // it is that at least
			}
			return Figure(b.lower + (b.upper-b.lower)*(rank-below)/b.n)
		}
		below += b.n
	}
	return Figure(d[len(d)-1].upper)
}
