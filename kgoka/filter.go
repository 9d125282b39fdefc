package kgoka

import (
	"hash/maphash"
	"sync/atomic"
)

// filter is a Bloom filter that grows. It answers the common read, of a row that
// is not there, without the store. One writer, any number of readers.
type filter struct {
	seed   maphash.Seed
	layers atomic.Pointer[[]*layer] // each twice as large as the one before
}

type layer struct {
	bits []atomic.Uint64
	room int // keys that still fit
}

const (
	filterFirst  = 1 << 14 // keys in the first layer
	filterBits   = 10      // per key: about one false answer in a hundred
	filterProbes = 7
)

func newFilter() *filter {
	f := &filter{seed: maphash.MakeSeed()}
	f.layers.Store(&[]*layer{newLayer(filterFirst)})
	return f
}

func newLayer(keys int) *layer {
	return &layer{bits: make([]atomic.Uint64, keys*filterBits/64), room: keys}
}

// probe calls fn with the places of h until it returns false.
func (l *layer) probe(h uint64, fn func(word *atomic.Uint64, bit uint64) bool) bool {
	a, b, n := uint32(h), uint32(h>>32)|1, uint64(len(l.bits)*64)
	for range filterProbes {
		at := uint64(a) * n >> 32
		if !fn(&l.bits[at/64], 1<<(at%64)) {
			return false
		}
		a += b
	}
	return true
}

func isSet(w *atomic.Uint64, bit uint64) bool { return w.Load()&bit != 0 }
func set(w *atomic.Uint64, bit uint64) bool   { w.Or(bit); return true }

// has is false only if key was never added.
func (f *filter) has(key []byte) bool { return f.hasHash(maphash.Bytes(f.seed, key)) }

func (f *filter) hasHash(h uint64) bool {
	for _, l := range *f.layers.Load() {
		if l.probe(h, isSet) {
			return true
		}
	}
	return false
}

func (f *filter) add(key string) {
	h := maphash.String(f.seed, key)
	if f.hasHash(h) {
		return
	}
	layers := *f.layers.Load()
	last := layers[len(layers)-1]
	if last.room == 0 {
		last = newLayer(filterFirst << len(layers))
		grown := append(layers[:len(layers):len(layers)], last)
		f.layers.Store(&grown)
	}
	last.room--
	last.probe(h, set)
}
