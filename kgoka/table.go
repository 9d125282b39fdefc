package kgoka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// row is a value and the origins applied to it. A row whose value is nil is not
// there; in a set of changes it is a deletion.
type row struct {
	vec vector
	val []byte
}

// value is what others than the row's own group see: an empty value with a vector
// stands for a row that was deleted, and only remembers.
func (r row) value() []byte {
	if len(r.val) == 0 && len(r.vec) > 0 {
		return nil
	}
	return r.val
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

// rowOf is the row that a changelog record stands for. A vector that somebody
// else broke is no vector: the row is as good, and handles what comes anew.
func rowOf(rec *kgo.Record) row {
	r := row{val: rec.Value}
	for i := range rec.Headers {
		if rec.Headers[i].Key == AppliedHeader {
			r.vec, _ = parseVector(rec.Headers[i].Value)
		}
	}
	return r
}

// place is a partition of a topic.
type place struct {
	topic string
	part  int32
}

func (p place) String() string { return fmt.Sprintf("%s/%d", p.topic, p.part) }

// identity is what a table must have in common with the log that it stands for.
type identity struct {
	topic [16]byte
	parts int32
}

// Rows that a table keeps in memory before it moves them to its store.
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
// A table without a store keeps all rows in fresh.
type table struct {
	place
	store *diskStore

	overlay map[string]row // of the goroutine that handles the partition

	mu     sync.RWMutex
	id     identity // of the log that the rows are of
	known  *filter  // keys that the store may have
	fresh  map[string]row
	bytes  int
	moving map[string]row // kept after the move as a cache of recent rows
	at     int64          // last offset of the log that fresh stands for, -1 if none
	err    error          // of the last move
	moves  sync.WaitGroup
	busy   bool

	progress
}

func newTable(at place, s *diskStore) (*table, error) {
	t := &table{place: at, store: s, overlay: map[string]row{}, fresh: map[string]row{}, at: -1}
	if s == nil {
		return t, nil
	}
	t.id, t.at = s.id, s.last
	var err error
	t.known, err = s.keys()
	return t, err
}

// offset is the last one of the log that the table stands for, -1 if none.
func (t *table) offset() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.at
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
	known := t.known
	t.mu.RUnlock()
	if ok || t.store == nil || !known.has(key) {
		return r, nil
	}
	r, err := t.store.get(key)
	if err != nil {
		return row{}, fmt.Errorf("reading table %s: %w", t.place, err)
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

// replay applies records of the log, control records among them, in their order.
// A row older than the one at hand is passed over: a broker may repeat it.
func (t *table) replay(recs []*kgo.Record) error {
	for _, rec := range recs {
		if rec.Attrs.IsControl() {
			continue
		}
		r := rowOf(rec)
		if len(r.vec) > 0 {
			have, err := t.committed(rec.Key)
			if err != nil {
				return err
			}
			if r.vec.olderThan(have.vec) {
				continue
			}
		}
		if t.store == nil { // what is kept for good shall not keep a whole fetch with it
			r = row{slices.Clone(r.vec), slices.Clone(r.val)}
		}
		t.mu.Lock()
		t.put(string(rec.Key), r)
		t.mu.Unlock()
	}
	t.mu.Lock()
	t.at = recs[len(recs)-1].Offset
	t.mu.Unlock()
	return t.maybeMove()
}

func (t *table) put(k string, r row) {
	if t.store == nil && r.val == nil {
		delete(t.fresh, k)
		return
	}
	t.fresh[k] = r
	t.bytes += len(k) + len(r.vec) + len(r.val)
}

func (t *table) full(times int) bool {
	return t.store != nil && (len(t.fresh) >= times*moveRows || t.bytes >= times*moveBytes)
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
	for k := range rows {
		t.known.add(k)
	}
	if err := t.store.write(rows, end); err != nil {
		return fmt.Errorf("writing table %s: %w", t.place, err)
	}
	return nil
}

// flush brings the store up to the last commit.
func (t *table) flush() error {
	if t.store == nil {
		return nil
	}
	t.moves.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	if len(t.fresh) == 0 && t.at == t.store.last {
		return nil
	}
	if err := t.write(t.fresh, t.at); err != nil {
		return err
	}
	t.moving, t.fresh, t.bytes = nil, map[string]row{}, 0
	return nil
}

// close keeps what is committed, and what the next start needs to begin at once.
func (t *table) close() error {
	t.abort()
	if err := t.flush(); err != nil || t.store == nil {
		return err
	}
	return t.store.keepKeys(t.known)
}

// wipe empties the table: it is of the log id from now on.
func (t *table) wipe(id identity) error {
	t.moves.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.id, t.at, t.fresh, t.moving, t.bytes = id, -1, map[string]row{}, nil, 0
	if t.store == nil {
		return nil
	}
	t.known = newFilter()
	return t.store.wipe(id)
}

// keyed is a row and its key.
type keyed struct {
	key string
	row
}

// rows goes through the rows of the last commit by rising key, from from and
// before to; "" is no limit. An error ends it.
func (t *table) rows(from, to string) iter.Seq2[keyed, error] {
	return func(yield func(keyed, error) bool) {
		if t.store == nil {
			t.mu.RLock()
			rows := maps.Clone(t.fresh)
			t.mu.RUnlock()
			for _, k := range slices.Sorted(maps.Keys(rows)) {
				if k >= from && (to == "" || k < to) && !yield(keyed{k, rows[k]}, nil) {
					return
				}
			}
			return
		}
		if err := t.flush(); err != nil {
			yield(keyed{}, err)
			return
		}
		t.store.rows(from, to)(yield)
	}
}
