package replay

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/calendar"
	"github.com/orderlog/orderlog/internal/ledger"
	"github.com/orderlog/orderlog/internal/snapshot"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/topics"
)

// Restore brings a group back to a snapshot of this cluster: its offsets, and the rows of
// its table. What it handled since it handles again, and what it writes then has the
// origins that it had: whoever has seen that skips it. So it must come to the same, and
// of a rule that reads several topics nobody knows whether it does: that is warned of,
// and a rebuild is the way out.
const Restore = "restore"

// From is the snapshot that groups go back to.
type From struct {
	Store    snapshot.Store
	Manifest *snapshot.Manifest
}

// ToSnapshot is what has groups of a namespace go back to a snapshot.
func ToSnapshot(ctx context.Context, store snapshot.Store, id, namespace string, groups ...string) (Spec, error) {
	m, err := snapshot.Open(ctx, store, id)
	if err != nil {
		return Spec{}, err
	}
	spec := Spec{Groups: groups, Target: Target{Kind: ToBefore}, Mode: Restore, From: &From{store, m}}
	for _, name := range groups {
		g, ok := m.Group(name)
		if !ok {
			return Spec{}, fmt.Errorf("snapshot %q is not of group %s", id, name)
		}
		for _, in := range sorted(g.Offsets) {
			for num, at := range g.Offsets[in] {
				spec.Target.File = append(spec.Target.File, Line{Group: topics.Prefixed(namespace, name), Topic: topics.Prefixed(namespace, in), Partition: int32(num), Offset: at})
			}
		}
	}
	return spec, nil
}

// restore looks whether the snapshot is of these topics.
func restore(_ context.Context, r *Replayer, g *Group) error {
	if g.from == nil {
		return fmt.Errorf("mode %s needs a snapshot to go back to", Restore)
	}
	m := g.from.Manifest
	g.Notes = append(g.Notes, fmt.Sprintf("back to snapshot %s, of %s", m.ID, m.At.Format("2006-01-02T15:04:05Z")))
	for _, topic := range sorted(g.ids) {
		bare := strings.TrimPrefix(topic, r.name(""))
		t, ok := m.Topic(bare)
		if id := g.ids[topic]; ok && t.ID != hex.EncodeToString(id[:]) {
			g.Problems = append(g.Problems, fmt.Sprintf("topic %q has been made anew since: `orderlog snapshot restore` brings back a cluster that was lost", topic))
		}
	}
	again := int64(0)
	for _, p := range g.Parts {
		again += p.Again()
	}
	switch g.Name {
	case follower, teller:
	case ledger.Name:
		g.warn("sent", "what was sent since is sent again: the world does not go back")
	case calendar.Name:
		g.warn("dispatched", "what was dispatched since is dispatched again; who gets it knows it by its place in the queue")
	default:
		if again > 0 {
			g.warn("anew", fmt.Sprintf("%d offsets are handled anew, and others have acted on what was decided then: where it is decided otherwise, only --mode rebuild of the groups concerned puts that right", again))
		}
	}
	return nil
}

// restoreRows are the rows that are not as they were.
func restoreRows(ctx context.Context, r *Replayer, g *Group) (recs []*kgo.Record, err error) {
	is, parts, err := r.rows(ctx, g)
	if err != nil {
		return nil, err
	}
	if parts != g.from.Manifest.Partitions {
		return nil, fmt.Errorf("topic %q has %d partitions, and had %d in the snapshot: keys are on others", g.Table, parts, g.from.Manifest.Partitions)
	}
	for num := range parts {
		rs, err := g.from.Manifest.Read(ctx, g.from.Store, g.unit.Table, num)
		if err != nil {
			return nil, err
		}
		for _, was := range rs {
			key := string(was.Key)
			now := is[key]
			delete(is, key)
			if now != nil && sameRow(was, now) {
				continue
			}
			was.Topic = g.Table
			if now != nil {
				was.Headers = over(was, now)
			}
			recs = append(recs, was)
		}
	}
	for _, key := range sorted(is) {
		recs = append(recs, gone(is[key], nil))
	}
	return recs, nil
}

func sameRow(a, b *kgo.Record) bool {
	return bytes.Equal(a.Value, b.Value) && bytes.Equal(headerOf(a, kgoka.AppliedHeader), headerOf(b, kgoka.AppliedHeader)) &&
		bytes.Equal(headerOf(a, kgoka.NoteHeader), headerOf(b, kgoka.NoteHeader))
}

// over are the headers of a row that takes the place of another one.
func over(was, now *kgo.Record) []kgo.RecordHeader {
	applied, _ := kgoka.ParseApplied(headerOf(was, kgoka.AppliedHeader)) // one that is broken is none
	other, _ := kgoka.ParseApplied(headerOf(now, kgoka.AppliedHeader))
	hs := slices.DeleteFunc(slices.Clone(was.Headers), func(h kgo.RecordHeader) bool { return h.Key == kgoka.AppliedHeader })
	return append(hs, memory(applied.Over(other, was.Partition), nil)...)
}

// keep takes a snapshot of a group that is held, so that what is done to it can be undone.
func (r *Replayer) keep(ctx context.Context, g *Group, how How) (id string, err error) {
	if r.cfg.Store == nil {
		return "", fmt.Errorf("rows of %s would be changed, and nobody said where to keep what they are now", g.Name)
	}
	how.Tell(fmt.Sprintf("keeping a snapshot of %s in %s", g.Name, r.cfg.Store))
	m, err := snapshot.Create(ctx, snapshot.Config{Opts: r.cfg.Opts, Namespace: r.cfg.Namespace, Now: r.cfg.Now}, r.cfg.Store, g.Name)
	if err != nil {
		return "", err
	}
	return m.ID, nil
}
