package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// walker goes over the fields of a body in the order of its schema, to write
// them or to read them. One list of fields per type, in fields.go, serves both;
// a test holds the lists to the schemas.
type walker struct {
	out []byte // what was written so far

	reading bool
	in      []byte // all that is to be read
	text    string // the same, for strings to be parts of
	at      int    // how much of it was read
	err     error  // first of reading; what is read after it is zero
}

// body is a pointer to a type of this package.
type body interface{ fields(*walker) }

var (
	errShort = errors.New("it ends too early")
	errLong  = errors.New("a number has too many bytes")
	errCount = errors.New("a length is negative, or more than there are bytes")
)

// append writes b to dst.
func (w *walker) append(dst []byte, b body) []byte {
	*w = walker{out: dst}
	b.fields(w)
	return w.out
}

// read fills b from raw. Slices in b are written over where they are long enough.
func (w *walker) read(raw []byte, b body) error {
	*w = walker{out: w.out, reading: true, in: raw, text: string(raw)}
	b.fields(w)
	if w.err == nil && w.at < len(raw) {
		return tooMany(len(raw) - w.at)
	}
	return w.err
}

// fail keeps the first error.
func (w *walker) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func tooMany(n int) error { return fmt.Errorf("%d bytes too many", n) }

func (w *walker) long(ns ...*int64) *walker {
	for _, n := range ns {
		if w.reading {
			*n = w.number()
		} else {
			w.out = binary.AppendVarint(w.out, *n)
		}
	}
	return w
}

// number reads a zigzag varint; those of one byte are the most.
func (w *walker) number() int64 {
	if w.err == nil && w.at < len(w.in) && w.in[w.at] < 0x80 {
		u := w.in[w.at]
		w.at++
		return int64(u>>1) ^ -int64(u&1)
	}
	return w.longNumber()
}

func (w *walker) longNumber() int64 {
	if w.err != nil {
		return 0
	}
	n, used := binary.Varint(w.in[w.at:])
	switch {
	case used == 0:
		w.err = errShort
		return 0
	case used < 0:
		w.err = errLong
		return 0
	}
	w.at += used
	return n
}

// count reads a number of bytes or items; an item has at least one byte.
func (w *walker) count() int {
	n := w.number()
	if n < 0 || n > int64(len(w.in)-w.at) {
		w.fail(errCount)
		return 0
	}
	return int(n)
}

func (w *walker) str(ss ...*string) *walker {
	for _, s := range ss {
		if w.reading {
			n := w.count()
			*s = w.text[w.at : w.at+n]
			w.at += n
		} else {
			w.out = append(binary.AppendVarint(w.out, int64(len(*s))), *s...)
		}
	}
	return w
}

func (w *walker) bytes(bs ...*[]byte) *walker {
	for _, b := range bs {
		if w.reading {
			n := w.count()
			*b = append(make([]byte, 0, n), w.in[w.at:w.at+n]...)
			w.at += n
		} else {
			w.out = append(binary.AppendVarint(w.out, int64(len(*b))), *b...)
		}
	}
	return w
}

func (w *walker) flag(b *bool) *walker {
	var bit [1]byte
	if *b {
		bit[0] = 1
	}
	w.fixed(bit[:])
	*b = bit[0] == 1
	return w
}

func (w *walker) fixed(b []byte) *walker {
	switch {
	case !w.reading:
		w.out = append(w.out, b...)
	case len(w.in)-w.at < len(b):
		w.fail(errShort)
	default:
		w.at += copy(b, w.in[w.at:])
	}
	return w
}

// array walks along a slice. On the wire it is blocks of items, each with their
// number before, or with their number negative and then their size in bytes; an
// empty block is the end.
func array[T any](w *walker, items *[]T, item func(*walker, *T)) {
	if !w.reading {
		if len(*items) > 0 {
			w.out = binary.AppendVarint(w.out, int64(len(*items)))
		}
		for i := range *items {
			item(w, &(*items)[i])
		}
		w.out = append(w.out, 0)
		return
	}
	list := (*items)[:0]
	for n := w.block(); n > 0; n = w.block() {
		if list == nil {
			list = make([]T, 0, min(n, 1+(len(w.in)-w.at)/3)) // a false n is cheap: hardly an item has less than 3 bytes
		}
		for range n {
			var zero T
			list = append(list, zero)
			item(w, &list[len(list)-1])
			if w.err != nil {
				break
			}
		}
	}
	if list == nil {
		list = []T{}
	}
	*items = list
}

// block reads how many items come next.
func (w *walker) block() int {
	n := w.number()
	if n < 0 {
		n = -n
		w.number() // for those who skip
	}
	if w.err != nil || n < 0 || n > int64(len(w.in)-w.at) {
		w.fail(errCount)
		return 0
	}
	return int(n)
}
