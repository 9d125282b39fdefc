package flow

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// NewID returns prefix + "_" + a KSUID whose seconds are those of the event
// time at (Unix ms) and whose 16 bytes are the head of SHA-256(seed, 0, index):
// the same cause gives the same ID, on any machine, at any try.
// Times before KSUID's epoch (2014-05-13) are clamped to it.
func NewID(prefix string, at int64, seed string, index int) string {
	var room [96]byte
	in := append(append(room[:0], seed...), 0)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(in, uint64(index)))
	seconds := min(max(at/1000, ksuidEpoch), ksuidLast) - ksuidEpoch
	return string(appendKSUID(append(append(room[:0], prefix...), '_'), uint32(seconds), sum))
}

const (
	ksuidEpoch = int64(1400000000)
	ksuidLast  = ksuidEpoch + 1<<32 - 1
)

// appendKSUID appends the 27 digits of a KSUID: 20 bytes as one number to base 62.
// Every record has an ID, so this goes ten digits at a time.
func appendKSUID(dst []byte, seconds uint32, payload [32]byte) []byte {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const ten = 62 * 62 * 62 * 62 * 62 * 62 * 62 * 62 * 62 * 62
	n := [3]uint64{uint64(seconds), binary.BigEndian.Uint64(payload[:]), binary.BigEndian.Uint64(payload[8:])}
	var out [30]byte
	for end := len(out); end > 0; end -= 10 {
		var rest uint64
		for i := range n {
			n[i], rest = bits.Div64(rest, n[i], ten)
		}
		for i := end - 1; i >= end-10; i-- {
			out[i] = digits[rest%62]
			rest /= 62
		}
	}
	return append(dst, out[3:]...)
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
