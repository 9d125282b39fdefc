package figure

import (
	"encoding/json"
	"testing"
)

func TestText(t *testing.T) {
	inf, unknown := Never(), Unknown()
	for _, c := range []struct{ got, want string }{
		{Figure(0).Count(), "0"}, {Figure(999.6).Count(), "1,000"}, {Figure(1234567).Count(), "1,234,567"}, {Figure(-1234).Count(), "-1,234"}, {unknown.Count(), "–"}, {inf.Count(), "–"},
		{Figure(0).Rate(), "0"}, {Figure(0.25).Rate(), "0.2"}, {Figure(9.96).Rate(), "10"}, {Figure(1204.4).Rate(), "1,204"}, {unknown.Rate(), "–"},
		{Figure(0).Duration(), "0s"}, {Figure(0.0002).Duration(), "<1ms"}, {Figure(0.0124).Duration(), "12ms"}, {Figure(0.9996).Duration(), "1.0s"}, {Figure(4.21).Duration(), "4.2s"},
		{Figure(59.4).Duration(), "59s"}, {Figure(59.6).Duration(), "1m"}, {Figure(185).Duration(), "3m 5s"}, {Figure(3599.7).Duration(), "1h"}, {Figure(7470).Duration(), "2h 5m"},
		{Figure(6*86400 + 7200).Duration(), "6d 2h"}, {inf.Duration(), "never"}, {unknown.Duration(), "–"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestJSON(t *testing.T) {
	for _, f := range []Figure{0, 0.25, -3, 1e9, 378432000.125, Never(), Unknown()} {
		text, err := json.Marshal(f)
		var back Figure
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || back != f && f.Known() || back.Known() != f.Known() {
			t.Errorf("%v is %s and then %v: %v", f, text, back, err)
		}
	}
	if err := json.Unmarshal([]byte(`"many"`), new(Figure)); err == nil {
		t.Error("many is a figure")
	}
}
