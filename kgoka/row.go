package kgoka

import (
	"encoding/binary"
	"errors"

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

// keyed is a row and its key.
type keyed struct {
	key string
	row
	first bool // the table has never had this key
}
