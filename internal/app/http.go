package app

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/orderlog/orderlog/internal/probe"
	"github.com/orderlog/orderlog/internal/status"
	"github.com/orderlog/orderlog/topics"
)

// probes answer from the beginning: a process that starts lives, and is not ready.
func (a *App) probes(context.Context) error {
	if a.cfg.HTTP == "" {
		return nil
	}
	reg := probe.Registry(a.parts, append(a.figures.collectors(), cluster{a}, a.cfg.Trace)...)
	shown := status.New(status.Config{Gatherer: reg, Groups: a.groups()})
	h := probe.Handler(reg, a.parts, shown.Handler())
	s, err := probe.Serve(a.cfg.Listen, a.cfg.HTTP, h)
	if host, _, bad := net.SplitHostPort(a.cfg.HTTP); errors.Is(err, syscall.EADDRINUSE) && a.cfg.HTTPElse && bad == nil {
		s, err = probe.Serve(a.cfg.Listen, net.JoinHostPort(host, "0"), h)
	}
	if err != nil {
		return err
	}
	a.addr.HTTP = s.Addr().String()
	a.onStop(s.Close)
	a.meanwhile(shown.Run)
	return nil
}

// groups are the processors by the names of their consumer groups.
func (a *App) groups() map[string]string {
	groups := map[string]string{}
	for _, name := range Names() {
		groups[topics.Prefixed(a.cfg.Namespace, name)] = name
	}
	return groups
}
