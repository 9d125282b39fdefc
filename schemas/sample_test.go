package schemas

import (
	"reflect"
	"strings"
)

// sampleOf returns a body of the record with a value in every field, the same
// at every call: numbers count up, slices have two elements.
func sampleOf(record string) any {
	r, _ := Find(record)
	body := r.New()
	n := int64(0)
	fillSample(reflect.ValueOf(body).Elem(), strings.ToLower(record), &n)
	return body
}

func fillSample(v reflect.Value, name string, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillSample(v.Field(i), v.Type().Field(i).Tag.Get("avro"), n)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("\x00" + name + "\xff"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillSample(v.Index(0), name+"_a", n)
		fillSample(v.Index(1), name+"_b", n)
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(i * 17))
		}
	case reflect.String:
		v.SetString(name)
	case reflect.Int64:
		v.SetInt(*n * 100)
	case reflect.Bool:
		v.SetBool(true)
	}
}
