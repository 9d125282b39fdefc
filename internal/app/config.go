// Package app joins everything: it connects to a cluster or starts the embedded
// one, applies the topics, registers the schemas and runs the processors. New,
// Start, Stop: what the command line and the tests embed.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/orderlog/orderlog/internal/calendar"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/ledger"
	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/processors/retry"
)

// Config says what to run and on what. Clock, network and disk are given here;
// nothing below takes them from elsewhere.
type Config struct {
	Brokers            []string // seed brokers; none: an embedded broker and registry
	Registry           string   // schema registry URL, with user and password where it wants them; needed with Brokers
	Namespace          string   // prefix of topics, groups and transactional IDs
	Instance           string   // stable name of this process among those of a group; "0" if empty
	Dir                string   // data folder; "": everything in memory
	Standby            bool     // keep warm tables for partitions that other instances have
	HTTP               string   // where the status page, /livez, /readyz and /metrics are served; "": nowhere
	HTTPElse           bool     // if that port is taken, a free one
	Sync               bool     // embedded broker: fsync every write
	Port, RegistryPort int      // of the embedded broker; 0: those of last time, else free ones

	TLS  *tls.Config    // of brokers and of an https registry; nil: brokers speak plainly
	SASL sasl.Mechanism // nil: nobody logs in at the brokers

	Processors  []string // names; nil: all
	Partitions  int32    // of topics that are made; default 4
	ApplyTopics bool     // make and alter topics as the catalogue says; always so when embedded

	// LagOf says of which groups of the cluster this process tells how far they are
	// behind, where it has HTTP; nil: of all.
	LagOf func(group string) bool

	Rules processors.Config

	// Effects says who is told of events, and how; mails without a server go to
	// MailFolder in Dir. Nil: nobody, and the processors notification and effects do
	// not run.
	Effects *effect.Config

	// Listen and Dial are the network; nil is the machine's.
	Listen func(network, address string) (net.Listener, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)

	Schedule  retry.Schedule            // of what failed; nil: the default
	Schedules map[string]retry.Schedule // by processor, of those that have their own
	Now       func() time.Time          // what is due is due by this clock; nil: time.Now

	Trace  *trace.Tracer   // makes spans; nil: tracing is off
	Report report.Reporter // told of panics, dead letters and processors that end; nil: nobody

	BeforeDecide func(m flow.Message) // a test's hook, see graph.Env
	Tune         func(*kgoka.Config)  // another one: what each group runs with
	Log          *slog.Logger         // default: discard
}

// Validate fills defaults and says what is wrong.
func (c *Config) Validate() error {
	if len(c.Brokers) > 0 && c.Registry == "" {
		return errors.New("brokers without a schema registry: set its URL")
	}
	names := Names()
	for _, p := range c.Processors {
		if !slices.Contains(names, p) {
			return fmt.Errorf("unknown processor %q: there are %s", p, strings.Join(names, ", "))
		}
	}
	if c.Effects == nil && slices.ContainsFunc(c.Processors, ofEffects) {
		return errors.New("notification and effects run only where it is said who is told of what: --effects FILE")
	}
	if err := c.validateSchedules(names); err != nil {
		return err
	}
	if c.Partitions == 0 {
		c.Partitions = 4
	}
	if c.Partitions < 0 || c.Partitions > 1000 {
		return fmt.Errorf("%d partitions: between 1 and 1000 are possible", c.Partitions)
	}
	if c.Instance == "" {
		c.Instance = "0"
	}
	if c.Rules.Series == "" {
		c.Rules.Series = "A"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (c *Config) validateSchedules(names []string) error {
	if err := c.Schedule.Validate(); err != nil {
		return err
	}
	for name, s := range c.Schedules {
		if !slices.Contains(names, name) {
			return fmt.Errorf("retry schedule of an unknown processor %q: there are %s", name, strings.Join(names, ", "))
		}
		if err := s.Validate(); err != nil {
			return fmt.Errorf("processor %s: %w", name, err)
		}
	}
	return nil
}

// MailFolder is where mails are written that no server is named for, in Dir.
const MailFolder = "mail"

// ofEffects tells which processors there are for effects only.
func ofEffects(processor string) bool { return processor == "notification" || processor == ledger.Name }

// Names lists the processors.
func Names() []string {
	var ns []string
	for _, r := range processors.All(processors.Config{}) {
		ns = append(ns, r.Name())
	}
	return append(ns, calendar.Name, ledger.Name)
}

// ClientOpts reach the brokers named.
func (c Config) ClientOpts() []kgo.Opt {
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.MetadataMinAge(50 * time.Millisecond)}
	switch {
	case c.Dial != nil && c.TLS != nil:
		opts = append(opts, kgo.Dialer(c.dialTLS))
	case c.Dial != nil:
		opts = append(opts, kgo.Dialer(c.Dial))
	case c.TLS != nil:
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	if c.SASL != nil {
		opts = append(opts, kgo.SASL(c.SASL))
	}
	return opts
}

func (c Config) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := c.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	cfg := c.TLS.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address)
	}
	conn := tls.Client(plain, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	return conn, nil
}

// HTTPClient reaches the schema registry.
func (c Config) HTTPClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if c.Dial != nil {
		transport.DialContext = c.Dial
	}
	if c.TLS != nil {
		transport.TLSClientConfig = c.TLS.Clone()
	}
	return &http.Client{Timeout: 5 * time.Second, Transport: transport}
}

// withoutUser is a URL without what nobody else needs to know.
func withoutUser(registry string) string {
	u, err := url.Parse(registry)
	if err != nil {
		return registry // NewSerde refuses it
	}
	u.User = nil
	return u.String()
}
