package probe

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderlog/orderlog/kgoka"
)

var (
	consumed = counter("records_consumed_total", "Records consumed and committed, the skipped ones among them.")
	produced = counter("records_produced_total", "Records produced and committed, changelogs included.")
	skipped  = counter("records_skipped_total", "Records that their row had seen already.")
	txns     = counter("transactions_total", "Transactions committed.")
	commits  = counter("commits_total", "Batches committed that wrote nothing: their offsets alone, without a transaction.")
	aborts   = counter("transactions_aborted_total", "Transactions aborted and repeated.", "cause")
	rebuilds = counter("clients_rebuilt_total", "Times the clients were made anew: fenced, or an outcome unknown.")

	rebalances = counter("rebalances_total", "Times that the group gave this instance its partitions, the first time among them.")

	tableRows       = table("table_rows", "Rows of a local table; of one on disk: keys that it has, or has had since its filter of keys was made.")
	tableBytes      = table("table_bytes", "Bytes of keys and rows that a local table has in memory, and about what the others take on disk.")
	tableOffset     = table("table_offset", "Offset of the last changelog record that a local table stands for.")
	tableEnd        = table("table_end_offset", "End of the changelog, as last seen.")
	tableRecovering = table("table_recovering", "1 while a table must read more of its changelog before it can be used.")
	tableRead       = table("table_records_read", "Changelog records read since the table was opened.")
	tableLeft       = table("table_recovery_seconds_left", "Seconds until a table has read its changelog, at the rate of now; 0 if there is none to read or no rate yet.")
)

func counter(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("orderlog_"+name, help, append([]string{"processor"}, labels...), nil)
}

func table(name, help string) *prometheus.Desc {
	return counter(name, help, "table", "partition", "role")
}

// own collects the figures of parts that are collectors themselves. It is
// unchecked: there are as many as there are parts.
type own struct{ parts func() map[string]Part }

func (own) Describe(chan<- *prometheus.Desc) {}

func (o own) Collect(ch chan<- prometheus.Metric) {
	for _, p := range o.parts() {
		if c, ok := p.(prometheus.Collector); ok {
			c.Collect(ch)
		}
	}
}

// Collectors is several as one, which need not say what they collect.
type Collectors []prometheus.Collector

// Describe says nothing.
func (Collectors) Describe(chan<- *prometheus.Desc) {}

// Collect collects from all.
func (cs Collectors) Collect(ch chan<- prometheus.Metric) {
	for _, c := range cs {
		c.Collect(ch)
	}
}

// collector reads the parts' counters when it is asked.
type collector struct{ parts func() map[string]Part }

func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{consumed, produced, skipped, txns, commits, aborts, rebuilds, rebalances, tableRows, tableBytes, tableOffset, tableEnd, tableRecovering, tableRead, tableLeft} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	for name, p := range c.parts() {
		s := p.Stats()
		count := func(d *prometheus.Desc, n int64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{name}, labels...)...)
		}
		count(consumed, s.In)
		count(produced, s.Out)
		count(skipped, s.Skipped)
		count(txns, s.Transactions)
		count(commits, s.Commits)
		count(rebuilds, s.Rebuilds)
		count(rebalances, s.Rebalances)
		for cause, n := range s.Aborts {
			count(aborts, n, cause)
		}
		for _, t := range s.Tables {
			collectTable(ch, name, t)
		}
		for _, t := range p.Sizes() {
			put := func(d *prometheus.Desc, n int64) {
				ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), tableLabels(name, t.Topic, t.Partition, t.Role)...)
			}
			put(tableRows, t.Rows)
			put(tableBytes, t.Bytes)
		}
	}
}

func tableLabels(processor, topic string, partition int32, role kgoka.Role) []string {
	return []string{processor, topic, strconv.Itoa(int(partition)), string(role)}
}

func collectTable(ch chan<- prometheus.Metric, name string, t kgoka.TableStats) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, tableLabels(name, t.Topic, t.Partition, t.Role)...)
	}
	gauge(tableOffset, float64(t.Offset))
	gauge(tableEnd, float64(t.End))
	gauge(tableRead, float64(t.Records))
	gauge(tableLeft, t.Left.Seconds())
	recovering := 0.0
	if t.Recovering {
		recovering = 1
	}
	gauge(tableRecovering, recovering)
}
