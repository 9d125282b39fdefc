package kgoka

import (
	"iter"
	"sync"
)

// iterator merges the partitions of a view. It is a goka.Iterator.
type iterator struct {
	v     *View
	limit string

	mu    sync.Mutex // a view that ends takes its iterators with it
	heads []*head
	now   keyed
	err   error
}

// head is a partition's next row.
type head struct {
	keyed
	next func() (keyed, error, bool)
	stop func()
}

// from begins anew at key.
func (it *iterator) from(key string) {
	it.stop()
	for _, t := range it.v.tables {
		h := &head{}
		h.next, h.stop = iter.Pull2(t.rows(key, it.limit))
		it.heads = append(it.heads, h)
		if it.advance(h); it.err != nil {
			return
		}
	}
}

// advance takes the next row of a partition that has a value.
func (it *iterator) advance(h *head) {
	for {
		r, err, ok := h.next()
		if err != nil {
			it.err = err
		}
		if err != nil || !ok {
			h.stop()
			h.next = nil
			return
		}
		if r.value() != nil {
			h.keyed = r
			return
		}
	}
}

func (it *iterator) stop() {
	for _, h := range it.heads {
		h.stop()
	}
	it.heads = nil
}

func (it *iterator) end(err error) {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.stop()
	it.err = err
}

func (it *iterator) Next() bool {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.step()
}

func (it *iterator) step() bool {
	var least *head
	for _, h := range it.heads {
		if h.next != nil && (least == nil || h.key < least.key) {
			least = h
		}
	}
	if least == nil || it.err != nil {
		return false
	}
	it.now = least.keyed
	it.advance(least)
	return true
}

// Seek goes to the first key that is not before key, and says whether there is one.
func (it *iterator) Seek(key string) bool {
	it.v.mu.RLock()
	defer it.v.mu.RUnlock()
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.err != nil {
		return false
	}
	it.from(key)
	return it.step()
}

func (it *iterator) Key() string { return it.now.key }

// Value returns the decoded value.
func (it *iterator) Value() (any, error) {
	if it.now.val == nil {
		return nil, nil
	}
	return it.v.decode(it.now.key, it.now.val)
}

func (it *iterator) Err() error {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.err
}

func (it *iterator) Release() {
	it.v.mu.Lock()
	delete(it.v.open, it)
	it.v.mu.Unlock()
	it.mu.Lock()
	defer it.mu.Unlock()
	it.stop()
}
