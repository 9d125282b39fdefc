package cli

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"

	"github.com/orderlog/orderlog/internal/verify"
)

// verifyAt reads a moment: a time, TOPIC:PARTITION=OFFSET,... or a file of such or with
// a report of verify.
func (s *session) verifyAt(at string) (*verify.At, error) {
	if t, ok := parseTime(at); ok {
		return &verify.At{Time: t}, nil
	}
	if strings.Contains(at, "=") {
		return atOffsets(strings.Split(at, ","))
	}
	data, err := os.ReadFile(s.env.path(at))
	if err != nil {
		return nil, hinted(usagef("--at %q: want a time, TOPIC:PARTITION=OFFSET,... or a file: %v", at, err), "e.g. 2026-01-31T08:00:00Z, or what `orderlog verify -o json` printed then")
	}
	var report verify.Report
	if json.Unmarshal(data, &report) == nil && len(report.Offsets) > 0 {
		return &verify.At{Offsets: report.Offsets}, nil
	}
	return atOffsets(strings.Fields(strings.ReplaceAll(string(data), ",", " ")))
}

func atOffsets(words []string) (*verify.At, error) {
	at := &verify.At{Offsets: map[string]map[int32]int64{}}
	for _, w := range words {
		place, offset, _ := strings.Cut(w, "=")
		topic, partition, _ := strings.Cut(place, ":")
		p, pErr := strconv.ParseInt(partition, 10, 32)
		o, oErr := strconv.ParseInt(offset, 10, 64)
		if topic == "" || pErr != nil || oErr != nil || p < 0 || o < 0 {
			return nil, usagef("--at: %q: want TOPIC:PARTITION=OFFSET", w)
		}
		if at.Offsets[topic] == nil {
			at.Offsets[topic] = map[int32]int64{}
		}
		at.Offsets[topic][int32(p)] = o
	}
	if len(words) == 0 {
		return nil, usagef("--at: the file names no offsets")
	}
	return at, nil
}
