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

// rewire returns a copy of gg whose callbacks are all run, and the callbacks it
// had. goka offers no way to see a callback, and no way not to call it, which
// the origin guard needs and handling batches too; so this looks into a private
// field, and into nothing else of goka. If goka renames it, NewProcessor fails
// and says so.
func rewire(gg *goka.GroupGraph, run goka.ProcessCallback) (*goka.GroupGraph, map[string]goka.ProcessCallback, error) {
	g := *gg
	f := reflect.ValueOf(&g).Elem().FieldByName("callbacks")
	if !f.IsValid() || f.Type() != reflect.TypeFor[map[string]goka.ProcessCallback]() {
		return nil, nil, errors.New("this version of goka keeps its callbacks elsewhere")
	}
	field := (*map[string]goka.ProcessCallback)(unsafe.Pointer(f.UnsafeAddr()))
	own := *field
	*field = make(map[string]goka.ProcessCallback, len(own))
	for topic := range own {
		(*field)[topic] = run
	}
	return &g, own, nil
}

// codecOf returns nil for Bytes: it is not worth a call.
func codecOf(e goka.Edge) goka.Codec {
	if _, ok := e.Codec().(Bytes); ok {
		return nil
	}
	return e.Codec()
}

func checkGraph(gg *goka.GroupGraph) error {
	if err := gg.Validate(); err != nil {
		return err
	}
	for _, e := range gg.AllEdges() {
		if strings.HasPrefix(e.String(), "visitor ") {
			return fmt.Errorf("%s: visitors write outside of transactions and are not supported", e)
		}
	}
	return nil
}

// optionHeaders returns the headers that options carry. An option is a function
// on a private struct of goka, so it is run on a fresh one and the result read.
func optionHeaders(opts []goka.ContextOption) (hs []kgo.RecordHeader) {
	for _, o := range opts {
		f := reflect.ValueOf(o)
		arg := reflect.New(f.Type().In(0).Elem())
		f.Call([]reflect.Value{arg})
		m := arg.Elem().FieldByName("emitHeaders")
		if !m.IsValid() || m.Kind() != reflect.Map {
			panic("this version of goka keeps the headers of its options elsewhere")
		}
		for it := m.MapRange(); it.Next(); {
			hs = append(hs, kgo.RecordHeader{Key: it.Key().String(), Value: it.Value().Bytes()})
		}
	}
	slices.SortFunc(hs, func(a, b kgo.RecordHeader) int { return strings.Compare(a.Key, b.Key) })
	return hs
}
