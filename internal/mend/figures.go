package mend

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/census"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/topics"
)

// followEvery is how often it is asked whether anything was written.
const followEvery = 10 * time.Second

// Figures counts the dead letters that nobody has dealt with. It is a
// prometheus.Collector. Of letters that are open it keeps where they stand, when
// they came, and the label; of others nothing.
type Figures struct {
	cfg    Config // Who is nobody
	log    *slog.Logger
	labels letter.Labels

	dead, audit map[int32]int64 // what was read of both topics: up to there; Follow's own

	mu    sync.Mutex
	asOf  time.Time // as of when that is right; zero: nobody follows
	ready bool      // both were read once
	open  map[target]opened
	total map[letter.Label]int
}

// target is where a letter stands.
type target struct {
	partition int32
	offset    int64
}

type opened struct {
	at    int64 // Unix ms
	label letter.Label
}

// NewFigures returns figures of the topics that cfg names; they are known where
// Follow runs.
func NewFigures(cfg Config, log *slog.Logger) *Figures {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Figures{cfg: cfg, log: log, open: map[target]opened{}, total: map[letter.Label]int{}}
}

var (
	lettersOpen = deadDesc("open", "Dead letters that nobody has redriven or discarded. Each instance tells of all of them: take the maximum.")
	lettersOld  = deadDesc("oldest_open_timestamp_seconds", "When the oldest of them was put there.")
	lettersNew  = deadDesc("total", "Dead letters that have come since this instance began to follow them; 0 of a cause that was there before. Each tells of all of them: take the maximum.")
)

func deadDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("orderlog_dead_letters_"+name, help, []string{"processor", "cause"}, nil)
}

// Describe says nothing: there are as many figures as groups and causes.
func (f *Figures) Describe(chan<- *prometheus.Desc) {}

// Collect tells what is known, and as of when: a few seconds ago, and longer if that
// cannot be read.
func (f *Figures) Collect(ch chan<- prometheus.Metric) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asOf.IsZero() {
		return
	}
	ch <- census.AsOf("dead letters", f.asOf)
	if !f.ready {
		return
	}
	count, oldest := map[letter.Label]int{}, map[letter.Label]int64{}
	for _, o := range f.open {
		if count[o.label]++; count[o.label] == 1 || o.at < oldest[o.label] {
			oldest[o.label] = o.at
		}
	}
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, l letter.Label) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, l.Group, l.Cause)
	}
	for l, n := range count {
		put(lettersOpen, prometheus.GaugeValue, float64(n), l)
		put(lettersOld, prometheus.GaugeValue, float64(oldest[l])/1000, l)
	}
	for l, n := range f.total {
		put(lettersNew, prometheus.CounterValue, float64(n), l)
	}
}

// Follow reads dead-letter and audit, and what comes to them from then on, until
// ctx ends. What cannot be read is tried again.
func (f *Figures) Follow(ctx context.Context) {
	adm, err := kadm.NewOptClient(f.cfg.Opts...)
	if err != nil {
		f.log.Warn("dead letters are not counted", "error", err)
		return
	}
	defer adm.Close()
	f.right(f.cfg.Now(), false)
	for failing := false; ; {
		asOf := f.cfg.Now()
		err := f.catchUp(ctx, adm)
		if err == nil {
			f.right(asOf, true)
		}
		if err != nil && ctx.Err() == nil && !failing {
			f.log.Warn("dead letters cannot be counted now, trying again", "error", err)
		}
		failing = err != nil
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return
		}
	}
}

// catchUp reads what is committed by now. The end of the audit is looked at before
// that of dead-letter, and read after it: it speaks of letters that were read.
func (f *Figures) catchUp(ctx context.Context, adm *kadm.Client) error {
	audit, err := client.Whole(ctx, adm, f.name(topics.Audit))
	if err != nil {
		return err
	}
	dead, err := client.Whole(ctx, adm, f.name(topics.DeadLetter))
	if err != nil {
		return err
	}
	if behind(dead.To, f.dead) || behind(audit.To, f.audit) { // made anew
		f.forget()
	}
	f.expire(dead.From)
	err = f.read(ctx, dead, &f.dead, func(r *kgo.Record) error {
		f.came(r)
		return nil
	})
	if err != nil {
		return err
	}
	return f.read(ctx, audit, &f.audit, func(r *kgo.Record) error {
		a, err := Audited(ctx, f.cfg.Serde, r)
		if err == nil && closes(a) {
			f.dealt(a.Target)
		}
		return err
	})
}

// right notes as of when the figures are; not known: since when they are asked for.
func (f *Figures) right(asOf time.Time, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asOf, f.ready = asOf, known
}

func (f *Figures) name(topic string) string { return topics.Prefixed(f.cfg.Namespace, topic) }

// behind tells that a log ends before what was read of it.
func behind(ends, read map[int32]int64) bool {
	for p, end := range ends {
		if end < read[p] {
			return true
		}
	}
	return false
}

// read goes on in a span behind what was read of its topic before.
func (f *Figures) read(ctx context.Context, s client.Span, upTo *map[int32]int64, each func(*kgo.Record) error) error {
	at := map[int32]int64{}
	for p, start := range s.From {
		at[p] = max(start, (*upTo)[p])
	}
	s.From, *upTo = maps.Clone(at), at
	err := s.Read(ctx, f.cfg.Opts, func(r *kgo.Record) (bool, error) {
		err := each(r)
		if err == nil {
			at[r.Partition] = r.Offset + 1
		}
		return true, err
	})
	if err == nil {
		maps.Copy(at, s.To)
	}
	return err
}

func (f *Figures) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready, f.dead, f.audit = false, nil, nil
	clear(f.open)
}

func (f *Figures) came(r *kgo.Record) {
	l := letter.Parse(r)
	label := f.labels.Of(strings.TrimPrefix(l.Group, f.name("")), l.Cause)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[target{r.Partition, r.Offset}] = opened{r.Timestamp.UnixMilli(), label}
	if n := f.total[label]; f.ready {
		f.total[label] = n + 1
	} else {
		f.total[label] = n // 0, so that the first one that comes is seen to be one more
	}
}

func (f *Figures) dealt(with string) {
	topic, partition, offset, at, ok := letter.ParseTarget(with)
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := (target{partition, offset}); ok && topic == topics.DeadLetter && f.open[t].at == at {
		delete(f.open, t)
	}
}

// expire forgets letters that their topic has not any more.
func (f *Figures) expire(starts map[int32]int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.open, func(t target, _ opened) bool { return t.offset < starts[t.partition] })
}
