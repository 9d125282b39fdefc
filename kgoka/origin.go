package kgoka

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// Header names of the origin guard, and of what stands beside a row.
const (
	OriginHeader  = "origin"  // on every output: the input it was made from
	AppliedHeader = "applied" // on a changelog record: the row's vector
	NoteHeader    = "note"    // on a changelog record: the row's note
)

// Origin says where a record comes from: the coordinates of the input that was
// being handled when it was written, and its place among that input's outputs.
// An input that carries no origin is its own, with index 0.
//
// A row remembers, per topic and partition of origins, the last origin applied
// to it, and what is not newer is skipped. This is sound because records of one
// origin partition reach a row in the order of that partition: a group handles a
// partition in order, its transactions follow one another in the log, and equal
// keys meet on one partition of one topic. It does not cover, and whoever builds
// a pipeline must see to it:
//   - one group that sends to one row through two topics, or two groups that read
//     the same topic and send to the same topic: their order is not kept, and the
//     later one to arrive would be taken for a repetition;
//   - a record that was set aside and comes back later: later ones of its origin
//     partition must have waited behind it. One that comes back without its origin,
//     by a topic of its own, counts as another: setting it aside was its handling;
//   - groups without a table, which cannot remember;
//   - a handled input that left no trace, or has a key above 512 KiB and no row: it
//     is handled again when it comes again;
//   - what a group loops back to itself, which is its own origin: its row may get
//     later inputs directly before;
//   - a forged header: who may write to a topic may write its headers.
type Origin struct {
	TopicID   [16]byte // a topic made anew counts as another one
	Partition int32
	Offset    int64
	Index     int32
}

var errOrigin = errors.New("malformed origin")

// Append appends the encoding of o to b: the topic ID and three unsigned varints.
func (o Origin) Append(b []byte) []byte {
	return o.entry().append(append(b, o.TopicID[:]...))
}

func (o Origin) entry() entry { return entry{o.Partition, o.Offset, o.Index} }

// ParseOrigin reads what Append wrote.
func ParseOrigin(b []byte) (Origin, error) {
	if len(b) < 16 {
		return Origin{}, errOrigin
	}
	e, rest, ok := parseEntry(b[16:])
	if !ok || len(rest) > 0 {
		return Origin{}, errOrigin
	}
	return Origin{[16]byte(b), e.partition, e.offset, e.index}, nil
}

// entry is the last origin applied of one partition.
type entry struct {
	partition int32
	offset    int64
	index     int32
}

func (e entry) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(e.partition))
	b = binary.AppendUvarint(b, uint64(e.offset))
	return binary.AppendUvarint(b, uint64(e.index))
}

func (e entry) less(o entry) bool {
	return e.offset < o.offset || e.offset == o.offset && e.index < o.index
}

func parseEntry(b []byte) (entry, []byte, bool) {
	p, b, ok1 := uvarint(b, 1<<31-1)
	o, b, ok2 := uvarint(b, 1<<63-1)
	i, b, ok3 := uvarint(b, 1<<31-1)
	return entry{int32(p), int64(o), int32(i)}, b, ok1 && ok2 && ok3
}

// uvarint reads the shortest form of a number up to limit, and no other form, so
// that equal vectors are equal bytes.
func uvarint(b []byte, limit uint64) (uint64, []byte, bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > limit || n > 1 && b[n-1] == 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// vector is a row's memory in its encoded form: per topic, by rising ID, the ID,
// the number of its entries, and the entries by rising partition. It is worked
// on as it is; a row has few entries and most are only looked at.
type vector []byte

// find returns where the group of id starts and the number of its entries, or
// where it belongs and 0.
func (v vector) find(id [16]byte) (at, count int) {
	for at < len(v) {
		c := bytes.Compare(v[at:at+16], id[:])
		n, w := binary.Uvarint(v[at+16:])
		if c == 0 {
			return at, int(n)
		}
		if c > 0 {
			return at, 0
		}
		rest := v[at+16+w:]
		for range n {
			_, rest, _ = parseEntry(rest)
		}
		at = len(v) - len(rest)
	}
	return at, 0
}

// last returns the last origin applied of a topic's partition.
func (v vector) last(id [16]byte, partition int32) (e entry, ok bool) {
	at, n := v.find(id)
	if n == 0 {
		return entry{}, false
	}
	_, w := binary.Uvarint(v[at+16:])
	rest := []byte(v[at+16+w:])
	for range n {
		if e, rest, _ = parseEntry(rest); e.partition == partition {
			return e, true
		}
	}
	return entry{}, false
}

// seen says whether o, or a later one of its partition, has been applied.
func (v vector) seen(o Origin) bool {
	e, ok := v.last(o.TopicID, o.Partition)
	return ok && !e.less(o.entry())
}

// visitID is the topic of an origin that there is not: visitors write rows, too,
// and which of two records of a row is older must show in their vectors.
var visitID = [16]byte{0xff, 'v', 'i', 's', 'i', 't'}

// visited is v with one more visit. A row that remembers nothing does not begin with it.
func (v vector) visited(partition int32) vector {
	if len(v) == 0 {
		return v
	}
	e, ok := v.last(visitID, partition)
	if ok {
		e.offset++
	}
	return v.advance(make(vector, 0, len(v)+32), Origin{visitID, partition, e.offset, 0})
}

// advance appends to dst the vector v with o as the last of its partition.
func (v vector) advance(dst []byte, o Origin) []byte {
	next := o.entry()
	at, n := v.find(o.TopicID)
	dst = append(dst, v[:at]...)
	if n == 0 {
		dst = append(append(dst, o.TopicID[:]...), 1)
		return append(next.append(dst), v[at:]...)
	}
	_, w := binary.Uvarint(v[at+16:])
	first := []byte(v[at+16+w:])
	rest, before, known := first, len(first), false
	for range n { // find the bytes that next replaces: an entry, or the gap before a later one
		e, r, _ := parseEntry(rest)
		if e.partition >= o.Partition {
			known = e.partition == o.Partition
			before = len(rest)
			if known {
				rest = r
			}
			break
		}
		rest, before = r, len(r)
	}
	if !known {
		n++
	}
	dst = append(dst, o.TopicID[:]...)
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = append(dst, first[:len(first)-before]...)
	return append(next.append(dst), rest...)
}

// parseVector checks b, which comes from a header or from disk.
func parseVector(b []byte) (vector, error) {
	var last []byte
	rest := b
	for len(rest) > 0 {
		if len(rest) < 16 || last != nil && bytes.Compare(rest[:16], last) <= 0 {
			return nil, errOrigin
		}
		last = rest[:16]
		n, r, ok := uvarint(rest[16:], 1<<31-1)
		if !ok || n == 0 {
			return nil, errOrigin
		}
		for prev := int32(-1); n > 0; n-- {
			var e entry
			if e, r, ok = parseEntry(r); !ok || e.partition <= prev {
				return nil, errOrigin
			}
			prev = e.partition
		}
		rest = r
	}
	return vector(b), nil
}

// olderThan says whether o is a later state of the row that v is of: it has seen
// all that v has, and more. A row without a vector is of no known age.
func (v vector) olderThan(o vector) bool {
	if len(v) == 0 || len(o) == 0 || bytes.Equal(v, o) {
		return false
	}
	for rest := []byte(v); len(rest) > 0; {
		id := [16]byte(rest)
		n, w := binary.Uvarint(rest[16:])
		rest = rest[16+w:]
		for range n {
			var e entry
			e, rest, _ = parseEntry(rest)
			if !o.seen(Origin{id, e.partition, e.offset, e.index}) {
				return false
			}
		}
	}
	return true
}
