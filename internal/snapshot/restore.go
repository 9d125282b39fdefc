package snapshot

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/topics"
)

// A lost cluster is restored into one whose topics are there, and empty. Logs that are
// not compacted get the offsets that they had, since others name records by them: dead
// letters, the audit, entries of the calendar. What is missing before the first record is
// filled and deleted, and what is missing between them, transaction markers mostly,
// is filled with transactions that are aborted or committed. Tables are laid down
// without gaps, and offsets of those that are read are translated.
//
// Topic IDs are others then, and rows remember those of before. That is right:
// records that were under way name the old topics as their origin, and what is
// written anew is new. Commands from outside name none, and are known by where they
// stand: on the new topic, at the offset of before. So rows remember that, too.

// Errors of a cluster that is not fit to be restored to.
var (
	ErrNotEmpty  = errors.New("the cluster is not empty")
	ErrPartial   = errors.New("the snapshot is of some groups only")
	ErrElsewhere = errors.New("the snapshot is of another namespace")
)

// Restored is what was written.
type Restored struct {
	ID      string `json:"snapshot"`
	Records int64  `json:"records"`
	Filled  int64  `json:"filled"` // offsets without a record
	Groups  int    `json:"groups"`
}

// Restore brings all of a snapshot to an empty cluster, whose topics are there. Offsets
// come last: what was interrupted begins again with new topics.
func Restore(ctx context.Context, cfg Config, from Store, id string) (*Restored, error) {
	cfg = cfg.withDefaults()
	m, err := Open(ctx, from, id)
	if err != nil {
		return nil, err
	}
	if !m.Whole {
		return nil, fmt.Errorf("snapshot %q: %w: it can go back in place", id, ErrPartial)
	}
	if m.Namespace != cfg.Namespace { // dead letters, and what is parked, name topics in full
		return nil, fmt.Errorf("snapshot %q: %w: %q", id, ErrElsewhere, m.Namespace)
	}
	cfg.Tell("checking")
	if err := m.Check(ctx, from); err != nil {
		return nil, err
	}
	adm, err := kadm.NewOptClient(cfg.Opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	defer adm.Close()
	l := layer{cfg: cfg, m: m, from: from, adm: adm, ids: map[string][16]byte{}, was: map[string][16]byte{}, res: &Restored{ID: id}, starts: map[place]int64{}}
	if err := l.empty(ctx); err != nil {
		return nil, err
	}
	if err := l.open(); err != nil {
		return nil, err
	}
	defer l.close()
	for _, t := range m.Topics {
		cfg.Tell("writing " + l.name(t.Name))
		for num := range t.Parts {
			if err := l.part(ctx, t, num); err != nil {
				return nil, fmt.Errorf("writing %s/%d: %w", l.name(t.Name), num, err)
			}
		}
	}
	cfg.Tell("committing offsets")
	for _, g := range m.Groups {
		if err := l.commit(ctx, g); err != nil {
			return nil, err
		}
	}
	return l.res, nil
}

// layer lays records down.
type layer struct {
	cfg   Config
	m     *Manifest
	from  Store
	adm   *kadm.Client
	ids   map[string][16]byte // of the new topics, by catalogue name
	was   map[string][16]byte // of those in the snapshot
	plain *kgo.Client
	txn   *kgo.Client
	res   *Restored

	starts map[place]int64 // of logs that do not begin at 0
}

func (l *layer) name(bare string) string { return topics.Prefixed(l.cfg.Namespace, bare) }

// empty sees to it that nothing is there but topics.
func (l *layer) empty(ctx context.Context) error {
	var full []string
	for _, t := range l.m.Topics {
		full = append(full, l.name(t.Name))
	}
	listed, err := l.adm.ListTopics(kadm.WithAuthorizedOps(ctx), full...) // see client.Starts
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	for _, t := range l.m.Topics {
		d, ok := listed[l.name(t.Name)]
		switch {
		case !ok || d.Err != nil:
			return fmt.Errorf("topic %q: %w", l.name(t.Name), client.ErrNoTopic)
		case len(d.Partitions) != l.m.Partitions:
			return fmt.Errorf("topic %q has %d partitions, and had %d in the snapshot: keys would be on others", l.name(t.Name), len(d.Partitions), l.m.Partitions)
		}
		l.ids[t.Name] = d.ID
		id, err := hex.DecodeString(t.ID)
		if err != nil || len(id) != len(d.ID) {
			return fmt.Errorf("snapshot %q: %w: topic %s had ID %q", l.m.ID, ErrDamage, t.Name, t.ID)
		}
		l.was[t.Name] = [16]byte(id)
	}
	ends, err := l.adm.ListEndOffsets(ctx, full...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("listing offsets: %w", err)
	}
	var written []string
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 && !slices.Contains(written, o.Topic) {
			written = append(written, o.Topic)
		}
	})
	if slices.Sort(written); len(written) > 0 {
		return fmt.Errorf("%w: there are, or were, records on %s", ErrNotEmpty, strings.Join(written, ", "))
	}
	for _, g := range l.m.Groups {
		at, err := group.Offsets(ctx, l.adm, l.name(g.Name))
		if err != nil {
			return err
		}
		if len(at) > 0 {
			return fmt.Errorf("%w: group %s has offsets", ErrNotEmpty, l.name(g.Name))
		}
	}
	return nil
}

func (l *layer) open() (err error) {
	opts := append(slices.Clone(l.cfg.Opts), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.ZstdCompression(), kgo.NoCompression()))
	if l.plain, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("kafka client: %w", err)
	}
	l.txn, err = kgo.NewClient(append(opts, kgo.TransactionalID(l.name("snapshot-restore")), kgo.TransactionTimeout(10*time.Minute))...)
	if err != nil {
		l.plain.Close()
		return fmt.Errorf("kafka client: %w", err)
	}
	return nil
}

func (l *layer) close() {
	l.plain.Close()
	l.txn.Close()
}

// part lays a partition down.
func (l *layer) part(ctx context.Context, t Topic, num int) error {
	rs, err := l.m.Read(ctx, l.from, t.Name, num)
	if err != nil {
		return err
	}
	for _, r := range rs {
		r.Topic = l.name(t.Name)
		l.remember(r)
	}
	l.res.Records += int64(len(rs))
	if entry, _ := topics.Find(t.Name); entry.Compact {
		return l.produce(ctx, rs)
	}
	to := place{l.name(t.Name), int32(num)}
	return l.log(ctx, to, rs, t.Parts[num].End)
}

// remember has a row know commands from outside by the topics that they stand on now, too.
func (l *layer) remember(r *kgo.Record) {
	for i, h := range r.Headers {
		if h.Key != kgoka.AppliedHeader {
			continue
		}
		applied, err := kgoka.ParseApplied(h.Value)
		if err != nil {
			return // one that is broken is none
		}
		for _, t := range l.m.Topics {
			if entry, _ := topics.Find(t.Name); entry.External {
				applied = applied.Renamed(l.was[t.Name], l.ids[t.Name])
			}
		}
		r.Headers[i].Value = applied
	}
}

type place struct {
	topic string
	num   int32
}

// filler is a record that nobody sees.
func (p place) filler() *kgo.Record {
	return &kgo.Record{Topic: p.topic, Partition: p.num, Value: []byte("filler")}
}

// log lays records down such that they have their offsets, and the log ends at end.
// One without records begins at 0, since the embedded broker forgets where one begins
// of which all records were deleted.
func (l *layer) log(ctx context.Context, to place, rs []*kgo.Record, end int64) error {
	if len(rs) == 0 && end != 1 {
		return l.fill(ctx, to, end)
	}
	start := end
	if len(rs) > 0 {
		start = rs[0].Offset
	}
	if err := l.begin(ctx, to, start); err != nil {
		return err
	}
	for len(rs) > 0 {
		n := 1 // a run without a gap
		for n < len(rs) && rs[n].Offset == rs[n-1].Offset+1 {
			n++
		}
		next := end
		if n < len(rs) {
			next = rs[n].Offset
		}
		if err := l.run(ctx, to, rs[:n], next-rs[n-1].Offset-1); err != nil {
			return err
		}
		rs = rs[n:]
	}
	return nil
}

// begin makes a log that begins at an offset.
func (l *layer) begin(ctx context.Context, to place, start int64) error {
	if start == 0 {
		return nil
	}
	const most = 10_000
	for left := start; left > 0; left -= most {
		if err := l.produce(ctx, fillers(to, min(left, most))); err != nil {
			return err
		}
	}
	l.res.Filled += start
	l.starts[to] = start
	var upTo kadm.Offsets
	upTo.AddOffset(to.topic, to.num, start, -1)
	deleted, err := l.adm.DeleteRecords(ctx, upTo)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		return fmt.Errorf("deleting records before offset %d: %w", start, err)
	}
	return nil
}

func fillers(to place, n int64) []*kgo.Record {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = to.filler()
	}
	return rs
}

// run writes records and leaves a gap behind them.
func (l *layer) run(ctx context.Context, to place, rs []*kgo.Record, gap int64) error {
	if gap == 1 { // the marker of their transaction
		l.res.Filled++
		return l.transact(ctx, rs, kgo.TryCommit)
	}
	if err := l.produce(ctx, rs); err != nil {
		return err
	}
	return l.fill(ctx, to, gap)
}

// fill leaves a gap, which is not 1: records of transactions that are aborted, and
// their markers.
func (l *layer) fill(ctx context.Context, to place, gap int64) error {
	const most = 10_000
	for l.res.Filled += max(gap, 0); gap > 0; {
		n := min(gap, most)
		if gap-n == 1 {
			n--
		}
		if err := l.transact(ctx, fillers(to, n-1), kgo.TryAbort); err != nil {
			return err
		}
		gap -= n
	}
	return nil
}

func (l *layer) produce(ctx context.Context, rs []*kgo.Record) error {
	return produce(ctx, l.plain, rs)
}

func (l *layer) transact(ctx context.Context, rs []*kgo.Record, end kgo.TransactionEndTry) error {
	if err := l.txn.BeginTransaction(); err != nil {
		return err
	}
	if err := produce(ctx, l.txn, rs); err != nil {
		return errors.Join(err, kgoka.EndTransaction(context.WithoutCancel(ctx), l.txn, kgo.TryAbort))
	}
	err := kgoka.EndTransaction(ctx, l.txn, end)
	if errors.Is(err, kerr.OperationNotAttempted) {
		err = errors.Join(err, l.txn.EndTransaction(context.WithoutCancel(ctx), kgo.TryAbort))
	}
	return err
}

// produce returns when all is written, in order.
func produce(ctx context.Context, cl *kgo.Client, rs []*kgo.Record) error {
	var failed error
	done := make(chan error, 1)
	for _, r := range rs {
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case done <- err:
				default:
				}
			}
		})
	}
	failed = cl.Flush(ctx)
	select {
	case err := <-done:
		return err
	default:
		return failed
	}
}

// commit brings a group to where it was.
func (l *layer) commit(ctx context.Context, g Group) error {
	var at kadm.Offsets
	for _, in := range sorted(g.Offsets) {
		for num, offset := range g.Offsets[in] {
			if offset < 0 {
				continue
			}
			offset, err := l.translated(ctx, in, num, offset)
			if err != nil {
				return err
			}
			at.Add(kadm.Offset{Topic: l.name(in), Partition: int32(num), At: offset, LeaderEpoch: -1,
				Metadata: kgoka.CommitMetadata(l.ids[in], l.ids[g.Table])})
		}
	}
	if err := l.adm.CommitAllOffsets(ctx, l.name(g.Name), at); err != nil {
		return fmt.Errorf("committing offsets of group %q: %w", l.name(g.Name), err)
	}
	l.res.Groups++
	return nil
}

// translated is an offset as it is on the new topic: the start of its log where nothing
// stands before that.
func (l *layer) translated(ctx context.Context, topic string, num int, offset int64) (int64, error) {
	if entry, _ := topics.Find(topic); !entry.Compact {
		return max(offset, l.starts[place{l.name(topic), int32(num)}]), nil
	}
	rs, err := l.m.Read(ctx, l.from, topic, num)
	if err != nil {
		return 0, err
	}
	n, _ := slices.BinarySearchFunc(rs, offset, func(r *kgo.Record, o int64) int { return int(min(1, max(-1, r.Offset-o))) })
	return int64(n), nil
}
