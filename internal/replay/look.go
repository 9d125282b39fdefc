package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/kgoka"
)

// group looks at one, and judges what is wanted of it.
func (r *Replayer) group(ctx context.Context, u Unit, m mode, spec Spec) (*Group, error) {
	g := &Group{Name: u.Name, Members: []string{}, Table: r.name(u.Table), unit: u, full: r.name(u.Name), from: spec.From}
	if err := r.describe(ctx, g); err != nil {
		return nil, err
	}
	parts, err := r.selected(u, spec)
	if err != nil {
		return nil, err
	}
	if g.ids, err = r.topicIDs(ctx, append(slices.Clone(u.Inputs), u.Table)); err != nil {
		return nil, err
	}
	if err := r.aim(ctx, g, parts, spec.Target); err != nil {
		return nil, err
	}
	if err := m.check(ctx, r, g); err != nil {
		return nil, err
	}
	g.judge(spec.Target)
	return g, nil
}

// describe says who is in a group.
func (r *Replayer) describe(ctx context.Context, g *Group) error {
	described, err := r.adm.DescribeGroups(ctx, g.full)
	if err != nil {
		return fmt.Errorf("describing group %q: %w", g.full, err)
	}
	d := described[g.full]
	g.State, g.Members = d.State, []string{}
	for _, m := range d.Members {
		g.Members = append(g.Members, memberName(m))
	}
	return nil
}

func memberName(m kadm.DescribedGroupMember) string {
	if m.InstanceID != nil {
		return fmt.Sprintf("instance %s (%s)", *m.InstanceID, strings.TrimPrefix(m.ClientHost, "/"))
	}
	return fmt.Sprintf("%s (%s)", m.ClientID, strings.TrimPrefix(m.ClientHost, "/"))
}

// selected returns the partitions that are meant; nil: all of a topic.
func (r *Replayer) selected(u Unit, spec Spec) (map[string][]int32, error) {
	parts := map[string][]int32{}
	for _, s := range spec.Only {
		i := slices.IndexFunc(u.Inputs, func(t string) bool { return t == s.Topic || r.name(t) == s.Topic })
		if i < 0 {
			return nil, fmt.Errorf("topic %q is not an input of group %s: it reads %s", s.Topic, u.Name, strings.Join(u.Inputs, ", "))
		}
		in := u.Inputs[i]
		if some, there := parts[in]; there && some == nil || len(s.Partitions) == 0 {
			parts[in] = nil // all of it was said, too
			continue
		}
		parts[in] = append(parts[in], s.Partitions...)
	}
	if len(spec.Only) == 0 {
		for _, t := range u.Inputs {
			parts[t] = nil
		}
	}
	return parts, nil
}

func (r *Replayer) topicIDs(ctx context.Context, bare []string) (map[string][16]byte, error) {
	ids := map[string][16]byte{}
	for _, t := range bare {
		ids[r.name(t)] = [16]byte{}
	}
	listed, err := r.adm.ListTopics(kadm.WithAuthorizedOps(ctx), sorted(ids)...) // see client.Starts
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", err)
	}
	for t := range ids {
		d, ok := listed[t]
		if !ok || d.Err != nil {
			return nil, fmt.Errorf("topic %q: %w", t, client.ErrNoTopic)
		}
		ids[t] = d.ID
	}
	return ids, nil
}

// aim fills in the partitions.
func (r *Replayer) aim(ctx context.Context, g *Group, parts map[string][]int32, to Target) error {
	committed, err := group.Offsets(ctx, r.adm, g.full)
	if err != nil {
		return err
	}
	for _, bare := range sorted(parts) {
		topic := r.name(bare)
		xs, err := r.extents(ctx, topic, to)
		if err != nil {
			return err
		}
		for _, num := range parts[bare] {
			if int(num) >= len(xs) {
				return fmt.Errorf("topic %q has no partition %d: it has %d", topic, num, len(xs))
			}
		}
		for _, x := range xs {
			if nums := parts[bare]; len(nums) > 0 && !slices.Contains(nums, x.Partition) {
				continue
			}
			if o, ok := committed.Lookup(topic, x.Partition); ok && o.At >= 0 {
				log, rows := kgoka.OfOthers(o.Metadata, g.ids[topic], g.ids[g.Table])
				if g.lost = g.lost || rows; log {
					where := fmt.Sprintf("%s/%d", topic, x.Partition)
					g.warn("anew "+where, fmt.Sprintf("%s: offset %d is of a log that was deleted; nothing is handled of the one that was made anew", where, o.At))
				} else {
					x.Committed = o.At
				}
			}
			if err := g.part(x, to, g.ids[topic]); err != nil {
				return err
			}
		}
	}
	return nil
}

// part adds a partition, unless a file does not name it.
func (g *Group) part(x Extent, to Target, id [16]byte) error {
	at, note, ok, err := to.Of(g.full, x)
	if err != nil {
		g.Problems = append(g.Problems, err.Error())
		at, note = x.Committed, ""
	} else if !ok {
		return nil
	}
	p := &Part{Topic: x.Topic, Partition: x.Partition, Committed: x.Committed, Target: at, Start: x.Start, End: x.End, Note: note, id: id}
	g.Parts = append(g.Parts, p)
	return nil
}

// extents returns what the partitions of a topic hold, in order.
func (r *Replayer) extents(ctx context.Context, topic string, to Target) ([]Extent, error) {
	starts, err := client.Starts(ctx, r.adm, topic)
	if err != nil {
		return nil, err
	}
	var at map[int32]int64
	if to.timed() {
		if at, err = client.At(ctx, r.adm, topic, to.Time); err != nil {
			return nil, err
		}
	}
	ends, err := client.Written(ctx, r.adm, topic)
	if err != nil {
		return nil, err
	}
	var xs []Extent
	for _, num := range sorted(ends) {
		x := Extent{Topic: topic, Partition: num, Committed: -1, Start: starts[num], End: ends[num], AtTime: ends[num]}
		if to.timed() {
			x.AtTime = at[num]
		}
		xs = append(xs, x)
	}
	return xs, nil
}

// sampleSize is how many offsets of a partition are read to see how fast that is.
const sampleSize = 500

// sample reads the beginning of what will be read again: how old it is, and how fast
// it can be read. Handling takes longer.
func (r *Replayer) sample(ctx context.Context, g *Group) error {
	byTopic := map[string]map[int32]*Part{}
	for _, p := range g.Parts {
		if p.Again() == 0 {
			continue
		}
		if byTopic[p.Topic] == nil {
			byTopic[p.Topic] = map[int32]*Part{}
		}
		byTopic[p.Topic][p.Partition] = p
	}
	var n int64
	began := time.Now()
	for _, topic := range sorted(byTopic) {
		read, err := r.sampleTopic(ctx, topic, byTopic[topic])
		if err != nil {
			return err
		}
		n += read
	}
	if took := time.Since(began).Seconds(); n > 0 && took > 0 {
		g.Rate = float64(n) / took
		g.Seconds = float64(g.Again) / g.Rate
	}
	for _, p := range g.Parts {
		if p.From > 0 && (g.From == 0 || p.From < g.From) {
			g.From = p.From
		}
	}
	return nil
}

func (r *Replayer) sampleTopic(ctx context.Context, topic string, parts map[int32]*Part) (n int64, err error) {
	ends, err := client.Ends(ctx, r.adm, topic)
	if err != nil {
		return 0, err
	}
	span := client.Span{Topic: topic, From: map[int32]int64{}, To: map[int32]int64{}}
	for num, p := range parts {
		from := max(p.Target, p.Start)
		to := min(p.Committed, ends[num], from+sampleSize)
		span.From[num], span.To[num] = from, to
		n += max(0, to-from)
	}
	return n, span.Read(ctx, r.cfg.Opts, func(rec *kgo.Record) (bool, error) {
		if p := parts[rec.Partition]; p.From == 0 {
			p.From = rec.Timestamp.UnixMilli()
		}
		return true, nil
	})
}
