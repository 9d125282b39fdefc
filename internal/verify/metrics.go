package verify

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// WriteMetrics leaves in a file what a run at a time has found, in Prometheus's text
// format, for the textfile collector of node_exporter: whole or not at all. Who runs
// verify every hour is told by the time in it that it has not run.
func (r Report) WriteMetrics(file string, at time.Time) error {
	ok := prometheus.NewGauge(prometheus.GaugeOpts{Name: "orderlog_verify_ok", Help: "1 if the books hold."})
	ran := prometheus.NewGauge(prometheus.GaugeOpts{Name: "orderlog_verify_last_run_timestamp_seconds", Help: "When that was found."})
	violations := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orderlog_verify_violations", Help: "What speaks against a check. One that was not made has none."}, []string{"check"})
	ok.Set(float64(one(r.OK)))
	ran.Set(float64(at.UnixMilli()) / 1000)
	for _, c := range r.Checks {
		if c.Skipped == "" {
			violations.WithLabelValues(c.Name).Set(float64(c.Failed))
		}
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(ok, ran, violations)
	if err := prometheus.WriteToTextfile(file, reg); err != nil {
		return fmt.Errorf("writing metrics: %w", err)
	}
	return nil
}
