package kgoka

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/lovoo/goka"
)

// View keeps a whole table here, as it is in its topic, to be read from any
// goroutine. With Config.Dir it goes on at its next start where it was, in the
// folder Dir/view=topic/Instance.
type View struct {
	*base
	topic   string
	codec   goka.Codec
	running chan struct{} // closed once the table is up to date

	mu     sync.RWMutex
	tables []*table // by partition, while they can be read
	open   map[*iterator]bool
}

// NewView prepares a view. It does not talk to the brokers; Run does.
func NewView(cfg Config, table goka.Table, codec goka.Codec) (*View, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configuration of view %q: %w", table, err)
	}
	if !legalName(string(table)) || cfg.Instance != "" && !legalName(cfg.Instance) {
		return nil, fmt.Errorf("view %q of instance %q: both must be names that a topic could have", table, cfg.Instance)
	}
	cfg = cfg.withDefaults()
	cfg.Log = cfg.Log.With("view", table)
	return &View{base: newBase(cfg, "view."+string(table)), topic: string(table), codec: codec,
		running: make(chan struct{}), open: map[*iterator]bool{}}, nil
}

// Run reads the table, and what is written to it from then on, until ctx ends; it
// returns nil then. A broker that is away is waited for. Run can be called once.
func (v *View) Run(ctx context.Context) error {
	return v.run(ctx, filepath.Join("view="+v.topic, v.cfg.Instance), func(ctx context.Context) error {
		defer v.serve(nil)
		if err := v.work(ctx); ctx.Err() == nil {
			return err
		}
		return nil
	})
}

func (v *View) work(ctx context.Context) error {
	n, err := countPartitions(ctx, v.adm, v.topic)
	if err != nil {
		return err
	}
	ts, err := v.toRead(ctx, RoleView, v.topic, numbers(n)...)
	if err == nil {
		err = v.catchUp(ctx, ts)
	}
	if err != nil {
		return err
	}
	v.serve(ts)
	close(v.running)
	return v.follow(ctx, RoleView, ts)
}

// serve says what can be read, nil for nothing any more.
func (v *View) serve(ts []*table) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tables = ts
	if ts == nil {
		for it := range v.open {
			it.end(errNotRunning)
		}
		clear(v.open)
	}
}

var errNotRunning = errors.New("the view is not up to date yet, or has ended")

// WaitRunning returns a channel that is closed once the view is up to date.
func (v *View) WaitRunning() <-chan struct{} { return v.running }

// WaitReady returns once the view is up to date. It fails if ctx ends or Run has.
func (v *View) WaitReady(ctx context.Context) error { return v.await(ctx, v.running) }

// Recovered says whether the view is up to date and can be read.
func (v *View) Recovered() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.tables != nil
}

// Topic returns the table's topic.
func (v *View) Topic() string { return v.topic }

// Get returns the value of key, nil if there is none. It fails until the view is
// up to date, and after Run has ended.
func (v *View) Get(key string) (any, error) {
	b, err := v.get(key)
	if b == nil || err != nil {
		return nil, err
	}
	return v.decode(key, b)
}

// Has says whether there is a value of key.
func (v *View) Has(key string) (bool, error) {
	b, err := v.get(key)
	return b != nil, err
}

func (v *View) get(key string) ([]byte, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.tables == nil {
		return nil, errNotRunning
	}
	r, err := v.tables[Partition(key, len(v.tables))].committed([]byte(key))
	return r.value(), err
}

func (v *View) decode(key string, b []byte) (any, error) {
	val, err := v.codec.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("decoding row %q of %q: %w", key, v.topic, err)
	}
	return val, nil
}

// Iterator goes through all keys in order.
func (v *View) Iterator() (goka.Iterator, error) { return v.IteratorWithRange("", "") }

// IteratorWithRange goes through the keys from start and before limit in order;
// "" is no limit. It sees each partition as it is when the iterator is made, or seeks, and
// must be released.
func (v *View) IteratorWithRange(start, limit string) (goka.Iterator, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tables == nil {
		return nil, errNotRunning
	}
	it := &iterator{v: v, limit: limit}
	if it.from(start); it.err != nil {
		it.stop()
		return nil, it.err
	}
	v.open[it] = true
	return it, nil
}

// Stats returns the state of the view's partitions.
func (v *View) Stats() []TableStats { return v.shelf.stats() }
