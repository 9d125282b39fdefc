package replay

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Spec is what a person wants.
type Spec struct {
	Groups []string // names of processors
	Target Target
	Only   []Selection // of their inputs; none: all of them
	Mode   string      // "": Redeliver
	From   *From       // of Restore; see ToSnapshot
}

// Plan is what a run would do, and what it would do it to. Making one changes nothing.
type Plan struct {
	Mode   string   `json:"mode"`
	Target string   `json:"target"` // as it was said
	Groups []*Group `json:"groups"`
	Hash   string   `json:"hash"` // of what a person agrees to; see digest
}

// Group is what becomes of one.
type Group struct {
	Name    string   `json:"group"` // of the processor
	State   string   `json:"state"` // Stable, Empty ...; Dead: nobody ever ran it
	Members []string `json:"members"`
	Table   string   `json:"table"` // its topic; local tables follow it
	Parts   []*Part  `json:"partitions"`

	Paused *schemas.GroupControl `json:"paused,omitempty"`

	// Problems keep a run from being done at all; Warnings are agreed to with the
	// plan's hash, but not by --yes.
	Problems []string `json:"problems,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Notes    []string `json:"notes,omitempty"`

	Again   int64   `json:"again"`              // offsets that are read again, markers included
	Rate    float64 `json:"rate,omitempty"`     // at which they can be read, per second
	Seconds float64 `json:"seconds,omitempty"`  // that reading them takes, at least
	From    int64   `json:"from_ms,omitempty"`  // time of the first of them, Unix ms
	Passed  int64   `json:"passed_over"`        // offsets that are never handled
	Gone    int64   `json:"gone"`               // offsets that had gone before the group came to them
	Commits int     `json:"changed_partitions"` // partitions of which the offset changes

	of   map[string]string   // warnings by what they are of, whatever the numbers in them
	full string              // name on the cluster
	unit Unit                // of the catalogue
	ids  map[string][16]byte // of its topics
	from *From               // of Restore
	lost bool                // its rows: the table was made anew since the last commit
}

// Part is a partition of an input.
type Part struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing
	Target    int64  `json:"target"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	From      int64  `json:"from_ms,omitempty"` // time of the first record that is read again, Unix ms
	Note      string `json:"note,omitempty"`    // where the target is not what was asked for

	id [16]byte
}

// again is how many offsets are handled once more.
func (p *Part) again() int64 { return max(0, p.Committed-max(p.Target, p.Start)) }

// handlesAgain says that something is handled that may have been: what had been
// committed may be forgotten.
func (p *Part) handlesAgain() bool { return p.again() > 0 || p.Committed < 0 && p.Target < p.End }

// passed is how many are there and never handled.
func (p *Part) passed() int64 { return max(0, p.Target-max(p.Committed, p.Start)) }

// gone is how many had gone before the group came to them.
func (p *Part) gone() int64 {
	if p.Committed < 0 {
		return 0
	}
	return max(0, p.Start-p.Committed)
}

// OK says that a run can be done.
func (p *Plan) OK() bool {
	return !slices.ContainsFunc(p.Groups, func(g *Group) bool { return len(g.Problems) > 0 })
}

// Warned says that the plan loses something that --yes does not cover.
func (p *Plan) Warned() bool {
	return slices.ContainsFunc(p.Groups, func(g *Group) bool { return len(g.Warnings) > 0 })
}

// String is the target as it is said on the command line.
func (t Target) String() string {
	switch t.Kind {
	case ToOffset, ShiftBy:
		return fmt.Sprintf("%s %d", t.Kind, t.N)
	case ToDatetime, ByDuration:
		return fmt.Sprintf("%s %s", ToDatetime, t.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return string(t.Kind)
}

// Plan looks at the cluster and says what a run would do.
func (r *Replayer) Plan(ctx context.Context, spec Spec) (*Plan, error) {
	p, err := r.look(ctx, spec)
	if err != nil {
		return nil, err
	}
	for _, g := range p.Groups {
		if err := r.sample(ctx, g); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// look is Plan without reading records.
func (r *Replayer) look(ctx context.Context, spec Spec) (*Plan, error) {
	mode, err := modeOf(spec.Mode)
	if err != nil {
		return nil, err
	}
	p := &Plan{Mode: mode.Name, Target: spec.Target.String()}
	said, err := r.controls(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range spec.Groups {
		u, err := unitOf(name)
		if err != nil {
			return nil, err
		}
		g, err := r.group(ctx, u, spec)
		if err != nil {
			return nil, err
		}
		if c := said[name]; c != nil && c.Paused {
			g.Paused = c
		}
		if err := mode.check(ctx, r, g); err != nil {
			return nil, err
		}
		g.judge(spec.Target)
		p.Groups = append(p.Groups, g)
	}
	p.Hash = p.digest(spec)
	return p, nil
}

// group looks at one.
func (r *Replayer) group(ctx context.Context, u Unit, spec Spec) (*Group, error) {
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
	return g, r.aim(ctx, g, parts, spec.Target)
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

// judge sums up, and says what is wrong.
func (g *Group) judge(to Target) {
	g.Commits = len(g.changed())
	for _, p := range g.Parts {
		where := fmt.Sprintf("%s/%d", p.Topic, p.Partition)
		g.Again, g.Passed, g.Gone = g.Again+p.again(), g.Passed+p.passed(), g.Gone+p.gone()
		switch {
		case p.Target >= 0 && p.Target < p.Start:
			g.Problems = append(g.Problems, fmt.Sprintf("%s: offset %d has gone, the log begins at %d: --to-earliest takes what is left", where, p.Target, p.Start))
		case strings.Contains(p.Note, "before the start"):
			g.Problems = append(g.Problems, fmt.Sprintf("%s: offset %s, %d: --to-earliest takes what is left", where, p.Note, p.Start))
		case p.Target > p.End:
			g.Problems = append(g.Problems, fmt.Sprintf("%s: offset %d is past the end, %d: the log is another one, or was cut off", where, p.Target, p.End))
		}
		if n := p.passed(); n > 0 && to.Kind != ToBefore {
			of := "passed " + where
			if to.Kind == ToLatest || to.Kind == ShiftBy { // that says so
				of = ""
			}
			g.warn(of, fmt.Sprintf("%s: passes over %d offsets that the group has not handled", where, n))
		}
		if n := p.gone(); n > 0 {
			g.warn("gone "+where, fmt.Sprintf("%s: %d offsets had gone before the group came to them", where, n))
		}
	}
	g.Notes = append(g.Notes, g.statements()...)
}

// warn adds a warning. What it is of is agreed to with it; "": with the target.
func (g *Group) warn(of, text string) {
	g.Warnings = append(g.Warnings, text)
	if of != "" {
		if g.of == nil {
			g.of = map[string]string{}
		}
		g.of[of] = text
	}
}

// statements are what a person should know of the group's inputs.
func (g *Group) statements() (notes []string) {
	for _, in := range g.unit.Inputs {
		if t, ok := topics.Find(in); ok && t.Compact {
			notes = append(notes, fmt.Sprintf("%s is compacted: of several records of one %s, the last is there for certain; the group acts on the state that it sees", in, t.Key))
		}
	}
	return notes
}

// asked is the first half of a hash, of what is wanted: that of an interrupted run does
// not change with where its groups are by now.
func (p *Plan) asked(spec Spec) string {
	h, target := sha256.New(), p.Target
	if spec.Target.Kind == ByDuration { // it is another time by now
		target = fmt.Sprintf("%s %v", ByDuration, spec.Target.Ago)
	}
	fmt.Fprintf(h, "%s\n%s\n%q\n%q\n%q\n", p.Mode, target, spec.Groups, fmt.Sprint(spec.Only), fmt.Sprint(spec.Target.File))
	if spec.From != nil {
		fmt.Fprintln(h, spec.From.Manifest.ID)
	}
	return hex.EncodeToString(h.Sum(nil))[:6]
}

// digest is of what a person agrees to: mode, target as said, groups, topics (by ID,
// so that one made anew is another), partitions; of each the offset that it is moved
// to, unless that follows from where a running group is or from when one asks; and of a
// group that does not run, where it is. And of what it is warned of.
func (p *Plan) digest(spec Spec) string {
	h := sha256.New()
	for _, g := range p.Groups {
		runs := len(g.Members) > 0
		fmt.Fprintf(h, "%s %v %q\n", g.full, runs, sorted(g.of))
		for _, part := range g.Parts {
			fmt.Fprintf(h, "%s %x %d", part.Topic, part.id, part.Partition)
			if k := spec.Target.Kind; !spec.Target.moving() || !runs && k != ToLatest && k != ByDuration {
				fmt.Fprintf(h, " %d", part.Target)
			}
			if !runs {
				fmt.Fprintf(h, " %d", part.Committed)
			}
			fmt.Fprintln(h)
		}
	}
	return p.asked(spec) + hex.EncodeToString(h.Sum(nil))[:6]
}

// sampleSize is how many offsets of a partition are read to see how fast that is.
const sampleSize = 500

// sample reads the beginning of what will be read again: how old it is, and how fast
// it can be read. Handling takes longer.
func (r *Replayer) sample(ctx context.Context, g *Group) error {
	byTopic := map[string]map[int32]*Part{}
	for _, p := range g.Parts {
		if p.again() == 0 {
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

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
