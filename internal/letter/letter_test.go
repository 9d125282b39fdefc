package letter

import (
	"bytes"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/orderlog/orderlog/schemas"
)

func header(k, v string) kgo.RecordHeader { return kgo.RecordHeader{Key: k, Value: []byte(v)} }

func TestOf(t *testing.T) {
	r := &kgo.Record{Topic: "ns.order-commands", Partition: 3, Offset: 42, Timestamp: time.UnixMilli(1767225600123), Key: []byte("ord_1"), Value: []byte("v"),
		Headers: []kgo.RecordHeader{header("ce_id", "evt_1"), header("origin", "o"), header(HeaderTopic, "of another time"), header("x", "")}}
	want := Letter{Topic: "ns.order-commands", Partition: 3, Offset: 42, Timestamp: 1767225600123, Key: []byte("ord_1"), Value: []byte("v"),
		Own: []kgo.RecordHeader{header("ce_id", "evt_1"), header("x", "")}, Origin: []byte("o")}
	if got := Of(r); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// What a dead letter's record was made from is not what its original was.
func TestParseLeavesTheRecordsOriginAway(t *testing.T) {
	l := Parse(&kgo.Record{Headers: []kgo.RecordHeader{header("ce_id", "evt_1"), header(HeaderOrigin, "of the original"), header(origin, "of the letter")}})
	if string(l.Origin) != "of the original" || len(l.Own) != 1 || l.Own[0].Key != "ce_id" {
		t.Errorf("%+v", l)
	}
}

// draw makes any letter that can be.
func draw(t *rapid.T) Letter {
	text := rapid.String()
	some := func(label string) []byte {
		if b := rapid.SliceOf(rapid.Byte()).Draw(t, label); len(b) > 0 {
			return b
		}
		return nil
	}
	l := Letter{Topic: rapid.StringN(1, -1, -1).Draw(t, "topic"), Partition: rapid.Int32().Draw(t, "partition"), Offset: rapid.Int64().Draw(t, "offset"),
		Timestamp: rapid.Int64().Draw(t, "timestamp"), Key: some("key"), Value: some("value"), Origin: some("origin"),
		Group: text.Draw(t, "group"), Class: text.Draw(t, "class"), Cause: text.Draw(t, "cause"), Error: text.Draw(t, "error"), Stack: text.Draw(t, "stack"),
		Cut: int(rapid.Int32().Draw(t, "cut")), Redriven: text.Draw(t, "redriven"), Seq: rapid.Int64().Draw(t, "seq"), Due: rapid.Int64().Draw(t, "due"), Cancel: text.Draw(t, "cancel")}
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		if k := text.Draw(t, "name"); k != origin && !strings.HasPrefix(k, prefix) {
			l.Own = append(l.Own, kgo.RecordHeader{Key: k, Value: some("header")})
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "attempts") {
		l.Attempts = append(l.Attempts, schemas.Attempt{At: rapid.Int64().Draw(t, "at"), Error: text.Draw(t, "why")})
	}
	return l
}

// What a letter says is read from its record, and from the calendar.
func TestThereAndBack(t *testing.T) {
	serde := schemas.NewLocalSerde()
	rapid.Check(t, func(t *rapid.T) {
		l := draw(t)
		if got := Parse(&kgo.Record{Key: l.Key, Value: l.Value, Headers: l.Headers()}); !reflect.DeepEqual(got, l) {
			t.Fatalf("from its record\n%+v, want\n%+v", got, l)
		}
		value, err := serde.Encode(nil, "retry", l.Parked("order-loop"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := serde.Decode(t.Context(), "retry", value)
		if err != nil {
			t.Fatal(err)
		}
		p := body.(*schemas.Parked)
		key, value, headers := Dispatch(p)
		got := Parse(&kgo.Record{Key: key, Value: value, Headers: headers})
		l.Stack, l.Cut, l.Redriven = "", 0, ""
		if p.To != "order-loop" || !same(got, l) {
			t.Fatalf("from the calendar, to %s\n%+v, want\n%+v", p.To, got, l)
		}
	})
}

// same takes no bytes and none at all for the same, as the calendar does.
func same(a, b Letter) bool {
	for _, l := range []*Letter{&a, &b} {
		l.Key, l.Value, l.Origin = append([]byte{}, l.Key...), append([]byte{}, l.Value...), append([]byte{}, l.Origin...)
		l.Attempts = append([]schemas.Attempt{}, l.Attempts...)
		own := l.Own
		l.Own = []kgo.RecordHeader{}
		for _, h := range own {
			l.Own = append(l.Own, kgo.RecordHeader{Key: h.Key, Value: append([]byte{}, h.Value...)})
		}
	}
	return reflect.DeepEqual(a, b)
}

// A deadline has not gone wrong: what is dispatched does not look like a letter.
func TestDeadline(t *testing.T) {
	l := Letter{Key: []byte("ord_1"), Value: []byte("v"), Own: []kgo.RecordHeader{header("ce_type", "orders.order.expire")}, Group: "order", Cause: "deadline", Due: 7}
	_, _, headers := Dispatch(l.Parked("order-replies"))
	want := []kgo.RecordHeader{header("ce_type", "orders.order.expire"), header(HeaderDue, "7")}
	if !reflect.DeepEqual(headers, want) {
		t.Errorf("%v", headers)
	}
}

// What a person brings back is in no queue, and knows its attempts.
func TestRedrive(t *testing.T) {
	l := Letter{Topic: "order-commands", Offset: 7, Key: []byte("ord_1"), Group: "order", Seq: 4, Due: 9, Cancel: "a test"}.Failed(1, Transient, "panic", "a bug", "stack")
	got := Parse(&kgo.Record{Key: l.Key, Headers: l.Redrive("2/17").Headers()})
	want := l
	want.Seq, want.Due, want.Cancel, want.Stack, want.Redriven = 0, 0, "", "", "2/17"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestFailed(t *testing.T) {
	long := strings.Repeat("ä", 50_000)
	l := Letter{}.Failed(1, Transient, "panic", "first", "stack").Failed(2, Poison, "unencodable", long+"\xff", long)
	if l.Class != Poison || l.Cause != "unencodable" || len(l.Error) > 4000 || len(l.Stack) > 16_000 {
		t.Errorf("class %s, cause %s, %d bytes of error, %d of stack", l.Class, l.Cause, len(l.Error), len(l.Stack))
	}
	if len(l.Attempts) != 2 || l.Attempts[0] != (schemas.Attempt{At: 1, Error: "first"}) || l.Attempts[1].At != 2 || len(l.Attempts[1].Error) > 300 {
		t.Errorf("attempts %v", l.Attempts)
	}
	both := []Letter{l.Failed(3, Poison, "a", "a", ""), l.Failed(3, Poison, "b", "b", "")}
	if both[0].Attempts[2].Error != "a" {
		t.Error("one letter's attempt is in another")
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		name         string
		value, own   int // bytes
		cut, noOwn   bool
		valueAtLeast int
	}{
		{"small", 1000, 10, false, false, 1000},
		{"just", MaxSize - 200, 10, false, false, MaxSize - 200},
		{"large", 5 << 20, 10, true, false, MaxSize - 300},
		{"large headers", 1000, MaxSize, true, true, 0},
	} {
		l := Letter{Topic: "t", Value: bytes.Repeat([]byte("v"), c.value), Own: []kgo.RecordHeader{{Key: "h", Value: make([]byte, c.own)}}}
		got := l.Fit()
		if got.Size() > MaxSize || len(got.Value) < c.valueAtLeast || (got.Own == nil) != c.noOwn {
			t.Errorf("%s: %d bytes, %d of value, %d headers", c.name, got.Size(), len(got.Value), len(got.Own))
		}
		if want := map[bool]int{true: c.value}[c.cut]; got.Cut != want {
			t.Errorf("%s: cut says %d, want %d", c.name, got.Cut, want)
		}
	}
}

// Whatever the headers are, Parse does not panic, and what it reads is read again
// from the headers that it makes of it.
func FuzzParse(f *testing.F) {
	for _, h := range []string{HeaderTopic, HeaderPartition, HeaderOffset, HeaderTimestamp, HeaderGroup, HeaderClass, HeaderCause, HeaderError, HeaderStack,
		HeaderOrigin, HeaderAttempts, HeaderCut, HeaderRedriven, HeaderSeq, HeaderDue, HeaderCancel, "ce_id"} {
		f.Add("dl_topic", []byte("t"), h, []byte("1"))
	}
	f.Add(HeaderTopic, []byte("t"), HeaderAttempts, []byte(`[{"at":1,"error":"\ud800"},null]`))
	f.Add(HeaderTopic, []byte("t"), HeaderPartition, []byte(strconv.Itoa(1<<40)))
	f.Fuzz(func(t *testing.T, k1 string, v1 []byte, k2 string, v2 []byte) {
		l := Parse(&kgo.Record{Headers: []kgo.RecordHeader{{Key: k1, Value: v1}, {Key: k2, Value: v2}}})
		if l.Topic == "" {
			l.Partition, l.Offset, l.Timestamp = 0, 0, 0 // say nothing
		}
		if again := Parse(&kgo.Record{Headers: l.Headers()}); !same(again, l) {
			t.Fatalf("read %+v\nthen %+v", l, again)
		}
	})
}

func TestTarget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part, offset, at := rapid.Int32Min(0).Draw(t, "partition"), rapid.Int64Min(0).Draw(t, "offset"), rapid.Int64().Draw(t, "timestamp")
		topic, p, o, ts, ok := ParseTarget(Target("dead-letter", part, offset, at))
		if !ok || topic != "dead-letter" || p != part || o != offset || ts != at {
			t.Fatalf("%s %d %d %d %v", topic, p, o, ts, ok)
		}
	})
	for _, s := range []string{"", "dead-letter/1/2", "dead-letter/1@2", "pause.order.panic", "dead-letter/x/2@3", "dead-letter/1/x@3", "dead-letter/1/2@x", "a/b/1/2@3"} {
		if _, _, _, _, ok := ParseTarget(s); ok {
			t.Errorf("%q is read", s)
		}
	}
}
