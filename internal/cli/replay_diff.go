package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/replay"
)

func newReplayDiff(s *session) *cobra.Command {
	var wait time.Duration
	var limit int
	cmd := &cobra.Command{
		Use:   "diff [GROUP...]",
		Short: "Compare tables with what the log makes of them, and change nothing",
		Long: `Computes what the rows of groups must be, from the order log and the commands, and
compares them key by key with the tables that are there: same, changed, only here (in
the table), only there (in what was computed). It is done in memory, beside groups
that run; a row that moves meanwhile is looked at again. Without GROUP, of all groups
whose rows follow from the log. The exit code is 1 if any row differs, or is not known
when the wait is over.`,
		Args:    cobra.ArbitraryArgs,
		Example: example("orderlog replay diff", "orderlog replay diff inventory credit -o json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait < 0 || limit < 0 {
				return usagef("--wait and --limit are not negative")
			}
			return s.diffTables(cmd, args, wait, limit)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 20*time.Second, "how long to look again at rows that move")
	cmd.Flags().IntVar(&limit, "limit", 20, "how many differences to list of each group; 0: all")
	return cmd
}

func (s *session) diffTables(cmd *cobra.Command, args []string, wait time.Duration, limit int) error {
	if len(args) == 0 {
		args = replay.Comparable()
	}
	groups, err := s.groups(cmd, args)
	if err != nil {
		return err
	}
	r, err := s.replayer(cmd.Context(), "", "")
	if err != nil {
		return err
	}
	defer r.Close()
	var all []*replay.Compared
	right := true
	for _, g := range groups {
		c, err := r.Diff(cmd.Context(), g, wait)
		if err != nil {
			return s.explain(err)
		}
		right = right && c.Right()
		if limit > 0 {
			c.Differences = c.Differences[:min(limit, len(c.Differences))]
		}
		all = append(all, c)
	}
	if err := s.show(all, func(w io.Writer) error { return diffText(w, s.outStyle(), all) }); err != nil {
		return err
	}
	if !right {
		return failedQuietly("tables are not known to be right")
	}
	return nil
}

func diffText(w io.Writer, st style, all []*replay.Compared) error {
	rows := [][]string{{"GROUP", "TABLE", "SAME", "CHANGED", "ONLY HERE", "ONLY THERE", "OPEN"}}
	for _, c := range all {
		row := []string{c.Group, c.Table, "-", "-", "-", "-", "-"}
		if c.Note == "" {
			for i, n := range []int{c.Same, c.Changed, c.OnlyHere, c.OnlyThere, c.Open} {
				row[2+i] = strconv.Itoa(n)
			}
		}
		rows = append(rows, row)
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, c := range all {
		if c.Note != "" {
			fmt.Fprintf(w, "\n%s: %s\n", st.bold(c.Group), c.Note)
		}
		if c.Open > 0 {
			fmt.Fprintf(w, "\n%s: %d rows are open: they moved at each look, or wait in the calendar\n", st.bold(c.Group), c.Open)
		}
		if len(c.Differences) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", st.bold(c.Group))
		for _, d := range c.Differences {
			fmt.Fprintf(w, "  %s  %s  %s\n", word(d.Key), st.bad(d.Kind), differenceText(d))
		}
		if left := c.Changed + c.OnlyHere + c.OnlyThere - len(c.Differences); left > 0 {
			fmt.Fprintf(w, "  and %d more\n", left)
		}
	}
	return nil
}

// differenceText names the fields that differ.
func differenceText(d replay.Difference) string {
	if d.Fault != "" {
		return line(d.Fault)
	}
	is, must := fieldsOf(d.Is), fieldsOf(d.Must)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fieldsOf(cmpOr(d.Is, d.Must)))) {
		switch a, b := string(is[name]), string(must[name]); {
		case d.Is == nil:
			parts = append(parts, name+" "+b)
		case d.Must == nil:
			parts = append(parts, name+" "+a)
		case a != b:
			parts = append(parts, fmt.Sprintf("%s is %s, must be %s", name, a, b))
		}
	}
	return strings.Join(parts, ", ")
}

func cmpOr(a, b any) any {
	if a == nil {
		return b
	}
	return a
}

func fieldsOf(body any) map[string]json.RawMessage {
	fields := map[string]json.RawMessage{}
	if b, err := json.Marshal(body); err == nil {
		_ = json.Unmarshal(b, &fields) // of nil: none
	}
	return fields
}
