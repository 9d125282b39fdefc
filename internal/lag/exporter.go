package lag

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// Every is how often an Exporter looks, unless something else is wanted.
	Every = 15 * time.Second

	// stale is for how many times as long it tells what it saw last.
	stale = 8
)

// Exporter tells what a Reader sees, to Prometheus. It is a prometheus.Collector. Names
// and labels are those of github.com/danielqsj/kafka_exporter where that has them.
type Exporter struct {
	read  *Reader
	every time.Duration
	log   *slog.Logger
	last  atomic.Pointer[Round]
	whole atomic.Int64 // Unix ms of the last round without a fault
	took  atomic.Int64 // ns
}

// NewExporter returns an Exporter; something is known where Follow runs.
func NewExporter(read *Reader, every time.Duration, log *slog.Logger) *Exporter {
	return &Exporter{read: read, every: every, log: log}
}

// Follow looks at the cluster until ctx ends.
func (e *Exporter) Follow(ctx context.Context) {
	for failing := false; ; {
		err := e.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			e.log.Warn("lags of consumer groups cannot be read, or not all of them, trying again", "error", err)
		}
		failing = err != nil
		select {
		case <-time.After(e.every):
		case <-ctx.Done():
			return
		}
	}
}

// look takes one round, and says what is wrong with it. While that fails the last one is
// told for some time: a metric that comes and goes has alerts begin anew.
func (e *Exporter) look(ctx context.Context) error {
	round, err := e.read.Round(ctx)
	if err != nil {
		if !e.Seeing() {
			e.last.Store(nil)
		}
		return err
	}
	e.last.Store(round)
	e.took.Store(int64(round.Took))
	if len(round.Faults) > 0 {
		return round.Faults[0]
	}
	if round.Unsafe == nil {
		e.whole.Store(round.At.UnixMilli())
	}
	return round.Unsafe
}

// Seeing tells whether what is told is not old.
func (e *Exporter) Seeing() bool {
	last := e.last.Load()
	return last != nil && e.read.cfg.Now().Sub(last.At) < stale*e.every
}

var (
	perGroup     = []string{"consumergroup"}
	perTopic     = []string{"consumergroup", "topic"}
	perPartition = []string{"consumergroup", "topic", "partition"}
	ofLog        = []string{"topic", "partition"}

	lagOffsets = desc("kafka_consumergroup_lag", "Offsets from what the group has committed to the end of the partition; -1: nothing committed; negative with something committed: beyond the end. Transaction markers and gaps count: see kafka_consumergroup_lag_records.", perPartition)
	lagCurrent = desc("kafka_consumergroup_current_offset", "What the group has committed; -1: nothing.", perPartition)
	lagRecords = desc("kafka_consumergroup_lag_records", "Records that are still to come, to one who reads what is committed; estimated where a lag is large.", perPartition)
	lagSeconds = desc("kafka_consumergroup_lag_seconds", "Age of the next record that the group has to read, by its timestamp; 0: there is none.", perPartition)
	lagState   = desc("kafka_consumergroup_state", "1 for the state that the group is in.", []string{"consumergroup", "state"})
	lagMembers = desc("kafka_consumergroup_members", "Members of the group.", perGroup)
	lagCatchUp = desc("kafka_consumergroup_catch_up_seconds", "In how long the group will have read all, at the rates of the last rounds; +Inf: never.", perGroup)
	lagSafe    = desc("kafka_consumergroup_safe_downtime_seconds", "How long a group may stay down from now on before something that it needs of a topic may be gone; +Inf: for ever.", perTopic)
	lagWhole   = desc("kafka_consumergroup_safe_downtime_whole_seconds", "What kafka_consumergroup_safe_downtime_seconds is for a group that has read all; +Inf: for ever.", perTopic)
	logEnd     = desc("kafka_topic_partition_current_offset", "End of the partition, the high watermark.", ofLog)
	logStart   = desc("kafka_topic_partition_oldest_offset", "First offset of the partition.", ofLog)
	lagLast    = desc("orderlog_lag_exporter_last_success_timestamp_seconds", "When all of this was last read without a fault.", nil)
	lagTook    = desc("orderlog_lag_exporter_duration_seconds", "How long the last look at the cluster took.", nil)
)

func desc(name, help string, labels []string) *prometheus.Desc {
	return prometheus.NewDesc(name, help+" Each instance tells of the whole cluster: take the maximum, not the sum, over instances.", labels, nil)
}

// Describe says what Collect tells.
func (e *Exporter) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagOffsets, lagCurrent, lagRecords, lagSeconds, lagState, lagMembers, lagCatchUp, lagSafe, lagWhole, logEnd, logStart, lagLast, lagTook} {
		ch <- d
	}
}

// Collect tells what the last round has shown.
func (e *Exporter) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		for i, l := range labels {
			labels[i] = label(l)
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	put(lagLast, float64(e.whole.Load())/1000)
	put(lagTook, time.Duration(e.took.Load()).Seconds())
	round := e.last.Load()
	if round == nil {
		return
	}
	for i := range round.Groups {
		g := &round.Groups[i]
		if g.State != "" {
			put(lagState, 1, g.Group, g.State)
			put(lagMembers, float64(g.Members), g.Group)
		}
		if g.CatchUp.Known() {
			put(lagCatchUp, float64(g.CatchUp), g.Group)
		}
	}
	ps := round.Partitions
	for i := range round.Topics {
		t := &round.Topics[i]
		collectTopic(put, t, ps[:t.Partitions])
		ps = ps[t.Partitions:]
	}
	for i := range round.Logs {
		l := &round.Logs[i]
		n := strconv.Itoa(int(l.Partition))
		put(logEnd, float64(l.End), l.Topic, n)
		put(logStart, float64(l.Start), l.Topic, n)
	}
}

// label is a name as Prometheus takes it: in UTF-8, which not every client's is. Names
// that differ have labels that do.
func label(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	return strings.Trim(strconv.Quote(name), `"`)
}

// collectTopic tells of offsets as the others do: of all partitions of a topic on some of
// which something has been committed.
func collectTopic(put func(*prometheus.Desc, float64, ...string), t *Topic, ps []Partition) {
	any := false
	for i := range ps {
		any = any || ps[i].Committed >= 0
	}
	for i := range ps {
		p := &ps[i]
		labels := []string{p.Group, p.Topic, strconv.Itoa(int(p.Partition))}
		if any {
			put(lagOffsets, float64(p.Lag), labels...)
			put(lagCurrent, float64(p.Committed), labels...)
		}
		put(lagRecords, float64(p.Records), labels...)
		if p.Seconds.Known() {
			put(lagSeconds, float64(p.Seconds), labels...)
		}
	}
	left, whole := never, never
	if t.Safe != nil {
		left, whole = t.Safe.Left, t.Safe.Whole
	}
	if left.Known() {
		put(lagSafe, float64(left), t.Group, t.Topic)
		put(lagWhole, float64(whole), t.Group, t.Topic)
	}
}
