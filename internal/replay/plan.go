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

// Again is how many offsets are handled once more.
func (p *Part) Again() int64 { return max(0, p.Committed-max(p.Target, p.Start)) }

// handlesAgain says that something is handled that may have been: what had been
// committed may be forgotten.
func (p *Part) handlesAgain() bool { return p.Again() > 0 || p.Committed < 0 && p.Target < p.End }

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
		g, err := r.group(ctx, u, mode, spec)
		if err != nil {
			return nil, err
		}
		if c := said[name]; c != nil && c.Paused {
			g.Paused = c
		}
		p.Groups = append(p.Groups, g)
	}
	p.Hash = p.digest(spec)
	return p, nil
}

// judge sums up, and says what is wrong.
func (g *Group) judge(to Target) {
	g.Commits = len(g.changed())
	for _, p := range g.Parts {
		where := fmt.Sprintf("%s/%d", p.Topic, p.Partition)
		g.Again, g.Passed, g.Gone = g.Again+p.Again(), g.Passed+p.passed(), g.Gone+p.gone()
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

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// changed returns the partitions of which the offset changes.
func (g *Group) changed() (ps []*Part) {
	for _, p := range g.Parts {
		if p.Target != p.Committed && p.Target >= 0 {
			ps = append(ps, p)
		}
	}
	return ps
}
