package app

import (
	"context"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/build"
	"github.com/orderlog/orderlog/internal/census"
	"github.com/orderlog/orderlog/internal/metric"
	"github.com/orderlog/orderlog/internal/tally"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/order"
)

// figures are what a process counts where somebody may ask.
type figures struct {
	tally   *tally.Tally
	clients *metric.Clients
}

// collectors of the process, whichever processors it has.
func (f *figures) collectors() []prometheus.Collector {
	return []prometheus.Collector{f.tally, f.clients, build.Collector()}
}

// observed is env for a processor that is counted, and with it cfg.
func (a *App) observed(env graph.Env, cfg *kgoka.Config, processor string) graph.Env {
	if a.figures == nil {
		return env
	}
	p := a.figures.tally.Processor(processor)
	env.Observer, cfg.Observer.Transaction = p, p.Transaction
	cfg.ClientOpts = append(slices.Clone(cfg.ClientOpts), kgo.WithHooks(a.figures.clients.Hook(processor)))
	return env
}

// runs a processor until ctx ends.
type runs = func(ctx context.Context, p *kgoka.Processor) error

// counting is run, beside which it is counted what stands in the processor's table, if
// that is of interest.
func (a *App) counting(env graph.Env, processor string, run runs) runs {
	if a.figures == nil {
		return run
	}
	switch processor {
	case order.Name:
		c := census.NewOrders(env)
		a.tells(processor, c)
		return beside(run, c.Follow)
	case "inventory":
		c := census.NewProducts(env)
		a.tells(processor, c)
		return beside(run, c.Follow)
	}
	return run
}

// beside is run with what works beside it meanwhile.
func beside(run runs, others ...func(context.Context, *kgoka.Processor)) runs {
	return func(ctx context.Context, p *kgoka.Processor) error {
		working, end := context.WithCancel(ctx)
		var all sync.WaitGroup
		for _, other := range others {
			all.Go(func() { other(working, p) })
		}
		defer all.Wait()
		defer end()
		return run(ctx, p)
	}
}
