package kgoka

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// store keeps the committed rows of one partition of one table.
type store interface {
	get(key []byte) (row, error)
	write(rows map[string]row, end int64) error // all or nothing
	end() int64                                 // offset of the last changelog record applied, -1 if none
	iterate(start, limit []byte) (storage.Iterator, error)
	close() error
}

// identity is what a store must have in common with the log that it stands for.
type identity struct {
	topic [16]byte
	parts int32
}

// stores is where a Processor's tables live: one database, or memory.
type stores interface {
	// open returns the store of a partition, and what log it was written for.
	open(at place) (store, identity, error)
	// wipe empties a store and notes the log that it is for from now on.
	wipe(at place, id identity) error
	inPlace() bool
	// failed ends when rows cannot be written any more, with the reason as its cause.
	failed() context.Context
	close() error
}

func openStores(cfg Config, group string) (stores, error) {
	if cfg.Dir == "" {
		return &memStores{m: map[place]*memStore{}, ids: map[place]identity{}}, nil
	}
	return openDisk(cfg.Dir, filepath.Join(group, cfg.Instance), cfg.fs)
}

// openChecked opens the table of a partition. A store that cannot be of the log
// as it is now is emptied: recovery makes it anew.
func openChecked(ctx context.Context, ss stores, cl *kgo.Client, at place, log *slog.Logger) (*table, error) {
	id, last, err := logOf(ctx, cl, at)
	if err != nil {
		return nil, fmt.Errorf("table %s/%d: %w", at.topic, at.part, err)
	}
	s, was, err := ss.open(at)
	why := ""
	switch {
	case err != nil:
		why = "it is damaged: " + err.Error()
	case s.end() < 0 && was == identity{}:
		why = "it is new"
	case was.topic != id.topic:
		why = "the topic was made anew"
	case was.parts != id.parts:
		why = "the number of partitions changed"
	case s.end() > last:
		why = fmt.Sprintf("it is ahead of the log: has offset %d, the log ends at %d", s.end(), last)
	}
	if why != "" {
		if was != (identity{}) || err != nil {
			log.Warn("emptying a local table", "topic", at.topic, "partition", at.part, "reason", why)
		}
		if err := ss.wipe(at, id); err != nil {
			return nil, fmt.Errorf("emptying table %s/%d: %w", at.topic, at.part, err)
		}
		if s, _, err = ss.open(at); err != nil {
			return nil, fmt.Errorf("table %s/%d: %w", at.topic, at.part, err)
		}
	}
	t, err := newTable(at.topic, at.part, s, ss.inPlace())
	if err != nil {
		return nil, fmt.Errorf("table %s/%d: %w", at.topic, at.part, err)
	}
	return t, nil
}

// logOf returns what log a partition is, and its last offset.
func logOf(ctx context.Context, cl *kgo.Client, at place) (id identity, last int64, err error) {
	adm := kadm.NewClient(cl)
	ts, err := adm.ListTopics(ctx, at.topic)
	if err == nil {
		err = ts[at.topic].Err
	}
	if err != nil {
		return id, 0, err
	}
	ends, err := adm.ListEndOffsets(ctx, at.topic)
	if err != nil {
		return id, 0, err
	}
	o, _ := ends.Lookup(at.topic, at.part)
	return identity{ts[at.topic].ID, int32(len(ts[at.topic].Partitions))}, o.Offset - 1, o.Err
}

// memStores remembers the stores: a partition that comes back is not read anew.
type memStores struct {
	mu  sync.Mutex
	m   map[place]*memStore
	ids map[place]identity
}

func (ss *memStores) open(at place) (store, identity, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.m[at] == nil {
		ss.m[at] = newMemStore()
	}
	return ss.m[at], ss.ids[at], nil
}

func (ss *memStores) wipe(at place, id identity) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.m[at], ss.ids[at] = newMemStore(), id
	return nil
}

func (ss *memStores) inPlace() bool           { return true }
func (ss *memStores) failed() context.Context { return context.Background() }
func (ss *memStores) close() error            { return nil }
