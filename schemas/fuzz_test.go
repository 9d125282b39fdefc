package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/orderlog/orderlog/topics"
)

const foreignID, laterID = 200, 201

// fuzzSerde is a local serde that has learnt two schemas which are not its own.
func fuzzSerde() *Serde {
	s := NewLocalSerde()
	known := maps.Clone(*s.known.Load())
	known[foreignID] = newWriter(foreignID, sr.Schema{Schema: foreign})
	known[laterID] = newWriter(laterID, sr.Schema{Schema: later})
	s.known.Store(&known)
	return s
}

// oddTrue is a Stock whose flag is neither 0 nor 1.
var oddTrue = append(appendHead(nil, 12), 2, 's', 2, 'n', 2, 2, 0, 0)

// addValues gives the fuzzer a value of every record on every topic, whole and
// cut, and some that are none.
func addValues(f *testing.F, s *Serde, add func(topic string, value []byte)) {
	for _, top := range topics.All() {
		for _, name := range top.Records {
			value, err := s.Encode(nil, top.Name, sampleOf(name))
			if err != nil {
				f.Fatal(err)
			}
			add(top.Name, value)
			add(top.Name, value[:len(value)/2])
		}
	}
	add(topics.OrderCommands, append(appendHead(nil, laterID), laterBody...))
	add(topics.OrderCommands, append(appendHead(nil, foreignID), 0, 2, 0, 0, 0, 0))
	add(topics.InventoryTable, oddTrue)
	add(topics.OrderCommands, nil)
	add("nowhere", []byte("{}"))
}

// Whatever the bytes are, Decode
//   - returns a body or one of the errors that a caller can tell apart;
//   - returns only what may stand on the topic;
//   - returns a body that is written and read again as itself;
//   - and what it reads, Describe shows.
func FuzzDecode(f *testing.F) {
	s := fuzzSerde()
	addValues(f, s, func(topic string, value []byte) { f.Add(topic, value) })
	f.Fuzz(func(t *testing.T, topic string, value []byte) {
		body, err := s.Decode(t.Context(), topic, value)
		if err != nil {
			if body != nil || !typed(err) || errors.Is(err, ErrRegistry) {
				t.Fatalf("body %v, error %v", body, err)
			}
			return
		}
		if err := Allowed(topic, body); err != nil {
			t.Fatal(err)
		}
		again, err := s.Encode(nil, topic, body)
		if err != nil {
			t.Fatal(err)
		}
		back, err := s.Decode(t.Context(), topic, again)
		if err != nil || !reflect.DeepEqual(back, body) {
			t.Fatalf("read %+v\nthen %+v, error %v", body, back, err)
		}
		if _, _, err := s.Describe(t.Context(), value); err != nil {
			t.Fatalf("decodes to %+v, but: %v", body, err)
		}
	})
}

func typed(err error) bool {
	for _, e := range []error{ErrNotWire, ErrUnknownSchema, ErrIncompatible, ErrNotAllowed, ErrBody, ErrRegistry} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Whatever the bytes are, Describe
//   - returns a record's name and JSON on one line, the same every time, or one
//     of the errors that a caller can tell apart.
func FuzzDescribe(f *testing.F) {
	s := fuzzSerde()
	addValues(f, s, func(_ string, value []byte) { f.Add(value) })
	f.Fuzz(func(t *testing.T, value []byte) {
		record, text, err := s.Describe(t.Context(), value)
		if err != nil {
			if text != nil || !typed(err) {
				t.Fatalf("%s, error %v", text, err)
			}
			return
		}
		if record == "" || !json.Valid(text) || bytes.ContainsAny(text, "\n\r") {
			t.Fatalf("%q: %q", record, text)
		}
		if _, again, _ := s.Describe(t.Context(), value); !bytes.Equal(again, text) {
			t.Fatalf("%s\nthen %s", text, again)
		}
	})
}

// Whatever the text is, DecodeJSON
//   - returns a body or ErrBody, and the error is short whatever the text;
//   - returns a body that fits the type, where a type was given;
//   - returns a body that, described, is read again as itself.
func FuzzDecodeJSON(f *testing.F) {
	s := NewLocalSerde()
	home := map[*Record]string{}
	for _, top := range topics.All() {
		for _, name := range top.Records {
			r, _ := Find(name)
			home[r] = top.Name
			value, err := s.Encode(nil, top.Name, sampleOf(name))
			if err != nil {
				f.Fatal(err)
			}
			_, text, err := s.Describe(f.Context(), value)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(TypeOf(r.New()), text)
		}
	}
	f.Add("", []byte(`{"type":"orders.order.cancel","order_id":"ord_1"}`))
	f.Add(OrdersOrderPlace, []byte(`{"order_id":"o","customer_id":"c","currency":"EUR","lines":[{"sku":"s","quantity":1e0}]}`))
	f.Fuzz(func(t *testing.T, msgType string, text []byte) {
		body, err := DecodeJSON(msgType, text)
		if err != nil {
			if body != nil || !errors.Is(err, ErrBody) || len(err.Error()) > 1000 {
				t.Fatalf("body %v, error %v", body, err)
			}
			return
		}
		r, ok := Of(body)
		if !ok || msgType != "" && !Fits(msgType, body) {
			t.Fatalf("%T for type %q", body, msgType)
		}
		value, err := s.Encode(nil, home[r], body)
		if err != nil {
			t.Fatal(err)
		}
		_, shown, err := s.Describe(t.Context(), value)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeJSON(r.Types[0], shown)
		if err != nil || !reflect.DeepEqual(back, body) {
			t.Fatalf("read %+v\nthen %+v, error %v", body, back, err)
		}
	})
}
