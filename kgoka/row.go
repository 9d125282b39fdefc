package kgoka

import (
	"encoding/binary"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"
)

// row is a value, the origins applied to it, and a note. A row whose value is nil
// is not there; in a set of changes it is a deletion.
type row struct {
	vec  vector
	note []byte
	val  []byte
}

// value is what others than the row's own group see: an empty value with a vector
// or a note stands for a row that is not there, and only remembers.
func (r row) value() []byte {
	if len(r.val) == 0 && len(r.vec)+len(r.note) > 0 {
		return nil
	}
	return r.val
}

func (r row) size() int { return len(r.vec) + len(r.note) + len(r.val) }

// encode puts vector and note before the value, as stores keep them.
func (r row) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(r.vec)))
	b = binary.AppendUvarint(append(b, r.vec...), uint64(len(r.note)))
	return append(append(b, r.note...), r.val...)
}

// rowLayout is the number of the layout that encode writes.
const rowLayout = 1

var (
	errRow    = errors.New("malformed row in local table")
	errLayout = errors.New("its rows are laid out as another version has them")
)

func decodeRow(b []byte) (row, error) {
	vec, b, ok1 := field(b)
	note, val, ok2 := field(b)
	if _, err := parseVector(vec); err != nil || !ok1 || !ok2 {
		return row{}, errRow
	}
	return row{vec, note, val}, nil
}

// field returns the bytes that b begins with behind their length, and the rest.
func field(b []byte) (f, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	b = b[w:]
	return b[:n:n], b[n:], true
}

// rowOf is the row that a changelog record stands for. A vector that somebody
// else broke is no vector: the row is as good, and handles what comes anew.
func rowOf(rec *kgo.Record) row {
	r := row{val: rec.Value}
	for i := range rec.Headers {
		switch h := &rec.Headers[i]; h.Key {
		case AppliedHeader:
			r.vec, _ = parseVector(h.Value)
		case NoteHeader:
			r.note = h.Value
		}
	}
	return r
}

// keyed is a row and its key.
type keyed struct {
	key string
	row
	first bool // the table has never had this key
}
