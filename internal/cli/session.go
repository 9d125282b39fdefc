package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/build"
	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// session is one run of one command: its world, its settings, and ways to what
// it works on.
type session struct {
	env     Env
	set     settings
	access  access
	log     *slog.Logger
	trace   *trace.Tracer  // nil: off
	sentry  *report.Sentry // nil: off
	started bool           // the command line was understood: what fails now is no wrong use
}

// start completes the settings before a command runs.
func (s *session) start(cmd *cobra.Command) error {
	if err := fill(cmd, s.env); err != nil {
		return err
	}
	if err := s.set.check(); err != nil {
		return err
	}
	var err error
	if s.access, err = s.set.open(s.env); err != nil {
		return err
	}
	if s.set.registry, err = s.set.withUser(s.env, s.set.registry); err != nil {
		return err
	}
	s.log = s.newLog()
	version := build.Read().Version
	if s.trace, err = trace.FromEnv(s.env.Getenv, version, s.log); err != nil {
		return &usageError{err}
	}
	if s.sentry, err = report.FromEnv(s.env.Getenv, version); err != nil {
		return &usageError{err}
	}
	s.started = true
	return nil
}

// end has those outside learn what they have not been told yet, as far as they
// listen. It takes seconds at most.
func (s *session) end() {
	if err := s.trace.Close(); err != nil {
		s.log.Warn("at the end", "error", err)
	}
	s.sentry.Close()
}

// check looks at the settings that every command shares.
func (c *settings) check() error {
	if len(c.brokers) == 0 {
		return hinted(usagef("--brokers is empty: want HOST:PORT,..."), "e.g. --brokers 127.0.0.1:9092")
	}
	for _, b := range c.brokers {
		if _, _, err := net.SplitHostPort(b); err != nil && (strings.Contains(b, ":") || b == "") {
			return usagef("--brokers %q: want HOST:PORT,...", b)
		}
	}
	if u, err := url.Parse(c.registry); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return hinted(usagef("--registry %q: want a URL", withoutPassword(c.registry)), "e.g. --registry http://127.0.0.1:8081")
	}
	if !validNamespace(c.namespace) {
		return usagef("--namespace %q: letters, digits, dots, underscores and hyphens, no dot at either end, at most 100 of them", c.namespace)
	}
	return nil
}

// withoutPassword is a registry that can be shown, a URL or not.
func withoutPassword(registry string) string {
	if user, _, found := strings.Cut(registry, "@"); found {
		return strings.Replace(registry, user, "...", 1)
	}
	return registry
}

func validNamespace(s string) bool {
	return len(s) <= 100 && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".") &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

func (s *session) newLog() *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.set.logLevel)); err != nil {
		level = slog.LevelWarn
	}
	opts := &slog.HandlerOptions{Level: level}
	if s.set.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(s.env.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(s.env.Stderr, opts))
}

// name puts the namespace before a topic or group.
func (s *session) name(bare string) string { return topics.Prefixed(s.set.namespace, bare) }

// bare takes it off again.
func (s *session) bare(name string) string {
	if s.set.namespace == "" {
		return name
	}
	return strings.TrimPrefix(name, s.set.namespace+".")
}

// cluster is what the settings say about where brokers and registry are.
func (s *session) cluster() app.Config {
	c := s.appConfig()
	c.Brokers, c.Registry, c.TLS, c.SASL = s.set.brokers, s.set.registry, s.access.tls, s.access.sasl
	return c
}

// kafka returns the options that reach the brokers.
func (s *session) kafka() []kgo.Opt {
	return append(s.cluster().ClientOpts(), kgo.ClientID("orderlog"))
}

// reach is how long a command waits for a broker or a registry that is away.
const reach = 10 * time.Second

// connect makes sure that a broker answers, so that everything after it fails
// for better reasons. The caller closes the client.
func (s *session) connect(ctx context.Context) (*kgo.Client, error) {
	cl, err := kgo.NewClient(s.kafka()...)
	if err != nil {
		return nil, fmt.Errorf("brokers %s: %w", strings.Join(s.set.brokers, ","), err)
	}
	pctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	if err := cl.Ping(pctx); err != nil {
		cl.Close()
		return nil, s.unreachable(ctx, err)
	}
	return cl, nil
}

// admin is connect for who asks and changes.
func (s *session) admin(ctx context.Context) (*kadm.Client, error) {
	cl, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(cl), nil
}

func (s *session) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return hinted(fmt.Errorf("no broker answers at %s: %w", strings.Join(s.set.brokers, ","), err),
		"%s", cmp.Or(s.access.hint(err), noBrokerHint))
}

const noBrokerHint = "start one with `orderlog up`, or name yours with --brokers or ORDERLOG_BROKERS"

func (s *session) httpClient() *http.Client {
	cl := s.cluster().HTTPClient()
	cl.Timeout = reach
	return cl
}

// serde connects to the schema registry and registers what this build knows.
func (s *session) serde(ctx context.Context) (*schemas.Serde, error) {
	serde, err := schemas.NewSerde(ctx, schemas.SerdeConfig{Registry: s.set.registry, HTTPClient: s.httpClient(),
		Namespace: s.set.namespace, Wait: reach, Now: s.env.Now, Log: s.log})
	if err != nil {
		return nil, hinted(err, "%s", cmp.Or(s.access.hint(err), "name the schema registry with --registry or ORDERLOG_REGISTRY"))
	}
	return serde, nil
}

// reachable is connect for what makes clients of its own.
func (s *session) reachable(ctx context.Context) error {
	cl, err := s.connect(ctx)
	if err == nil {
		cl.Close()
	}
	return err
}

// online is reachable, and serde.
func (s *session) online(ctx context.Context) (*schemas.Serde, error) {
	if err := s.reachable(ctx); err != nil {
		return nil, err
	}
	return s.serde(ctx)
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
