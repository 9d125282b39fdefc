package cli

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/processors/retry"
)

func TestScheduleFlag(t *testing.T) {
	const usual = "5m,25m,2h5m,10h25m,52h5m"
	for _, c := range []struct {
		text string
		says string // "": it is taken
		all  retry.Schedule
		own  map[string]retry.Schedule
	}{
		{usual, "", retry.Default(), nil},
		{"30s, 2h5m", "", retry.Schedule{30 * time.Second, 125 * time.Minute}, nil},
		{"effects=1m,1h", "", retry.Default(), map[string]retry.Schedule{"effects": {time.Minute, time.Hour}}},
		{"1s,effects=1m,order=1h", "", retry.Schedule{time.Second}, map[string]retry.Schedule{"effects": {time.Minute}, "order": {time.Hour}}},
		{"", `"" is no wait`, nil, nil},
		{"5m,", `"" is no wait`, nil, nil},
		{"5", `"5" is no wait`, nil, nil},
		{"=5m", "want a processor", nil, nil},
		{"order=5m,order=6m", "each once", nil, nil},
		{"efects=5m", `unknown processor "efects"`, nil, nil},
		{"0s", "wait 1 is 0s", nil, nil},
		{"effects=1000h", "effects: retry schedule: wait 1 is 1000h", nil, nil},
	} {
		var s schedules
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		scheduleFlag(fs, &s)
		if got := fs.Lookup("retry-schedule").DefValue; got != usual {
			t.Fatalf("default %q", got)
		}
		err := s.Set(c.text)
		var cfg app.Config
		if s.into(&cfg); err == nil {
			err = cfg.Validate()
		}
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.text, err, c.says)
		}
		if err != nil {
			continue
		}
		if !slices.Equal(cfg.Schedule, c.all) || !maps.EqualFunc(cfg.Schedules, c.own, slices.Equal[retry.Schedule]) {
			t.Errorf("%q: %v, %v", c.text, cfg.Schedule, cfg.Schedules)
		}
		var again schedules
		if err := again.Set(s.String()); err != nil || again.String() != s.String() {
			t.Errorf("%q is shown as %q: %v", c.text, s.String(), err)
		}
	}
}
