// Package verify proves, or refutes, what orderlog says of itself: it folds the
// order log and the commands on its own, by rules written down a second time and
// as plainly as possible, and compares the result with the tables and documents
// that the processors wrote. It reads read_committed, writes nothing, joins no
// group, and imports no rule.
package verify

import (
	"context"
	"errors"
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

	// Checkpoint is where to go on, and where to leave what the next run needs. Nil:
	// all is read. It does not go with At.
	Checkpoint *Checkpoint

	Now      func() time.Time        // nil: time.Now
	Log      *slog.Logger            // nil: silent
	Progress func(done, total int64) // offsets read so far, of all cuts; never called twice at a time. May be nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Serde == nil {
		return c, fmt.Errorf("verify: no serde")
	}
	if c.Checkpoint != nil && c.At != nil {
		return c, errors.New("verify: a checkpoint is of now, and of no time of the past")
	}
	if err := c.Checkpoint.keyed(); err != nil {
		return c, fmt.Errorf("verify: %w", err)
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

	rd, err := newReader(ctx, cl, cfg.Namespace)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	w := newWorld(ctx, cfg, rd)
	var since *time.Time
	if cfg.Checkpoint != nil {
		if since, err = w.resume(cfg, rd); err != nil {
			return Report{}, err
		}
	}
	look := follow
	if cfg.At != nil {
		look = lookBack
	}
	if err := look(ctx, cfg, rd, w); err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	w.now, w.stuckAfter, w.opening = cfg.Now().UnixMilli(), cfg.StuckAfter.Milliseconds(), cfg.OpeningLimit
	if w.past != nil {
		w.now = w.past.at.UnixMilli()
	}
	r := w.report()
	r.Since, r.Records, r.Took = since, rd.records.Load(), cfg.Now().Sub(began)
	if cfg.Checkpoint != nil {
		err = w.leave(cfg, rd)
	}
	return r, err
}

// follow reads cut after cut until two in a row are equal and no group has
// anything left to read, or the time is up. What is parked does not keep it. The last two cuts tell what moves.
func follow(ctx context.Context, cfg Config, r *reader, w *world) error {
	w.telling = r.telling
	up := time.NewTimer(cfg.Wait)
	defer up.Stop()
	var before *cut
	for late := cfg.Wait <= 0; ; {
		c, err := r.cut(ctx)
		if err != nil {
			return err
		}
		if before == nil {
			if err := r.shorter(c); err != nil {
				return err
			}
		}
		w.advance(c, before)
		if err := r.readTo(ctx, c, w, cfg.Progress); err != nil {
			return err
		}
		w.settle()
		quiet := before != nil && c.equal(before) && c.closed()
		w.still = quiet && w.waiting() == 0
		if before != nil && (quiet && w.unread() == 0 || late) {
			return nil
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
			return ctx.Err()
		}
	}
}
