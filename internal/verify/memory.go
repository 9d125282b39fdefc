package verify

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"slices"
	"strings"

	"github.com/orderlog/orderlog/schemas"
)

// What was folded is written as it stands in memory, field after field, so that no
// field of it can be forgotten: numbers as varints, lengths before what they count, a
// string that was written before by its number. Bodies of records are JSON behind
// the record's name. It is read by the build that wrote it, or one with equal types.

var bigInt = reflect.TypeFor[big.Int]()

const longString = 128 // longer ones are not expected twice

type writer struct {
	out   *bufio.Writer
	known map[string]uint64
	err   error
}

func (w *writer) number(n uint64) {
	_, _ = w.out.Write(binary.AppendUvarint(w.out.AvailableBuffer(), n)) // a bufio.Writer keeps its error
}

func (w *writer) bytes(b []byte) {
	w.number(uint64(len(b)))
	_, _ = w.out.Write(b)
}

// string writes 0 and the string where it is new, else its number.
func (w *writer) string(s string) {
	if n, ok := w.known[s]; ok {
		w.number(n)
		return
	}
	w.number(0)
	w.number(uint64(len(s)))
	_, _ = w.out.WriteString(s)
	if len(s) <= longString {
		w.known[s] = uint64(len(w.known)) + 1
	}
}

// value writes what v, which is addressable, holds.
func (w *writer) value(v reflect.Value) {
	if v.Type() == bigInt {
		text, err := v.Addr().Interface().(*big.Int).GobEncode()
		w.err = errors.Join(w.err, err)
		w.bytes(text)
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		w.number(uint64(one(v.Bool())))
	case reflect.Int, reflect.Int32, reflect.Int64:
		w.number(zigzag(v.Int()))
	case reflect.Uint8, reflect.Uint64:
		w.number(v.Uint())
	case reflect.String:
		w.string(v.String())
	case reflect.Array, reflect.Slice:
		if v.Kind() == reflect.Slice {
			w.number(uint64(one(!v.IsNil())))
			if v.IsNil() {
				return
			}
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			w.bytes(v.Bytes())
			return
		}
		if v.Kind() == reflect.Slice {
			w.number(uint64(v.Len()))
		}
		for i := range v.Len() {
			w.value(v.Index(i))
		}
	case reflect.Map:
		w.number(uint64(v.Len()))
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		for it := v.MapRange(); it.Next(); {
			k.SetIterKey(it)
			e.SetIterValue(it)
			w.value(k)
			w.value(e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			w.value(open(v.Field(i)))
		}
	case reflect.Pointer:
		w.number(uint64(one(!v.IsNil())))
		if !v.IsNil() {
			w.value(v.Elem())
		}
	case reflect.Interface:
		w.body(v.Interface())
	default:
		w.err = errors.Join(w.err, fmt.Errorf("a field of type %s has no form in a checkpoint", v.Type()))
	}
}

func (w *writer) body(body any) {
	if body == nil {
		w.string("")
		return
	}
	text, err := json.Marshal(body)
	w.err = errors.Join(w.err, err)
	w.string(schemas.RecordOf(body))
	w.bytes(text)
}

// open gives access to a field that has no exported name.
func open(f reflect.Value) reflect.Value {
	return reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem()
}

func zigzag(n int64) uint64   { return uint64(n<<1) ^ uint64(n>>63) }
func unzigzag(n uint64) int64 { return int64(n>>1) ^ -int64(n&1) }

// loader reads what writer wrote. After the first error it reads zeros.
type loader struct {
	in    *bufio.Reader
	known []string
	err   error
}

var errForm = errors.New("not in its form")

func (l *loader) number() uint64 {
	if l.err != nil {
		return 0
	}
	var n uint64
	n, l.err = binary.ReadUvarint(l.in)
	return n
}

func (l *loader) bytes() []byte {
	var b strings.Builder
	l.copy(&b)
	return []byte(b.String())
}

func (l *loader) copy(b *strings.Builder) {
	n := l.number()
	if l.err == nil && n > 1<<30 {
		l.err = errForm
	}
	if l.err == nil {
		_, l.err = io.CopyN(b, l.in, int64(n))
	}
}

func (l *loader) string() string {
	n := l.number()
	switch {
	case n > uint64(len(l.known)):
		l.err = errors.Join(l.err, errForm)
		return ""
	case n > 0:
		return l.known[n-1]
	}
	var b strings.Builder
	l.copy(&b)
	s := b.String()
	if len(s) <= longString {
		l.known = append(l.known, s)
	}
	return s
}

func (l *loader) value(v reflect.Value) {
	if l.err != nil {
		return
	}
	if v.Type() == bigInt {
		b := l.bytes()
		if l.err == nil {
			l.err = v.Addr().Interface().(*big.Int).GobDecode(b)
		}
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(l.number() == 1)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(unzigzag(l.number()))
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(l.number())
	case reflect.String:
		v.SetString(l.string())
	case reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			copy(v.Bytes(), l.bytes())
			return
		}
		for i := range v.Len() {
			l.value(v.Index(i))
		}
	case reflect.Slice:
		v.SetZero()
		switch {
		case l.number() == 0:
			return
		case v.Type().Elem().Kind() == reflect.Uint8:
			v.SetBytes(l.bytes())
			return
		}
		n := l.number()
		v.Set(reflect.MakeSlice(v.Type(), 0, int(min(n, 1<<10))))
		for i := 0; i < int(n) && l.err == nil; i++ {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
			l.value(v.Index(i))
		}
	case reflect.Map:
		n := l.number()
		v.Set(reflect.MakeMap(v.Type()))
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		for i := uint64(0); i < n && l.err == nil; i++ {
			k.SetZero()
			e.SetZero()
			l.value(k)
			l.value(e)
			v.SetMapIndex(k, e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			l.value(open(v.Field(i)))
		}
	case reflect.Pointer:
		v.SetZero()
		if l.number() == 1 {
			v.Set(reflect.New(v.Type().Elem()))
			l.value(v.Elem())
		}
	case reflect.Interface:
		l.body(v)
	}
}

func (l *loader) body(v reflect.Value) {
	name := l.string()
	if name == "" || l.err != nil {
		return
	}
	r, ok := schemas.Find(name)
	if !ok {
		l.err = errForm
		return
	}
	body := r.New()
	l.err = json.Unmarshal(l.bytes(), body)
	v.Set(reflect.ValueOf(body))
}

// form spells out a type, so that one with other fields has another form.
func form(t reflect.Type, in ...reflect.Type) string {
	if slices.Contains(in, t) || t == bigInt {
		return t.String()
	}
	in = append(in, t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return t.Kind().String() + " " + form(t.Elem(), in...)
	case reflect.Map:
		return "map " + form(t.Key(), in...) + " " + form(t.Elem(), in...)
	case reflect.Struct:
		var b strings.Builder
		for i := range t.NumField() {
			fmt.Fprintf(&b, " %s %s,", t.Field(i).Name, form(t.Field(i).Type, in...))
		}
		return "{" + b.String() + "}"
	}
	return t.Kind().String()
}
