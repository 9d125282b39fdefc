package flow

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/segmentio/ksuid"
)

// NewID returns prefix + "_" + a KSUID whose seconds are those of the event
// time at (Unix ms) and whose 16 bytes are the head of SHA-256(seed, 0, index):
// the same cause gives the same ID, on any machine, at any try.
// Times before KSUID's epoch (2014-05-13) are clamped to it.
func NewID(prefix string, at int64, seed string, index int) string {
	h := sha256.New()
	h.Write([]byte(seed))
	var tail [9]byte
	binary.BigEndian.PutUint64(tail[1:], uint64(index))
	h.Write(tail[:])
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	k, err := ksuid.FromParts(clampTime(at), sum[:16])
	if err != nil {
		panic(err) // only a payload that is not 16 bytes long can fail
	}
	return prefix + "_" + k.String()
}

const (
	ksuidEpoch = int64(1400000000)
	ksuidLast  = ksuidEpoch + 1<<32 - 1
)

func clampTime(at int64) time.Time {
	return time.Unix(min(max(at/1000, ksuidEpoch), ksuidLast), 0)
}

// Derive completes what a rule returned for in: IDs from in's ID and the index,
// time and correlation taken over, causation set to in.
func Derive(in Message, outs []Message) []Message {
	for i := range outs {
		o := &outs[i]
		if o.ID == "" {
			o.ID = NewID("evt", in.At, in.ID, i)
		}
		if o.At == 0 {
			o.At = in.At
		}
		if o.Correlation == "" {
			o.Correlation = in.Correlation
		}
		o.Causation = in.ID
	}
	return outs
}
