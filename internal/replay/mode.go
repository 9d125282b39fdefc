package replay

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Redeliver moves offsets and nothing else: what comes again, rows know, and only what
// was missed does anything.
const Redeliver = "redeliver"

// Rows says what becomes of a group's table, while nobody else is in the group. It is
// written in the transaction that moves its offsets, of which the time begins with the
// first record: so all is read before. Records have a topic as on the cluster, a
// partition, and headers as kgoka writes them; those without a value delete.
type Rows func(ctx context.Context, r *Replayer, g *Group) ([]*kgo.Record, error)

// mode is how a group is replayed.
type mode struct {
	Name  string
	check func(ctx context.Context, r *Replayer, g *Group) error // adds problems and notes, and may set other targets
	rows  Rows                                                   // nil: the table stays as it is
}

func modes() []mode {
	return []mode{{Name: Redeliver, check: redeliver}, {Name: Rebuild, check: rebuild, rows: rebuildRows}, {Name: Restore, check: restore, rows: restoreRows}}
}

// Modes lists the names of modes that need no more than a target.
func Modes() (names []string) {
	for _, m := range modes() {
		if m.Name != Restore {
			names = append(names, m.Name)
		}
	}
	return names
}

func modeOf(name string) (mode, error) {
	if name == "" {
		name = Redeliver
	}
	for _, m := range modes() {
		if m.Name == name {
			return m, nil
		}
	}
	return mode{}, fmt.Errorf("unknown mode %q", name)
}

func redeliver(_ context.Context, _ *Replayer, g *Group) error {
	if !g.unit.Origins && slices.ContainsFunc(g.Parts, (*Part).handlesAgain) {
		g.Problems = append(g.Problems, fmt.Sprintf("rows of %s do not remember what they have applied: what was dispatched would be entered, and dispatched, again", g.Name))
	}
	if g.lost {
		g.warn("rows", "the group's table was deleted and made anew: its rows are gone, and what comes is handled without them")
	}
	if g.unit.Origins {
		g.Notes = append(g.Notes, "rows skip what they have applied, so nothing that was done is done again: no effect is asked for twice, and none has to be muted")
	}
	return nil
}
