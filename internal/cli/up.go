package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/folder"
	"github.com/orderlog/orderlog/internal/ledger"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/topics"
)

// ruleFlags are the settings of the business.
func ruleFlags(fs *pflag.FlagSet, r *processors.Config) {
	fs.StringVar(&r.Series, "series", "A", "first part of invoice `NUMBERS`")
	fs.Var(newMoney(&r.OpeningLimit, 100_000), "opening-credit", "credit of a customer who is new, `AMOUNT`")
}

// off is the value of --effects by which nobody is told of anything.
const off = "off"

func effectsFlag(fs *pflag.FlagSet, file *string, without string) {
	fs.StringVar(file, "effects", "", "who gets mails and webhooks, `FILE` (see docs/effects.md); "+without)
}

// effects reads the file, or takes what there is without one.
func (s *session) effects(file string, without *effect.Config) (*effect.Config, error) {
	switch file {
	case "":
		return without, nil
	case off:
		return nil, nil
	}
	c, err := effect.Load(s.env.path(file))
	if err != nil {
		return nil, &usageError{err}
	}
	return &c, nil
}

func httpFlag(fs *pflag.FlagSet, address *string, otherwise, without string) {
	fs.StringVar(address, "http", otherwise, "`ADDRESS` for a status page, /livez, /readyz and /metrics, HOST:PORT or :PORT; "+without)
}

// appConfig is what every command that runs processors starts from.
func (s *session) appConfig() app.Config {
	c := app.Config{Namespace: s.set.namespace, Listen: s.env.Listen, Dial: s.env.Dial, Log: s.log, Trace: s.trace}
	if s.sentry != nil {
		c.Report = s.sentry
	}
	return c
}

func newUp(s *session) *cobra.Command {
	var cfg struct {
		data       string
		port       int
		registry   int
		partitions int32
		sync       bool
		http       string
		effects    string
		rules      processors.Config
		retries    schedules
		lags       lagPatterns
	}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole pipeline on an embedded broker, data kept",
		Long: `Starts a broker and a schema registry in this process, makes the topics and runs
every processor until Ctrl-C, which finishes the open transactions first. The
data folder holds everything: starting again goes on where it stopped. Mails are
written there, too, as files, unless --effects names a server. A page in the browser
shows how it is: see --http, and orderlog top.`,
		Args: nothing(),
		Example: example("orderlog up --data ./data", "",
			"# then, in another terminal", "orderlog produce --orders 1000", "orderlog verify"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkPorts(cfg.port, cfg.registry); err != nil {
				return err
			}
			c := s.appConfig()
			c.Dir, c.Port, c.RegistryPort, c.Partitions, c.Sync, c.HTTP, c.Rules = cfg.data, cfg.port, cfg.registry, cfg.partitions, cfg.sync, cfg.http, cfg.rules
			c.HTTPElse = !cmd.Flags().Changed("http")
			cfg.retries.into(&c)
			c.LagOf = cfg.lags.match
			files := effect.Default()
			var err error
			if c.Effects, err = s.effects(cfg.effects, &files); err != nil {
				return err
			}
			return s.keepRunning(cmd.Context(), c, "data in "+cfg.data)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&cfg.data, "data", "data", "data `FOLDER`")
	fs.IntVar(&cfg.port, "port", 9092, "broker's `PORT`, 0 for a free one")
	fs.IntVar(&cfg.registry, "registry-port", 8081, "registry's `PORT`, 0 for a free one")
	fs.Int32Var(&cfg.partitions, "partitions", 4, "partitions of the topics that are made, `N`")
	fs.BoolVar(&cfg.sync, "sync", false, "write every batch through to the disk: slower, survives a power cut")
	httpFlag(fs, &cfg.http, statusAddress, "another one if that is taken; empty: there are none")
	effectsFlag(fs, &cfg.effects, "without it mails become files in the data folder; `off`: nothing does")
	ruleFlags(fs, &cfg.rules)
	scheduleFlag(fs, &cfg.retries)
	lagPatternFlags(fs, "lag-", &cfg.lags)
	settable(cmd, "data", "port", "registry-port", "partitions", "sync", "http", "effects", "series", "opening-credit", "retry-schedule", "lag-allow", "lag-deny")
	return cmd
}

// spareGC lets the heap grow further between collections than Go does by itself:
// a processor's rows live long and its records briefly, and collecting less
// often is a tenth of its CPU. GOGC, where it is set, has the last word.
func (s *session) spareGC() {
	if s.env.Getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
}

// keepRunning runs an app until ctx ends or one of its parts fails.
func (s *session) keepRunning(ctx context.Context, cfg app.Config, note string) error {
	s.spareGC()
	a, err := app.New(cfg)
	if err != nil {
		return &usageError{err}
	}
	shown := s.showRecovery(a)
	err = a.Start(ctx)
	shown()
	if err != nil {
		return appHint(err, cfg)
	}
	if err := s.show(a.Addresses(), func(w io.Writer) error { return s.welcome(w, a.Addresses(), note, mailsIn(cfg)) }); err != nil {
		return errors.Join(err, a.Stop())
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.env.Stderr, "stopping: open transactions are finished first")
		return a.Stop()
	case err := <-a.Failed():
		stopped := a.Stop()
		if errors.Is(stopped, err) {
			return appHint(stopped, cfg) // says it already
		}
		return appHint(errors.Join(err, stopped), cfg)
	}
}

// mailsIn says where mails go, "" if there are none.
func mailsIn(cfg app.Config) string {
	switch e := cfg.Effects; {
	case e == nil || e.Mail.To == "" || len(cfg.Processors) > 0 && !slices.Contains(cfg.Processors, ledger.Name):
		return ""
	case e.Mail.Server != "":
		return "by " + e.Mail.Server
	}
	return "in " + filepath.Join(cfg.Dir, app.MailFolder)
}

// showRecovery shows how far tables have been read back, where that takes long.
// What it returns ends it.
func (s *session) showRecovery(a *app.App) func() {
	const enough = 10_000 // rows that are worth a bar
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var b *bar
		for tick := time.Tick(200 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				if b != nil {
					b.end()
				}
				return
			case <-tick:
			}
			have, left := a.Recovery()
			if b == nil && left >= enough {
				b = s.bar("reading tables back", have+left)
			}
			if b != nil {
				b.at(have, have+left)
			}
		}
	}()
	return func() { cancel(); <-done }
}

func appHint(err error, cfg app.Config) error {
	var lost *kgoka.OffsetError
	if errors.As(err, &lost) {
		return hinted(err, "`orderlog replay plan %s --to-earliest` shows what has gone, and the same replay run with its hash goes on with what is left, in one with the table",
			strings.TrimPrefix(lost.Group, topics.Prefixed(cfg.Namespace, "")))
	}
	var locked *folder.LockedError
	if errors.As(err, &locked) {
		return hinted(err, "stop the other one, or name another folder with --data")
	}
	if errors.Is(err, app.ErrNoBroker) {
		return hinted(err, "%s", cmp.Or(access{cfg.TLS, cfg.SASL}.hint(err), noBrokerHint))
	}
	if len(cfg.Brokers) == 0 && strings.Contains(err.Error(), "address already in use") {
		return hinted(err, "--port 0 --registry-port 0 take free ports")
	}
	return err
}

func (s *session) welcome(w io.Writer, at app.Addresses, note, mails string) error {
	flags := ""
	if at.Embedded && at.Brokers[0] != "127.0.0.1:9092" {
		flags = fmt.Sprintf(" --brokers %s --registry %s", at.Brokers[0], at.Registry)
	}
	if s.set.namespace != "" {
		flags += " --namespace " + s.set.namespace
	}
	if mails != "" {
		note += "\n  mails     " + mails
	}
	if at.HTTP != "" {
		note += "\n  status    http://" + at.HTTP + "/  (probes: /readyz /livez /metrics)"
	}
	st := s.outStyle()
	_, err := fmt.Fprintf(w, `%s
  brokers   %s
  registry  %s
  %s

Try, in another terminal:
  orderlog produce --orders 1000%s
  orderlog tail --follow%s
  orderlog verify%s

Ctrl-C stops.
`, st.bold("orderlog is up."), strings.Join(at.Brokers, ","), at.Registry, note, flags, flags, flags)
	return err
}
