package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderlog/orderlog/internal/calendar"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/ledger"
	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/topics"
)

func (a *App) run(ctx context.Context) error {
	env := graph.Env{Namespace: a.cfg.Namespace, Partitions: int(a.npart), Serde: a.serde, Now: a.cfg.Now,
		Log: a.cfg.Log, Report: a.cfg.Report, BeforeDecide: a.cfg.BeforeDecide}
	alone := func(ctx context.Context, p *kgoka.Processor) error { return p.Run(ctx) }
	rules := a.cfg.Rules
	if a.cfg.Effects != nil {
		rules.Notification = a.cfg.Effects.Rule()
	}
	for _, r := range processors.All(rules) {
		cfg := a.runtime()
		cfg.Origins, cfg.Coalesce = true, r.Name() != "order" // every transition stays in the order log
		cfg.SamePartition = []string{topics.Prefixed(a.cfg.Namespace, topics.Retry)}
		own := a.own(env, &cfg, r.Name())
		if err := a.add(r.Name(), cfg, r.Graph(own), a.counting(own, r.Name(), alone)); err != nil {
			return err
		}
	}
	if err := a.calendar(env); err != nil {
		return err
	}
	if err := a.effects(env); err != nil {
		return err
	}
	a.spawn()
	return nil
}

// calendar counts what failed, too, where somebody may ask: whether the group is paused or not.
func (a *App) calendar(env graph.Env) error {
	c := calendar.New(env)
	run := c.Run
	if a.cfg.HTTP != "" && a.wanted(calendar.Name) {
		dead := mend.NewFigures(mend.Config{Opts: a.client, Serde: a.serde, Namespace: a.cfg.Namespace, Now: a.cfg.Now}, a.cfg.Log)
		a.tells(calendar.Name, c, dead)
		a.meanwhile(dead.Follow)
		run = beside(c.Run, c.Count)
	}
	cfg := a.runtime()
	a.observed(env, &cfg, calendar.Name)
	return a.add(calendar.Name, c.Runtime(cfg), c.Graph(), run)
}

func (a *App) effects(env graph.Env) error {
	if !a.wanted(ledger.Name) {
		return nil
	}
	to, err := effect.New(*a.cfg.Effects, effect.Options{Dir: a.folder(MailFolder), Dial: a.cfg.Dial, Report: a.cfg.Report})
	if err != nil {
		return err
	}
	a.onStop(func() error { to.Close(); return nil })
	cfg := a.runtime()
	l := ledger.New(a.own(env, &cfg, ledger.Name), to)
	a.tells(ledger.Name, l)
	return a.add(ledger.Name, l.Runtime(cfg), l.Graph(), l.Run)
}

func (a *App) tells(processor string, cs ...prometheus.Collector) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tell[processor] = cs
}

// own is env for one processor, and with it cfg: its schedule, who counts and who traces it.
func (a *App) own(env graph.Env, cfg *kgoka.Config, processor string) graph.Env {
	env.Schedule = a.cfg.Schedule
	if own, ok := a.cfg.Schedules[processor]; ok {
		env.Schedule = own
	}
	return a.traced(a.observed(env, cfg, processor), cfg, processor)
}

func (a *App) wanted(processor string) bool {
	if a.cfg.Effects == nil && ofEffects(processor) {
		return false
	}
	return len(a.cfg.Processors) == 0 || slices.Contains(a.cfg.Processors, processor)
}

// add makes a processor, unless it is not wanted. run runs it, with what works
// beside it.
func (a *App) add(name string, cfg kgoka.Config, g *goka.GroupGraph, run runs) error {
	if !a.wanted(name) {
		return nil
	}
	if a.cfg.Tune != nil {
		a.cfg.Tune(&cfg)
	}
	anew := func() (*kgoka.Processor, error) { return kgoka.NewProcessor(cfg, g) }
	p, err := anew()
	if err != nil {
		return fmt.Errorf("processor %s: %w", name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.procs[name], a.make[name], a.runs[name] = p, anew, run
	return nil
}

// runtime is what all groups have in common.
func (a *App) runtime() kgoka.Config {
	return kgoka.Config{Brokers: a.addr.Brokers, ClientOpts: a.client, Instance: a.cfg.Instance, Dir: a.folder("tables"),
		Standby: a.cfg.Standby, Log: a.cfg.Log}
}
