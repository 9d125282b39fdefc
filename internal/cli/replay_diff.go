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

	"github.com/orderlog/orderlog/internal/hindsight"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/schemas"
)

func newReplayDiff(s *session) *cobra.Command {
	var wait time.Duration
	var limit int
	var rules bool
	var from, to string
	var cfg hindsight.Config
	cmd := &cobra.Command{
		Use:   "diff [GROUP...]",
		Short: "Compare tables, or decisions, with what they would be now, and change nothing",
		Long: `Computes what the rows of groups must be, from the order log and the commands, and
compares them key by key with the tables that are there: same, changed, only here (in
the table), only there (in what was computed). It is done in memory, beside groups
that run; a row that moves meanwhile is looked at again. Without GROUP, of all groups
whose rows follow from the log. The exit code is 1 if any row differs, or is not known
when the wait is over.

With --rules, the commands that there were are decided anew in memory by the rules of
this build, and what becomes of each order is compared with what became of it: state,
reasons, amounts of the invoice, vouchers. An order counts as decided otherwise by the
rules if it is though it meets all that it met; others differ because they met other
stock, credit or moments, as who comes first is not known to the last. GROUP leaves what
concerns decisions of these. The exit code is 1 if the rules decide otherwise on any.`,
		Args: cobra.ArbitraryArgs,
		Example: example("orderlog replay diff", "orderlog replay diff inventory credit -o json", "",
			"# Before a release: what would it have done to the orders of January?",
			"orderlog replay diff --rules --from 2026-01-01 --to 2026-02-01"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if wait < 0 || limit < 0 {
				return usagef("--wait and --limit are not negative")
			}
			if !rules {
				for _, f := range []string{"from", "to", "opening-credit"} {
					if cmd.Flags().Changed(f) {
						return usagef("--%s goes with --rules", f)
					}
				}
				return s.diffTables(cmd, args, wait, limit)
			}
			if cfg.From, err = timeFlag("from", from); err != nil {
				return err
			}
			if cfg.To, err = timeFlag("to", to); err != nil {
				return err
			}
			return s.diffRules(cmd, args, cfg, limit)
		},
	}
	fs := cmd.Flags()
	fs.DurationVar(&wait, "wait", 20*time.Second, "how long to look again at rows that move")
	fs.IntVar(&limit, "limit", 20, "how many differences to list of each group, or of each kind; 0: all")
	fs.BoolVar(&rules, "rules", false, "decide anew by the rules of this build")
	fs.StringVar(&from, "from", "", "with --rules: only orders placed at this `TIME` or later, UTC without a zone")
	fs.StringVar(&to, "to", "", "with --rules: only orders placed before this `TIME`")
	fs.Var(newMoney(&cfg.OpeningLimit, 100_000), "opening-credit", "with --rules: credit of a customer who is new, as orderlog run has it, `AMOUNT`")
	settable(cmd, "opening-credit")
	return cmd
}

func timeFlag(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, ok := parseTime(text)
	if !ok {
		return t, hinted(usagef("--%s: %q is no time", name, text), "e.g. 2026-01-31T08:00:00Z, 2026-01-31")
	}
	return t, nil
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

func (s *session) diffRules(cmd *cobra.Command, args []string, cfg hindsight.Config, limit int) error {
	if len(args) > 0 {
		groups, err := s.groups(cmd, args)
		if err != nil {
			return err
		}
		cfg.Groups = groups
	}
	serde, err := s.online(cmd.Context())
	if err != nil {
		return err
	}
	b := s.bar("deciding anew", 0)
	cfg.Serde, cfg.Opts, cfg.Namespace, cfg.Progress = serde, s.kafka(), s.set.namespace, b.at
	r, err := hindsight.Run(cmd.Context(), cfg)
	b.end()
	if err != nil {
		return s.explain(err)
	}
	r.Differences = atMost(r.Differences, limit)
	if err := s.show(r, func(w io.Writer) error { return rulesText(w, s.outStyle(), r) }); err != nil {
		return err
	}
	if r.ByTheRules() > 0 {
		return failedQuietly("the rules decide otherwise")
	}
	return nil
}

// atMost leaves so many differences of each kind, all if limit is 0.
func atMost(all []hindsight.Difference, limit int) (some []hindsight.Difference) {
	shown := map[[2]string]int{}
	for _, d := range all {
		kind := [2]string{d.Cause, d.Kind}
		if shown[kind]++; limit == 0 || shown[kind] <= limit {
			some = append(some, d)
		}
	}
	return some
}

// causeText says why orders differ.
var causeText = map[string]string{
	hindsight.ByRules:    "by the rules: they decide otherwise, though the order meets all that it met",
	hindsight.Unclear:    "unclear: by the rules, or because of others",
	hindsight.ByFailure:  "could not be handled: a command of the order is a dead letter",
	hindsight.ByDeadline: "expired: here no time passes",
	hindsight.ByOthers:   "because of others, who came first here, or fared otherwise: the rules decide the same on what the order met",
}

func rulesText(w io.Writer, st style, r *hindsight.Report) error {
	fmt.Fprintf(w, "%d commands decided anew, %d orders compared: %d same, %d decided otherwise by the rules\n", r.Commands, r.Compared, r.Same, r.ByTheRules())
	if r.Open > 0 {
		fmt.Fprintf(w, "%d orders are under way, and not compared\n", r.Open)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "%s %s\n", st.warn("note:"), line(n))
	}
	cause := ""
	for _, k := range r.Kinds {
		if k.Cause != cause {
			cause = k.Cause
			fmt.Fprintf(w, "\n%s\n", st.bold(causeText[cause]))
		}
		fmt.Fprintf(w, "  %d orders: %s\n", k.Orders, line(k.Kind))
		for _, currency := range slices.Sorted(maps.Keys(k.Stakes)) {
			if text := stakeText(k.Stakes[currency], currency); text != "" {
				fmt.Fprintf(w, "    %s\n", text)
			}
		}
		if cause == hindsight.ByOthers {
			continue
		}
		shown := 0
		for _, d := range r.Differences {
			if d.Cause == k.Cause && d.Kind == k.Kind {
				shown++
				fmt.Fprintf(w, "      %s  %s -> %s\n", word(d.Order), outcomeText(d.Before), outcomeText(d.After))
			}
		}
		if shown < k.Orders {
			fmt.Fprintf(w, "      and %d more\n", k.Orders-shown)
		}
	}
	return nil
}

func stakeText(s hindsight.Stake, currency string) string {
	var parts []string
	add := func(what string, before, after int64) {
		if before != after {
			parts = append(parts, fmt.Sprintf("%s %s -> %s (%s)", what, schemas.Money(before, ""), schemas.Money(after, currency), signed(after-before)))
		}
	}
	add("billed", s.BilledBefore, s.BilledAfter)
	add("vouchers", s.VouchersBefore, s.VouchersAfter)
	return strings.Join(parts, ", ")
}

func signed(minor int64) string {
	if minor > 0 {
		return "+" + schemas.Money(minor, "")
	}
	return schemas.Money(minor, "")
}

func outcomeText(o *hindsight.Outcome) string {
	if o == nil {
		return "no order"
	}
	text := o.State
	if len(o.Reasons) > 0 {
		text += " (" + line(strings.Join(o.Reasons, ", ")) + ")"
	}
	if o.Invoiced {
		text += " " + schemas.Money(o.Gross, o.Currency)
	}
	for _, v := range o.Vouchers {
		text += fmt.Sprintf(" + voucher %s", schemas.Money(v.Amount, ""))
	}
	return text
}
