package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/orderlog/orderlog/internal/lag"
)

// lagEvery is how long it is between two looks, unless --every says so: as long as a
// person waits. Prometheus is told after lag.Every, as by instances: it asks less often,
// all groups are looked at, and rates of five looks shall not be those of a moment.
const lagEvery = time.Second

func newLag(s *session) *cobra.Command {
	var cfg struct {
		only  []string
		all   bool
		of    lagPatterns
		parts bool
		watch bool
		every time.Duration
		limit time.Duration
		serve string
	}
	cmd := &cobra.Command{
		Use:   "lag [GROUP...]",
		Short: "Show how far each processor is behind",
		Long: `Shows how far consumer groups are behind, the one that is furthest first. LAG is
what Kafka's own tools show: offsets, of which some are transaction markers; "beyond
end", and of a partition a negative number, where the group has committed what the log
has not reached: the topic was made anew, or cut. RECORDS are those still to come,
counted in the log (~: estimated, where there are very many), 0 where nothing but
markers is left. SECONDS is the age of the next one, by its timestamp. IN and OUT are
offsets, taken from two looks a second apart; CATCH-UP is when all will have been read
if it goes on like this. SAFE is how long the group may stay down from now on before
something is gone that it needs: records, by retention; its offsets, which the brokers
forget of a group without members; or, of a compacted topic, history: versions that
others have followed. Without the word it is records. What is not known is –. The groups
of mails and webhooks are left out until they have run. See docs/lag.md.

With --serve it tells Prometheus, at /metrics, of all groups of the cluster.`,
		Example: example("orderlog lag", "orderlog lag --watch", "orderlog lag order voucher --per-partition",
			"orderlog lag --fail-above 30s -o json", "orderlog lag --serve :9308 --deny 'console-consumer-.*'"),
		RunE: func(cmd *cobra.Command, args []string) error {
			serving := cfg.serve != ""
			if serving && !cmd.Flags().Changed("every") {
				cfg.every = lag.Every
			}
			switch {
			case cfg.every < 0 || cfg.limit < 0:
				return usagef("no time is less than 0")
			case cfg.watch && serving || cfg.limit > 0 && (cfg.watch || serving):
				return usagef("of --watch, --serve and --fail-above only one makes sense")
			case cfg.every == 0 && (cfg.watch || serving):
				return usagef("--every 0: want some time between two looks")
			}
			c, err := s.lagOf(append(args, cfg.only...), cfg.all || serving, cfg.of)
			if err != nil {
				return err
			}
			cl, err := s.connect(cmd.Context())
			if err != nil {
				return s.explain(err)
			}
			defer cl.Close()
			c.Client = cl
			r := lag.NewReader(c)
			switch {
			case serving:
				return s.serveLag(cmd.Context(), lag.NewExporter(r, cfg.every, s.log), cfg.serve)
			case cfg.watch:
				return s.watch(cmd.Context(), cfg.every, func(ctx context.Context) (view, error) {
					round, err := r.Round(ctx)
					return view{round, func(w io.Writer, _ int) error { return s.lagView(w, round, cfg.parts) }}, err
				})
			}
			round, err := lagTwice(cmd.Context(), r, cfg.every)
			if err != nil {
				return s.explain(err)
			}
			s.lagFaults(round)
			if err := s.show(round, func(w io.Writer) error { return s.lagTables(w, round, cfg.parts, 0) }); err != nil {
				return err
			}
			return above(round, cfg.limit)
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&cfg.only, "group", nil, "only this `GROUP`, as an argument says; may be repeated")
	fs.BoolVar(&cfg.all, "all", false, "every group of the cluster, not only orderlog's")
	lagPatternFlags(fs, "", &cfg.of)
	fs.BoolVar(&cfg.parts, "per-partition", false, "a line for each partition")
	fs.BoolVar(&cfg.watch, "watch", false, "look again and again, with bars, until q or Ctrl-C")
	fs.DurationVar(&cfg.every, "every", lagEvery, "`TIME` between two looks; with --serve 15s, as instances have it. 0: one look, no rates")
	fs.DurationVar(&cfg.limit, "fail-above", 0, "exit with 1 if a group is behind by more than `TIME`, or it cannot be told")
	fs.StringVar(&cfg.serve, "serve", "", "tell Prometheus at this `ADDRESS`, HOST:PORT or :PORT, until Ctrl-C; all groups")
	return cmd
}

// lagPatterns choose groups by their whole name.
type lagPatterns struct{ allow, deny pattern }

// pattern is a flag that takes a regular expression.
type pattern struct{ *regexp.Regexp }

func (p *pattern) Type() string { return "regexp" }

func (p *pattern) String() string {
	if p.Regexp == nil {
		return ""
	}
	return p.Regexp.String()
}

func (p *pattern) Set(text string) (err error) {
	if p.Regexp, err = regexp.Compile(text); err == nil {
		p.Regexp = regexp.MustCompile("^(?:" + text + ")$")
	}
	return err
}

func lagPatternFlags(fs *pflag.FlagSet, prefix string, of *lagPatterns) {
	fs.Var(&of.allow, prefix+"allow", "of all consumer groups of the cluster look at those whose whole name matches `REGEXP`")
	fs.Var(&of.deny, prefix+"deny", "look at no consumer group whose whole name matches `REGEXP`")
}

func (l lagPatterns) given() bool { return l.allow.Regexp != nil || l.deny.Regexp != nil }

func (l lagPatterns) match(group string) bool {
	return (l.allow.Regexp == nil || l.allow.MatchString(group)) && (l.deny.Regexp == nil || !l.deny.MatchString(group))
}

// lagOf says which groups to look at: orderlog's, or all there are; of those the ones
// that are named, and match.
func (s *session) lagOf(only []string, all bool, of lagPatterns) (lag.Config, error) {
	groups := lag.Pipeline(s.set.namespace)
	named := func(group string) bool {
		return len(only) == 0 || slices.Contains(only, group) || slices.Contains(only, s.bare(group))
	}
	want := func(group string) bool { return named(group) && of.match(group) }
	c := lag.Config{Now: s.env.Now}
	all = all || of.given()
	if all {
		c.Others = want
	}
	var ours []string
	for _, g := range groups {
		ours = append(ours, s.bare(g.Name))
		if want(g.Name) {
			g.Optional = g.Optional && len(only) == 0 // it is asked after
			c.Expected = append(c.Expected, g)
		}
	}
	for _, g := range only {
		if !all && !slices.Contains(ours, s.bare(g)) {
			return c, unknown("group", g, ours) // of others with --all only
		}
	}
	return c, nil
}

// lag looks once.
func (s *session) lag(ctx context.Context, groups []lag.Expected) (*lag.Round, error) {
	cl, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return lag.NewReader(lag.Config{Client: cl, Expected: groups, Now: s.env.Now}).Round(ctx)
}

// lagTwice looks twice, so that there are rates.
func lagTwice(ctx context.Context, r *lag.Reader, between time.Duration) (*lag.Round, error) {
	round, err := r.Round(ctx)
	if err != nil || between == 0 {
		return round, err
	}
	select {
	case <-time.After(between):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return r.Round(ctx)
}

func (s *session) lagFaults(round *lag.Round) {
	for _, err := range round.Faults {
		s.log.Warn("not all could be read", "error", err)
	}
	if round.Unsafe != nil {
		s.log.Warn("how long groups may stay down is not known", "error", round.Unsafe)
	}
}

// above is what --fail-above says of a round.
func above(round *lag.Round, limit time.Duration) error {
	if limit == 0 {
		return nil
	}
	for _, t := range byNeed(round.Topics) {
		switch {
		case t.Records > 0 && !t.Seconds.Known():
			return fmt.Errorf("how far group %s is behind on %s cannot be told", t.Group, t.Topic)
		case float64(t.Seconds) > limit.Seconds():
			return fmt.Errorf("group %s is %s behind on %s", t.Group, t.Seconds.Duration(), t.Topic)
		}
	}
	if len(round.Faults) > 0 {
		return errors.New("how far some groups are behind cannot be told")
	}
	return nil
}
