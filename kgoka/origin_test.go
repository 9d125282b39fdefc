package kgoka

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

func TestOriginRoundTrip(t *testing.T) {
	for _, o := range []Origin{{}, {TopicID: [16]byte{1, 2}, Partition: 7, Offset: 1 << 40, Index: 300}} {
		got, err := ParseOrigin(o.Append(nil))
		if err != nil || got != o {
			t.Errorf("got %v, %v, want %v", got, err, o)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 18), append(make([]byte, 19), 0), append(make([]byte, 16), 0x80, 0, 0, 0)} {
		if _, err := ParseOrigin(b); err == nil {
			t.Errorf("%x was accepted", b)
		}
	}
}

// TestVector compares the encoded vector with the obvious one.
func TestVector(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	type place struct {
		id   [16]byte
		part int32
	}
	for range 200 {
		var v vector
		want := map[place]entry{}
		for range rnd.IntN(60) {
			o := Origin{TopicID: [16]byte{byte(rnd.IntN(4))}, Partition: int32(rnd.IntN(300)), Offset: int64(rnd.IntN(400)), Index: int32(rnd.IntN(3))}
			e, p := entry{o.Partition, o.Offset, o.Index}, place{o.TopicID, o.Partition}
			last, ok := want[p]
			seen := ok && !last.less(e)
			if got := v.seen(o); got != seen {
				t.Fatalf("seed %d: seen(%v) = %v, want %v", seed, o, got, seen)
			}
			if seen {
				continue
			}
			want[p] = e
			v = v.advance(nil, o)
			if _, err := parseVector(v); err != nil {
				t.Fatalf("seed %d: after %v: %x does not parse", seed, o, v)
			}
			if !v.seen(o) {
				t.Fatalf("seed %d: %v is not seen after it was applied", seed, o)
			}
		}
		var sum int
		for at := 0; at < len(v); {
			_, n := v.find([16]byte(v[at : at+16]))
			sum += n
			next, _ := v.find(after([16]byte(v[at : at+16])))
			at = next
		}
		if sum != len(want) {
			t.Fatalf("seed %d: %d entries, want %d", seed, sum, len(want))
		}
	}
}

func after(id [16]byte) [16]byte { id[15]++; return id }

// FuzzVector: whatever parses can be worked on; an applied origin is seen, all
// others are as before, and the result parses again.
func FuzzVector(f *testing.F) {
	o := Origin{TopicID: [16]byte{3}, Partition: 1, Offset: 2}
	f.Add([]byte{}, byte(3), int32(1), int64(9), int32(0))
	f.Add([]byte(vector(nil).advance(nil, o)), byte(2), int32(0), int64(1), int32(1))
	f.Fuzz(func(t *testing.T, b []byte, id byte, p int32, off int64, i int32) {
		v, err := parseVector(b)
		if err != nil {
			return
		}
		o := Origin{TopicID: [16]byte{id}, Partition: p & 0x7fffffff, Offset: off & (1<<63 - 1), Index: i & 0x7fffffff}
		other := o
		other.Partition ^= 1
		before, beforeOther := v.seen(o), v.seen(other)
		_ = before
		w, err := parseVector(v.advance(nil, o))
		if err != nil {
			t.Fatalf("%x + %v does not parse", b, o)
		}
		if !w.seen(o) || w.seen(other) != beforeOther {
			t.Fatalf("%x + %v = %x", b, o, w)
		}
		if again := w.advance(nil, o); !bytes.Equal(again, w) {
			t.Fatalf("applied twice: %x, then %x", w, again)
		}
	})
}

// FuzzOrigin: what parses encodes to the same bytes.
func FuzzOrigin(f *testing.F) {
	f.Add(Origin{Offset: 5}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOrigin(b)
		if err == nil && !bytes.Equal(o.Append(nil), b) {
			t.Fatalf("%x became %x", b, o.Append(nil))
		}
	})
}
