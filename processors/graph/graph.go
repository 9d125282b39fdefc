// Package graph puts rules on a log: it is the only place that turns a
// flow.Processor into a goka.GroupGraph. It decodes what comes in, calls Decide and
// encodes what goes out. What no rule can act on it writes to dead-letter; what may
// succeed later it parks in the calendar, and what comes for the same row waits
// behind it. It leaves transactions, tables and duplicates to kgoka, the calendar's
// clock to internal/calendar, and business to the rules.
package graph

import (
	"context"
	"log/slog"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Env is what every rule shares.
type Env struct {
	Namespace  string         // prefix of topics and groups
	Partitions int            // of every topic; 0: commands are not checked for their place
	Serde      *schemas.Serde // wire format
	Schedule   retry.Schedule // of what failed; nil: the default
	Now        func() time.Time
	Log        *slog.Logger

	Observer Observer         // told what the rule does; nil: nobody
	Trace    *trace.Processor // spans of the group's records; nil: tracing is off
	Report   report.Reporter  // told of panics and dead letters; nil: nobody

	// BeforeDecide, if set, runs before each Decide: a test's way to make a rule
	// panic on one record.
	BeforeDecide func(m flow.Message)
}

// Rule is a flow.Processor whose row type is out of sight.
type Rule interface {
	Name() string
	Inputs() []string // catalogue topics, without the loop
	Outputs() []string
	Group(env Env) string // consumer group, namespaced
	Graph(env Env) *goka.GroupGraph
	Rehearse(ctx context.Context, env Env, rec *kgo.Record, row, note []byte) ([]*kgo.Record, error)
}

// Of wraps a processor.
func Of[S any](p flow.Processor[S]) Rule { return rule[S]{p} }

type rule[S any] struct{ p flow.Processor[S] }

func (r rule[S]) Name() string         { return r.p.Name }
func (r rule[S]) Inputs() []string     { return r.p.Inputs }
func (r rule[S]) Outputs() []string    { return r.p.Outputs }
func (r rule[S]) Group(env Env) string { return topics.Prefixed(env.Namespace, r.p.Name) }

func (r rule[S]) Graph(env Env) *goka.GroupGraph {
	h := newHandler(r.p, env)
	edges := goka.Edges{goka.Persist(kgoka.Bytes{}), goka.Loop(kgoka.Bytes{}, func(c goka.Context, _ any) { h.comeBack(kgoka.From(c)) })}
	for _, t := range r.p.Inputs {
		in, _ := topics.Find(t)
		name := topics.Prefixed(env.Namespace, t)
		edges = append(edges, goka.Input(goka.Stream(name), kgoka.Bytes{}, func(c goka.Context, _ any) { h.handle(kgoka.From(c), in) }))
	}
	for _, t := range h.names {
		edges = append(edges, goka.Output(goka.Stream(t), kgoka.Bytes{}))
	}
	return goka.DefineGroup(goka.Group(r.Group(env)), edges...)
}
