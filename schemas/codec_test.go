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

// Two codecs that share no code must agree on every byte, in both directions.
func TestCodecsAgree(t *testing.T) {
	everyRecord(t, func(t *testing.T, r *Record) {
		d, err := r.dynamic()
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) {
			body := drawBody(t, r)
			hot, err := r.Schema.Encode(body)
			if err != nil {
				t.Fatal(err)
			}
			want := native(reflect.ValueOf(body).Elem())
			other, err := d.codec.BinaryFromNative(nil, want)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(hot, other) {
				t.Fatalf("hot     %s\ndynamic %s", hex.EncodeToString(hot), hex.EncodeToString(other))
			}
			back := r.New()
			if _, err := r.Schema.Decode(other, back); err != nil || !reflect.DeepEqual(back, body) {
				t.Fatalf("hot codec reads %+v, error %v, want %+v", back, err, body)
			}
			got, _, err := d.codec.NativeFromBinary(hot)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("dynamic codec reads %v, error %v, want %v", got, err, want)
			}
		})
	})
}
