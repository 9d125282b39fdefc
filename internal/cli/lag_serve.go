package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/orderlog/orderlog/internal/lag"
	"github.com/orderlog/orderlog/internal/probe"
)

// serveLag tells what e sees until ctx ends.
func (s *session) serveLag(ctx context.Context, e *lag.Exporter, address string) error {
	server, err := probe.Serve(s.env.Listen, address, lagHandler(e))
	if err != nil {
		return err
	}
	at := "http://" + server.Addr().String() + "/metrics"
	if err := s.show(map[string]string{"metrics": at}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "lags at "+at+"; Ctrl-C stops")
		return err
	}); err != nil {
		return err
	}
	e.Follow(ctx)
	return server.Close()
}

// lagHandler is ready as long as the lags are not old.
func lagHandler(e *lag.Exporter) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(e, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !e.Seeing() {
			http.Error(w, "lags are not known, or old", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
