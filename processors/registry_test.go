package processors

import (
	"slices"
	"testing"

	"github.com/orderlog/orderlog/topics"
)

// Rows recognise a duplicate by its origin: the records of one origin partition
// must reach a row in their order. Two shapes of a graph would break that.
//
// A group's loop is a second way to its rows, by the calendar, and may be one. To
// park a record is to handle it: its origin counts as applied, and what comes back
// has another one, its place on the loop. So the loop is a topic of its own origins,
// which one group alone reads and no rule may write to. That the queue of a row comes
// back in its order is the business of the note beside it. The calendar itself keeps no
// origins: its keys say whose entry it is.
func TestNoTwoWaysFromAnOriginToARow(t *testing.T) {
	type node struct {
		name    string
		in, out []string
	}
	var all []node
	for _, r := range All(Config{}) {
		all = append(all, node{r.Name(), r.Inputs(), append(slices.Clone(r.Outputs()), r.Name()+"-table")})
	}
	for i, a := range all {
		for _, b := range all {
			if loop := []string{topics.Loop(b.name)}; len(shared(loop, a.in)) > 0 || len(shared(loop, a.out)) > 0 {
				t.Errorf("%s names the loop of %s", a.name, b.name)
			}
		}
		for j, b := range all {
			if i < j {
				if in, out := shared(a.in, b.in), shared(a.out, b.out); len(in) > 0 && len(out) > 0 {
					t.Errorf("%s and %s both read %v and both write %v", a.name, b.name, in, out)
				}
			}
			if ways := shared(a.out, b.in); len(ways) > 1 {
				t.Errorf("%s reaches the rows of %s by %v", a.name, b.name, ways)
			}
		}
	}
}

func shared(a, b []string) (both []string) {
	for _, x := range a {
		if slices.Contains(b, x) {
			both = append(both, x)
		}
	}
	return both
}

func TestEveryTopicIsOfTheCatalogue(t *testing.T) {
	for _, r := range All(Config{}) {
		for _, name := range append(append(slices.Clone(r.Inputs()), r.Outputs()...), r.Name()+"-table", topics.Loop(r.Name())) {
			if _, ok := topics.Find(name); !ok {
				t.Errorf("%s names the topic %q", r.Name(), name)
			}
		}
	}
}
