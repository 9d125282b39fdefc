package kgoka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// base is what a Processor and a View have in common: how they reach the
// brokers, the tables that they keep, and one life.
type base struct {
	cfg     Config
	name    string // of the clients
	net     *connects
	pulse   pulse
	started atomic.Bool
	done    chan struct{} // closed when the life has ended
	shelf
}

func newBase(cfg Config, name string) *base {
	return &base{cfg: cfg, name: name, net: &connects{log: cfg.Log, away: map[string]bool{}}, done: make(chan struct{}),
		shelf: shelf{log: cfg.Log, keep: cfg.Origins, open: map[place]*table{}, parts: map[string]int32{}}}
}

// run calls work between start and stop. Its context ends with ctx, and when rows
// cannot be written any more, which is the error then.
func (b *base) run(ctx context.Context, folder string, work func(context.Context) error) (err error) {
	if b.started.Swap(true) {
		return fmt.Errorf("%q runs only once: make another one", b.name)
	}
	defer close(b.done)
	if err := b.start(folder); err != nil {
		return err
	}
	defer func() {
		if e := b.stop(); !errors.Is(err, e) {
			err = errors.Join(err, e)
		}
	}()
	lost := b.failed()
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(lost, end)()
	err = work(ctx)
	if lost.Err() != nil {
		return context.Cause(lost)
	}
	return err
}

// await returns when ready is closed. It fails if ctx ends or the life has.
func (b *base) await(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-b.done:
		return fmt.Errorf("%q has ended", b.name)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start opens the tables' folder, and a client for all but the records.
func (b *base) start(folder string) (err error) {
	if b.cfg.Dir != "" {
		if b.disk, err = openDisk(b.cfg.Dir, folder, b.cfg.fs); err != nil {
			return err
		}
	}
	if b.adm, err = kgo.NewClient(b.clientOpts("admin")...); err != nil {
		return errors.Join(err, b.shelf.close())
	}
	return nil
}

func (b *base) stop() error {
	b.adm.Close()
	return b.shelf.close()
}

// clientOpts is what all clients share. A short metadata age matters to a fresh
// producer, whose first records wait for the topics to be known, and to whoever
// meets a leader that has just moved.
func (b *base) clientOpts(role string) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(b.cfg.Brokers...),
		kgo.ClientID(b.name + "." + role),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.WithHooks(b.net),
	}, b.cfg.ClientOpts...)
}

// connects notices that brokers go away and come back, and says each once.
type connects struct {
	log  *slog.Logger
	mu   sync.Mutex
	away map[string]bool // by address
}

func (c *connects) OnBrokerConnect(m kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	addr := net.JoinHostPort(m.Host, fmt.Sprint(m.Port))
	c.mu.Lock()
	was := c.away[addr]
	c.away[addr] = err != nil
	c.mu.Unlock()
	switch {
	case err != nil && !was:
		c.log.Warn("broker is away, waiting for it", "broker", addr, "error", err)
	case err == nil && was:
		c.log.Warn("broker is back", "broker", addr)
	}
}
