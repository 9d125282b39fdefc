package event_test

import (
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
)

var placed = flow.Message{
	ID: "evt_2hXyKQOqUQjZ0Yx8bF0kTzqgJ5v", Type: "order.placed", Topic: "order-table", Key: "ord_1",
	At: 1767323045007, Correlation: "ord_1", Causation: "evt_2hXyKQOqUQjZ0Yx8bF0kTzqgJ5u",
}

func headers(m flow.Message) []kgo.RecordHeader {
	return event.Append(make([]kgo.RecordHeader, 0, 8), event.DefaultSource, event.Avro, m)
}

func record(m flow.Message) *kgo.Record {
	return &kgo.Record{Topic: m.Topic, Key: []byte(m.Key), Headers: headers(m), Timestamp: time.UnixMilli(1)}
}

func TestHeadersNamesAndValues(t *testing.T) {
	want := []struct{ key, value string }{
		{"ce_specversion", "1.0"},
		{"ce_id", placed.ID},
		{"ce_type", "order.placed"},
		{"ce_source", "/orderlog"},
		{"ce_time", "2026-01-02T03:04:05.007Z"},
		{"ce_correlationid", "ord_1"},
		{"ce_causationid", placed.Causation},
		{"content-type", "application/avro"},
	}
	got := headers(placed)
	if len(got) != len(want) {
		t.Fatalf("got %d headers, want %d", len(got), len(want))
	}
	for i, w := range want {
		if got[i].Key != w.key || string(got[i].Value) != w.value {
			t.Errorf("header %d = %s: %s, want %s: %s", i, got[i].Key, got[i].Value, w.key, w.value)
		}
	}
	if n := len(headers(flow.Message{ID: "evt_1", Type: "x"})); n != 6 {
		t.Errorf("a message without correlation and causation has %d headers, want 6", n)
	}
}

// Values share a buffer: growing one must not write over the next.
func TestHeaderValuesAreApart(t *testing.T) {
	hs := headers(placed)
	_ = append(hs[1].Value, "XXXXXXXX"...)
	if got := string(hs[2].Value); got != placed.Type {
		t.Errorf("appending to one header changed another: %q", got)
	}
}

func TestParse(t *testing.T) {
	stamp := time.UnixMilli(1767323045007)
	h := func(kv ...string) (hs []kgo.RecordHeader) {
		for i := 0; i < len(kv); i += 2 {
			hs = append(hs, kgo.RecordHeader{Key: kv[i], Value: []byte(kv[i+1])})
		}
		return hs
	}
	derived := flow.NewID("evt", stamp.UnixMilli(), "ns.order-commands/3/14", 0)
	tests := []struct {
		name    string
		key     string
		headers []kgo.RecordHeader
		want    flow.Message
	}{
		{"bare order record", "ord_1", nil,
			flow.Message{ID: derived, Key: "ord_1", At: stamp.UnixMilli(), Correlation: "ord_1"}},
		{"bare other record", "sku_1", nil,
			flow.Message{ID: derived, Key: "sku_1", At: stamp.UnixMilli()}},
		{"no key at all", "", nil,
			flow.Message{ID: derived, At: stamp.UnixMilli()}},
		{"other correlation", "sku_1", h("ce_id", "a", "ce_correlationid", "ord_9"),
			flow.Message{ID: "a", Key: "sku_1", At: stamp.UnixMilli(), Correlation: "ord_9"}},
		{"time with zone", "k", h("ce_id", "a", "ce_time", "1970-01-01T01:00:00.25+01:00"),
			flow.Message{ID: "a", Key: "k", At: 250}},
		{"time that is none", "k", h("ce_id", "a", "ce_time", "yesterday"),
			flow.Message{ID: "a", Key: "k", At: stamp.UnixMilli()}},
		{"the last of two", "k", h("ce_id", "a", "ce_id", "b", "ce_type", "x.y"),
			flow.Message{ID: "b", Key: "k", Type: "x.y", At: stamp.UnixMilli()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &kgo.Record{Topic: "ns.order-commands", Partition: 3, Offset: 14, Headers: tt.headers, Timestamp: stamp}
			if tt.key != "" {
				r.Key = []byte(tt.key)
			}
			tt.want.Topic = r.Topic
			if got := event.Parse(r); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestParseTakesBackWhatHeadersWrote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String()
		m := flow.Message{
			ID: rapid.StringN(1, 40, -1).Draw(t, "id"), Type: s.Draw(t, "type"), Topic: "t",
			Key: s.Draw(t, "key"), Correlation: rapid.StringN(1, 40, -1).Draw(t, "correlation"), Causation: s.Draw(t, "causation"),
			At: rapid.Int64Range(-62167219200000, 253402300799999).Draw(t, "at"),
		}
		if rapid.Bool().Draw(t, "own") {
			m.Correlation = m.Key + "x"
		}
		if got := event.Parse(record(m)); got != m {
			t.Fatalf("got  %+v\nwant %+v", got, m)
		}
	})
}

func TestAppendTimeClampsYears(t *testing.T) {
	for at, want := range map[int64]string{
		0:             "1970-01-01T00:00:00.000Z",
		-1:            "1969-12-31T23:59:59.999Z",
		math.MaxInt64: "9999-12-31T23:59:59.999Z",
		math.MinInt64: "0000-01-01T00:00:00.000Z",
	} {
		if got := string(event.AppendTime(nil, at)); got != want {
			t.Errorf("%d: got %s, want %s", at, got, want)
		}
	}
}

func TestIsJSON(t *testing.T) {
	for value, want := range map[string]bool{
		"application/json": true, "Application/JSON; charset=utf-8": true,
		"application/avro": false, "application/jsonx": false, "": false,
	} {
		r := &kgo.Record{Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(value)}}}
		if got := event.IsJSON(r); got != want {
			t.Errorf("%q: got %v", value, got)
		}
	}
	if event.IsJSON(&kgo.Record{}) {
		t.Error("a record without headers is taken for JSON")
	}
}

// The hot path runs these per record: one allocation to read, two to write.
func TestAllocations(t *testing.T) {
	r := record(placed)
	if n := testing.AllocsPerRun(100, func() { event.Parse(r) }); n > 1 {
		t.Errorf("Parse allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { headers(placed) }); n > 2 {
		t.Errorf("Append allocates %v times", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		headers(placed)
	}
}

func BenchmarkParse(b *testing.B) {
	r := record(placed)
	b.ReportAllocs()
	for b.Loop() {
		event.Parse(r)
	}
}
