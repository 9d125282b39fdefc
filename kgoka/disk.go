package kgoka

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is one Pebble database for all tables of a Processor. It has no log of
// its own: the changelog is one. A batch holds a partition's rows and the offset
// that they stand for, so whatever of it a crash leaves fits together.
type disk struct {
	dir   string
	db    *pebble.DB
	opts  *pebble.Options
	fs    vfs.FS
	files atomic.Int64
	tries sync.WaitGroup

	lost context.Context // ends with the first error in the background: disk full, damage
	lose context.CancelCauseFunc
}

// damaged is a file that says that the database must be made anew.
const damaged = "DAMAGED"

// newRows begins the names of files that shall become part of the database.
const newRows = "rows-"

// closeWait is how long the last rows may take to reach the disk. Without them
// the next start reads more of the changelog.
const closeWait = 5 * time.Second

// openDisk opens the database dir/name; fs is the files' system, nil for the real one.
func openDisk(dir, name string, fs vfs.FS) (*disk, error) {
	d := &disk{dir: filepath.Join(dir, name)}
	d.lost, d.lose = context.WithCancelCause(context.Background())
	if _, err := os.Stat(filepath.Join(d.dir, damaged)); err == nil {
		if err := os.RemoveAll(d.dir); err != nil {
			return nil, fmt.Errorf("removing damaged tables: %w", err)
		}
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening local tables: %w", err)
	}
	if d.fs = fs; fs == nil {
		d.fs = vfs.Default
	}
	o := &pebble.Options{
		FormatMajorVersion: pebble.FormatNewest, Logger: quiet{d}, DisableWAL: true, FS: d.fs,
		MemTableSize: 16 << 20, L0CompactionThreshold: 16, L0StopWritesThreshold: 24,
		CompactionConcurrencyRange: func() (int, int) { return 1, 1 },
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	o.EventListener = &pebble.EventListener{ // Pebble's own answer to damage is to end the process
		BackgroundError: d.fail,
		DataCorruption:  func(i pebble.DataCorruptionInfo) { d.check(i.Details) },
	}
	cache := pebble.NewCache(64 << 20)
	defer cache.Unref()
	o.Cache = cache
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].IndexBlockSize = 1 << 20
	}
	err := d.try(func() (err error) {
		d.opts = o
		if d.db, err = pebble.Open(d.dir, o); err == nil {
			err = d.sweep()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening local tables in %q: %w", d.dir, err)
	}
	return d, nil
}

// sweep removes what a crash left between being written and becoming part of the database.
func (d *disk) sweep() error {
	names, err := d.fs.List(d.dir)
	for _, name := range names {
		if strings.HasPrefix(name, newRows) {
			err = errors.Join(err, d.fs.Remove(d.fs.PathJoin(d.dir, name)))
		}
	}
	return err
}

// fail is for errors in the background; Pebble holds locks when it calls it.
func (d *disk) fail(err error) {
	if pebble.IsCorruptionError(err) {
		d.lose(d.check(err))
		return
	}
	d.lose(fmt.Errorf("data folder cannot be written: %w", err))
}

// try does what may wait for the disk. Pebble repeats for ever what fails on a
// full one: then fn is left behind, and ends when there is room again.
func (d *disk) try(fn func() error) error {
	done := make(chan error, 1)
	d.tries.Go(func() { done <- fn() })
	return d.await(done)
}

func (d *disk) await(done <-chan error) error {
	select {
	case err := <-done:
		return d.check(err)
	case <-d.lost.Done():
		return context.Cause(d.lost)
	}
}

// check leaves a note if err says that the database is damaged.
func (d *disk) check(err error) error {
	if err != nil && pebble.IsCorruptionError(err) {
		note := os.WriteFile(filepath.Join(d.dir, damaged), []byte(err.Error()+"\n"), 0o644)
		err = errors.Join(fmt.Errorf("%w (the next start makes the tables anew)", err), note)
	}
	return err
}

func (d *disk) close() error {
	late := time.AfterFunc(closeWait, func() { d.fail(fmt.Errorf("no answer within %v", closeWait)) })
	defer late.Stop()
	done := make(chan error, 1)
	go func() {
		err := d.db.Flush()
		late.Stop()
		d.tries.Wait() // what was left behind still uses the database
		done <- errors.Join(err, d.db.Close())
	}()
	return d.await(done)
}

// apply writes a batch and frees it.
func (d *disk) apply(b *pebble.Batch) error {
	return d.try(func() error { return errors.Join(d.db.Apply(b, pebble.NoSync), b.Close()) })
}

// Keys: the topic, 0, the partition, what is kept; rows add their key.
const (
	aboutMeta = 'm' // identity and end
	aboutKeys = 'f' // end and filter, as of the last time it was closed
	aboutRows = 'r'
)

func prefix(kind byte, at place) []byte {
	b := binary.BigEndian.AppendUint32(append([]byte(at.topic), 0), uint32(at.part))
	return append(b, kind)
}

// open returns the store of a partition. If that is damaged it can only be wiped.
func (d *disk) open(at place) (*diskStore, error) {
	s := &diskStore{d: d, place: at, meta: prefix(aboutMeta, at), prefix: prefix(aboutRows, at), last: -1}
	m, err := d.get(s.meta)
	if err != nil || m == nil {
		return s, err
	}
	if len(m) != 37 || m[36] != rowLayout {
		return s, errLayout
	}
	s.id = identity{[16]byte(m), int32(binary.BigEndian.Uint32(m[16:]))}
	s.last = int64(binary.BigEndian.Uint64(m[20:]))
	s.asOf = int64(binary.BigEndian.Uint64(m[28:]))
	return s, nil
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

// upper is the first key after those that begin with p, which ends in a kind.
func upper(p []byte) []byte {
	u := slices.Clone(p)
	u[len(u)-1]++
	return u
}

// diskStore is one partition in a disk.
type diskStore struct {
	d *disk
	place
	meta, prefix []byte
	id           identity
	last         int64 // offset of the last changelog record applied, -1 if none
	asOf         int64 // when it was, in Unix milliseconds
}

func (s *diskStore) encodeMeta() []byte {
	m := binary.BigEndian.AppendUint32(slices.Clone(s.id.topic[:]), uint32(s.id.parts))
	m = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(m, uint64(s.last)), uint64(s.asOf))
	return append(m, rowLayout)
}

// wipe empties the store and notes the log that it is for from now on.
func (s *diskStore) wipe(id identity) error {
	s.id, s.last = id, -1
	b := s.d.db.NewBatch()
	if err := errors.Join(b.DeleteRange(s.prefix, upper(s.prefix), nil), b.Delete(prefix(aboutKeys, s.place), nil), b.Set(s.meta, s.encodeMeta(), nil)); err != nil {
		return err
	}
	return s.d.apply(b)
}

func (s *diskStore) get(key []byte) (row, error) {
	var buf [128]byte
	v, err := s.d.get(append(append(buf[:0], s.prefix...), key...))
	if err != nil || v == nil {
		return row{}, err
	}
	return decodeRow(v)
}

// write puts rows, by rising key, and the offset that the store then stands for:
// all or nothing.
// They become a file of the database at once, which is cheaper than a batch, which
// would be sorted once more.
func (s *diskStore) write(rows []keyed, end int64) error {
	if s.d.lost.Err() != nil {
		return context.Cause(s.d.lost)
	}
	s.last = end
	err := s.d.try(func() error {
		name := s.d.fs.PathJoin(s.d.dir, newRows+fmt.Sprint(s.d.files.Add(1)))
		f, err := s.d.fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		w := sstable.NewWriter(&file{File: f, Writer: bufio.NewWriterSize(f, 256<<10)}, s.d.opts.MakeWriterOptions(0, s.d.db.TableFormat()))
		err = w.Set(s.meta, s.encodeMeta())
		key, buf := slices.Clone(s.prefix), []byte(nil)
		for _, k := range rows {
			if err != nil {
				break
			}
			key = append(key[:len(s.prefix)], k.key...)
			if k.val == nil {
				err = w.Delete(key)
				continue
			}
			buf = k.encode(buf[:0])
			err = w.Set(key, buf)
		}
		if err = errors.Join(err, w.Close()); err != nil {
			return err
		}
		return s.d.db.Ingest(context.Background(), []string{name})
	})
	if err != nil && s.d.lost.Err() == nil {
		s.d.fail(err)
		return context.Cause(s.d.lost)
	}
	return err
}

// file is an objstorage.Writable that writes in larger pieces than Pebble's own.
type file struct {
	vfs.File
	*bufio.Writer
}

func (f *file) Write(p []byte) error {
	_, err := f.Writer.Write(p)
	return err
}

func (f *file) Finish() error {
	return errors.Join(f.Writer.Flush(), f.File.Sync(), f.File.Close())
}

func (f *file) Abort() { _ = f.File.Close() }

// keys returns the filter of the keys: the one that was kept at the last close,
// or one made from all keys: after a crash, or if so little is left of what it knows
// that most rows must have been deleted since.
func (s *diskStore) keys() (*filter, error) {
	kept, err := s.d.get(prefix(aboutKeys, s.place))
	if err != nil {
		return nil, err
	}
	left, err := s.size()
	if err != nil {
		return nil, err
	}
	const least = 4 // bytes of rows for each of the filter, which takes little more than one for a row
	if len(kept) > 8 && int64(binary.BigEndian.Uint64(kept)) == s.last {
		if f := decodeFilter(kept[8:]); f != nil && (len(*f.layers.Load()) == 1 || left >= least*uint64(len(kept))) {
			return f, nil
		}
	}
	f := newFilter()
	it, err := s.d.db.NewIter(&pebble.IterOptions{LowerBound: s.prefix, UpperBound: upper(s.prefix)})
	if err != nil {
		return nil, s.d.check(err)
	}
	for it.First(); it.Valid(); it.Next() {
		f.add(it.Key()[len(s.prefix):])
	}
	return f, s.d.check(errors.Join(it.Error(), it.Close()))
}

// size is about how many bytes the rows take.
func (s *diskStore) size() (uint64, error) {
	n, err := s.d.db.EstimateDiskUsage(s.prefix, upper(s.prefix))
	return n, s.d.check(err)
}

// keepKeys keeps the filter for the next time the store is opened, if nothing is written until then.
func (s *diskStore) keepKeys(f *filter) error {
	b := s.d.db.NewBatch()
	v := f.encode(binary.BigEndian.AppendUint64(nil, uint64(s.last)))
	if err := b.Set(prefix(aboutKeys, s.place), v, nil); err != nil {
		return err
	}
	return s.d.apply(b)
}

// rows goes through the store, from from and before to, as it is when the first row is asked for.
func (s *diskStore) rows(from, to string) iter.Seq2[keyed, error] {
	return func(yield func(keyed, error) bool) {
		o := &pebble.IterOptions{LowerBound: append(slices.Clone(s.prefix), from...), UpperBound: upper(s.prefix)}
		if to != "" {
			o.UpperBound = append(slices.Clone(s.prefix), to...)
		}
		it, err := s.d.db.NewIter(o)
		if err != nil {
			yield(keyed{}, s.d.check(err))
			return
		}
		defer it.Close()
		for it.First(); it.Valid(); it.Next() {
			v, err := it.ValueAndErr()
			var r row
			if err == nil {
				r, err = decodeRow(slices.Clone(v))
			}
			if !yield(keyed{key: string(it.Key()[len(s.prefix):]), row: r}, s.d.check(err)) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(keyed{}, s.d.check(err))
		}
	}
}

// quiet is for Pebble: what it has to say comes back as errors.
type quiet struct{ d *disk }

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf must not return. Where all it tells is an error, the database's list of
// files cannot be written: that ends the tables and who called. All else is a
// mistake in the program.
func (q quiet) Fatalf(format string, a ...any) {
	if len(a) == 1 {
		if err, ok := a[0].(error); ok {
			q.d.fail(err)
			runtime.Goexit()
		}
	}
	panic(fmt.Sprintf("local tables: "+format, a...))
}
