// Package verify proves, or refutes, what orderlog says of itself: it folds the
// order log and the commands on its own, by rules written down a second time and
// as plainly as possible, and compares the result with the tables and documents
// that the processors wrote. It reads read_committed, writes nothing, joins no
// group, and imports no rule.
package verify

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
)

// Config is what Run needs.
type Config struct {
	Client    []kgo.Opt      // seed brokers, dialer, TLS
	Serde     *schemas.Serde // wire format
	Namespace string         // prefix of topics and groups

	// OpeningLimit is the credit of a new customer. History carries it; it is
	// needed only for an account whose opening verdict is still on its way.
	OpeningLimit int64

	// StuckAfter is how long, by the timestamp of its last record, an order may
	// wait for a verdict, and a record for its processor. 0: five minutes.
	StuckAfter time.Duration

	// Wait is how long to go on reading until the log stands still. After that
	// the answer is about a log in motion: bounds instead of equalities.
	Wait time.Duration

	// At is a moment of the past to verify instead of now; nil: now. What cannot be
	// known of then is left out, or has bounds.
	At *At

	Now      func() time.Time        // nil: time.Now
	Log      *slog.Logger            // nil: silent
	Progress func(done, total int64) // offsets read so far, of all cuts; never called twice at a time. May be nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Serde == nil {
		return c, fmt.Errorf("verify: no serde")
	}
	if c.StuckAfter == 0 {
		c.StuckAfter = 5 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Progress == nil {
		c.Progress = func(int64, int64) {}
	}
	return c, nil
}

// pause is how long a log in motion is left alone between two cuts.
const pause = 200 * time.Millisecond

// Run reads the log and returns what holds of it. An error means that nothing is
// known: the broker or the registry is away, a topic is missing. What does not
// hold is in the report.
func Run(ctx context.Context, cfg Config) (Report, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Report{}, err
	}
	began := cfg.Now()
	cl, err := kgo.NewClient(append(slices.Clone(cfg.Client), kgo.MetadataMinAge(50*time.Millisecond))...)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	defer cl.Close()

	look := follow
	if cfg.At != nil {
		look = lookBack
	}
	w, records, err := look(ctx, cfg, cl)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	w.now, w.stuckAfter, w.opening = cfg.Now().UnixMilli(), cfg.StuckAfter.Milliseconds(), cfg.OpeningLimit
	if w.past != nil {
		w.now = w.past.at.UnixMilli()
	}
	r := w.report()
	r.Records, r.Took = records, cfg.Now().Sub(began)
	return r, nil
}

// follow reads cut after cut until two in a row are equal and no group has
// anything left to read, or the time is up. What is parked does not keep it. The last two cuts tell what moves.
func follow(ctx context.Context, cfg Config, cl *kgo.Client) (*world, int64, error) {
	r, err := newReader(ctx, cl, cfg.Namespace)
	if err != nil {
		return nil, 0, err
	}
	w := newWorld(ctx, cfg, r.partitions)
	w.telling = r.telling
	up := time.NewTimer(cfg.Wait)
	defer up.Stop()
	var before *cut
	for late := cfg.Wait <= 0; ; {
		c, err := r.cut(ctx)
		if err != nil {
			return nil, 0, err
		}
		w.advance(c, before)
		if err := r.readTo(ctx, c, w, cfg.Progress); err != nil {
			return nil, 0, err
		}
		w.settle()
		quiet := before != nil && c.equal(before) && c.closed()
		w.still = quiet && w.waiting() == 0
		if before != nil && (quiet && w.unread() == 0 || late) {
			return w, r.records.Load(), nil
		}
		cfg.Log.Debug("the log is in motion, reading on", "waiting", w.waiting(), "records", r.records.Load())
		before = c
		if late {
			continue
		}
		select {
		case <-time.After(pause):
		case <-up.C:
			late = true
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}
