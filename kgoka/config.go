// Package kgoka runs a goka graph on franz-go, exactly once: what a group
// consumes, the rows of its table and what it emits are one Kafka transaction.
// It knows nothing of what the records mean.
//
// Of goka stay the graph, the context of callbacks and the codecs; its runtime,
// with two channels, a promise and locks for each record, is not used.
//
// A Processor runs a graph, a View keeps somebody else's table, an Emitter
// writes to a topic.
package kgoka

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Timeouts that brokers must allow: group.min.session.timeout.ms and
// transaction.max.timeout.ms.
const (
	DefaultSessionTimeout     = 6 * time.Second
	DefaultTransactionTimeout = 6 * time.Second
)

// Config is what a Processor needs to know beside its graph. The zero value of
// every field but Brokers and Instance is a usable default.
type Config struct {
	Brokers    []string
	ClientOpts []kgo.Opt // for every client: dialer, TLS, SASL, hooks, compression

	// Instance names this instance among those of the group, and is the same
	// whenever it starts again: what the one before had, of partitions and of an
	// open transaction, is its own at once. It is written like a topic's name. Two
	// that run under one name do not go together: the one that came later stays.
	Instance string

	// Dir is where local tables live, in the folder Dir/group/Instance. "" keeps
	// them in memory: they are read back from the changelog at each start.
	Dir string

	MaxPoll int           // most records per transaction; default 4000
	Linger  time.Duration // how long a produce request waits for more within a transaction; default 5 ms

	// A dead instance keeps its partitions for the session timeout; the survivors
	// end its transaction then. Brokers refuse session timeouts below
	// group.min.session.timeout.ms, which is 6 s by default.
	SessionTimeout     time.Duration // default DefaultSessionTimeout
	RebalanceTimeout   time.Duration // default 5 s
	Heartbeat          time.Duration // default a tenth of the session timeout, at most 0.5 s: how late a member learns that another one is gone
	TransactionTimeout time.Duration // default DefaultTransactionTimeout; must cover the longest batch

	Origins  bool // stamp outputs and skip what a row has already seen; see Origin
	Coalesce bool // a transaction writes only the last version of each row to the changelog

	// Standby keeps the table's partitions that are not assigned here up to date,
	// too: taking one over is then a matter of its last few records.
	Standby bool

	// SamePartition names outputs whose records go to the partition of the input, or
	// of the visited row, instead of their key's. They have as many partitions as
	// the inputs.
	SamePartition []string

	// NilHandling says what happens to records without a value; by default they
	// are passed over.
	NilHandling goka.NilHandling

	// Replication is the factor for tables and loops that do not exist yet;
	// default -1, which is the broker's own default.
	Replication int16

	// Observer is told of transactions; the zero value of nothing.
	Observer Observer

	Log *slog.Logger // default slog.Default()

	fs vfs.FS // of Dir, for tests; nil is the real one
}

// Validate says what is wrong with c for a Processor. Views and emitters do
// without an Instance.
func (c Config) Validate() error {
	if !legalName(c.Instance) {
		return fmt.Errorf("config: Instance %q is no name: 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', and neither \".\" nor \"..\"", c.Instance)
	}
	return c.validate()
}

func (c Config) validate() error {
	if len(c.Brokers) == 0 || slices.Contains(c.Brokers, "") {
		return fmt.Errorf("config: Brokers %q, want one address or more", c.Brokers)
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"Linger", c.Linger}, {"SessionTimeout", c.SessionTimeout}, {"RebalanceTimeout", c.RebalanceTimeout}, {"Heartbeat", c.Heartbeat}, {"TransactionTimeout", c.TransactionTimeout}} {
		if d.value < 0 {
			return fmt.Errorf("config: %s %v is negative", d.field, d.value)
		}
	}
	switch {
	case c.MaxPoll < 0:
		return fmt.Errorf("config: MaxPoll %d is negative", c.MaxPoll)
	case c.Replication < -1:
		return fmt.Errorf("config: Replication %d, want a number of copies, or -1 for the broker's default", c.Replication)
	case c.NilHandling < goka.NilIgnore || c.NilHandling > goka.NilDecode:
		return fmt.Errorf("config: NilHandling %d is unknown", c.NilHandling)
	}
	return nil
}

// legalName says whether s can name a topic, and so an instance for the broker. It
// is also a folder, and part of transactional IDs.
func legalName(s string) bool {
	other := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
	}
	return s != "" && len(s) <= 249 && s != "." && s != ".." && !strings.ContainsFunc(s, other)
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Linger, 5*time.Millisecond)
	def(&c.SessionTimeout, DefaultSessionTimeout)
	def(&c.RebalanceTimeout, 5*time.Second)
	def(&c.Heartbeat, min(c.SessionTimeout/10, 500*time.Millisecond))
	def(&c.TransactionTimeout, DefaultTransactionTimeout)
	if c.MaxPoll == 0 {
		c.MaxPoll = 4000
	}
	if c.Replication == 0 {
		c.Replication = -1
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}
