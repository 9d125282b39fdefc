// Package letter is a record that could not be handled, and what went wrong: what
// stands on dead-letter, in the calendar, and on a group's loop when it comes back.
// It encodes and decodes; it reads and writes no topic.
package letter

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
)

// Headers of a letter, beside those of the original record. Value and key are the
// original's, byte for byte, unless HeaderCut says otherwise.
const (
	HeaderTopic     = "dl_topic" // where the original stood, as on the cluster
	HeaderPartition = "dl_partition"
	HeaderOffset    = "dl_offset"
	HeaderTimestamp = "dl_timestamp" // Unix milliseconds
	HeaderGroup     = "dl_group"     // the processor that could not handle it
	HeaderClass     = "dl_class"
	HeaderCause     = "dl_cause" // a short fixed word, for counting
	HeaderError     = "dl_error"
	HeaderStack     = "dl_stack"    // of a rule that panicked
	HeaderOrigin    = "dl_origin"   // the original's own origin header
	HeaderAttempts  = "dl_attempts" // JSON: [{"at": Unix ms, "error": "..."}], the oldest first
	HeaderCut       = "dl_cut"      // the original value's length, where only its beginning is kept
	HeaderRedriven  = "dl_redriven" // the dead letter that it was, as "partition/offset": a person has brought it back

	// Of what the calendar dispatches.
	HeaderSeq    = "dl_seq"    // place in the queue of its key
	HeaderDue    = "dl_due"    // Unix ms for which it was entered
	HeaderCancel = "dl_cancel" // why it shall not be tried again, or, of a deadline, be kept: a person's word
)

const prefix = "dl_"

// origin is kgoka's header. A letter's record has one of its own, or none: with
// the original's it would pass for the original.
const origin = "origin"

// Classes of what goes wrong.
const (
	Poison    = "poison"    // it would go wrong at every attempt
	Transient = "transient" // another attempt, or another build, may succeed
)

// Letter is a record and what went wrong with it.
type Letter struct {
	Topic     string // "" of what stood nowhere
	Partition int32
	Offset    int64
	Timestamp int64 // Unix milliseconds
	Key       []byte
	Value     []byte
	Own       []kgo.RecordHeader // its own headers, less its origin
	Origin    []byte
	Cut       int    // length of the value, where only its beginning is kept
	Redriven  string // which dead letter it was before

	Group, Class, Cause, Error, Stack string
	Attempts                          []schemas.Attempt

	Seq, Due int64
	Cancel   string
}

// Of is a letter about r, which has gone wrong nowhere before.
func Of(r *kgo.Record) Letter {
	l := Letter{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		switch {
		case h.Key == origin:
			l.Origin = h.Value
		case !strings.HasPrefix(h.Key, prefix): // of another time that it went wrong, and was brought back by hand
			l.Own = append(l.Own, h)
		}
	}
	return l
}

// Parse reads what stands on dead-letter or on a loop. It never fails: what cannot
// be read is zero. Of a header that is there twice the last one counts.
func Parse(r *kgo.Record) Letter {
	l := Letter{Key: r.Key, Value: r.Value}
	number := func(b []byte, bits int) int64 {
		n, err := strconv.ParseInt(string(b), 10, bits)
		if err != nil {
			return 0
		}
		return n
	}
	for _, h := range r.Headers {
		switch h.Key {
		case HeaderTopic:
			l.Topic = string(h.Value)
		case HeaderPartition:
			l.Partition = int32(number(h.Value, 32))
		case HeaderOffset:
			l.Offset = number(h.Value, 64)
		case HeaderTimestamp:
			l.Timestamp = number(h.Value, 64)
		case HeaderGroup:
			l.Group = string(h.Value)
		case HeaderClass:
			l.Class = string(h.Value)
		case HeaderCause:
			l.Cause = string(h.Value)
		case HeaderError:
			l.Error = string(h.Value)
		case HeaderStack:
			l.Stack = string(h.Value)
		case HeaderOrigin:
			l.Origin = h.Value
		case HeaderAttempts:
			l.Attempts = nil
			if json.Unmarshal(h.Value, &l.Attempts) != nil {
				l.Attempts = nil
			}
		case HeaderCut:
			l.Cut = int(number(h.Value, 32))
		case HeaderRedriven:
			l.Redriven = string(h.Value)
		case HeaderSeq:
			l.Seq = number(h.Value, 64)
		case HeaderDue:
			l.Due = number(h.Value, 64)
		case HeaderCancel:
			l.Cancel = string(h.Value)
		case origin:
		default:
			if !strings.HasPrefix(h.Key, prefix) {
				l.Own = append(l.Own, h)
			}
		}
	}
	return l
}

// Target is how the audit names a record of a catalogue topic: with its timestamp
// (Unix ms), since a topic that is made anew has the same offsets.
func Target(topic string, partition int32, offset, timestamp int64) string {
	return fmt.Sprintf("%s/%d/%d@%d", topic, partition, offset, timestamp)
}

// ParseTarget reads what Target made.
func ParseTarget(s string) (topic string, partition int32, offset, timestamp int64, ok bool) {
	place, at, ok1 := strings.Cut(s, "@")
	parts := strings.Split(place, "/")
	if !ok1 || len(parts) != 3 {
		return "", 0, 0, 0, false
	}
	p, err1 := strconv.ParseInt(parts[1], 10, 32)
	offset, err2 := strconv.ParseInt(parts[2], 10, 64)
	timestamp, err3 := strconv.ParseInt(at, 10, 64)
	return parts[0], int32(p), offset, timestamp, err1 == nil && err2 == nil && err3 == nil
}

// Original is the record that the letter is about, as it first came, less its
// origin.
func (l Letter) Original() *kgo.Record {
	return &kgo.Record{Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Timestamp: time.UnixMilli(l.Timestamp), Key: l.Key, Value: l.Value, Headers: l.Own}
}

// Headers are those of the letter as a record, whose key and value are the
// original's; Parse reads them.
func (l Letter) Headers() []kgo.RecordHeader {
	hs := make([]kgo.RecordHeader, 0, len(l.Own)+16)
	hs = append(hs, l.Own...)
	add := func(k, v string) {
		if v != "" {
			hs = append(hs, kgo.RecordHeader{Key: k, Value: []byte(v)})
		}
	}
	number := func(k string, n int64) {
		if n != 0 {
			add(k, strconv.FormatInt(n, 10))
		}
	}
	add(HeaderTopic, l.Topic)
	if l.Topic != "" {
		add(HeaderPartition, strconv.Itoa(int(l.Partition)))
		add(HeaderOffset, strconv.FormatInt(l.Offset, 10))
		add(HeaderTimestamp, strconv.FormatInt(l.Timestamp, 10))
	}
	add(HeaderGroup, l.Group)
	add(HeaderClass, l.Class)
	add(HeaderCause, l.Cause)
	add(HeaderError, l.Error)
	add(HeaderStack, l.Stack)
	add(HeaderOrigin, string(l.Origin))
	if len(l.Attempts) > 0 {
		text, _ := json.Marshal(l.Attempts) // numbers and strings
		add(HeaderAttempts, string(text))
	}
	number(HeaderCut, int64(l.Cut))
	add(HeaderRedriven, l.Redriven)
	number(HeaderSeq, l.Seq)
	number(HeaderDue, l.Due)
	add(HeaderCancel, l.Cancel)
	return hs
}

// Redrive is what a person brings back to its group of a dead letter: it has left
// every queue that it was in, and keeps its attempts.
func (l Letter) Redrive(id string) Letter {
	l.Redriven, l.Stack, l.Seq, l.Due, l.Cancel = id, "", 0, 0, ""
	return l
}

// Failed adds an attempt, and makes it what the letter is about. Texts are kept
// short: they travel in headers.
func (l Letter) Failed(at int64, class, cause, err, stack string) Letter {
	l.Class, l.Cause, l.Error, l.Stack = class, cause, clip(err, 4000), clip(stack, 16_000)
	l.Attempts = append(l.Attempts[:len(l.Attempts):len(l.Attempts)], schemas.Attempt{At: at, Error: clip(err, 300)})
	return l
}

// clip returns at most n bytes of s, in whole characters.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// MaxSize is how large a letter may be, in bytes of key, value and headers. A
// larger one might not be taken by the broker, and its partition would stand still.
const MaxSize = 900_000

// Size is that of the letter as a record.
func (l Letter) Size() int {
	n := len(l.Key) + len(l.Value)
	for _, h := range l.Headers() {
		n += len(h.Key) + len(h.Value) + 10
	}
	return n
}

// Fit returns the letter with as much of its value as MaxSize leaves room for, and
// without the original's headers if they alone take it all. Of a key that does, the
// beginning is kept.
func (l Letter) Fit() Letter {
	const room = 32 // of HeaderCut
	if over := l.Size() - MaxSize; over > 0 {
		l.Cut = len(l.Value)
		l.Value = l.Value[:max(0, len(l.Value)-over-room)]
	}
	if l.Size() > MaxSize {
		l.Own = nil
	}
	if over := l.Size() - MaxSize; over > 0 {
		l.Key = l.Key[:max(0, len(l.Key)-over)]
	}
	return l
}
