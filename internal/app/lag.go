package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/lag"
)

// lags tells how far the cluster's groups are behind, where somebody may ask: each
// process of all, so that one tells of those that nobody runs.
func (a *App) lags(context.Context) error {
	if a.cfg.HTTP == "" {
		return nil
	}
	cl, err := kgo.NewClient(a.client...)
	if err != nil {
		return fmt.Errorf("client for lags: %w", err)
	}
	of := a.cfg.LagOf
	if of == nil {
		of = func(string) bool { return true }
	}
	expected := slices.DeleteFunc(lag.Pipeline(a.cfg.Namespace), func(e lag.Expected) bool { return !of(e.Name) })
	e := lag.NewExporter(lag.NewReader(lag.Config{Client: cl, Expected: expected, Others: of, Now: a.cfg.Now}), lag.Every, a.cfg.Log)
	a.mu.Lock()
	a.lag = e
	a.mu.Unlock()
	a.onStop(func() error { cl.Close(); return nil })
	a.meanwhile(e.Follow)
	return nil
}

// cluster collects what is told of the cluster, as soon as there is one.
type cluster struct{ *App }

func (cluster) Describe(chan<- *prometheus.Desc) {}

func (c cluster) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	e := c.lag
	c.mu.Unlock()
	if e != nil {
		e.Collect(ch)
	}
}
