// Package replay moves groups to where they shall go on, and what hangs on that with
// them: a plan that changes nothing, a run that is one Kafka transaction for each
// group, and the way back.
//
// A group's unit is its offsets on all of its inputs, and its table's topic. Local
// tables follow the topic by themselves. What a rule makes of what comes again is
// not this package's business: rows know what they have applied.
package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/snapshot"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Config says what is moved, and who does it.
type Config struct {
	Opts      []kgo.Opt // brokers, dialer
	Serde     *schemas.Serde
	Namespace string
	Who       string // on the audit
	Now       func() time.Time

	Store snapshot.Store // where the state before a run that writes rows is kept, to undo it; nil: there are no such runs

	Bad func(error) // is told of control records that cannot be read; nil: nobody is

	Session time.Duration // for which the seat of a replay that died is kept; 0: 10 s

	// Step is a test's hook, called before each step of a run. An error from it
	// abandons the run as a kill would: nothing is cleaned up.
	Step func(Step) error
}

// Replayer is safe for one caller at a time.
type Replayer struct {
	cfg Config
	adm *kadm.Client
}

// clientID tells a replay among the members of a group.
const clientID = "orderlog-replay"

// New makes one; it connects at first use.
func New(cfg Config) (*Replayer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Session == 0 {
		cfg.Session = 10 * time.Second // brokers have a least
	}
	if cfg.Bad == nil {
		cfg.Bad = func(error) {}
	}
	if cfg.Step == nil {
		cfg.Step = func(Step) error { return nil }
	}
	cfg.Opts = append(cfg.Opts[:len(cfg.Opts):len(cfg.Opts)], kgo.ClientID(clientID))
	adm, err := kadm.NewOptClient(cfg.Opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	return &Replayer{cfg, adm}, nil
}

// Close ends it.
func (r *Replayer) Close() { r.adm.Close() }

func (r *Replayer) name(bare string) string { return topics.Prefixed(r.cfg.Namespace, bare) }

// Controls reads which groups are, or were, paused, by the newest word on each that can
// be read; bad is told of the others.
func Controls(ctx context.Context, opts []kgo.Opt, adm *kadm.Client, serde *schemas.Serde, namespace string, bad func(error)) (map[string]*schemas.GroupControl, client.Span, error) {
	span, err := client.Whole(ctx, adm, topics.Prefixed(namespace, topics.Control))
	if err != nil {
		return nil, span, err
	}
	said := map[string]*schemas.GroupControl{}
	err = EachControl(ctx, opts, serde, span, bad, func(c *schemas.GroupControl) { said[c.Group] = c })
	return said, span, err
}

// EachControl reads a span of the control topic, and moves its From past what is done:
// so it can be called again after an error. A tombstone says that the group runs.
// Nobody obeys a record that cannot be read: what was said before it holds.
func EachControl(ctx context.Context, opts []kgo.Opt, serde *schemas.Serde, span client.Span, bad func(error), do func(*schemas.GroupControl)) error {
	return span.Read(ctx, opts, func(r *kgo.Record) (bool, error) {
		c, err := new(schemas.GroupControl), error(nil)
		if len(r.Value) > 0 {
			err = serde.DecodeInto(ctx, topics.Control, r.Value, c)
		}
		if err != nil {
			err = fmt.Errorf("control record at %s/%d/%d: %w", r.Topic, r.Partition, r.Offset, err)
		}
		switch {
		case errors.Is(err, schemas.ErrRegistry): // which says nothing about the record
			return false, err
		case err != nil:
			bad(err)
		default:
			c.Group = string(r.Key)
			do(c)
		}
		span.From[r.Partition] = r.Offset + 1
		return true, nil
	})
}

func (r *Replayer) controls(ctx context.Context) (map[string]*schemas.GroupControl, error) {
	said, _, err := Controls(ctx, r.cfg.Opts, r.adm, r.cfg.Serde, r.cfg.Namespace, r.cfg.Bad)
	return said, err
}
