package app

import (
	"fmt"

	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/topics"
)

// Trace is what makes spans in this process, nil if tracing is off.
func (a *App) Trace() *trace.Tracer { return a.cfg.Trace }

// traced is env with the spans of a processor, which end with its transactions.
func (a *App) traced(env graph.Env, cfg *kgoka.Config, processor string) graph.Env {
	if env.Trace = a.cfg.Trace.Processor(processor, topics.Prefixed(a.cfg.Namespace, processor)); env.Trace == nil {
		return env
	}
	others := cfg.Observer.Transaction
	cfg.Observer.Transaction = func(t kgoka.Transaction) {
		env.Trace.Transaction(t.Began, t.Took, t.In, t.Out, t.Err)
		if others != nil {
			others(t)
		}
	}
	return env
}

// ended reports that a processor has ended by itself.
func (a *App) ended(processor string, err error) {
	if a.cfg.Report != nil {
		a.cfg.Report.Report(report.Failure{Kind: report.Ended, Processor: processor, Cause: string(report.Ended), Type: fmt.Sprintf("%T", err)})
	}
}
