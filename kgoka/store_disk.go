package kgoka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/lovoo/goka/storage"
)

// disk is one Pebble database for all tables of a Processor. It has no log of
// its own: the changelog is one. A batch holds a partition's rows and the offset
// that they stand for, so whatever of it a crash leaves fits together.
type disk struct {
	dir string
	db  *pebble.DB
	err atomic.Pointer[error] // of the background: disk full, damage
}

// damaged is a file that says that the database must be made anew.
const damaged = "DAMAGED"

func openDisk(dir, name string) (stores, error) {
	d := &disk{dir: filepath.Join(dir, name)}
	if _, err := os.Stat(filepath.Join(d.dir, damaged)); err == nil {
		if err := os.RemoveAll(d.dir); err != nil {
			return nil, fmt.Errorf("removing damaged tables: %w", err)
		}
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening local tables: %w", err)
	}
	o := &pebble.Options{
		FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}, DisableWAL: true,
		MemTableSize: 16 << 20, L0CompactionThreshold: 4, L0StopWritesThreshold: 24,
		CompactionConcurrencyRange: func() (int, int) { return 1, 1 },
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	o.EventListener = &pebble.EventListener{ // Pebble's own answer to damage is to end the process
		BackgroundError: func(err error) { d.err.CompareAndSwap(nil, &err) },
		DataCorruption:  func(i pebble.DataCorruptionInfo) { d.check(i.Details) },
	}
	cache := pebble.NewCache(64 << 20)
	defer cache.Unref()
	o.Cache = cache
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].IndexBlockSize = 1 << 20
	}
	db, err := pebble.Open(d.dir, o)
	if err != nil {
		return nil, d.check(fmt.Errorf("opening local tables in %q: %w", d.dir, err))
	}
	d.db = db
	return d, nil
}

// check leaves a note if err says that the database is damaged.
func (d *disk) check(err error) error {
	if err != nil && pebble.IsCorruptionError(err) {
		note := os.WriteFile(filepath.Join(d.dir, damaged), []byte(err.Error()+"\n"), 0o644)
		err = errors.Join(fmt.Errorf("%w (the next start makes the tables anew)", err), note)
	}
	return err
}

func (d *disk) inPlace() bool { return false }

func (d *disk) close() error { return errors.Join(d.check(d.db.Flush()), d.db.Close()) }

// Keys: 'm' or 'r', the topic, 0, the partition; rows add their key.
func prefix(kind byte, at place) []byte {
	b := append(append([]byte{kind}, at.topic...), 0)
	return binary.BigEndian.AppendUint32(b, uint32(at.part))
}

func (d *disk) open(at place) (store, identity, error) {
	s := &diskStore{d: d, meta: prefix('m', at), rows: prefix('r', at), last: -1}
	m, err := d.get(s.meta)
	if err != nil || m == nil {
		return s, identity{}, err
	}
	if len(m) != 28 {
		return s, identity{}, errRow
	}
	s.id = identity{[16]byte(m), int32(binary.BigEndian.Uint32(m[16:]))}
	s.last = int64(binary.BigEndian.Uint64(m[20:]))
	return s, s.id, nil
}

func (d *disk) get(key []byte) ([]byte, error) {
	v, c, err := d.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, d.check(err)
	}
	v = slices.Clone(v)
	return v, d.check(c.Close())
}

func (d *disk) wipe(at place, id identity) error {
	s := &diskStore{d: d, meta: prefix('m', at), rows: prefix('r', at), id: id}
	b := d.db.NewBatch()
	defer b.Close()
	if err := errors.Join(b.DeleteRange(s.rows, upper(s.rows), nil), b.Set(s.meta, s.encodeMeta(-1), nil)); err != nil {
		return err
	}
	return d.check(d.db.Apply(b, pebble.NoSync))
}

// upper is the first key after those that begin with p; p ends in a partition.
func upper(p []byte) []byte {
	u := slices.Clone(p)
	binary.BigEndian.PutUint32(u[len(u)-4:], binary.BigEndian.Uint32(u[len(u)-4:])+1)
	return u
}

// diskStore is one partition in a disk.
type diskStore struct {
	d          *disk
	meta, rows []byte
	id         identity
	last       int64
}

func (s *diskStore) encodeMeta(end int64) []byte {
	m := binary.BigEndian.AppendUint32(slices.Clone(s.id.topic[:]), uint32(s.id.parts))
	return binary.BigEndian.AppendUint64(m, uint64(end))
}

func (s *diskStore) end() int64   { return s.last }
func (s *diskStore) close() error { return nil }

func (s *diskStore) get(key []byte) (row, error) {
	var buf [128]byte
	v, err := s.d.get(append(append(buf[:0], s.rows...), key...))
	if err != nil || v == nil {
		return row{}, err
	}
	return decodeRow(v)
}

func (s *diskStore) write(rows map[string]row, end int64) error {
	b := s.d.db.NewBatch()
	defer b.Close()
	var buf []byte
	for _, key := range slices.SortedFunc(maps.Keys(rows), strings.Compare) {
		r, k := rows[key], len(s.rows)+len(key)
		if r.val == nil {
			if err := b.Delete(append(append(buf[:0], s.rows...), key...), nil); err != nil {
				return err
			}
			continue
		}
		op := b.SetDeferred(k, r.size())
		copy(op.Key[copy(op.Key, s.rows):], key)
		r.encode(op.Value[:0])
		if err := op.Finish(); err != nil {
			return err
		}
	}
	if err := b.Set(s.meta, s.encodeMeta(end), nil); err != nil {
		return err
	}
	if err := s.d.err.Load(); err != nil {
		return *err
	}
	if err := s.d.db.Apply(b, pebble.NoSync); err != nil {
		return s.d.check(err)
	}
	s.last = end
	return nil
}

func (s *diskStore) iterate(start, limit []byte) (storage.Iterator, error) {
	o := &pebble.IterOptions{LowerBound: append(slices.Clone(s.rows), start...), UpperBound: upper(s.rows)}
	if len(limit) > 0 {
		o.UpperBound = append(slices.Clone(s.rows), limit...)
	}
	it, err := s.d.db.NewIter(o)
	if err != nil {
		return nil, s.d.check(err)
	}
	return &diskIterator{it: it, skip: len(s.rows), rows: s.rows}, nil
}

type diskIterator struct {
	it     *pebble.Iterator
	skip   int
	rows   []byte
	begun  bool // at is positioned
	seeked bool // Next stays once: goka calls Next after Seek
}

func (i *diskIterator) Next() bool {
	switch {
	case i.seeked:
		i.seeked = false
		return i.it.Valid()
	case !i.begun:
		i.begun = true
		return i.it.First()
	}
	return i.it.Next()
}

func (i *diskIterator) Seek(key []byte) bool {
	i.begun, i.seeked = true, true
	return i.it.SeekGE(append(slices.Clone(i.rows), key...))
}

func (i *diskIterator) Err() error  { return i.it.Error() }
func (i *diskIterator) Key() []byte { return i.it.Key()[i.skip:] }
func (i *diskIterator) Release()    { _ = i.it.Close() }

func (i *diskIterator) Value() ([]byte, error) {
	v, err := i.it.ValueAndErr()
	if err != nil {
		return nil, err
	}
	r, err := decodeRow(v)
	return r.val, err
}

// quiet is for Pebble: what it has to say comes back as errors.
type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf("local tables: "+format, a...)) }
