package kgoka

import (
	"encoding/binary"
	"time"
)

// Applied is what a row has seen of its inputs, as it stands in AppliedHeader: for who
// reads or writes rows on a table's topic without being the group. Nil has seen nothing.
// It is not changed in place.
type Applied []byte

// ParseApplied checks what a header says.
func ParseApplied(b []byte) (Applied, error) {
	v, err := parseVector(b)
	return Applied(v), err
}

// Seen says whether o, or a later one of its partition, has been applied.
func (a Applied) Seen(o Origin) bool { return vector(a).seen(o) }

// With has seen o, too.
func (a Applied) With(o Origin) Applied {
	if a.Seen(o) {
		return a
	}
	return Applied(vector(a).advance(nil, o))
}

// Over is a as that of a row which replaces another one, of the same partition: a
// reader that has the other one takes a row that is older for one that came late, and
// drops it. That it is not, one more visit than the other one's says. So does it of a
// row that remembers nothing, as of one that shall not be there any more: what is written
// to that later is newer than the other one, too.
func (a Applied) Over(other Applied, partition int32) Applied {
	if !vector(a).olderThan(vector(other)) && (len(a) > 0 || len(other) == 0) {
		return a
	}
	e, _ := vector(other).last(visitID, partition)
	return Applied(vector(a).advance(nil, Origin{visitID, partition, e.offset + 1, 0}))
}

// Anew is a as that of a row that is not on the log any more, and may be in somebody's
// table, however new: its visits are counted on from the time, in Unix milliseconds.
func (a Applied) Anew(partition int32, at time.Time) Applied {
	if len(a) == 0 {
		return a
	}
	return a.With(Origin{visitID, partition, at.UnixMilli(), 0})
}

// Renamed has seen of a topic what it has seen of another one, whose records stand there
// now at the offsets that they had.
func (a Applied) Renamed(from, to [16]byte) Applied {
	at, n := vector(a).find(from)
	if n == 0 {
		return a
	}
	_, w := binary.Uvarint(a[at+16:])
	rest := []byte(a[at+16+w:])
	for range n {
		var e entry
		e, rest, _ = parseEntry(rest)
		a = a.With(Origin{to, e.partition, e.offset, e.index})
	}
	return a
}
