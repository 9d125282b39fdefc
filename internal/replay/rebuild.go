package replay

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/topics"
)

// Rebuild computes a table anew. Those of resources, and of who asks for effects, follow
// from the log (verify.Rows): their offsets stay, and their rows remember what they had
// seen, so nothing is handled or asked for again. That of the vouchers is emptied, and
// the order log read from its start: a voucher that was granted is granted again under
// the same ID, which changes nothing.
//
// A row that is right is not written. One that is not keeps its queue in the calendar,
// and what it remembers is what it remembered and all inputs of its key that the group
// has passed.
const Rebuild = "rebuild"

// follower is the group whose table is made from the order log by reading it again.
const follower = "voucher"

// teller follows the order log, too.
const teller = "notification"

func rebuild(_ context.Context, r *Replayer, g *Group) error {
	most := int32(0)
	for _, p := range g.Parts {
		most = max(most, p.Partition+1)
	}
	if len(g.Parts) != int(most)*len(g.unit.Inputs) {
		g.Problems = append(g.Problems, "a table is rebuilt as a whole: without --topic")
	}
	switch {
	case g.Name == follower:
		for _, p := range g.Parts {
			if p.Topic == r.name(topics.OrderTable) {
				p.Target = p.Start
			} else {
				p.Target = p.Committed
			}
		}
		g.Notes = append(g.Notes, "the table is emptied, and the order log read from its start; vouchers have the IDs that they had")
		return nil
	case !slices.Contains(verify.Rebuilt(), g.Name):
		g.Problems = append(g.Problems, fmt.Sprintf("rows of %s are not recomputed: they are the truth, and can only go back to a snapshot", g.Name))
	}
	none := true
	for _, p := range g.Parts {
		p.Target, p.Note = p.Committed, ""
		none = none && p.Committed < 0
		if t, _ := topics.Find(strings.TrimPrefix(p.Topic, r.name(""))); t.Retention == topics.Forever && p.Start > 0 {
			g.Problems = append(g.Problems, fmt.Sprintf("%s/%d begins at %d: what stood before that has gone, and rows would be computed without it", p.Topic, p.Partition, p.Start))
		}
	}
	if none {
		g.Problems = append(g.Problems, "the group has never run: there is nothing to rebuild")
	}
	g.Notes = append(g.Notes, "rows are computed from the log as it is when the group is held; offsets stay, so nothing is handled again and no effect is asked for")
	return nil
}

// rebuildRows are the rows that are not as they should be.
func rebuildRows(ctx context.Context, r *Replayer, g *Group) (recs []*kgo.Record, err error) {
	rows, parts, err := r.rows(ctx, g)
	if err != nil {
		return nil, err
	}
	if g.Name == follower {
		return empty(rows), nil
	}
	want, err := r.wanted(ctx, g)
	if err != nil {
		return nil, err
	}
	wrong := map[string]*kgo.Record{}
	for key, value := range want {
		if is := rows[key]; is == nil || !bytes.Equal(is.Value, value) {
			wrong[key] = &kgo.Record{Topic: g.Table, Partition: client.PartitionOf(key, parts), Key: []byte(key), Value: value}
		}
	}
	for key, is := range rows {
		if want[key] == nil && len(is.Value) > 0 {
			wrong[key] = &kgo.Record{Topic: g.Table, Partition: is.Partition, Key: is.Key, Value: []byte{}}
		}
	}
	seen, err := r.seen(ctx, g, wrong)
	if err != nil {
		return nil, err
	}
	for _, key := range sorted(wrong) {
		rec, is := wrong[key], rows[key]
		was, note := kgoka.Applied(nil), []byte(nil)
		if is != nil {
			was, _ = kgoka.ParseApplied(headerOf(is, kgoka.AppliedHeader)) // one that is broken is none
			note = headerOf(is, kgoka.NoteHeader)
		}
		now := was
		for _, o := range seen[key] {
			now = now.With(o)
		}
		if is == nil {
			now = now.Anew(rec.Partition, r.cfg.Now())
		}
		rec.Headers = memory(now, note)
		if len(rec.Value)+len(rec.Headers) == 0 {
			rec.Value = nil
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// memory is what stands beside a row.
func memory(applied kgoka.Applied, note []byte) (hs []kgo.RecordHeader) {
	if len(applied) > 0 {
		hs = append(hs, kgo.RecordHeader{Key: kgoka.AppliedHeader, Value: applied})
	}
	if len(note) > 0 {
		hs = append(hs, kgo.RecordHeader{Key: kgoka.NoteHeader, Value: note})
	}
	return hs
}

func headerOf(r *kgo.Record, key string) []byte {
	for _, h := range r.Headers {
		if h.Key == key {
			return h.Value
		}
	}
	return nil
}

// empty deletes all rows, but for their queues.
func empty(rows map[string]*kgo.Record) (recs []*kgo.Record) {
	for _, key := range sorted(rows) {
		recs = append(recs, gone(rows[key], headerOf(rows[key], kgoka.NoteHeader)))
	}
	return recs
}

// gone deletes a row. Where rows remember, it is an empty one that does not remember
// what the one that is there does: a deletion would leave the log one day, and who reads
// it later would take what comes after for older than what he has.
func gone(is *kgo.Record, note []byte) *kgo.Record {
	was, _ := kgoka.ParseApplied(headerOf(is, kgoka.AppliedHeader))
	rec := &kgo.Record{Topic: is.Topic, Partition: is.Partition, Key: is.Key, Headers: memory(kgoka.Applied(nil).Over(was, is.Partition), note)}
	if len(rec.Headers) > 0 {
		rec.Value = []byte{}
	}
	return rec
}

// rows reads a group's table: the last record of each key, but for deletions; and how
// many partitions there are.
func (r *Replayer) rows(ctx context.Context, g *Group) (map[string]*kgo.Record, int, error) {
	span, err := client.Whole(ctx, r.adm, g.Table)
	if err != nil {
		return nil, 0, err
	}
	rows := map[string]*kgo.Record{}
	err = span.Read(ctx, r.cfg.Opts, func(rec *kgo.Record) (bool, error) {
		if rows[string(rec.Key)] = rec; len(rec.Value) == 0 && len(memory(headerOf(rec, kgoka.AppliedHeader), headerOf(rec, kgoka.NoteHeader))) == 0 {
			delete(rows, string(rec.Key))
		}
		return true, nil
	})
	return rows, len(span.From), err
}

// wanted are the values that rows should have.
func (r *Replayer) wanted(ctx context.Context, g *Group) (map[string][]byte, error) {
	bodies, err := verify.Rows(ctx, verify.Config{Client: r.cfg.Opts, Serde: r.cfg.Serde, Namespace: r.cfg.Namespace}, g.Name)
	if err != nil {
		return nil, err
	}
	values := make(map[string][]byte, len(bodies))
	for key, body := range bodies {
		if values[key], err = r.cfg.Serde.Encode(nil, g.unit.Table, body); err != nil {
			return nil, fmt.Errorf("row %q: %w", key, err)
		}
	}
	return values, nil
}

// seen are the last origins, of each of their partitions, that rows of these keys
// must have seen: of what the group has passed on its inputs, as far as that is there.
func (r *Replayer) seen(ctx context.Context, g *Group, of map[string]*kgo.Record) (map[string][]kgoka.Origin, error) {
	type place struct {
		topic     [16]byte
		partition int32
	}
	last := map[string]map[place]kgoka.Origin{}
	add := func(rec *kgo.Record) (bool, error) {
		key := string(rec.Key)
		if of[key] == nil {
			return true, nil
		}
		o, err := kgoka.ParseOrigin(headerOf(rec, kgoka.OriginHeader))
		if err != nil {
			o = kgoka.Origin{TopicID: g.ids[rec.Topic], Partition: rec.Partition, Offset: rec.Offset}
		}
		if last[key] == nil {
			last[key] = map[place]kgoka.Origin{}
		}
		at := place{o.TopicID, o.Partition}
		if was, there := last[key][at]; !there || was.Offset < o.Offset || was.Offset == o.Offset && was.Index < o.Index {
			last[key][at] = o
		}
		return true, nil
	}
	spans := map[string]client.Span{}
	for _, p := range g.Parts {
		s, ok := spans[p.Topic]
		if !ok {
			s = client.Span{Topic: p.Topic, From: map[int32]int64{}, To: map[int32]int64{}}
			spans[p.Topic] = s
		}
		s.From[p.Partition], s.To[p.Partition] = p.Start, max(p.Start, p.Committed)
	}
	if len(of) == 0 {
		return nil, nil
	}
	for _, topic := range sorted(spans) {
		if err := spans[topic].Read(ctx, r.cfg.Opts, add); err != nil {
			return nil, err
		}
	}
	all := make(map[string][]kgoka.Origin, len(last))
	for key, os := range last {
		all[key] = slices.Collect(maps.Values(os))
	}
	return all, nil
}
