package kgoka

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// goka offers no way to see a graph's callbacks, so this looks into private
// fields of it: the callbacks of inputs and visitors, and the headers in options.
// If goka renames them, NewProcessor fails and says so.
var errGoka = errors.New("this version of goka keeps callbacks and headers elsewhere")

// callbacks returns the callbacks of gg by topic, and those of visitors by name.
func callbacks(gg *goka.GroupGraph) (inputs, visitors map[string]goka.ProcessCallback, err error) {
	in, err := private[map[string]goka.ProcessCallback](gg, "callbacks")
	if err != nil {
		return nil, nil, err
	}
	edges, err := private[[]goka.Edge](gg, "visitors")
	if err != nil {
		return nil, nil, err
	}
	visitors = map[string]goka.ProcessCallback{}
	for _, e := range edges {
		if visitors[e.Topic()], err = private[goka.ProcessCallback](e, "cb"); err != nil {
			return nil, nil, err
		}
	}
	return in, visitors, nil
}

// private returns a field of the struct that p points to.
func private[T any](p any, field string) (T, error) {
	f := reflect.ValueOf(p).Elem().FieldByName(field)
	if !f.IsValid() || f.Type() != reflect.TypeFor[T]() {
		return *new(T), errGoka
	}
	return *(*T)(unsafe.Pointer(f.UnsafeAddr())), nil
}

// Bytes is the codec that hands bytes through: records and rows are the
// application's to decode.
type Bytes struct{}

// Encode returns value, which must be a []byte.
func (Bytes) Encode(value any) ([]byte, error) {
	b, ok := value.([]byte)
	if !ok {
		return nil, fmt.Errorf("encoding a %T as bytes", value)
	}
	return b, nil
}

// Decode returns data as it is.
func (Bytes) Decode(data []byte) (any, error) { return data, nil }

// codecOf returns nil for Bytes: it is not worth a call.
func codecOf(e goka.Edge) goka.Codec {
	if _, ok := e.Codec().(Bytes); ok {
		return nil
	}
	return e.Codec()
}

// optionHeaders returns the headers that options carry. An option is a function
// on a private struct of goka, so all are run on a fresh one and the result read.
func optionHeaders(opts []goka.ContextOption) []kgo.RecordHeader {
	if len(opts) == 0 {
		return nil
	}
	arg := reflect.New(reflect.TypeOf(opts[0]).In(0).Elem())
	for _, o := range opts {
		reflect.ValueOf(o).Call([]reflect.Value{arg})
	}
	hs, err := private[goka.Headers](arg.Interface(), "emitHeaders")
	if err != nil {
		panic(err)
	}
	return headerList(hs)
}

// headerList sorts, so that equal headers are equal bytes.
func headerList(headers goka.Headers) (hs []kgo.RecordHeader) {
	for k, v := range headers {
		hs = append(hs, kgo.RecordHeader{Key: k, Value: v})
	}
	slices.SortFunc(hs, func(a, b kgo.RecordHeader) int { return strings.Compare(a.Key, b.Key) })
	return hs
}
