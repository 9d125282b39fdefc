package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// Levels of a finding.
const (
	levelOK   = "ok"
	levelWarn = "warn"
	levelFail = "fail"
)

// finding is one thing that was looked at.
type finding struct {
	Level string `json:"level"`
	What  string `json:"what"`
	Hint  string `json:"hint,omitempty"`
}

type findings []finding

func (f *findings) ok(what string, args ...any) {
	*f = append(*f, finding{levelOK, fmt.Sprintf(what, args...), ""})
}

func (f *findings) warn(hint, what string, args ...any) {
	*f = append(*f, finding{levelWarn, fmt.Sprintf(what, args...), hint})
}

func (f *findings) fail(hint, what string, args ...any) {
	*f = append(*f, finding{levelFail, fmt.Sprintf(what, args...), hint})
}

func (f findings) count(level string) (n int) {
	for _, x := range f {
		if x.Level == level {
			n++
		}
	}
	return n
}

func newDoctor(s *session) *cobra.Command {
	var floor time.Duration
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check brokers, topics, registry, groups and clock",
		Long: `Looks at everything that orderlog stands on, changes nothing, and says what to do
about what it finds. It fails if anything is so wrong that orders would be stuck or
records lost. The clock is compared with the Date that the schema registry answers.
A warning says which group may not stay down for as long as --downtime-floor
without losing something.`,
		Args:    nothing(),
		Example: example("orderlog doctor"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			found := s.examine(cmd.Context(), floor)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if err := s.show(found, func(w io.Writer) error { return found.text(w, s.outStyle()) }); err != nil {
				return err
			}
			if n := found.count(levelFail); n > 0 {
				return failedQuietly(fmt.Sprintf("%d findings", n))
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&floor, "downtime-floor", 24*time.Hour, "how long every group shall be able to stay down, 0 if that does not matter")
	settable(cmd, "downtime-floor")
	return cmd
}

func (s *session) examine(ctx context.Context, floor time.Duration) findings {
	var f findings
	s.examineKafka(ctx, &f, floor)
	s.examineRegistry(ctx, &f)
	return f
}

func (f findings) text(w io.Writer, st style) error {
	marks := map[string]string{levelOK: st.good("ok  "), levelWarn: st.warn("warn"), levelFail: st.bad("FAIL")}
	for _, x := range f {
		fmt.Fprintf(w, "%s  %s\n", marks[x.Level], x.What)
		if x.Hint != "" {
			fmt.Fprintf(w, "      %s %s\n", st.dim("hint:"), x.Hint)
		}
	}
	if n := f.count(levelFail); n > 0 {
		_, err := fmt.Fprintf(w, "\n%s\n", st.bad(fmt.Sprintf("%d of %d checks failed", n, len(f))))
		return err
	}
	verdict := st.good("nothing is wrong")
	switch n := f.count(levelWarn); {
	case n == 1:
		verdict = st.warn("nothing is broken, 1 warning")
	case n > 1:
		verdict = st.warn(fmt.Sprintf("nothing is broken, %d warnings", n))
	}
	_, err := fmt.Fprintf(w, "\n%s\n", verdict)
	return err
}
