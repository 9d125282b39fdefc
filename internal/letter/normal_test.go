package letter

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNormal(t *testing.T) {
	for _, c := range []struct{ err, want string }{
		{"", ""},
		{"a bug in the rule", "a bug in the rule"},
		{"runtime error: index out of range [5] with length 3", "runtime error: index out of range [N] with length N"},
		{`record key "ord_y", but its body belongs to "ord_x"`, `record key "…", but its body belongs to "…"`},
		{`a quoted "\"" inside "a"`, `a quoted "…" inside "…"`},
		{"order ord_CA-2014-100006 of cus_AB-10015 has no line", "order ord_… of cus_… has no line"},
		{"unanswered: inventory line 1 sku_1, credit cus_1.", "unanswered: inventory line N sku_…, credit cus_…."},
		{"evt_37dGaoEgq5A645DQcTxEdSAtIg6 was first", "evt_… was first"},
		{"net -12.50 EUR, gross 1,234.50 EUR after 1.5ms", "net -N EUR, gross N EUR after Nms"},
		{"nil pointer at 0xc000123abc, hash 9f86d081884c7d65", "nil pointer at N, hash N"},
		{"hash 12345678, hash 1234567", "hash N, hash N"},
		{"id 123e4567-e89b-12d3-a456-426614174000 is gone", "id N is gone"},
		{"  first line\n\tat rule.go:12", "first line"},
		{"many   blanks\tand tabs", "many blanks and tabs"},
		{strings.Repeat("ä", 300), strings.Repeat("ä", 200) + "…"},
		{"the facade faded", "the facade faded"},
	} {
		if got := Normal(c.err); got != c.want {
			t.Errorf("%q is %q, want %q", c.err, got, c.want)
		}
	}
}

// Labels are few, and fit to be label values, whatever letters say.
func TestLabels(t *testing.T) {
	var ls Labels
	for _, c := range []struct {
		group, cause string
		want         Label
	}{
		{"order", "panic", Label{"order", "panic"}},
		{"order", "", Label{"order", "unknown"}},
		{"order", "endpoint refused ord_17", Label{"order", "endpoint refused ord_…"}},
		{"order", "endpoint refused ord_18", Label{"order", "endpoint refused ord_…"}},
	} {
		if got := ls.Of(c.group, c.cause); got != c.want {
			t.Errorf("%q, %q: %+v, want %+v", c.group, c.cause, got, c.want)
		}
	}
	seen := map[Label]bool{}
	for i := range 1000 {
		l := ls.Of(string(rune('a'+i%26)), strings.Repeat("x", i)+"\xff")
		if seen[l] = true; !utf8.ValidString(l.Group+l.Cause) || len(l.Cause) > 1000 {
			t.Fatalf("%q", l)
		}
	}
	if len(seen) > maxLabels+1 || !seen[Label{other, other}] {
		t.Errorf("%d labels", len(seen))
	}
	if got := ls.Of("order", "panic"); got != (Label{"order", "panic"}) {
		t.Errorf("later it is %+v", got)
	}
}
