package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/topics"
)

// looker makes a look.
type looker struct {
	cfg Config
	adm *kadm.Client
	cut *cut
}

// look reads what a snapshot of these groups is made of, of all if none is named.
func look(ctx context.Context, cfg Config, names []string) (*cut, error) {
	adm, err := kadm.NewOptClient(cfg.Opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	defer adm.Close()
	l := looker{cfg, adm, &cut{topics: map[string]*topic{}, byID: map[[16]byte]*topic{}, committed: map[string]map[string][]int64{}}}
	if l.cut.groups, err = named(names); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{l.find, l.commits, l.starts, l.first, l.last} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	l.choose(len(names) == 0)
	cfg.Tell("reading")
	return l.cut, l.read(ctx)
}

func named(names []string) ([]*member, error) {
	all := members()
	if len(names) == 0 {
		return all, nil
	}
	var some []*member
	for _, n := range names {
		i := slices.IndexFunc(all, func(g *member) bool { return g.name == n })
		if i < 0 {
			var there []string
			for _, g := range all {
				there = append(there, g.name)
			}
			return nil, fmt.Errorf("unknown group %q: there are %s", n, strings.Join(there, ", "))
		}
		some = append(some, all[i])
	}
	return some, nil
}

func (l *looker) name(bare string) string { return topics.Prefixed(l.cfg.Namespace, bare) }

// find looks for the topics. The control topic is about processes that run, not of the
// state.
func (l *looker) find(ctx context.Context) error {
	listed, err := l.adm.ListTopics(kadm.WithAuthorizedOps(ctx), l.names()...) // see client.Starts
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	for _, entry := range catalogue() {
		d, ok := listed[l.name(entry.Name)]
		if !ok || d.Err != nil || len(d.Partitions) == 0 {
			return fmt.Errorf("topic %q: %w", l.name(entry.Name), client.ErrNoTopic)
		}
		t := &topic{name: entry.Name, id: d.ID, entry: entry}
		for num := range len(d.Partitions) {
			t.parts = append(t.parts, &part{topic: entry.Name, num: num, id: d.ID, compact: entry.Compact, base: map[string]*kgo.Record{}})
		}
		if l.cut.partitions = cmp.Or(l.cut.partitions, len(t.parts)); len(t.parts) != l.cut.partitions {
			return fmt.Errorf("topic %q has %d partitions, others have %d: `orderlog topics plan` tells", l.name(entry.Name), len(t.parts), l.cut.partitions)
		}
		l.cut.topics[t.name], l.cut.byID[t.id] = t, t
	}
	return nil
}

func catalogue() []topics.Topic {
	return slices.DeleteFunc(topics.All(), func(t topics.Topic) bool { return t.Name == topics.Control })
}

func (l *looker) names() (full []string) {
	for _, t := range catalogue() {
		full = append(full, l.name(t.Name))
	}
	return full
}

func (l *looker) commits(ctx context.Context) error {
	for _, g := range l.cut.groups {
		at, err := group.Offsets(kadm.RequireStable(ctx), l.adm, l.name(g.name))
		if err != nil {
			return err
		}
		l.cut.committed[g.name] = map[string][]int64{}
		for _, in := range g.inputs {
			for _, p := range l.cut.topics[in].parts {
				offset := int64(-1)
				if o, ok := at.Lookup(l.name(in), int32(p.num)); ok && o.Err == nil {
					offset = o.At
				}
				l.cut.committed[g.name][in] = append(l.cut.committed[g.name][in], offset)
			}
		}
	}
	return nil
}

func (l *looker) starts(ctx context.Context) error {
	return l.list(ctx, l.adm.ListStartOffsets, func(p *part, o int64) { p.start = o })
}

func (l *looker) first(ctx context.Context) error {
	return l.decided(ctx, func(p *part, o int64) { p.first = max(o, p.start) })
}

// last lists the second ends: those of tables before those of what they are made from,
// so that whatever a row has applied is in the look.
func (l *looker) last(ctx context.Context) error {
	if err := l.decided(ctx, func(p *part, o int64) { p.end = max(o, p.start) }); err != nil {
		return err
	}
	for _, stage := range []func(topics.Topic) bool{
		func(t topics.Topic) bool { return t.Name == topics.OrderTable || !isTable(t.Name) },
		func(t topics.Topic) bool { return !isTable(t.Name) },
	} {
		if l.cfg.between != nil {
			l.cfg.between()
		}
		err := l.list(ctx, l.adm.ListCommittedOffsets, func(p *part, o int64) {
			if stage(l.cut.topics[p.topic].entry) {
				p.end = max(o, p.start)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func isTable(topic string) bool { return strings.HasSuffix(topic, "-table") }

type lister func(context.Context, ...string) (kadm.ListedOffsets, error)

func (l *looker) list(ctx context.Context, of lister, set func(*part, int64)) error {
	listed, err := of(ctx, l.names()...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return fmt.Errorf("listing offsets: %w", err)
	}
	for _, t := range l.cut.topics {
		for _, p := range t.parts {
			o, ok := listed.Lookup(l.name(t.name), int32(p.num))
			if !ok {
				return fmt.Errorf("listing offsets: no answer for %s/%d", l.name(t.name), p.num)
			}
			set(p, o.Offset)
		}
	}
	return nil
}

// decided lists ends such that every transaction that has written anything by now is
// decided before them.
func (l *looker) decided(ctx context.Context, set func(*part, int64)) error {
	high := map[*part]int64{}
	if err := l.list(ctx, l.adm.ListEndOffsets, func(p *part, o int64) { high[p] = o }); err != nil {
		return err
	}
	const patience = 2 * time.Minute // more than any transaction timeout of ours
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var open *part
		err := l.list(wait, l.adm.ListCommittedOffsets, func(p *part, o int64) {
			if set(p, o); o < high[p] {
				open = p
			}
		})
		if err != nil || open == nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-wait.Done():
			return fmt.Errorf("a transaction on %s/%d stays open: %w", l.name(open.topic), open.num, wait.Err())
		}
	}
}

// choose says what is kept, and from where it has to be read.
func (l *looker) choose(all bool) {
	for _, t := range l.cut.topics {
		for _, p := range t.parts {
			p.kept, p.readFrom = all, p.first
			for _, g := range l.cut.groups {
				p.kept = p.kept || g.table == t.name
				if slices.Contains(g.inputs, t.name) {
					p.readFrom = min(p.readFrom, max(l.cut.committed[g.name][t.name][p.num], p.start))
				}
			}
			if all && !t.entry.Compact && whole(t.entry) {
				p.readFrom = p.start
			}
		}
	}
}

// idle says that nobody who reads a partition has written rows between the two ends:
// then nothing of it needs to be known.
func (l *looker) idle(p *part) bool {
	return !slices.ContainsFunc(l.cut.groups, func(g *member) bool {
		t := l.cut.topics[g.table].parts[p.num]
		return slices.Contains(g.inputs, p.topic) && t.first < t.end
	})
}

// from is where to begin.
func (p *part) from() int64 {
	if p.compact && p.kept {
		return p.start
	}
	return p.readFrom
}

// silence is how long records that must be there are waited for.
const silence = 30 * time.Second

// read reads all that is needed.
func (l *looker) read(ctx context.Context) error {
	open, at := map[*part]*follower{}, map[string]map[int32]kgo.Offset{}
	for _, t := range l.cut.topics {
		for _, p := range t.parts {
			if p.from() >= p.end || !p.kept && l.idle(p) {
				continue
			}
			if at[l.name(t.name)] == nil {
				at[l.name(t.name)] = map[int32]kgo.Offset{}
			}
			at[l.name(t.name)][int32(p.num)] = kgo.NewOffset().At(p.from())
			open[p] = &follower{part: p, txns: map[int64]int{}}
		}
	}
	if len(open) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(append(slices.Clone(l.cfg.Opts), kgo.ConsumePartitions(at), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords())...) // an end is often behind a transaction marker
	if err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	defer cl.Close()
	parts := map[string]*topic{}
	for _, t := range l.cut.topics {
		parts[l.name(t.name)] = t
	}
	for len(open) > 0 {
		fs, err := poll(ctx, cl, len(open))
		if err != nil {
			return err
		}
		for it := fs.RecordIter(); !it.Done(); {
			r := it.Next()
			p := parts[r.Topic].parts[r.Partition]
			f := open[p]
			if f == nil {
				continue
			}
			if r.Offset < p.end {
				f.add(r)
			}
			if r.Offset >= p.end-1 {
				delete(open, p)
				cl.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
			}
		}
	}
	return nil
}

func poll(ctx context.Context, cl *kgo.Client, left int) (kgo.Fetches, error) {
	wait, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	fs := cl.PollFetches(wait)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case wait.Err() != nil && fs.NumRecords() == 0:
		return nil, fmt.Errorf("nothing came for %v, though %d partitions have records left", silence, left)
	}
	for _, e := range fs.Errors() {
		if !errors.Is(e.Err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("reading %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
	}
	return fs, nil
}

// follower takes a partition's records, and numbers the transactions behind the first
// end. The one of a producer ends at its marker; that of another may have begun before.
type follower struct {
	*part
	txns map[int64]int // open, by producer
}

func (f *follower) add(r *kgo.Record) {
	if r.Attrs.IsControl() {
		delete(f.txns, r.ProducerID)
		return
	}
	p := f.part
	if p.compact && r.Offset < p.first {
		p.base[string(r.Key)] = r
	}
	if r.Offset >= p.readFrom {
		p.recs = append(p.recs, r)
	}
	if r.Offset < p.first {
		return
	}
	n, ok := f.txns[r.ProducerID]
	if !ok || !r.Attrs.IsTransactional() {
		n = p.nTxns
		p.nTxns++
		if r.Attrs.IsTransactional() {
			f.txns[r.ProducerID] = n
		}
	}
	p.txns = append(p.txns, n)
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
