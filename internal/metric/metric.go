// Package metric has what orderlog's own metrics have in common: how histograms are
// made, and how an observation is tied to a trace.
package metric

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Native histograms are this fine: each bucket a tenth wider than the one before, as
// long as a hundred are enough.
const (
	nativeFactor     = 1.1
	nativeBuckets    = 100
	nativeResetAfter = time.Hour // how long a histogram that had to become coarser stays so, at least
)

// Histogram makes a histogram that is native, and has o's classic buckets beside for
// whoever scrapes no native ones.
func Histogram(o prometheus.HistogramOpts, labels ...string) *prometheus.HistogramVec {
	o.NativeHistogramBucketFactor, o.NativeHistogramMaxBucketNumber, o.NativeHistogramMinResetDuration = nativeFactor, nativeBuckets, nativeResetAfter
	return prometheus.NewHistogramVec(o, labels)
}

// TraceID is the label of exemplars that names a trace.
const TraceID = "trace_id"

// Observe adds a duration to a histogram; trace is the ID of the trace that it is an
// example of, "" of none. What would be negative, because two clocks do not agree, is 0.
func Observe(o prometheus.Observer, d time.Duration, trace string) {
	seconds := max(0, d.Seconds())
	if trace != "" {
		o.(prometheus.ExemplarObserver).ObserveWithExemplar(seconds, prometheus.Labels{TraceID: trace})
		return
	}
	o.Observe(seconds)
}
