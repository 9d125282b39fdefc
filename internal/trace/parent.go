package trace

import (
	"bytes"
	"encoding/hex"

	"github.com/twmb/franz-go/pkg/kgo"
	otel "go.opentelemetry.io/otel/trace"
)

// Headers of W3C Trace Context (https://www.w3.org/TR/trace-context/), whose values
// are the same on records as on HTTP requests.
const (
	HeaderParent = "traceparent"
	HeaderState  = "tracestate"
)

// maxState is the longest tracestate, in bytes, that is handed on: the recommendation
// wants no more.
const maxState = 512

// Parent says which span caused a record, in the form that it has in headers. It is
// good as long as the record is. The zero value: none.
type Parent struct{ ID, State []byte }

// Of reads a record's. What is malformed is none.
func Of(r *kgo.Record) Parent { return Read(r.Headers) }

// Read reads it from headers; of one that is there twice the last one counts.
func Read(hs []kgo.RecordHeader) (p Parent) {
	for i := range hs {
		switch h := &hs[i]; h.Key {
		case HeaderParent:
			p.ID = h.Value
		case HeaderState:
			p.State = h.Value
		}
	}
	if p.ID == nil {
		return Parent{}
	}
	return Parse(p.ID, p.State)
}

// Parse makes one of the values of the two headers.
func Parse(id, state []byte) Parent {
	if !wellFormed(id) {
		return Parent{}
	}
	if len(state) > maxState {
		state = nil
	}
	return Parent{id, state}
}

// A traceparent is version, trace, span and flags, all in hex; later versions may
// have more behind it.
const (
	traceAt, traceTo = 3, 35
	spanAt, spanTo   = 36, 52
	flagsAt          = 53
	parentLen        = 55
)

var zeros = bytes.Repeat([]byte("0"), 32)

func wellFormed(id []byte) bool {
	if len(id) < parentLen || len(id) > parentLen && (id[parentLen] != '-' || string(id[:2]) == "00") || string(id[:2]) == "ff" {
		return false
	}
	for i, c := range id[:parentLen] {
		dash := i == traceAt-1 || i == spanAt-1 || i == flagsAt-1
		if dash != (c == '-') || !dash && !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return !bytes.Equal(id[traceAt:traceTo], zeros) && !bytes.Equal(id[spanAt:spanTo], zeros[:16])
}

// IsZero tells that there is none.
func (p Parent) IsZero() bool { return p.ID == nil }

// Sampled tells whether the trace is recorded, as far as who began it knows.
func (p Parent) Sampled() bool {
	if p.IsZero() {
		return false
	}
	switch p.ID[parentLen-1] {
	case '1', '3', '5', '7', '9', 'b', 'd', 'f':
		return true
	}
	return false
}

// TraceID is the trace's in 32 hex digits, "" of none; recorded or not.
func (p Parent) TraceID() string {
	if p.IsZero() {
		return ""
	}
	return string(p.ID[traceAt:traceTo])
}

// Append adds the headers; of none it adds none. The values are not copied.
func (p Parent) Append(hs []kgo.RecordHeader) []kgo.RecordHeader {
	if p.IsZero() {
		return hs
	}
	hs = append(hs, kgo.RecordHeader{Key: HeaderParent, Value: p.ID})
	if len(p.State) > 0 {
		hs = append(hs, kgo.RecordHeader{Key: HeaderState, Value: p.State})
	}
	return hs
}

// parentOf is the other way round.
func parentOf(sc otel.SpanContext) Parent {
	if !sc.IsValid() {
		return Parent{}
	}
	trace, span := sc.TraceID(), sc.SpanID()
	id := append(make([]byte, 0, parentLen), "00-"...)
	id = append(hex.AppendEncode(id, trace[:]), '-')
	id = append(hex.AppendEncode(id, span[:]), '-')
	id = hex.AppendEncode(id, []byte{byte(sc.TraceFlags())})
	return Parent{id, []byte(sc.TraceState().String())}
}

func (p Parent) spanContext() otel.SpanContext {
	if p.IsZero() {
		return otel.SpanContext{}
	}
	var c otel.SpanContextConfig
	var flags [1]byte
	hex.Decode(c.TraceID[:], p.ID[traceAt:traceTo]) // they are well-formed
	hex.Decode(c.SpanID[:], p.ID[spanAt:spanTo])
	hex.Decode(flags[:], p.ID[flagsAt:parentLen])
	c.TraceFlags, c.Remote = otel.TraceFlags(flags[0]), true
	c.TraceState, _ = otel.ParseTraceState(string(p.State)) // malformed: none, as the recommendation says
	return otel.NewSpanContext(c)
}

// sep stands between the two values of a Parent in one: neither has it.
const sep = '\n'

// Encode is both values in one, nil of none; Decode reads it.
func (p Parent) Encode() []byte {
	if p.IsZero() {
		return nil
	}
	b := append(make([]byte, 0, len(p.ID)+1+len(p.State)), p.ID...)
	if len(p.State) > 0 {
		b = append(append(b, sep), p.State...)
	}
	return b
}

// Decode reads what Encode made; of anything else there is none.
func Decode(b []byte) Parent {
	id, state, _ := bytes.Cut(b, []byte{sep})
	return Parse(id, state)
}
