package lag

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// followEvery is how often lags are read. What they are for takes days.
const followEvery = time.Minute

// Figures are the safe downtimes of all groups, whoever runs them: those of a group
// that is down are told by who is not. It is a prometheus.Collector.
type Figures struct {
	opts   []kgo.Opt
	groups []Group
	log    *slog.Logger

	mu   sync.Mutex
	safe map[reading]float64 // seconds
}

type reading struct{ group, topic string }

// NewFigures returns figures of groups; they are known where Follow runs.
func NewFigures(opts []kgo.Opt, groups []Group, log *slog.Logger) *Figures {
	return &Figures{opts: opts, groups: groups, log: log}
}

var safeDowntime = prometheus.NewDesc("orderlog_safe_downtime_seconds",
	"How long a group may stay down from now on before something that it needs of a topic may be gone; +Inf: for ever. Each instance tells of all groups: take the minimum.",
	[]string{"group", "topic"}, nil)

// Describe says what Collect tells.
func (f *Figures) Describe(ch chan<- *prometheus.Desc) { ch <- safeDowntime }

// Collect tells what was known a minute ago.
func (f *Figures) Collect(ch chan<- prometheus.Metric) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r, seconds := range f.safe {
		ch <- prometheus.MustNewConstMetric(safeDowntime, prometheus.GaugeValue, seconds, r.group, r.topic)
	}
}

// Follow reads lags until ctx ends. What cannot be read now is not told.
func (f *Figures) Follow(ctx context.Context) {
	adm, err := kadm.NewOptClient(f.opts...)
	if err != nil {
		f.log.Warn("safe downtimes are not known", "error", err)
		return
	}
	defer adm.Close()
	for {
		lags, unsafe, err := Reader{f.opts, adm, time.Now}.Read(ctx, f.groups)
		if err == nil {
			err = unsafe
		}
		if err != nil && ctx.Err() == nil {
			f.log.Warn("safe downtimes cannot be read now, trying again", "error", err)
		}
		f.keep(lags, err == nil)
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return
		}
	}
}

// keep takes the least of a topic's partitions.
func (f *Figures) keep(lags []Partition, known bool) {
	safe := map[reading]float64{}
	for _, l := range lags {
		r, left := reading{l.Group, l.Topic}, math.Inf(1)
		if l.Safe != nil {
			left = l.Safe.Left
		}
		if least, ok := safe[r]; known && (!ok || left < least) {
			safe[r] = left
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.safe = safe
}
