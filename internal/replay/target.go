package replay

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Kind says how a target is meant, in the words of kafka-consumer-groups.
type Kind string

// The kinds of targets.
const (
	ToEarliest Kind = "to-earliest"
	ToLatest   Kind = "to-latest"
	ToCurrent  Kind = "to-current"
	ToOffset   Kind = "to-offset"
	ShiftBy    Kind = "shift-by"
	ToDatetime Kind = "to-datetime"
	ByDuration Kind = "by-duration"
	FromFile   Kind = "from-file"
	ToBefore   Kind = "to-before" // File: where a group was, -1 for nowhere, which is the start of the log
)

// Target is where a group shall go on. It means what kafka-consumer-groups
// --reset-offsets means by the same word, at the edges, too.
type Target struct {
	Kind Kind
	N    int64     // ToOffset, ShiftBy
	Time time.Time // ToDatetime; ByDuration: that long before now
	File []Line    // FromFile

	Ago time.Duration // ByDuration: what Time is made from, and what is agreed to
}

// Line is one of a file of offsets; Group is "" where the file names none.
type Line struct {
	Group     string
	Topic     string
	Partition int32
	Offset    int64
}

// Extent is what a partition's log holds, and what a group has committed of it.
type Extent struct {
	Topic     string // as on the cluster
	Partition int32
	Committed int64 // -1: nothing
	Start     int64 // first offset
	End       int64 // the one after the last, of what is not decided yet, too
	AtTime    int64 // of targets that are times: first offset of that time or later, End for none
}

// timed says whether offsets at a time are needed.
func (t Target) timed() bool { return t.Kind == ToDatetime || t.Kind == ByDuration }

// moving says whether the target depends on where a group that runs is, or on when
// one asks.
func (t Target) moving() bool {
	return t.Kind == ToLatest || t.Kind == ToCurrent || t.Kind == ShiftBy || t.Kind == ByDuration
}

// ErrNothingCommitted says that there is nothing to shift from.
var ErrNothingCommitted = errors.New("nothing is committed, so there is nothing to shift by")

// Of returns the offset to go on from. A note tells where that is not what was asked
// for. A target that a file does not name is none: ok is false.
func (t Target) Of(group string, x Extent) (offset int64, note string, ok bool, err error) {
	switch t.Kind {
	case ToEarliest:
		return x.Start, "", true, nil
	case ToLatest:
		return x.End, "", true, nil
	case ToCurrent:
		if x.Committed < 0 {
			return x.End, "nothing is committed: the end", true, nil
		}
		return x.Committed, "", true, nil
	case ToOffset:
		offset, note = x.clamp(t.N)
		return offset, note, true, nil
	case ShiftBy:
		if x.Committed < 0 {
			return 0, "", false, fmt.Errorf("%s/%d: %w", x.Topic, x.Partition, ErrNothingCommitted)
		}
		offset, note = x.clamp(add(x.Committed, t.N))
		return offset, note, true, nil
	case ToDatetime, ByDuration:
		if x.AtTime >= x.End {
			return x.End, "no record of that time or later: the end", true, nil
		}
		return x.AtTime, "", true, nil
	case FromFile, ToBefore:
		for _, l := range t.File {
			if l.Topic == x.Topic && l.Partition == x.Partition && (l.Group == "" || l.Group == group) {
				switch {
				case t.Kind == FromFile:
					offset, note = x.clamp(l.Offset)
				case l.Offset < 0:
					offset, note = x.Start, "nothing was committed: the start"
				default:
					offset = l.Offset
				}
				return offset, note, true, nil
			}
		}
		return 0, "", false, nil
	}
	return 0, "", false, fmt.Errorf("unknown kind of target %q", t.Kind)
}

// clamp brings an offset to what the log has.
func (x Extent) clamp(offset int64) (int64, string) {
	switch {
	case offset > x.End:
		return x.End, fmt.Sprintf("%d is past the end: the end", offset)
	case offset < x.Start:
		return x.Start, fmt.Sprintf("%d is before the start of the log: the start", offset)
	}
	return offset, ""
}

// add is a + b, at the limit where that is none.
func add(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}

var duration = regexp.MustCompile(`(?i)^([-+]?)P(?:([-+]?[0-9]+)D)?(T(?:([-+]?[0-9]+)H)?(?:([-+]?[0-9]+)M)?(?:([-+]?[0-9]+)(?:[.,]([0-9]{0,9}))?S)?)?$`)

// ParseDuration reads PnDTnHnMnS (ISO 8601, days and less; a day has 24 hours).
func ParseDuration(text string) (time.Duration, error) {
	m := duration.FindStringSubmatch(text)
	bad := fmt.Errorf("duration %q: want PnDTnHnMnS, e.g. P7D, PT1H30M or P1DT12H", text)
	if m == nil || strings.EqualFold(m[3], "T") || m[2]+m[3] == "" {
		return 0, bad
	}
	var sum float64 // of seconds, to notice what time.Duration cannot hold
	var d time.Duration
	for i, unit := range map[int]time.Duration{2: 24 * time.Hour, 4: time.Hour, 5: time.Minute, 6: time.Second} {
		if m[i] == "" {
			continue
		}
		n, err := strconv.ParseInt(m[i], 10, 64)
		if err != nil {
			return 0, bad
		}
		sum += math.Abs(float64(n)) * unit.Seconds()
		d += time.Duration(n) * unit
	}
	if sum > time.Duration(math.MaxInt64).Seconds()/2 {
		return 0, fmt.Errorf("duration %q: more than 146 years", text)
	}
	if m[7] != "" {
		nanos, _ := strconv.ParseInt((m[7] + "00000000")[:9], 10, 64) // digits only
		if strings.HasPrefix(m[6], "-") {
			nanos = -nanos
		}
		d += time.Duration(nanos)
	}
	if m[1] == "-" {
		d = -d
	}
	return d, nil
}

// ParseDatetime reads 2026-01-31T08:00:00.000, with or without milliseconds, and
// with or without a zone (Z, +01 or +01:00); without one it is UTC.
func ParseDatetime(text string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04:05.000"} {
		for _, zone := range []string{"", "Z07:00", "Z07"} {
			if at, err := time.Parse(layout+zone, text); err == nil && wholeOrMilli(text) {
				return at.UTC(), nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("time %q: want YYYY-MM-DDTHH:mm:ss.sss, e.g. 2026-01-31T08:00:00.000 or 2026-01-31T08:00:00.000+01:00", text)
}

var fraction = regexp.MustCompile(`[.,]([0-9]*)`)

// wholeOrMilli refuses other fractions of a second than milliseconds, which
// kafka-consumer-groups would take for a number of milliseconds.
func wholeOrMilli(text string) bool {
	m := fraction.FindStringSubmatch(text)
	return m == nil || len(m[1]) == 3
}

// ParseFile reads lines of "topic,partition,offset" or "group,topic,partition,offset",
// as kafka-consumer-groups --export writes them.
func ParseFile(r io.Reader) (lines []Line, err error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord, in.TrimLeadingSpace = -1, true
	seen := map[Line]bool{}
	for {
		f, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("file of offsets: %w", err)
		}
		n, _ := in.FieldPos(0)
		l, err := parseLine(f)
		if err != nil {
			return nil, fmt.Errorf("file of offsets, line %d: %w", n, err)
		}
		place := l
		place.Offset = 0
		if seen[place] {
			return nil, fmt.Errorf("file of offsets, line %d: %s/%d stands there twice", n, l.Topic, l.Partition)
		}
		seen[place] = true
		lines = append(lines, l)
	}
	if len(lines) == 0 {
		return nil, errors.New("file of offsets: it is empty")
	}
	return lines, nil
}

func parseLine(f []string) (l Line, err error) {
	if len(f) == 4 {
		l.Group, f = f[0], f[1:]
	}
	if len(f) != 3 || f[0] == "" {
		return l, errors.New("want topic,partition,offset or group,topic,partition,offset")
	}
	p, err := strconv.ParseInt(strings.TrimSpace(f[1]), 10, 32)
	if err != nil || p < 0 {
		return l, fmt.Errorf("partition %q: want a number, 0 or more", f[1])
	}
	l.Topic, l.Partition = f[0], int32(p)
	if l.Offset, err = strconv.ParseInt(strings.TrimSpace(f[2]), 10, 64); err != nil {
		return l, fmt.Errorf("offset %q: want a number", f[2])
	}
	return l, nil
}

// Selection is a topic, and the partitions of it that are meant; none: all.
type Selection struct {
	Topic      string
	Partitions []int32
}

// ParseSelection reads TOPIC or TOPIC:0,1,2.
func ParseSelection(text string) (s Selection, err error) {
	topic, nums, some := strings.Cut(text, ":")
	if topic == "" || some && nums == "" {
		return s, fmt.Errorf("topic %q: want TOPIC or TOPIC:0,1,2", text)
	}
	s.Topic = topic
	for num := range strings.SplitSeq(nums, ",") {
		if !some {
			break
		}
		p, err := strconv.ParseInt(strings.TrimSpace(num), 10, 32)
		if err != nil || p < 0 {
			return s, fmt.Errorf("topic %q: partition %q: want a number, 0 or more", text, num)
		}
		s.Partitions = append(s.Partitions, int32(p))
	}
	return s, nil
}
