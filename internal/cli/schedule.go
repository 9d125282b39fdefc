package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/processors/retry"
)

// schedules is a flag that takes how long what failed waits before each further
// attempt. After NAME= stand the waits of a processor that has its own.
type schedules struct {
	all retry.Schedule
	own map[string]retry.Schedule
}

func scheduleFlag(fs *pflag.FlagSet, s *schedules) {
	s.all = retry.Default()
	fs.Var(s, "retry-schedule", "how long what failed waits before each further attempt, `WAITS`; behind effects= those of effects only: 5m,1h,effects=1m,2h")
}

func (s *schedules) Type() string { return "waits" }

func (s *schedules) String() string {
	parts := []string{waitsText(s.all)}
	for _, name := range sorted(s.own) {
		parts = append(parts, name+"="+waitsText(s.own[name]))
	}
	return strings.Trim(strings.Join(parts, ","), ",")
}

func waitsText(s retry.Schedule) string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = d.String()
		for _, zero := range []string{"m0s", "h0m"} {
			if strings.HasSuffix(parts[i], zero) {
				parts[i] = strings.TrimSuffix(parts[i], zero[1:])
			}
		}
	}
	return strings.Join(parts, ",")
}

func (s *schedules) Set(text string) error {
	read, name := map[string]retry.Schedule{}, ""
	for word := range strings.SplitSeq(text, ",") {
		if before, wait, ok := strings.Cut(word, "="); ok {
			name, word = strings.TrimSpace(before), wait
			if _, twice := read[name]; twice || name == "" {
				return fmt.Errorf("%q: want a processor, and each once", before+"=")
			}
		}
		d, err := time.ParseDuration(strings.TrimSpace(word))
		if err != nil {
			return fmt.Errorf("%q is no wait: want 30s, 5m or 2h5m", word)
		}
		read[name] = append(read[name], d)
	}
	if len(read[""]) > 0 {
		s.all = read[""]
	}
	delete(read, "")
	s.own = read
	return nil
}

// into has an app keep to them.
func (s schedules) into(c *app.Config) { c.Schedule, c.Schedules = s.all, s.own }
