package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/why"
)

func newWhy(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "why ORDER",
		Short: "Show what caused what for an order, from commands to effects",
		Long: `Shows the records of an order as a tree: below each one those that were written while
it was handled, with what they ask or decide, when, and where they stand. What waits
(in the calendar, as a dead letter, for a group that is behind) is marked. What the
order must have had and no log has any more is listed, and a cause that is gone says
why. With -o json, a line for each record in the order of the tree, and for what is
missing.

Topics are read from a few minutes before the order's first record on: it may take a
while for an old one.`,
		Args:    exactly("ORDER"),
		Example: example("orderlog why ord_CA-2014-100006", "orderlog why ord_CA-2014-100006 -o json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.past(cmd.Context(), args[0], func(r *why.Reader) error {
				chain, err := r.Why(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return s.showChain(chain)
			})
		},
	}
}

func (s *session) showChain(c *why.Chain) error {
	if !s.json() {
		return chainText(s.env.Stdout, s.outStyle(), c)
	}
	if err := c.Walk(func(r *why.Record) error { return s.line(r, nil) }); err != nil {
		return err
	}
	for _, m := range c.Missing {
		if err := s.line(map[string]string{"missing": m}, nil); err != nil {
			return err
		}
	}
	return nil
}

func chainText(w io.Writer, st style, c *why.Chain) error {
	state := st.warn("there is no such order yet")
	if c.State != "" {
		state = stateText(st, c.State)
	}
	fmt.Fprintf(w, "%s  %s\n\n", st.bold(c.Order), state)
	for _, top := range c.Tops {
		recordText(w, st, top, "", "")
	}
	if len(c.Missing) > 0 {
		fmt.Fprintf(w, "\n%s\n", st.warn("What is not on the log any more:"))
		for _, m := range c.Missing {
			fmt.Fprintf(w, "  %s\n", m)
		}
	}
	return nil
}

// recordText shows a record and what it caused. First is before its own line, rest
// before those below it.
func recordText(w io.Writer, st style, r *why.Record, first, rest string) {
	what := line(r.Says)
	if r.Type != "" {
		what = st.bold(line(r.Type)) + "  " + what
	}
	when := ""
	if r.Time != 0 {
		when = "  " + moment(r.Time)
	}
	fmt.Fprintf(w, "%s%s  %s\n", st.dim(first), what, st.dim(line(r.Place.String())+when))
	bar := "   "
	if len(r.Caused) > 0 {
		bar = "│  "
	}
	for _, note := range []string{r.Gone, r.Open} {
		if note != "" {
			fmt.Fprintf(w, "%s%s\n", st.dim(rest+bar), st.warn(line(note)))
		}
	}
	for i, below := range r.Caused {
		if i == len(r.Caused)-1 {
			recordText(w, st, below, rest+"└─ ", rest+"   ")
		} else {
			recordText(w, st, below, rest+"├─ ", rest+"│  ")
		}
	}
}
