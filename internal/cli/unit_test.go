package cli

import (
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func TestParseMoney(t *testing.T) {
	good := map[string]int64{
		"0": 0, "12": 1200, "12.5": 1250, "12.50": 1250, "0.01": 1, "007.10": 710,
		"92233720368547758.07": math.MaxInt64,
	}
	for text, want := range good {
		if got, err := parseMoney(text); err != nil || got != want {
			t.Errorf("%q = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", ".", "1.", ".5", "-1", "+1", "1,50", "1.234", "1e3", " 1", "1_0", "٣", "92233720368547758.08", "99999999999999999999"} {
		if got, err := parseMoney(text); err == nil {
			t.Errorf("%q was taken for %d", text, got)
		}
	}
}

func TestMoneyReadsBack(t *testing.T) {
	for _, minor := range []int64{0, 1, 99, 100, 123456, math.MaxInt64} {
		if got, err := parseMoney(schemas.Money(minor, "")); err != nil || got != minor {
			t.Errorf("%d is shown as %q and read as %d, %v", minor, schemas.Money(minor, ""), got, err)
		}
	}
	if got := schemas.Money(math.MinInt64, "EUR"); got != "-92233720368547758.08 EUR" {
		t.Errorf("the smallest amount is shown as %q", got)
	}
}

func FuzzParseMoney(f *testing.F) {
	f.Add("12.50")
	f.Add("92233720368547758.08")
	f.Fuzz(func(t *testing.T, text string) {
		minor, err := parseMoney(text)
		if err != nil {
			return
		}
		if minor < 0 {
			t.Fatalf("%q is negative: %d", text, minor)
		}
		if again, err := parseMoney(schemas.Money(minor, "")); err != nil || again != minor {
			t.Fatalf("%q is %d, shown and read again %d, %v", text, minor, again, err)
		}
	})
}

func TestParseLine(t *testing.T) {
	good := map[string]schemas.PlaceLine{
		"sku_1:2":            {SKU: "sku_1", Quantity: 2},
		"sku_1:2:12.50":      {SKU: "sku_1", Quantity: 2, UnitPrice: 1250},
		"sku_a-b:1:3:1500":   {SKU: "sku_a-b", Quantity: 1, UnitPrice: 300, DiscountBP: 1500},
		"sku_1:0:0.00:10000": {SKU: "sku_1", DiscountBP: 10000},
	}
	for text, want := range good {
		if got, err := parseLine(text); err != nil || got != want {
			t.Errorf("%q = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "sku_1", "1:2", "sku_:2", "sku_1:", "sku_1:-2", "sku_1:2:", "sku_1:2:1.234", "sku_1:2:1:1%", "sku_1:2:1:1:1"} {
		if got, err := parseLine(text); err == nil {
			t.Errorf("%q was taken for %+v", text, got)
		}
	}
}

func TestParseFrom(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	good := map[string]startAt{
		"earliest": {}, "latest": {latest: true}, "0": {}, "1500": {offset: 1500},
		"-1h":                       {time: now.Add(-time.Hour)},
		"2026-01-31":                {time: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)},
		"2026-01-31T08:00:00Z":      {time: time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)},
		"2026-01-31 08:00:00":       {time: time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)},
		"2026-01-31T08:00:00+01:00": {time: time.Date(2026, 1, 31, 7, 0, 0, 0, time.UTC)},
	}
	for text, want := range good {
		got, err := parseFrom(text, now)
		if err != nil || got.latest != want.latest || got.offset != want.offset || !got.time.Equal(want.time) {
			t.Errorf("%q = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "1h", "yesterday", "-5", "2026-13-01", "latst"} {
		if got, err := parseFrom(text, now); err == nil {
			t.Errorf("%q was taken for %+v", text, got)
		}
	}
}

func TestPercent(t *testing.T) {
	for bp, want := range map[int64]string{0: "0 %", 1900: "19 %", 1550: "15.5 %", 1: "0.01 %", 10000: "100 %", 1000: "10 %"} {
		if got := schemas.Percent(bp); got != want {
			t.Errorf("%d basis points are shown as %q, want %q", bp, got, want)
		}
	}
}

func TestParseWhen(t *testing.T) {
	now := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"now": now, "30m": now.Add(30 * time.Minute), "-1h30m": now.Add(-90 * time.Minute),
		"2026-02-01": now.Truncate(24 * time.Hour).Add(24 * time.Hour), "2026-01-31T09:00:00+01:00": now, "2026-01-31 08:00:00": now,
	} {
		if got, err := parseWhen("--to", text, now); err != nil || got != want.UnixMilli() {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want.UnixMilli())
		}
	}
	for _, text := range []string{"", "soon", "30", "2026", "1d"} {
		if got, err := parseWhen("--to", text, now); err == nil {
			t.Errorf("%q was taken for %d", text, got)
		}
	}
}

func TestRedrivenText(t *testing.T) {
	for _, c := range []struct {
		out  acted
		want string
	}{
		{acted{Selected: 3, Done: 3, Handled: 3}, "redriven: 3 of 3 dead letters; 3 handled, 0 came back\n"},
		{acted{Selected: 3, Done: 3, Canaries: 1, Handled: 1, CameBack: []back{{ID: "0/1", Cause: "panic", Error: "x"}}, Behind: []string{"0/2", "1/4"}},
			"redriven: 3 of 3 dead letters, 1 of them first; 0 handled, 1 came back\ncame back: 0/1, now in the calendar: panic: x\n" +
				"wait behind what is parked of their rows: 2 dead letters: 0/2 1/4\n"},
		{acted{Selected: 1, Done: 1, Behind: []string{"0/2"}}, "redriven: 1 of 1 dead letter\nwait behind what is parked of their rows: 1 dead letter: 0/2\n"},
	} {
		var got strings.Builder
		if err := c.out.redriven(&got, style{}); err != nil || got.String() != c.want {
			t.Errorf("%+v: %v\n%s\nwant\n%s", c.out, err, got.String(), c.want)
		}
	}
}

// Who resends the rest is shown neither fewer effects than before nor those that went
// out meanwhile, whatever the clock here says.
func TestAsTheyAre(t *testing.T) {
	es := make([]mend.Effect, 3)
	for i, at := range []int64{1767225600000, 1767225600250, 1767225600100} {
		es[i].ChangedAt = at
	}
	const resent = 1767225600251
	before, err := parseWhen("--before", rfc(asTheyAre(es)), time.Time{})
	if err != nil || before <= es[1].ChangedAt || before > resent {
		t.Errorf("--before %d, %v", before, err)
	}
}

func TestNextOf(t *testing.T) {
	now := time.UnixMilli(1767225600000)
	entry := func(wait time.Duration, topic string) mend.Item {
		return mend.Item{Topic: topics.RetryTable, Due: now.Add(wait).UnixMilli(), Letter: letter.Letter{Topic: topic}}
	}
	all := []mend.Item{entry(-time.Hour, ""), entry(-time.Second, "t"), entry(0, "t"), entry(5*time.Minute, "t"), entry(time.Hour, "t"), entry(25*time.Hour, "t"), entry(30*time.Hour, "")}
	got := nextOf(all, now)
	want := map[string]int{"5m0s": 3, "1h0m0s": 4, "24h0m0s": 4}
	if got.Next == nil || got.InSeconds != -1 || got.Overdue != 2 || !maps.Equal(got.Within, want) || got.Later != 1 || got.Deadlines != 2 {
		t.Errorf("%+v", got)
	}
	if none := nextOf(nil, now); none.Next != nil || len(none.Within) != 3 {
		t.Errorf("of nothing: %+v", none)
	}
}
