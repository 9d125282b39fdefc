package replay

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTargets(t *testing.T) {
	some := Extent{Topic: "t", Partition: 1, Committed: 40, Start: 10, End: 100, AtTime: 60}
	none := Extent{Topic: "t", Committed: -1, AtTime: 0}                            // an empty partition
	expired := Extent{Topic: "t", Committed: 4, Start: 10, End: 100, AtTime: 10}    // retention was faster than the group
	emptied := Extent{Topic: "t", Committed: 40, Start: 100, End: 100, AtTime: 100} // all of it has gone
	file := []Line{{"", "t", 1, 55}, {"g", "t", 0, 5000}, {"other", "t", 2, 1}}
	for _, c := range []struct {
		name   string
		target Target
		of     Extent
		want   int64
		note   string // a part of it
	}{
		{"earliest", Target{Kind: ToEarliest}, some, 10, ""},
		{"earliest of nothing", Target{Kind: ToEarliest}, none, 0, ""},
		{"earliest of what has gone", Target{Kind: ToEarliest}, emptied, 100, ""},
		{"latest", Target{Kind: ToLatest}, some, 100, ""},
		{"current", Target{Kind: ToCurrent}, some, 40, ""},
		{"current of nothing", Target{Kind: ToCurrent}, none, 0, "the end"},
		{"current that has expired stays", Target{Kind: ToCurrent}, expired, 4, ""},
		{"offset", Target{Kind: ToOffset, N: 12}, some, 12, ""},
		{"offset of the start", Target{Kind: ToOffset, N: 10}, some, 10, ""},
		{"offset before the start", Target{Kind: ToOffset, N: 9}, some, 10, "before the start"},
		{"offset of the end", Target{Kind: ToOffset, N: 100}, some, 100, ""},
		{"offset past the end", Target{Kind: ToOffset, N: 101}, some, 100, "past the end"},
		{"offset below 0", Target{Kind: ToOffset, N: -3}, some, 10, "before the start"},
		{"shift back", Target{Kind: ShiftBy, N: -5}, some, 35, ""},
		{"shift on", Target{Kind: ShiftBy, N: 5}, some, 45, ""},
		{"shift before the start", Target{Kind: ShiftBy, N: -31}, some, 10, "before the start"},
		{"shift past the end", Target{Kind: ShiftBy, N: 61}, some, 100, "past the end"},
		{"shift beyond all numbers", Target{Kind: ShiftBy, N: math.MaxInt64}, some, 100, "past the end"},
		{"shift what has expired", Target{Kind: ShiftBy, N: 1}, expired, 10, "before the start"},
		{"time", Target{Kind: ToDatetime}, some, 60, ""},
		{"time in the future", Target{Kind: ToDatetime}, Extent{End: 7, AtTime: 7}, 7, "the end"},
		{"time of nothing", Target{Kind: ByDuration}, none, 0, "the end"},
		{"written since the end was asked for", Target{Kind: ByDuration}, Extent{End: 7, AtTime: 9}, 7, "the end"},
		{"file", Target{Kind: FromFile, File: file}, some, 55, ""},
		{"file, past the end", Target{Kind: FromFile, File: file}, Extent{Topic: "t", End: 9}, 9, "past the end"},
	} {
		got, note, ok, err := c.target.Of("g", c.of)
		if err != nil || !ok || got != c.want || (note == "") != (c.note == "") || !strings.Contains(note, c.note) {
			t.Errorf("%s: %d %q %v %v, want %d %q", c.name, got, note, ok, err, c.want, c.note)
		}
	}
	if _, _, _, err := (Target{Kind: ShiftBy, N: 1}).Of("g", none); !errors.Is(err, ErrNothingCommitted) {
		t.Errorf("shift by of nothing: %v", err)
	}
	for _, x := range []Extent{{Topic: "t", Partition: 2}, {Topic: "u", Partition: 1}} {
		if at, _, ok, err := (Target{Kind: FromFile, File: file}).Of("g", x); ok || err != nil {
			t.Errorf("%s/%d is not in the file for this group: %d %v", x.Topic, x.Partition, at, err)
		}
	}
	if _, _, _, err := (Target{Kind: "to-anywhere"}).Of("g", some); err == nil {
		t.Error("a kind that there is not")
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"P7D": 168 * time.Hour, "PT1H30M": 90 * time.Minute, "P1DT12H": 36 * time.Hour, "P1DT2H3M4S": 26*time.Hour + 3*time.Minute + 4*time.Second,
		"PT0S": 0, "PT1.5S": 1500 * time.Millisecond, "PT-1.5S": -1500 * time.Millisecond, "-PT1H": -time.Hour, "pt20m": 20 * time.Minute, "PT36H": 36 * time.Hour, "P0DT0H0M0S": 0,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "P", "PT", "P1DT", "1D", "P1H", "PT1D", "P1W", "P1Y", "PT1M1H", "7d", "P99999999D", "PT99999999999999999999S"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestParseDatetime(t *testing.T) {
	at := time.Date(2026, 1, 31, 8, 0, 0, 250e6, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-01-31T08:00:00.250": at, "2026-01-31T08:00:00.250Z": at, "2026-01-31T09:00:00.250+01:00": at, "2026-01-31T09:00:00.250+01": at,
		"2026-01-31T03:00:00.250-05:00": at, "2026-01-31T08:00:00": at.Truncate(time.Second), "2026-01-31T08:00:00Z": at.Truncate(time.Second),
	} {
		if got, err := ParseDatetime(text); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "2026-01-31", "2026-02-30T08:00:00.000", "2026-01-31T08:00:00.5Z", "2026-01-31T08:00:00.000000Z", "2026-01-31T25:00:00.000", "08:00:00", "2026-01-31T08:00:00.000 Europe"} {
		if got, err := ParseDatetime(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestParseFile(t *testing.T) {
	got, err := ParseFile(strings.NewReader("t,0,17\n\"g\",\"t\",1,18\n u, 2, -1\n"))
	if want := []Line{{"", "t", 0, 17}, {"g", "t", 1, 18}, {"", "u", 2, -1}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
	for text, want := range map[string]string{
		"": "empty", "t,0": "line 1: want topic", "t,0,1\nt,x,1": "line 2: partition", "t,0,y": "offset", "t,-1,0": "partition",
		",0,1": "want topic", "t,0,1\nt,0,2": "line 2: t/0 stands there twice", "t,99999999999,1": "partition", "TOPIC,PARTITION,OFFSET": "partition", "\"": "file of offsets",
	} {
		if got, err := ParseFile(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v %v, want an error about %q", text, got, err, want)
		}
	}
}

func TestParseSelection(t *testing.T) {
	for text, want := range map[string]Selection{"t": {Topic: "t"}, "t:0": {"t", []int32{0}}, "t:3,1": {"t", []int32{3, 1}}} {
		if got, err := ParseSelection(text); err != nil || got.Topic != want.Topic || !slices.Equal(got.Partitions, want.Partitions) {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", ":", "t:", "t:x", "t:1,", "t:-1"} {
		if got, err := ParseSelection(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestSelected(t *testing.T) {
	r := &Replayer{cfg: Config{Namespace: "ns"}}
	u, err := unitOf("voucher")
	must(t, err)
	for _, c := range []struct {
		only []Selection
		want map[string][]int32 // nil: all
	}{
		{nil, map[string][]int32{"order-table": nil, "voucher-loop": nil}},
		{[]Selection{{"order-table", nil}}, map[string][]int32{"order-table": nil}},
		{[]Selection{{"ns.order-table", []int32{1}}, {"order-table", []int32{3}}}, map[string][]int32{"order-table": {1, 3}}},
		{[]Selection{{"order-table", []int32{1}}, {"order-table", nil}}, map[string][]int32{"order-table": nil}},
		{[]Selection{{"order-table", nil}, {"order-table", []int32{1}}}, map[string][]int32{"order-table": nil}},
	} {
		if got, err := r.selected(u, Spec{Only: c.only}); err != nil || !maps.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%v: %v %v, want %v", c.only, got, err, c.want)
		}
	}
	if got, err := r.selected(u, Spec{Only: []Selection{{Topic: "order-replies"}}}); err == nil {
		t.Errorf("another group's input: %v", got)
	}
}
