// Package event puts a flow.Message's attributes into record headers and reads
// them back: CloudEvents 1.0, Kafka binding, binary mode. Bodies are left to
// package schemas, origin and trace headers to those who write them.
package event

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/flow"
)

// Header keys.
const (
	ID          = "ce_id"
	Type        = "ce_type"
	Source      = "ce_source"
	Time        = "ce_time"
	SpecVersion = "ce_specversion"
	Correlation = "ce_correlationid"
	Causation   = "ce_causationid"
	ContentType = "content-type"
)

// Values of the content-type header. Avro stands for the Confluent wire format:
// a zero byte, the schema id, Avro binary.
const (
	Avro = "application/avro"
	JSON = "application/json"
)

// DefaultSource is the ce_source of what has no other.
const DefaultSource = "/orderlog"

// Append adds the headers of m to dst. Empty correlation, causation and content
// type are left out. All values share one allocation.
func Append(dst []kgo.RecordHeader, source, contentType string, m flow.Message) []kgo.RecordHeader {
	const timeLen = len("2006-01-02T15:04:05.000Z")
	p := packer{
		dst: dst,
		buf: make([]byte, 0, len("1.0")+len(m.ID)+len(m.Type)+len(source)+timeLen+
			len(m.Correlation)+len(m.Causation)+len(contentType)),
	}
	p.add(SpecVersion, "1.0")
	p.add(ID, m.ID)
	p.add(Type, m.Type)
	p.add(Source, source)
	p.addTime(m.At)
	if m.Correlation != "" {
		p.add(Correlation, m.Correlation)
	}
	if m.Causation != "" {
		p.add(Causation, m.Causation)
	}
	if contentType != "" {
		p.add(ContentType, contentType)
	}
	return p.dst
}

type packer struct {
	dst []kgo.RecordHeader
	buf []byte
}

func (p *packer) add(key, value string) {
	from := len(p.buf)
	p.buf = append(p.buf, value...)
	p.take(key, from)
}

func (p *packer) addTime(at int64) {
	from := len(p.buf)
	p.buf = AppendTime(p.buf, at)
	p.take(Time, from)
}

func (p *packer) take(key string, from int) {
	to := len(p.buf)
	p.dst = append(p.dst, kgo.RecordHeader{Key: key, Value: p.buf[from:to:to]})
}

// AppendTime appends Unix milliseconds as RFC 3339 in UTC, always with three
// decimals. Years outside 0 to 9999 are clamped: RFC 3339 cannot say them.
func AppendTime(dst []byte, at int64) []byte {
	const first, last = -62167219200000, 253402300799999
	at = min(max(at, first), last)
	// Only the plain layout has time's fast path: the decimals follow by hand.
	dst = time.UnixMilli(at).UTC().AppendFormat(dst, time.RFC3339)
	ms := ((at % 1000) + 1000) % 1000
	return append(dst[:len(dst)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// Parse reads a record's attributes; Body stays nil and Topic is the record's,
// namespace included. It never fails, as anyone may write commands:
//   - no ce_id: one derived from topic, partition and offset
//   - no ce_time or none that RFC 3339 allows: the record's timestamp
//   - no ce_correlationid: the key, where that is an order's
//
// Of a header that is there twice the last one counts.
func Parse(r *kgo.Record) flow.Message {
	var id, typ, at, correlation, causation []byte
	for i := range r.Headers {
		switch h := &r.Headers[i]; h.Key {
		case ID:
			id = h.Value
		case Type:
			typ = h.Value
		case Time:
			at = h.Value
		case Correlation:
			correlation = h.Value
		case Causation:
			causation = h.Value
		}
	}
	if len(correlation) == 0 && bytes.HasPrefix(r.Key, []byte("ord_")) {
		correlation = r.Key
	}
	m := flow.Message{Topic: r.Topic, At: parseTime(at, r.Timestamp)}
	m.Key, m.ID, m.Type, m.Correlation, m.Causation = five(r.Key, id, typ, correlation, causation)
	if m.ID == "" {
		m.ID = flow.NewID("evt", m.At, position(r), 0)
	}
	return m
}

// five makes strings of its arguments with one allocation; equal first and
// fourth, the order's key and its correlation, share their bytes.
func five(a, b, c, d, e []byte) (string, string, string, string, string) {
	same := bytes.Equal(a, d)
	if same {
		d = nil
	}
	var s strings.Builder
	s.Grow(len(a) + len(b) + len(c) + len(d) + len(e))
	for _, part := range [...][]byte{a, b, c, d, e} {
		s.Write(part)
	}
	rest := s.String()
	cut := func(n int) string {
		head := rest[:n]
		rest = rest[n:]
		return head
	}
	as, bs, cs, ds, es := cut(len(a)), cut(len(b)), cut(len(c)), cut(len(d)), cut(len(e))
	if same {
		ds = as
	}
	return as, bs, cs, ds, es
}

func parseTime(b []byte, otherwise time.Time) int64 {
	var t time.Time
	if len(b) == 0 || t.UnmarshalText(b) != nil {
		return otherwise.UnixMilli()
	}
	return t.UnixMilli()
}

func position(r *kgo.Record) string {
	return r.Topic + "/" + strconv.Itoa(int(r.Partition)) + "/" + strconv.FormatInt(r.Offset, 10)
}

// IsJSON reports whether the record says that its value is plain JSON.
func IsJSON(r *kgo.Record) bool {
	media, _, _ := strings.Cut(Header(r, ContentType), ";")
	return strings.EqualFold(strings.TrimSpace(media), JSON)
}

// Header returns the last value under key, "" where there is none.
func Header(r *kgo.Record, key string) string {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}
