package faults

import (
	"encoding/binary"
	"fmt"
)

const nkeys = 2000

func keyOf(k int) string { return fmt.Sprintf("key-%d", k) }

// row is what a table remembers of the numbers of its key: it tells any two
// different sequences apart.
type row struct{ count, last, chain uint64 }

func (r row) add(number uint64) row {
	return row{r.count + 1, number, (r.chain ^ (number + 1)) * 0x9e3779b97f4a7c15}
}

func (r row) bytes() []byte {
	b := binary.BigEndian.AppendUint64(nil, r.count)
	b = binary.BigEndian.AppendUint64(b, r.last)
	return binary.BigEndian.AppendUint64(b, r.chain)
}

// wide is the row as tables have it: so wide that tables write to the disk while
// they are worked on, and not only at the end.
func (r row) wide() []byte { return append(r.bytes(), make([]byte, wideBy)...) }

const wideBy = 4 << 10

// parseRow takes nothing for an empty row, and what is no row for one that fits nowhere.
func parseRow(b []byte) row {
	switch len(b) {
	case 0:
		return row{}
	case 24, 24 + wideBy:
		return row{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
	}
	return row{count: 1 << 63}
}

// message is a record of the streams: a number, and behind a hop the row as it
// was with it.
type message struct {
	number uint64
	hang   bool // the callback may hang; see hang
	row    row
}

func (m message) bytes() []byte {
	b := binary.BigEndian.AppendUint64(nil, m.number)
	if m.row == (row{}) {
		if m.hang {
			return append(b, 1)
		}
		return b
	}
	return append(b, m.row.bytes()...)
}

func parseMessage(b []byte) message {
	if len(b) < 8 {
		return message{number: 1 << 63}
	}
	m := message{number: binary.BigEndian.Uint64(b)}
	if rest := b[8:]; len(rest) == 1 {
		m.hang = true
	} else {
		m.row = parseRow(rest)
	}
	return m
}
