package kgoka

import (
	"maps"
	"slices"
	"sync"

	"github.com/lovoo/goka/storage"
)

// memStore is a map. It is sorted when it is iterated over, and not before.
type memStore struct {
	mu   sync.RWMutex
	rows map[string]row
	last int64
}

func newMemStore() *memStore { return &memStore{rows: map[string]row{}, last: -1} }

func (s *memStore) get(key []byte) (row, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rows[string(key)], nil
}

func (s *memStore) write(rows map[string]row, end int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, r := range rows {
		if r.val == nil {
			delete(s.rows, k)
		} else {
			s.rows[k] = r
		}
	}
	s.last = end
	return nil
}

func (s *memStore) end() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last
}

// close keeps the rows: the partition may come back.
func (s *memStore) close() error { return nil }

func (s *memStore) iterate(start, limit []byte) (storage.Iterator, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	it := &sliceIterator{at: -1, rows: map[string]row{}}
	for k, r := range s.rows {
		if k >= string(start) && (len(limit) == 0 || k < string(limit)) {
			it.rows[k] = r
		}
	}
	it.keys = slices.Sorted(maps.Keys(it.rows))
	return it, nil
}

type sliceIterator struct {
	keys []string
	rows map[string]row
	at   int
}

func (i *sliceIterator) Next() bool             { i.at++; return i.at < len(i.keys) }
func (i *sliceIterator) Err() error             { return nil }
func (i *sliceIterator) Key() []byte            { return []byte(i.keys[i.at]) }
func (i *sliceIterator) Value() ([]byte, error) { return i.rows[i.keys[i.at]].val, nil }
func (i *sliceIterator) Release()               {}

func (i *sliceIterator) Seek(key []byte) bool {
	i.at, _ = slices.BinarySearch(i.keys, string(key))
	i.at-- // goka calls Next after Seek
	return i.at+1 < len(i.keys)
}
