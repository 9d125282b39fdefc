package ledger

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are of one lane, since the process started.
type counts struct{ sent, failed, unsure int64 }

func (l *Ledger) count(lane string, add func(*counts)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts[lane]
	if c == nil {
		c = &counts{}
		l.counts[lane] = c
	}
	add(c)
}

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("orderlog_effects_"+name, help, []string{"endpoint"}, nil)
}

var (
	sentTotal   = desc("sent_total", "Effects that the endpoint has taken.")
	failedTotal = desc("failed_total", "Effects that were given up: each is a dead letter.")
	unsureTotal = desc("unsure_total", "Tries repeated because nobody wrote down what came of them.")
	pending     = desc("pending", "Effects of the partitions here that are neither sent nor failed.")
	oldest      = desc("oldest_pending_seconds", "Time since the oldest of them was asked for; 0 if there is none.")
)

// Describe says nothing: there are as many figures as endpoints.
func (l *Ledger) Describe(chan<- *prometheus.Desc) {}

// Collect makes a Ledger a prometheus.Collector.
func (l *Ledger) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, lane string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, lane)
	}
	for lane, c := range l.counts {
		put(sentTotal, prometheus.CounterValue, float64(c.sent), lane)
		put(failedTotal, prometheus.CounterValue, float64(c.failed), lane)
		put(unsureTotal, prometheus.CounterValue, float64(c.unsure), lane)
	}
	if l.shift == nil {
		return
	}
	for _, ln := range l.shift.lanes {
		age := 0.0
		if len(ln.open) > 0 {
			first := int64(1<<63 - 1)
			for _, at := range ln.open {
				first = min(first, at)
			}
			age = max(0, time.Since(time.UnixMilli(first)).Seconds())
		}
		put(pending, prometheus.GaugeValue, float64(len(ln.open)), ln.name)
		put(oldest, prometheus.GaugeValue, age, ln.name)
	}
}
