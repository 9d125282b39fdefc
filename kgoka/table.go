package kgoka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/lovoo/goka/storage"
)

// row is a value and the origins applied to it. A row whose value is nil is not
// there; in a set of changes it is a deletion.
type row struct {
	vec vector
	val []byte
}

// encode puts the vector before the value, as stores keep them.
func (r row) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(r.vec)))
	return append(append(b, r.vec...), r.val...)
}

// size is the length of encode's result.
func (r row) size() int {
	n := len(r.vec) + len(r.val) + 1
	for v := len(r.vec) >> 7; v > 0; v >>= 7 {
		n++
	}
	return n
}

var errRow = errors.New("malformed row in local table")

func decodeRow(b []byte) (row, error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return row{}, errRow
	}
	vec, err := parseVector(b[w : w+int(n)])
	if err != nil {
		return row{}, errRow
	}
	return row{vec, b[w+int(n):]}, nil
}

// Rows that a table keeps in memory before it moves them to a disk store.
const (
	moveRows  = 16 << 10
	moveBytes = 8 << 20
)

// table is one partition of a table as a stack: the rows of the open transaction
// over committed rows that the store does not have yet, over those on their way
// to it, over the store. Rows reach the store behind the commit, in large batches,
// only the last version of each, with the offset up to which they stand for the
// changelog: what a crash takes away, recovery reads again from there.
//
// To goka a table is the storage that it recovers. Storage calls write committed
// rows; what a callback writes comes through set.
type table struct {
	topic   string
	num     int32
	group   bool // the group's own table: values that goka brings carry vectors
	inPlace bool // the store is memory: nothing to put off
	store   store
	known   *filter // keys that the store may have; nil for memory
	onClose func()

	overlay map[string]row

	mu     sync.RWMutex
	fresh  map[string]row
	bytes  int
	moving map[string]row // kept after the move as a cache of recent rows
	at     int64          // end of what fresh stands for
	err    error          // of the last move
	moves  sync.WaitGroup
	busy   bool
}

func newTable(topic string, num int32, s store, inPlace bool) (*table, error) {
	t := &table{topic: topic, num: num, store: s, inPlace: inPlace,
		overlay: map[string]row{}, fresh: map[string]row{}, at: s.end()}
	if inPlace {
		return t, nil
	}
	t.known = newFilter()
	it, err := s.iterate(nil, nil)
	if err != nil {
		return nil, err
	}
	defer it.Release()
	for it.Next() {
		t.known.add(string(it.Key()))
	}
	return t, it.Err()
}

// get returns the row as the open transaction sees it. Only the goroutine that
// handles the partition may call it.
func (t *table) get(key []byte) (row, error) {
	if r, ok := t.overlay[string(key)]; ok {
		return r, nil
	}
	return t.committed(key)
}

// committed returns the row as of the last commit; anyone may call it.
func (t *table) committed(key []byte) (row, error) {
	t.mu.RLock()
	r, ok := t.fresh[string(key)]
	if !ok {
		r, ok = t.moving[string(key)]
	}
	t.mu.RUnlock()
	if ok {
		return r, nil
	}
	if t.known != nil && !t.known.has(key) {
		return row{}, nil
	}
	r, err := t.store.get(key)
	if err != nil {
		return row{}, fmt.Errorf("reading table %s/%d: %w", t.topic, t.num, err)
	}
	return r, nil
}

func (t *table) set(key string, r row) { t.overlay[key] = r }

// commit makes the transaction's rows the committed ones. end is the offset of
// its last changelog record here, -1 if there is none.
func (t *table) commit(end int64) error {
	if len(t.overlay) == 0 {
		return nil
	}
	if t.inPlace {
		t.at = max(t.at, end)
		err := t.store.write(t.overlay, t.at)
		clear(t.overlay)
		return err
	}
	t.mu.Lock()
	for k, r := range t.overlay {
		t.put(k, r)
	}
	t.at = max(t.at, end)
	t.mu.Unlock()
	clear(t.overlay)
	return t.maybeMove()
}

func (t *table) abort() { clear(t.overlay) }

func (t *table) put(k string, r row) {
	t.fresh[k] = r
	t.bytes += len(k) + len(r.vec) + len(r.val)
}

func (t *table) full(times int) bool {
	return len(t.fresh) >= times*moveRows || t.bytes >= times*moveBytes
}

// maybeMove starts a move when enough is due. When moves do not keep up, it waits.
func (t *table) maybeMove() error {
	t.mu.Lock()
	if t.busy && t.full(4) {
		t.mu.Unlock()
		t.moves.Wait()
		t.mu.Lock()
	}
	defer t.mu.Unlock()
	if t.err == nil && !t.busy && t.full(1) {
		t.move()
	}
	return t.err
}

// move hands fresh to the store in the background. It is called with mu held.
func (t *table) move() {
	rows, end := t.fresh, t.at
	t.moving, t.fresh, t.bytes, t.busy = rows, make(map[string]row, len(rows)), 0, true
	t.moves.Go(func() {
		err := t.write(rows, end)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.busy, t.err = false, err
	})
}

func (t *table) write(rows map[string]row, end int64) error {
	if t.known != nil {
		for k := range rows {
			t.known.add(k)
		}
	}
	if err := t.store.write(rows, end); err != nil {
		return fmt.Errorf("writing table %s/%d: %w", t.topic, t.num, err)
	}
	return nil
}

// flush brings the store up to the last commit.
func (t *table) flush() error {
	t.moves.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	if len(t.fresh) == 0 && t.at == t.store.end() {
		return nil
	}
	if err := t.write(t.fresh, t.at); err != nil {
		return err
	}
	t.moving, t.fresh, t.bytes = nil, map[string]row{}, 0
	return nil
}

// What follows is goka's storage.Storage.

func (t *table) Open() error { return nil }

// Close drops what is not committed and keeps all else.
func (t *table) Close() error {
	t.abort()
	err := t.flush()
	if t.onClose != nil {
		t.onClose()
	}
	return errors.Join(err, t.store.close())
}

func (t *table) Has(key string) (bool, error) {
	v, err := t.Get(key)
	return v != nil, err
}

func (t *table) Get(key string) ([]byte, error) {
	r, err := t.committed([]byte(key))
	return r.val, err
}

func (t *table) Set(key string, value []byte) error {
	r := row{val: value}
	if t.group {
		var err error
		if r, err = decodeRow(value); err != nil {
			return err
		}
		if stale, err := t.stale(key, r); err != nil || stale {
			return err
		}
	}
	return t.apply(key, r)
}

// stale says whether r is an earlier state than the row at hand: a log may repeat
// a row behind a newer one.
func (t *table) stale(key string, r row) (bool, error) {
	if len(r.vec) == 0 {
		return false, nil
	}
	have, err := t.committed([]byte(key))
	return r.vec.olderThan(have.vec), err
}

func (t *table) Delete(key string) error { return t.apply(key, row{}) }

func (t *table) apply(key string, r row) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(key, r)
	return t.err
}

func (t *table) GetOffset(none int64) (int64, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.at < 0 {
		return none, nil
	}
	return t.at, nil
}

func (t *table) SetOffset(offset int64) error {
	t.mu.Lock()
	t.at = offset
	due := t.full(1)
	t.mu.Unlock()
	switch {
	case !due:
		return nil
	case t.inPlace:
		return t.flush()
	}
	return t.maybeMove()
}

// MarkRecovered ends the gathering of rows for a table in memory.
func (t *table) MarkRecovered() error {
	if t.inPlace {
		return t.flush()
	}
	return nil
}

func (t *table) Iterator() (storage.Iterator, error) { return t.IteratorWithRange(nil, nil) }

// IteratorWithRange iterates over the rows of the last commit.
func (t *table) IteratorWithRange(start, limit []byte) (storage.Iterator, error) {
	if err := t.flush(); err != nil {
		return nil, err
	}
	return t.store.iterate(start, limit)
}
