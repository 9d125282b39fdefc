package schemas

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// drawBody fills a body of r with random values.
func drawBody(t *rapid.T, r *Record) any {
	body := r.New()
	drawInto(t, r.Name, reflect.ValueOf(body).Elem())
	return body
}

func drawInto(t *rapid.T, label string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			drawInto(t, v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(rapid.SliceOf(rapid.Byte()).Draw(t, label))
			return
		}
		n := rapid.IntRange(0, 4).Draw(t, label)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			drawInto(t, fmt.Sprintf("%s[%d]", label, i), v.Index(i))
		}
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf(rapid.SliceOfN(rapid.Byte(), v.Len(), v.Len()).Draw(t, label)))
	case reflect.String:
		v.SetString(rapid.String().Draw(t, label))
	case reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, label))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, label))
	default:
		t.Fatalf("%s: no way to draw a %s", label, v.Kind())
	}
}

// native is a body as goavro takes it, built without any codec.
func native(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Struct:
		m := map[string]any{}
		for i := range v.NumField() {
			m[v.Type().Field(i).Tag.Get("avro")] = native(v.Field(i))
		}
		return m
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Bytes()
		}
		items := make([]any, v.Len())
		for i := range items {
			items[i] = native(v.Index(i))
		}
		return items
	case reflect.Array:
		b := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(b), v)
		return b
	}
	return v.Interface()
}

func everyRecord(t *testing.T, check func(t *testing.T, r *Record)) {
	for _, r := range Records() {
		t.Run(r.Name, func(t *testing.T) { check(t, r) })
	}
}

// Three codecs that share no code must agree on every byte, in both directions.
func TestCodecsAgree(t *testing.T) {
	everyRecord(t, func(t *testing.T, r *Record) {
		d, err := r.dynamic()
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) {
			drawn := drawBody(t, r)
			hot := new(walker).append(nil, drawn.(body))
			want := native(reflect.ValueOf(drawn).Elem())
			other, err := d.codec.BinaryFromNative(nil, want)
			if err != nil {
				t.Fatal(err)
			}
			third, err := r.Schema.Encode(drawn)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(hot, other) || !bytes.Equal(hot, third) {
				t.Fatalf("hot     %s\ndynamic %s\nschema  %s", hex.EncodeToString(hot), hex.EncodeToString(other), hex.EncodeToString(third))
			}
			back := r.New()
			if err := new(walker).read(other, back.(body)); err != nil || !reflect.DeepEqual(back, drawn) {
				t.Fatalf("hot codec reads %+v, error %v, want %+v", back, err, drawn)
			}
			got, _, err := d.codec.NativeFromBinary(hot)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("dynamic codec reads %v, error %v, want %v", got, err, want)
			}
		})
	})
}

// Arrays may come in several blocks, with or without their sizes.
func TestBlocks(t *testing.T) {
	const a, b, c = "\x02a", "\x02b", "\x02c" // three reasons
	for _, tc := range []struct {
		name, wire string
		want       []string // nil: refused
	}{
		{"none", "\x00", []string{}},
		{"one block", "\x06" + a + b + c + "\x00", []string{"a", "b", "c"}},
		{"two blocks", "\x02" + a + "\x04" + b + c + "\x00", []string{"a", "b", "c"}},
		{"a block with its size", "\x05\x0c" + a + b + c + "\x00", []string{"a", "b", "c"}},
		{"one with, one without", "\x01\x04" + a + "\x04" + b + c + "\x00", []string{"a", "b", "c"}},
		{"no end", "\x06" + a + b + c, nil},
		{"too few", "\x08" + a + b + c + "\x00", nil},
		{"the least number", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", nil},
		{"a size without items", "\x05\x0c", nil},
		{"a number of eleven bytes", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", nil},
	} {
		w := &walker{reading: true, in: []byte(tc.wire), text: tc.wire}
		var got []string
		array(w, &got, func(w *walker, s *string) { w.str(s) })
		if w.err == nil && w.at < len(tc.wire) {
			t.Errorf("%s: %d of %d bytes are read", tc.name, w.at, len(tc.wire))
		}
		if (tc.want == nil) != (w.err != nil) || w.err == nil && !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %q, error %v", tc.name, got, w.err)
		}
	}
}

// Whatever the bytes are, the hot codec and the schema's read the same from them, or
// both refuse.
func FuzzRead(f *testing.F) {
	for i, r := range Records() {
		f.Add(i, new(walker).append(nil, sampleOf(r.Name).(body)))
	}
	f.Add(4, []byte("\x00\x00\x01\x80\x00\x01"))
	f.Fuzz(func(t *testing.T, i int, raw []byte) {
		r := Records()[uint(i)%uint(len(Records()))]
		hot, other := r.New(), r.New()
		hotErr := new(walker).read(raw, hot.(body))
		rest, err := r.Schema.Decode(raw, other)
		if len(rest) > 0 && err == nil {
			err = tooMany(len(rest))
		}
		if (hotErr == nil) != (err == nil) || err == nil && !reflect.DeepEqual(hot, other) {
			t.Fatalf("%s from %x\nhot    %+v, error %v\nschema %+v, error %v", r.Name, raw, hot, hotErr, other, err)
		}
	})
}
