// Package probe answers over HTTP whether a process works: /livez, /readyz and
// /metrics.
package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/orderlog/orderlog/kgoka"
)

// Part is one processor, as kgoka.Processor is. If it is a prometheus.Collector, too,
// /metrics has what it collects.
type Part interface {
	Ready() bool
	Alive() error
	Stats() kgoka.Stats
	Sizes() []kgoka.TableSize
}

// Server listens until it is closed.
type Server struct {
	http *http.Server
	addr net.Addr
	done chan error
}

// Serve serves h at address; a nil listen is net.Listen.
func Serve(listen func(network, address string) (net.Listener, error), address string, h http.Handler) (*Server, error) {
	if listen == nil {
		listen = net.Listen
	}
	l, err := listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for probes: %w", err)
	}
	s := &Server{http: &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}, addr: l.Addr(), done: make(chan error, 1)}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.addr }

// Close ends it; requests under way have a second.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) { // connections that have asked nothing yet, which browsers keep, count too
		err = s.http.Close()
	}
	if e := <-s.done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// Registry has the figures of parts, by name, of the process, and what others tell. Parts
// may be called at any time.
func Registry(parts func() map[string]Part, others ...prometheus.Collector) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(others...)
	reg.MustRegister(collector{parts}, own{parts}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// Handler serves /metrics of reg, and /livez and /readyz: 200 if all parts are well, else
// 503 with a line for each that is not. A process without parts yet lives and is not
// ready. What else there is, is page's.
func Handler(reg *prometheus.Registry, parts func() map[string]Part, page http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, problems(parts(), func(p Part) string {
			if err := p.Alive(); err != nil {
				return err.Error()
			}
			return ""
		}))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ps := parts()
		bad := problems(ps, notReady)
		if len(ps) == 0 {
			bad = []string{"starting"}
		}
		answer(w, bad)
	})
	return mux
}

func notReady(p Part) string {
	if p.Ready() {
		return ""
	}
	var left []string
	for _, t := range p.Stats().Tables {
		if t.Recovering {
			left = append(left, fmt.Sprintf("%s/%d at %d of %d, %v left", t.Topic, t.Partition, t.Offset+1, t.End, t.Left.Round(time.Second)))
		}
	}
	if len(left) == 0 {
		return "no partitions yet"
	}
	return "recovering " + strings.Join(left, "; ")
}

func problems(parts map[string]Part, problem func(Part) string) (bad []string) {
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if p := problem(parts[name]); p != "" {
			bad = append(bad, name+": "+p)
		}
	}
	return bad
}

func answer(w http.ResponseWriter, bad []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if len(bad) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, strings.Join(bad, "\n"))
		return
	}
	fmt.Fprintln(w, "ok")
}
