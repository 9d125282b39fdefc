package kgoka

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// filter is a Bloom filter that grows. It answers the common read, of a row that
// is not there, without the store. One writer, any number of readers.
type filter struct {
	layers atomic.Pointer[[]*layer] // each twice as large as the one before
	keys   atomic.Int64             // that were added
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
	f := &filter{}
	f.layers.Store(&[]*layer{newLayer(0)})
	return f
}

// newLayer makes the nth layer.
func newLayer(n int) *layer {
	keys := filterFirst << n
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
func (f *filter) has(key []byte) bool { return f.hasHash(xxhash.Sum64(key)) }

func (f *filter) hasHash(h uint64) bool {
	for _, l := range *f.layers.Load() {
		if l.probe(h, isSet) {
			return true
		}
	}
	return false
}

// add says whether key is new: true only if it was never added.
func (f *filter) add(key []byte) bool {
	h := xxhash.Sum64(key)
	if f.hasHash(h) {
		return false
	}
	layers := *f.layers.Load()
	last := layers[len(layers)-1]
	if last.room == 0 {
		last = newLayer(len(layers))
		grown := append(layers[:len(layers):len(layers)], last)
		f.layers.Store(&grown)
	}
	last.room--
	f.keys.Add(1)
	last.probe(h, set)
	return true
}

// encode appends the filter to b: the room of the last layer, and the bits of all.
func (f *filter) encode(b []byte) []byte {
	layers := *f.layers.Load()
	b = binary.LittleEndian.AppendUint32(b, uint32(layers[len(layers)-1].room))
	for _, l := range layers {
		for i := range l.bits {
			b = binary.LittleEndian.AppendUint64(b, l.bits[i].Load())
		}
	}
	return b
}

// decodeFilter reads what encode wrote, and returns nil for anything else.
func decodeFilter(b []byte) *filter {
	if len(b) < 4 {
		return nil
	}
	room := binary.LittleEndian.Uint32(b)
	b = b[4:]
	var layers []*layer
	for len(b) > 0 {
		l := newLayer(len(layers))
		if len(b) < 8*len(l.bits) {
			return nil
		}
		for i := range l.bits {
			l.bits[i].Store(binary.LittleEndian.Uint64(b[8*i:]))
		}
		b, l.room = b[8*len(l.bits):], 0
		layers = append(layers, l)
	}
	if len(layers) == 0 {
		return nil
	}
	layers[len(layers)-1].room = int(room)
	f := &filter{}
	f.layers.Store(&layers)
	f.keys.Store(filterFirst*(1<<len(layers)-1) - int64(room))
	return f
}
