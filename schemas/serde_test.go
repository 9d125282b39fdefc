package schemas

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/orderlog/orderlog/topics"
)

func TestEncodeDecodeEveryRecordOnEveryTopic(t *testing.T) {
	s := NewLocalSerde()
	for _, top := range topics.All() {
		for _, name := range top.Records {
			r, _ := Find(name)
			t.Run(top.Name+"/"+name, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) { roundTrip(t, s, top.Name, drawBody(t, r)) })
			})
		}
	}
}

func roundTrip(t *rapid.T, s *Serde, topic string, body any) {
	value, err := s.Encode([]byte("before"), topic, body)
	if err != nil {
		t.Fatal(err)
	}
	value, ok := bytes.CutPrefix(value, []byte("before"))
	if !ok || value[0] != 0 {
		t.Fatalf("value is % x", value)
	}
	got, err := s.Decode(t.Context(), topic, value)
	if err != nil {
		t.Fatal(err)
	}
	into := reflect.New(reflect.TypeOf(body).Elem()).Interface()
	if err := s.DecodeInto(t.Context(), topic, value, into); err != nil {
		t.Fatal(err)
	}
	for i := range value {
		value[i] = 0xAA // what was decoded must not live in value
	}
	if !reflect.DeepEqual(got, body) || !reflect.DeepEqual(into, body) {
		t.Fatalf("wrote %+v\nread  %+v\ninto  %+v", body, got, into)
	}
}

func TestWireHead(t *testing.T) {
	got, err := NewLocalSerde().Encode(nil, topics.OrderCommands, &DeliverOrder{OrderID: "ab"})
	want := []byte{0, 0, 0, 0, 2, 4, 'a', 'b'} // zero, id 2, length 2 as a zigzag, "ab"
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("% x, error %v, want % x", got, err, want)
	}
	if id, _, err := splitHead([]byte{0, 1, 2, 3, 4}); err != nil || id != 0x01020304 {
		t.Errorf("id %#x, error %v", id, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	s := NewLocalSerde()
	for _, c := range []struct {
		name  string
		topic string
		body  any
		want  error
	}{
		{"another topic's record", topics.OrderCommands, &SetLimit{}, ErrNotAllowed},
		{"a topic without records", topics.DeadLetter, &PlaceOrder{}, ErrNotAllowed},
		{"a topic with its namespace", "ns." + topics.OrderCommands, &PlaceOrder{}, ErrNotAllowed},
		{"not a pointer", topics.OrderCommands, PlaceOrder{}, ErrNotAllowed},
		{"nil", topics.OrderCommands, nil, ErrNotAllowed},
		{"a nil pointer", topics.OrderCommands, (*PlaceOrder)(nil), ErrBody},
	} {
		dst, err := s.Encode([]byte("kept"), c.topic, c.body)
		if !errors.Is(err, c.want) || string(dst) != "kept" {
			t.Errorf("%s: error %v, dst %q", c.name, err, dst)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	s := NewLocalSerde()
	place, err := s.Encode(nil, topics.OrderCommands, sampleOf("PlaceOrder"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(at int, b byte) []byte {
		v := slices.Clone(place)
		v[at] = b
		return v
	}
	huge := append(appendHead(nil, 1), 2, 'a', 2, 'b', 2, 'c')
	huge = binary.AppendVarint(huge, 1<<40) // lines
	for _, c := range []struct {
		name  string
		topic string
		value []byte
		want  error
	}{
		{"nothing", topics.OrderCommands, nil, ErrNotWire},
		{"four bytes", topics.OrderCommands, place[:4], ErrNotWire},
		{"JSON", topics.OrderCommands, []byte(`{"order_id":"ord_1"}`), ErrNotWire},
		{"unknown id", topics.OrderCommands, with(4, 99), ErrUnknownSchema},
		{"another topic", topics.OrderTable, place, ErrNotAllowed},
		{"no topic", "nowhere", place, ErrNotAllowed},
		{"head only", topics.OrderCommands, place[:5], ErrBody},
		{"one byte short", topics.OrderCommands, place[:len(place)-1], ErrBody},
		{"one byte more", topics.OrderCommands, append(slices.Clone(place), 0), ErrBody},
		{"a string of negative length", topics.OrderCommands, with(5, 1), ErrBody},
		{"more lines than bytes", topics.OrderCommands, huge, ErrBody},
	} {
		if body, err := s.Decode(t.Context(), c.topic, c.value); !errors.Is(err, c.want) {
			t.Errorf("%s: body %+v, error %v, want %v", c.name, body, err, c.want)
		} else if body != nil {
			t.Errorf("%s: a body came with the error: %+v", c.name, body)
		}
	}
	for _, into := range []any{&CancelOrder{}, PlaceOrder{}, nil} {
		if err := s.DecodeInto(t.Context(), topics.OrderCommands, place, into); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("into %T: %v", into, err)
		}
	}
	if err := s.DecodeInto(t.Context(), topics.OrderCommands, place, (*PlaceOrder)(nil)); !errors.Is(err, ErrBody) {
		t.Errorf("into a nil pointer: %v", err)
	}
}

// Every cut of every record is an error, never a body.
func TestDecodeRefusesEveryCut(t *testing.T) {
	s := NewLocalSerde()
	for _, top := range topics.All() {
		for _, name := range top.Records {
			value, err := s.Encode(nil, top.Name, sampleOf(name))
			if err != nil {
				t.Fatal(err)
			}
			for n := range value {
				if body, err := s.Decode(context.Background(), top.Name, value[:n]); err == nil {
					t.Errorf("%s: %d of %d bytes decode to %+v", name, n, len(value), body)
				}
			}
		}
	}
}

// What a body held before does not show through.
func TestDecodeIntoOverwrites(t *testing.T) {
	s := NewLocalSerde()
	full, empty := sampleOf("Order").(*Order), &Order{}
	value, err := s.Encode(nil, topics.OrderTable, empty)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DecodeInto(t.Context(), topics.OrderTable, value, full); err != nil {
		t.Fatal(err)
	}
	again, err := s.Encode(nil, topics.OrderTable, full)
	if err != nil || !bytes.Equal(again, value) {
		t.Errorf("left over: %+v, error %v", full, err)
	}
}
