package kgoka

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

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

	known atomic.Pointer[filter] // with a store: keys that may be there, fresh ones among them

	overlay map[string]row // of the goroutine that handles the partition

	mu     sync.RWMutex
	id     identity // of the log that the rows are of
	fresh  map[string]row
	run    []keyed // what reading has gathered, in the log's order; its goroutine's
	bytes  int
	moving map[string]row // kept after the move as a cache of recent rows
	at     int64          // last offset of the log that fresh stands for, -1 if none
	asOf   int64          // when it came to that, in Unix milliseconds
	err    error          // of the last move
	busy   bool           // a move is under way
	idle   *sync.Cond     // it has ended

	progress
}

func newTable(at place, s *diskStore) (*table, error) {
	t := &table{place: at, store: s, overlay: map[string]row{}, fresh: map[string]row{}, at: -1}
	t.idle = sync.NewCond(&t.mu)
	if s == nil {
		return t, nil
	}
	t.id, t.at, t.asOf = s.id, s.last, s.asOf
	known, err := s.keys()
	t.known.Store(known)
	return t, err
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
	if t.store != nil && !t.known.Load().has(key) {
		return row{}, nil
	}
	t.mu.RLock()
	r, ok := t.fresh[string(key)]
	if !ok {
		r, ok = t.moving[string(key)]
	}
	t.mu.RUnlock()
	if ok || t.store == nil {
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
		if t.store != nil {
			t.known.Load().add([]byte(k))
		}
		t.put(k, r)
	}
	t.at, t.asOf = max(t.at, end), time.Now().UnixMilli()
	t.mu.Unlock()
	clear(t.overlay)
	return t.maybeMove()
}

func (t *table) abort() { clear(t.overlay) }

// replay applies records of the log, control records among them, in their order.
// A row older than the one at hand is passed over: a broker may repeat it. Until
// its goal is reached nobody reads the table, and its rows are only gathered.
func (t *table) replay(recs []*kgo.Record) error {
	gather := t.store != nil && t.due()
	for _, rec := range recs {
		if rec.Attrs.IsControl() {
			continue
		}
		k := keyed{key: string(rec.Key), row: rowOf(rec)}
		if t.store == nil { // what is kept for good shall not keep a whole fetch with it
			k.row = row{slices.Clone(k.vec), slices.Clone(k.note), slices.Clone(k.val)}
		} else {
			k.first = t.known.Load().add(rec.Key)
		}
		if gather {
			t.run = append(t.run, k)
			t.bytes += len(k.key) + k.size()
		} else if err := t.supersede(k); err != nil {
			return err
		}
	}
	t.mu.Lock()
	t.at, t.asOf = recs[len(recs)-1].Offset, time.Now().UnixMilli()
	t.mu.Unlock()
	if gather && !t.due() {
		return t.settle()
	}
	return t.maybeMove()
}

// supersede makes a row the committed one unless that is newer.
func (t *table) supersede(k keyed) error {
	if len(k.vec) > 0 && !k.first {
		have, err := t.committed([]byte(k.key))
		if err != nil || k.vec.olderThan(have.vec) {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(k.key, k.row)
	return nil
}

// settle ends the gathering: the rest of the rows can be read from now on.
func (t *table) settle() error {
	t.still() // its rows cannot be read before it ends
	run := t.run
	t.run, t.bytes = nil, 0
	t.mu.Unlock()
	for _, k := range run {
		if err := t.supersede(k); err != nil {
			return err
		}
	}
	return t.maybeMove()
}

func (t *table) put(k string, r row) {
	if t.store == nil {
		if old, ok := t.fresh[k]; ok {
			t.bytes -= len(k) + old.size()
		}
		if r.val == nil {
			delete(t.fresh, k)
			return
		}
	}
	t.fresh[k] = r
	t.bytes += len(k) + r.size()
}

func (t *table) full(times int) bool {
	return t.store != nil && (len(t.fresh)+len(t.run) >= times*moveRows || t.bytes >= times*moveBytes)
}

// maybeMove starts a move when enough is due. When moves do not keep up, it waits.
func (t *table) maybeMove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.busy && t.full(4) {
		t.idle.Wait()
	}
	if t.err == nil && !t.busy && t.full(1) {
		t.move()
	}
	return t.err
}

// move hands fresh, or what was gathered, to the store in the background. It is
// called with mu held.
func (t *table) move() {
	run, end := t.run, t.at
	t.store.asOf = t.asOf
	t.moving, t.run, t.bytes, t.busy = nil, nil, 0, true
	if run == nil {
		t.moving, t.fresh = t.fresh, make(map[string]row, len(t.fresh))
	}
	rows := t.moving
	go func() {
		var err error
		if run == nil {
			run = list(rows)
		} else {
			run, err = t.newest(run)
		}
		if err == nil {
			err = t.write(run, end)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.busy, t.err = false, err
		t.idle.Broadcast()
	}()
}

// still locks the table when no move is under way: those that come to read may
// wait beside the one that fills it.
func (t *table) still() {
	t.mu.Lock()
	for t.busy {
		t.idle.Wait()
	}
}

// list returns rows by rising key.
func list(rows map[string]row) []keyed {
	ks := make([]keyed, 0, len(rows))
	for k, r := range rows {
		ks = append(ks, keyed{key: k, row: r})
	}
	slices.SortFunc(ks, byKey)
	return ks
}

func byKey(a, b keyed) int { return strings.Compare(a.key, b.key) }

// newest returns what a run leaves of each key, by rising key. Rows are large, so
// their places are sorted.
func (t *table) newest(run []keyed) ([]keyed, error) {
	order := make([]int32, len(run))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Or(byKey(run[a], run[b]), cmp.Compare(a, b)) })
	out := make([]keyed, 0, len(run))
	for i := 0; i < len(order); {
		k, changed := run[order[i]], false
		have := keyed{key: k.key}
		if !k.first {
			var err error
			if have.row, err = t.store.get([]byte(k.key)); err != nil {
				return nil, err
			}
		}
		for ; i < len(order) && run[order[i]].key == k.key; i++ {
			if r := run[order[i]].row; !r.vec.olderThan(have.vec) {
				have.row, changed = r, true
			}
		}
		if changed {
			out = append(out, have)
		}
	}
	return out, nil
}

func (t *table) write(rows []keyed, end int64) error {
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
	t.still()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	if len(t.fresh) == 0 && t.at == t.store.last {
		return nil
	}
	t.store.asOf = t.asOf
	if err := t.write(list(t.fresh), t.at); err != nil {
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
	return t.store.keepKeys(t.known.Load())
}

// wipe empties the table: it is of the log id from now on.
func (t *table) wipe(id identity) error {
	t.still()
	defer t.mu.Unlock()
	t.id, t.at, t.fresh, t.moving, t.run, t.bytes = id, -1, map[string]row{}, nil, nil, 0
	if t.store == nil {
		return nil
	}
	t.known.Store(newFilter())
	return t.store.wipe(id)
}

// rows goes through the rows of the last commit by rising key, from from and
// before to; "" is no limit. It is the commit before the first row is asked for.
// An error ends it.
func (t *table) rows(from, to string) iter.Seq2[keyed, error] {
	return func(yield func(keyed, error) bool) {
		recent := map[string]row{}
		next, stop := iter.Pull2(t.stored(from, to))
		defer stop()
		t.mu.RLock()
		for _, rows := range []map[string]row{t.moving, t.fresh} {
			for k, r := range rows {
				if k >= from && (to == "" || k < to) {
					recent[k] = r
				}
			}
		}
		old, err, ok := next()
		t.mu.RUnlock()
		for _, k := range list(recent) {
			for ; ok && (err != nil || old.key < k.key); old, err, ok = next() {
				if !yield(old, err) || err != nil {
					return
				}
			}
			if ok && old.key == k.key {
				old, err, ok = next()
			}
			if k.val != nil && !yield(k, nil) {
				return
			}
		}
		for ; ok; old, err, ok = next() {
			if !yield(old, err) || err != nil {
				return
			}
		}
	}
}

// first returns the least key of the rows of the last commit, from from on; "" if
// there is none.
func (t *table) first(from string) (least string, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	recent := func(key string) (row, bool) {
		r, ok := t.fresh[key]
		if !ok {
			r, ok = t.moving[key]
		}
		return r, ok
	}
	for _, rows := range []map[string]row{t.moving, t.fresh} {
		for k := range rows {
			if r, _ := recent(k); r.value() != nil && k >= from && (least == "" || k < least) {
				least = k
			}
		}
	}
	for k, err := range t.stored(from, least) {
		if _, ok := recent(k.key); err != nil || !ok && k.value() != nil {
			return k.key, err
		}
	}
	return least, nil
}

// stored is the store's part of rows.
func (t *table) stored(from, to string) iter.Seq2[keyed, error] {
	if t.store == nil {
		return func(func(keyed, error) bool) {}
	}
	return t.store.rows(from, to)
}
