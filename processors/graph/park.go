package graph

import (
	"errors"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/topics"
)

// Headers of a record on dead-letter, beside those of the original record.
// Value and key are the original's, byte for byte, unless HeaderCut says otherwise.
const (
	HeaderTopic     = "dl_topic"
	HeaderPartition = "dl_partition"
	HeaderOffset    = "dl_offset"
	HeaderTimestamp = "dl_timestamp" // Unix milliseconds
	HeaderGroup     = "dl_group"
	HeaderCause     = "dl_cause" // a short fixed word, for counting
	HeaderError     = "dl_error"
	HeaderStack     = "dl_stack"  // of a rule that panicked
	HeaderOrigin    = "dl_origin" // the original's own origin header
	HeaderCut       = "dl_cut"    // the original value's length, where only its beginning is kept
)

// maxParked is how large a dead letter may be, in bytes. A larger one might not
// be taken by the broker, and its partition would stand still.
const maxParked = 900_000

func size(key []byte, hs []kgo.RecordHeader) int {
	n := len(key)
	for _, h := range hs {
		n += len(h.Key) + len(h.Value) + 10
	}
	return n
}

// parkErr is why a record goes to dead-letter.
type parkErr struct{ cause, detail string }

func (e parkErr) Error() string { return e.detail }

func cause(err error) string {
	var p parkErr
	if errors.As(err, &p) {
		return p.cause
	}
	return "undecodable"
}

// park writes the record to dead-letter, in the transaction that consumes it.
func (h *handler[S]) park(c kgoka.Context, rec *kgo.Record, cause, detail, stack string) {
	hs := make([]kgo.RecordHeader, 0, len(rec.Headers)+9)
	for _, hd := range rec.Headers {
		if hd.Key == kgoka.OriginHeader {
			hd.Key = HeaderOrigin
		}
		hs = append(hs, hd)
	}
	add := func(k, v string) {
		if v != "" {
			hs = append(hs, kgo.RecordHeader{Key: k, Value: []byte(v)})
		}
	}
	add(HeaderTopic, rec.Topic)
	add(HeaderPartition, strconv.Itoa(int(rec.Partition)))
	add(HeaderOffset, strconv.FormatInt(rec.Offset, 10))
	add(HeaderTimestamp, strconv.FormatInt(rec.Timestamp.UnixMilli(), 10))
	add(HeaderGroup, string(c.Group()))
	add(HeaderCause, cause)
	add(HeaderError, detail)
	add(HeaderStack, stack)
	value := rec.Value
	if room := max(0, maxParked-size(rec.Key, hs)); len(value) > room {
		add(HeaderCut, strconv.Itoa(len(value)))
		value = value[:room]
	}
	c.EmitRecord(h.names[topics.DeadLetter], string(rec.Key), value, hs)

	if _, again := h.parked.LoadOrStore(cause, true); !again {
		h.env.Log.Warn("record parked in dead-letter; further ones of this cause are not logged",
			"group", c.Group(), "cause", cause, "topic", rec.Topic, "partition", rec.Partition, "offset", rec.Offset, "error", detail)
	}
}
