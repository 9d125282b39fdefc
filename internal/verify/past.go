package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// At names a moment of the past: a time, or where the logs stood.
type At struct {
	Time time.Time

	// Offsets are ends, by topic as it is called on the cluster, and partition. What
	// is not named ends where it did when the first record after them was written.
	// Nil: Time counts.
	Offsets map[string]map[int32]int64
}

// ErrAt says that a moment cannot be: it is to come, or not of this cluster.
var ErrAt = errors.New("no moment of this log")

// slack is by how much the timestamps of one transaction's records may differ, and
// the clocks of who wrote them. Tables are cut by it before logs, so that these have
// what the tables show, and what was written by it before the tables' cut is in them.
const slack = 15 * time.Second

// past is a moment, and what is known of it now.
//
// What a group had committed then, nobody has written down. But its rows say which
// record each was written for, and a group handles a partition in order: all before
// was handled. What stands behind may have been, and so may what was parked: nobody
// knows when it was brought back. Balances have bounds of it.
//
// Of a compacted topic a key's version as of then is the last one below the cut, if
// there is any; if there is none, and one above, it may be gone.
type past struct {
	at   time.Time
	held bool                       // compaction cannot have taken any order's version of then yet
	gone map[string]map[string]bool // by topic: keys whose version of then may be
}

// rested are the topics of which past needs the versions of then. Tables and the order
// log say what was handled, too.
var rested = []string{topics.OrderTable, topics.InventoryTable, topics.CreditTable, topics.InvoicingTable, topics.VoucherTable, topics.Invoices, topics.Vouchers}

// unasked are topics that tell nothing of then: effects and who was told of them.
var unasked = []string{topics.NotificationTable, topics.EffectsTable, topics.Effects, topics.EffectsLoop, topics.NotificationLoop}

// lookBack reads the log as it was.
func lookBack(ctx context.Context, cfg Config, r *reader, w *world) error {
	now, err := r.cut(ctx)
	if err != nil {
		return err
	}
	moment, c, before, err := r.then(ctx, cfg, now)
	if err != nil {
		return err
	}
	lag, err := r.lag(ctx, topics.OrderTable)
	if err != nil {
		return err
	}
	w.past = &past{at: moment, held: cfg.Now().Sub(moment) < lag, gone: map[string]map[string]bool{}}
	marks := w.mark(c)

	reach := *c // how far to read: what comes after tells what of then is gone, and what was parked
	reach.ends = offsets{}
	for topic := range c.ends {
		switch {
		case slices.Contains(unasked, topic):
			reach.ends[topic] = c.starts[topic]
		case slices.Contains(rested, topic) || isLoop(topic):
			reach.ends[topic] = now.ends[topic]
		default:
			reach.ends[topic] = c.ends[topic]
		}
	}
	if err := r.readAll(ctx, &reach, w, rested, cfg.Progress); err != nil {
		return err
	}
	r.handled(c, marks)
	w.advance(c, &cut{ends: before})
	if err := r.readTo(ctx, &reach, w, cfg.Progress); err != nil {
		return err
	}
	w.settle()
	return nil
}

// then finds the moment: its cut, without what was committed, and the ends shortly before.
func (r *reader) then(ctx context.Context, cfg Config, now *cut) (t time.Time, c *cut, before offsets, err error) {
	t = cfg.At.Time
	if cfg.At.Offsets != nil {
		if t, err = r.moment(ctx, cfg, now); err != nil {
			return t, nil, nil, err
		}
	}
	if t.After(cfg.Now()) {
		return t, nil, nil, fmt.Errorf("%w: %s is to come", ErrAt, t.UTC().Format(time.RFC3339))
	}
	c = &cut{committed: offsets{}, starts: now.starts, ends: offsets{}, highs: offsets{}}
	for _, names := range [][]string{tables, logs} {
		at := t
		if &names[0] == &tables[0] {
			at = t.Add(-slack)
		}
		if err := r.endsAt(ctx, at, c.ends, names, now); err != nil {
			return t, nil, nil, err
		}
	}
	for topic := range c.ends {
		for p := range c.ends[topic] {
			if o, ok := cfg.At.Offsets[r.name(topic)][int32(p)]; ok {
				c.ends[topic][p] = max(o, c.starts[topic][p])
			}
		}
	}
	before = offsets{}
	if err := r.endsAt(ctx, t.Add(-2*slack), before, slices.Concat(tables, logs), now); err != nil {
		return t, nil, nil, err
	}
	for topic, os := range before {
		for p := range os {
			os[p] = min(os[p], c.ends[topic][p])
		}
	}
	for topic := range reads {
		c.committed[topic] = slices.Clone(c.starts[topic])
	}
	c.highs = c.ends
	return t, c, before, nil
}

// lag is how old a record must be for compaction to take away those before it.
func (r *reader) lag(ctx context.Context, topic string) (time.Duration, error) {
	all, err := r.adm.DescribeTopicConfigs(ctx, r.name(topic))
	if err != nil {
		return 0, fmt.Errorf("describing topic %q: %w", r.name(topic), err)
	}
	cs, err := all.On(r.name(topic), nil)
	if err == nil {
		err = cs.Err
	}
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("describing topic %q: %w", r.name(topic), err)
	}
	for _, c := range cs.Configs {
		if c.Key == "min.compaction.lag.ms" {
			ms, _ := strconv.ParseInt(c.MaybeValue(), 10, 64)
			return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond, nil
		}
	}
	return 0, nil
}

// endsAt lists where topics ended at a time.
func (r *reader) endsAt(ctx context.Context, t time.Time, into offsets, names []string, now *cut) error {
	err := r.list(ctx, func(ctx context.Context, full ...string) (kadm.ListedOffsets, error) {
		return r.adm.ListOffsetsAfterMilli(ctx, t.UnixMilli(), full...)
	}, into, names)
	if err != nil {
		return err
	}
	for _, topic := range names {
		for p, end := range now.ends[topic] {
			into[topic][p] = max(min(into[topic][p], end), now.starts[topic][p])
		}
	}
	return nil
}

// moment is when the first record after the offsets was written.
func (r *reader) moment(ctx context.Context, cfg Config, now *cut) (time.Time, error) {
	t := cfg.Now()
	known := map[string]string{}
	for topic := range now.ends {
		known[r.name(topic)] = topic
	}
	for full, parts := range cfg.At.Offsets {
		topic, ok := known[full]
		if !ok {
			return t, fmt.Errorf("%w: topic %q is none of those that are verified", ErrAt, full)
		}
		for p, o := range parts {
			switch {
			case p < 0 || int(p) >= len(now.ends[topic]):
				return t, fmt.Errorf("%w: topic %q has no partition %d", ErrAt, full, p)
			case o < 0 || o > now.ends[topic][p]:
				return t, fmt.Errorf("%w: topic %q, partition %d, ends at offset %d, not %d", ErrAt, full, p, now.ends[topic][p], o)
			}
			at, found, err := r.nextAt(ctx, topic, p, max(o, now.starts[topic][p]), now.ends[topic][p])
			if err != nil {
				return t, err
			}
			if found && at.Before(t) {
				t = at
			}
		}
	}
	return t, nil
}

// nextAt is when the first record at an offset or after it was written.
func (r *reader) nextAt(ctx context.Context, topic string, p int32, from, end int64) (time.Time, bool, error) {
	const peek = 16 << 10
	for from < end {
		fp, after, err := r.fetch(ctx, topic, p, from, end, peek)
		if err != nil {
			return time.Time{}, false, fmt.Errorf("reading topic %q, partition %d, offset %d: %w", r.name(topic), p, from, err)
		}
		if len(fp.Records) > 0 {
			return fp.Records[0].Timestamp, fp.Records[0].Offset < end, nil
		}
		from = after
	}
	return time.Time{}, false, nil
}

// holder is a sink that knows what it has.
type holder interface {
	sink
	has(key string) bool
}

func (l *orderLog) has(key string) bool { return l.orders[key] != nil }
func (rs *rows[T]) has(key string) bool { _, ok := rs.rows[key]; return ok }
func (ds *docs[D]) has(key string) bool { _, ok := ds.docs[key]; return ok }

// mark is one partition of a rested topic.
type mark struct {
	holder
	w     *world
	topic string
	end   int64
	seen  map[source]int64 // of origins: the last one
	gone  map[string]bool
	row   schemas.Order
}

type source struct {
	topic     [16]byte
	partition int32
}

// mark puts one before each partition of the rested topics.
func (w *world) mark(c *cut) (all []*mark) {
	for _, topic := range rested {
		for p, s := range w.sinks[topic] {
			m := &mark{holder: s.(holder), w: w, topic: topic, end: c.ends[topic][p], seen: map[source]int64{}, gone: map[string]bool{}}
			w.sinks[topic][p] = m
			all = append(all, m)
		}
	}
	return all
}

func (m *mark) add(r *kgo.Record) error {
	if r.Offset < m.end {
		if documents := m.topic == topics.Invoices || m.topic == topics.Vouchers; documents {
			return m.holder.add(r) // they are cut after the tables, and tell of more
		}
		if o, err := kgoka.ParseOrigin([]byte(event.Header(r, kgoka.OriginHeader))); err == nil {
			at := source{o.TopicID, o.Partition}
			m.seen[at] = max(m.seen[at], o.Offset+1)
		}
		return m.holder.add(r)
	}
	key := string(r.Key)
	if m.gone[key] || m.has(key) {
		return nil
	}
	if m.topic == topics.OrderTable && m.w.past.held {
		return nil
	}
	if m.topic == topics.OrderTable {
		err := m.w.serde.DecodeInto(m.w.ctx, m.topic, r.Value, &m.row)
		if errors.Is(err, schemas.ErrRegistry) {
			return err
		}
		if err != nil || m.row.Version == 1 || m.row.PlacedAt > m.w.past.at.UnixMilli() {
			return nil // it was not there yet
		}
	}
	m.gone[key] = true
	return nil
}

// handled finds out what groups had handled, and what is gone.
func (r *reader) handled(c *cut, marks []*mark) {
	r.mu.Lock()
	ids := map[[16]byte]string{}
	for topic := range reads {
		ids[r.details[r.name(topic)].ID] = topic
	}
	r.mu.Unlock()
	for _, m := range marks {
		for at, offset := range m.seen {
			if os, ok := c.committed[ids[at.topic]]; ok && int(at.partition) < len(os) {
				os[at.partition] = min(max(os[at.partition], offset), c.ends[ids[at.topic]][at.partition])
			}
		}
		if m.w.past.gone[m.topic] == nil {
			m.w.past.gone[m.topic] = map[string]bool{}
		}
		for key := range m.gone {
			m.w.past.gone[m.topic][key] = true
		}
	}
}

// gone tells whether a key's version of then may be.
func (w *world) gone(topic, key string) bool {
	return w.past != nil && w.past.gone[topic][key]
}

// missing fails a check for a row that is not there, unless its version of then may be
// gone.
func (w *world) missing(c *Check, topic, key string, v Violation) {
	if w.gone(topic, key) {
		c.Gone++
		return
	}
	c.fail(v)
}

// skips tells why a check cannot be made of then, "" if it can.
func (w *world) skips(check string) string {
	if w.past == nil {
		return ""
	}
	switch check {
	case "effects":
		return "who was told of what, tables show as it is now only"
	case "deadlines":
		return "which were set, the calendar shows as it is now only"
	case "parked":
		return "when it was brought back is not written down"
	case "orders", "stock", "credit", "invoices", "vouchers":
		if n := len(w.past.gone[topics.OrderTable]); n > 0 {
			return count(int64(n)) + " orders of then are gone: compaction has left later versions only"
		}
	}
	var n int64
	w.eachOrder(func(o *order) {
		n += one(check == "invoices" && w.lacksInvoice(o) || check == "vouchers" && w.lacksVoucher(o))
	})
	if n > 0 {
		return count(n) + " orders had documents or rows that were written again since"
	}
	return ""
}

// lacksInvoice tells whether a document that an order names was written again.
func (w *world) lacksInvoice(o *order) bool {
	return w.gone(topics.Invoices, o.invoice.InvoiceID) || w.gone(topics.Invoices, o.creditNote.InvoiceID)
}

func (w *world) lacksVoucher(o *order) bool {
	again := func(v schemas.EarnedVoucher) bool { return w.gone(topics.Vouchers, v.VoucherID) }
	var row schemas.Grants
	if int(o.partition) < len(w.grants) {
		row = w.grants[o.partition].rows[o.id]
	}
	return o.earns() && w.followed(o) && w.gone(topics.VoucherTable, o.id) || slices.ContainsFunc(o.vouchers, again) || slices.ContainsFunc(row.Granted, again)
}
