package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/processors"
)

func newRun(s *session) *cobra.Command {
	var cfg struct {
		data     string
		instance string
		http     string
		standby  bool
		effects  string
		rules    processors.Config
		retries  schedules
		lags     lagPatterns
	}
	names := app.Names()
	cmd := &cobra.Command{
		Use:   "run PROCESSOR...",
		Short: "Run some processors, or all, on the cluster that --brokers names",
		Long: "Runs the processors named, or all of them with `all`, until Ctrl-C. There are\n" +
			strings.Join(names, ", ") + ". The topics must be there: see `orderlog topics apply`.\n" +
			"Mails and webhooks are off (notification and effects) unless --effects says who is\ntold of what.",
		Args:      cobra.ArbitraryArgs,
		ValidArgs: append(slices.Clone(names), "all"),
		Example:   example("orderlog run all --data /var/lib/orderlog", "orderlog run order voucher --instance b --standby --http :8080"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hinted(usagef("%s needs PROCESSOR", cmd.CommandPath()), "one or more of %s, or all", strings.Join(names, ", "))
			}
			c := s.cluster()
			for _, a := range args {
				if a == "all" {
					c.Processors = nil
					break
				}
				if !slices.Contains(names, a) {
					return unknown("processor", a, names)
				}
				c.Processors = append(c.Processors, a)
			}
			c.Dir, c.Instance, c.HTTP, c.Standby, c.Rules = cfg.data, cfg.instance, cfg.http, cfg.standby, cfg.rules
			cfg.retries.into(&c)
			c.LagOf = cfg.lags.match
			var err error
			if c.Effects, err = s.effects(cfg.effects, nil); err != nil {
				return err
			}
			note := "tables in memory"
			if cfg.data != "" {
				note = "tables in " + cfg.data
			}
			return s.keepRunning(cmd.Context(), c, note)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&cfg.data, "data", "", "`FOLDER` for local tables; without it they are in memory")
	fs.StringVar(&cfg.instance, "instance", "0", "stable `NAME` of this process among those that run the same processors")
	fs.BoolVar(&cfg.standby, "standby", false, "keep warm tables for partitions that other instances have: taking over needs no recovery")
	httpFlag(fs, &cfg.http, "", "without it there are none")
	effectsFlag(fs, &cfg.effects, "without it, or with `off`, nobody does")
	ruleFlags(fs, &cfg.rules)
	scheduleFlag(fs, &cfg.retries)
	lagPatternFlags(fs, "lag-", &cfg.lags)
	settable(cmd, "data", "instance", "standby", "http", "effects", "series", "opening-credit", "retry-schedule", "lag-allow", "lag-deny")
	return cmd
}
