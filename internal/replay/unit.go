package replay

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orderlog/orderlog/internal/calendar"
	"github.com/orderlog/orderlog/internal/ledger"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/topics"
)

// Unit is what of a group moves together, in names of the catalogue.
type Unit struct {
	Name    string
	Inputs  []string // loop included
	Table   string
	Origins bool // its rows know what they have applied
}

// Units returns those of all processors.
func Units() (us []Unit) {
	for _, r := range processors.All(processors.Config{}) {
		us = append(us, Unit{r.Name(), append(slices.Clone(r.Inputs()), topics.Loop(r.Name())), r.Name() + "-table", true})
	}
	return append(us, Unit{calendar.Name, calendar.Inputs(), topics.RetryTable, false},
		Unit{ledger.Name, ledger.Inputs(), topics.EffectsTable, true})
}

// unitOf finds a group by its name.
func unitOf(name string) (Unit, error) {
	var names []string
	for _, u := range Units() {
		if u.Name == name {
			return u, nil
		}
		names = append(names, u.Name)
	}
	return Unit{}, fmt.Errorf("unknown group %q: there are %s", name, strings.Join(names, ", "))
}
