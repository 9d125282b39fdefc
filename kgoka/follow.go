package kgoka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Reading the log of a table into the table is one thing, whatever it is for:
// recovery, standbys, joins, lookups and views differ in the partitions that they
// read, and in whether they end. Each reading has a client of its own for all its
// partitions, so that nothing fetched for one can reach another; a table knows
// where it goes on.

// errMoved says that a log does not go on where it was left: its table must be
// taken anew.
var errMoved = errors.New("the log is not the one that was read")

// read applies what the logs hold behind each table, partitions in parallel:
// until all have reached their goals, or else until ctx ends.
//
// Control records are kept: a transactional log ends with one, and a table must
// reach the end.
func (b *base) read(ctx context.Context, tables []*table, forever bool) (err error) {
	reading := map[place]*table{}
	from := map[string]map[int32]kgo.Offset{}
	for _, t := range tables {
		next, due, err := t.resume()
		if err != nil {
			return err
		}
		if !due && !forever {
			continue
		}
		if from[t.topic] == nil {
			from[t.topic] = map[int32]kgo.Offset{}
		}
		from[t.topic][t.part] = kgo.NewOffset().At(next)
		reading[t.place] = t
	}
	if len(reading) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(append(b.clientOpts("reader"), kgo.ConsumePartitions(from), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		return err
	}
	defer cl.Close()
	defer func() {
		for _, t := range reading {
			err = errors.Join(err, t.settle())
		}
	}()
	for due := true; due || forever; {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !forever {
			b.pulse.begin(func() string { return "writing rows read from the log to the local table" })
		}
		err := apply(reading, fs)
		if !forever {
			b.pulse.end()
		}
		if err != nil {
			return err
		}
		due = false
		for _, t := range reading {
			due = due || t.due()
		}
	}
	return nil
}

func apply(tables map[place]*table, fs kgo.Fetches) error {
	var applying sync.WaitGroup
	errs := make(chan error, len(tables)) // a fetch has each partition once
	fs.EachTopic(func(ft kgo.FetchTopic) {
		for _, fp := range ft.Partitions {
			if t := tables[place{ft.Topic, fp.Partition}]; t != nil {
				applying.Go(func() { errs <- t.apply(ft.TopicID, fp) })
			}
		}
	})
	applying.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *table) apply(id [16]byte, fp kgo.FetchPartition) error {
	switch {
	case errors.Is(fp.Err, kerr.OffsetOutOfRange), errors.Is(fp.Err, kerr.UnknownTopicID), errors.As(fp.Err, new(*kgo.ErrDataLoss)):
		return fmt.Errorf("reading table %s: %w: %w", t.place, errMoved, fp.Err)
	case id != [16]byte{} && id != t.id.topic:
		return fmt.Errorf("reading table %s: %w: the topic was made anew", t.place, errMoved)
	case fp.Err != nil && !passing(fp.Err):
		return fmt.Errorf("reading table %s: %w", t.place, fp.Err)
	case len(fp.Records) == 0:
		return nil
	}
	if err := t.replay(fp.Records); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = max(t.end, fp.LastStableOffset)
	t.records += int64(len(fp.Records))
	t.meter.add(len(fp.Records), time.Now())
	return nil
}

// catchUp reads tables up to their goals, and tells about it if it takes long.
func (b *base) catchUp(ctx context.Context, tables []*table) error {
	began := time.Now()
	before := count(tables)
	tell, told := context.WithCancel(ctx)
	var telling sync.WaitGroup
	telling.Go(func() { b.tell(tell, tables) })
	err := b.read(ctx, tables, false)
	told()
	telling.Wait()
	if n := count(tables) - before; n > 0 && err == nil {
		b.cfg.Log.Info("tables are up to date", "partitions", len(tables), "records", n, "took", time.Since(began).Round(time.Millisecond))
	}
	return err
}

// tell logs how far reading has got, now and then.
func (b *base) tell(ctx context.Context, tables []*table) {
	for pause(ctx, 5*time.Second); ctx.Err() == nil; pause(ctx, 5*time.Second) {
		var sum TableStats
		for _, t := range tables {
			st := t.stats()
			sum.Records, sum.Rate, sum.Left = sum.Records+st.Records, sum.Rate+st.Rate, max(sum.Left, st.Left)
		}
		b.cfg.Log.Info("reading tables", "partitions", len(tables), "records", sum.Records, "per_second", math.Round(sum.Rate), "left", sum.Left.Round(time.Second))
	}
}

func count(tables []*table) (n int64) {
	for _, t := range tables {
		n += t.stats().Records
	}
	return n
}

// follow reads tables until ctx ends. A log that changes under it is looked at
// anew; it is an error if its keys are elsewhere then.
func (b *base) follow(ctx context.Context, role Role, tables []*table) error {
	for wait := 100 * time.Millisecond; len(tables) > 0; wait = min(2*wait, 5*time.Second) {
		err := b.read(ctx, tables, true)
		if ctx.Err() != nil || b.failed().Err() != nil {
			return nil
		}
		b.cfg.Log.Warn("reading tables anew", "error", err, "after", wait)
		pause(ctx, wait)
		for _, t := range tables {
			_, err := b.take(ctx, role, t.topic, t.part)
			if err != nil && ctx.Err() == nil {
				b.cfg.Log.Warn("a table cannot be read", "error", err)
			}
			if errors.As(err, new(localError)) {
				return err
			}
		}
	}
	return nil
}

// progress is how far a table has been read. The table's lock guards it.
type progress struct {
	role    Role  // "" for none now
	start   int64 // first offset that the log holds
	end     int64 // the one after the last
	goal    int64 // end that the table must reach before it is used
	records int64
	meter   meter
}

func (t *table) bounds(start, end int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.start, t.end, t.goal = start, end, 0
}

func (t *table) play(role Role) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.role = role
}

func (t *table) setGoal(goal int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.goal = goal
}

// resume returns the offset to read from, and whether the goal lies behind it. Then
// rows will be gathered, which go to the store past those in memory: these go first.
func (t *table) resume() (next int64, due bool, err error) {
	t.mu.Lock()
	t.meter = meter{begun: time.Now(), last: time.Now()}
	next = max(t.at+1, t.start)
	due = next < t.goal
	t.mu.Unlock()
	if due {
		err = t.flush()
	}
	return next, due, err
}

// due says whether the table has not reached its goal.
func (t *table) due() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return max(t.at+1, t.start) < t.goal
}

func (t *table) stats() TableStats {
	due := t.due()
	t.mu.RLock()
	defer t.mu.RUnlock()
	st := TableStats{Topic: t.topic, Partition: t.part, Role: t.role, Offset: t.at, End: max(t.end, t.at+1), Recovering: due,
		Records: t.records, Rate: t.meter.perSecond(time.Now())}
	if st.Rate >= 1 {
		st.Left = time.Duration(float64(st.End-1-st.Offset) / st.Rate * float64(time.Second))
	}
	return st
}

// size is to be called before the table's store is closed.
func (t *table) size() (TableSize, error) {
	t.mu.RLock()
	s := TableSize{Topic: t.topic, Partition: t.part, Role: t.role, Rows: int64(len(t.fresh)), Bytes: int64(t.bytes)}
	t.mu.RUnlock()
	if t.store == nil {
		return s, nil
	}
	stored, err := t.store.size()
	s.Rows, s.Bytes = t.known.Load().keys.Load(), s.Bytes+int64(stored)
	return s, err
}

// meter is a rate over the last seconds.
type meter struct {
	rate        float64
	begun, last time.Time
}

const meterSpan = 5 * time.Second

func (m *meter) add(n int, now time.Time) {
	m.rate = m.rate*fade(now.Sub(m.last)) + float64(n)/meterSpan.Seconds()
	m.last = now
}

func (m *meter) perSecond(now time.Time) float64 {
	if m.rate == 0 {
		return 0
	}
	return m.rate * fade(now.Sub(m.last)) / (1 - fade(now.Sub(m.begun)))
}

// fade is the weight of what was d ago.
func fade(d time.Duration) float64 { return math.Exp(-d.Seconds() / meterSpan.Seconds()) }
