package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/mend"
)

// Entries of the calendar and dead letters are dealt with alike: some are picked,
// and shown or acted on.

// pick says which.
type pick struct {
	mend.Filter
	dueBefore, since string
	limit            int
	all              bool // everything, where one acts
	dealt            bool // also dead letters that somebody has dealt with
}

func (f *pick) flags(cmd *cobra.Command, limit int) {
	fs := cmd.Flags()
	fs.StringVar(&f.Key, "key", "", "only of the row with this `KEY`: an order, a product, a customer")
	fs.StringVar(&f.Group, "group", "", "only of this `PROCESSOR`")
	fs.StringVar(&f.Cause, "cause", "", "only with this `CAUSE`: panic, undecodable, refused, ...")
	fs.StringVar(&f.Error, "error", "", "only whose error contains `TEXT`, as it is or as `dlq groups` shows it")
	fs.IntVar(&f.limit, "limit", limit, "at most so many, 0 for all")
	cmd.RegisterFlagCompletionFunc("group", cobra.FixedCompletions(app.Names(), cobra.ShellCompDirectiveNoFileComp))
}

// actFlags are those of a command that acts on what is picked.
func (f *pick) actFlags(cmd *cobra.Command, a *act) {
	f.flags(cmd, 0)
	a.flags(cmd)
	a.manyFlags(cmd.Flags(), &f.all)
}

func (f *pick) dueFlag(fs *pflag.FlagSet) {
	fs.StringVar(&f.dueBefore, "due-before", "", "only what is due before this `TIME`: 2026-01-31T08:00:00Z, or 30m from now")
}

func (f *pick) letterFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.since, "since", "", "only what was put there at this `TIME` or later: 2026-01-31T08:00:00Z, or -1h from now")
}

// check completes the filter.
func (f *pick) check(s *session, ids []string) error {
	if err := checkLimit(f.limit); err != nil {
		return err
	}
	if f.Group != "" && !slices.Contains(app.Names(), f.Group) {
		return prefixed("--group", unknown("processor", f.Group, app.Names()))
	}
	for _, id := range ids {
		if p, o, ok := strings.Cut(id, "/"); !ok || !isNumber(p) || !isNumber(o) {
			return hinted(usagef("%q is no ID: want PARTITION/OFFSET", id), "the first column of the list, e.g. 2/17")
		}
	}
	f.IDs = ids
	return cmp.Or(s.when("--due-before", f.dueBefore, &f.DueBefore), s.when("--since", f.since, &f.Since))
}

func checkLimit(n int) error {
	if n < 0 {
		return usagef("--limit %d: at least 1, or 0 for all", n)
	}
	return nil
}

func isNumber(s string) bool {
	_, err := digits(s)
	return err == nil
}

// when reads a flag's time, if it has one.
func (s *session) when(flag, text string, into *int64) (err error) {
	if text != "" {
		*into, err = parseWhen(flag, text, s.env.Now())
	}
	return err
}

// parseWhen reads "now", a time, or a duration from now, as Unix ms.
func parseWhen(flag, s string, now time.Time) (int64, error) {
	if s == "now" {
		return now.UnixMilli(), nil
	}
	if t, ok := parseTime(s); ok {
		return t.UnixMilli(), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, hinted(usagef("%s %q: want a time, or a duration from now", flag, s), "e.g. 2026-01-31T08:00:00Z, 30m, -1h")
	}
	return now.Add(d).UnixMilli(), nil
}

// some is what is picked of items, which are all that there is; rest is how many
// the limit leaves away. list is the command that shows them.
func (f *pick) some(what, list string, items []mend.Item) (some []mend.Item, rest int, err error) {
	some = f.Select(items)
	if m := f.Missing(items); len(m) > 0 {
		return nil, 0, hinted(fmt.Errorf("no %s %s", what, strings.Join(m, ", ")), "`orderlog %s` shows which there are", list)
	}
	some, rest = limited(some, f.limit)
	return some, rest, nil
}

// limited is the first of all, and how many are left away; a limit of 0 is none.
func limited[T any](all []T, limit int) (some []T, rest int) {
	if limit == 0 || len(all) <= limit {
		return all, 0
	}
	return all[:limit], len(all) - limit
}

// act is how one acts on what is picked.
type act struct {
	yes    bool
	as     string
	reason string
}

func (a *act) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.as, "as", "", "`NAME` of who does it, for the audit (default: the user of this machine)")
	cmd.Flags().StringVar(&a.reason, "reason", "", "why, for the audit: `TEXT`")
	settable(cmd, "as")
}

func (a *act) manyFlags(fs *pflag.FlagSet, all *bool) {
	fs.BoolVar(&a.yes, "yes", false, "do it, where more than one is concerned; without it they are only shown")
	fs.BoolVar(all, "all", false, "all that there are, where nothing else says which")
}

// sayWhich refuses to act on everything unless that is said.
func sayWhich(cmd *cobra.Command, said bool) error {
	if said {
		return nil
	}
	return hinted(usagef("%s needs IDs, or flags that say which", cmd.CommandPath()), "--all takes all of them")
}

// deedName is what the audit calls what a command does: "dlq.redrive".
func deedName(cmd *cobra.Command) string { return cmd.Parent().Name() + "." + cmd.Name() }

// atDesk has a person deal with what failed; what is wrong with that is explained.
func (s *session) atDesk(cmd *cobra.Command, as string, do func(ctx context.Context, d *mend.Desk) error) error {
	d, err := s.desk(cmd.Context(), as)
	if err != nil {
		return err
	}
	defer d.Close()
	return s.explainMend(do(cmd.Context(), d))
}

func (s *session) desk(ctx context.Context, as string) (*mend.Desk, error) {
	serde, err := s.online(ctx)
	if err != nil {
		return nil, err
	}
	d, err := mend.New(ctx, mend.Config{Opts: s.kafka(), Serde: serde, Namespace: s.set.namespace, Who: s.who(as), Now: s.env.Now})
	return d, s.explain(err)
}

// who it is, for the audit.
func (s *session) who(as string) string { return cmp.Or(as, s.env.User, "unknown") }

// explainMend adds what to do about it, unless that is said already.
func (s *session) explainMend(err error) error {
	var said *hintedError
	switch {
	case errors.As(err, &said):
		return err
	case errors.Is(err, mend.ErrTaken):
		return hinted(err, "run it again for the rest: what was done is on the audit")
	case errors.Is(err, mend.ErrIdle):
		return hinted(err, "does that processor run? `orderlog lag` tells; run it again for the rest: what was redriven is on the audit")
	case errors.Is(err, mend.ErrCanary):
		return hinted(err, "`orderlog dlq show ID --what-if` tries it on the rules of this build")
	case errors.Is(err, mend.ErrHead):
		return hinted(err, "`orderlog retries pull-forward` has it tried now, `orderlog retries cancel` has the queue go on without it")
	case errors.Is(err, mend.ErrUnderway):
		return hinted(err, "look again in a moment; if it stays so: do that processor and retry run? `orderlog lag` tells")
	case errors.Is(err, mend.ErrNoQueue):
		return hinted(err, "`orderlog retries list` shows what waits")
	case errors.Is(err, mend.ErrUntold):
		return hinted(err, "`orderlog up` and `orderlog run` take --effects FILE, see docs/effects.md; is --namespace right?")
	}
	return s.explain(err)
}

// acted is what a command says that acts, or would.
type acted struct {
	Action   string   `json:"action"`
	DryRun   bool     `json:"dry_run"`
	Selected int      `json:"selected"`
	Done     int      `json:"done"`
	Items    []failed `json:"items"` // selected

	// Of redriving.
	Canaries int      `json:"canaries,omitempty"`
	Handled  int      `json:"handled,omitempty"`
	CameBack []back   `json:"came_back,omitempty"`
	Behind   []string `json:"behind,omitempty"` // wait behind what is parked of their row
	Taken    []string `json:"taken,omitempty"`  // somebody else was faster
	Left     []string `json:"left,omitempty"`   // what cannot be redriven as it is
}

// back is a dead letter that could not be handled again.
type back struct {
	ID    string `json:"id"`
	As    string `json:"as,omitempty"` // its ID as a dead letter anew; else it is in the calendar
	Cause string `json:"cause"`
	Error string `json:"error"`
}

// mostShown is of how many things a command tells one by one, unless it is asked for
// all of them.
const mostShown = 20

// action is what can be done to entries of the calendar, or to dead letters.
type action struct {
	number func(n int) string
	read   func(ctx context.Context, d *mend.Desk) ([]mend.Item, error) // what is picked
	do     func(ctx context.Context, d *mend.Desk, some []mend.Item, out *acted) error
}

// actOn does it to what is picked; it only shows that where it is more than one thing
// and nobody has said yes.
func (s *session) actOn(cmd *cobra.Command, f *pick, a *act, ids []string, what action) error {
	if err := cmp.Or(f.check(s, ids), sayWhich(cmd, f.all || !f.All())); err != nil {
		return err
	}
	return s.atDesk(cmd, a.as, func(ctx context.Context, d *mend.Desk) error {
		some, err := what.read(ctx, d)
		if err != nil {
			return err
		}
		out := acted{Action: deedName(cmd), DryRun: len(some) > 1 && !a.yes, Selected: len(some), Items: failedAll(some)}
		would := strings.ReplaceAll(cmd.Name(), "-", " ") + " " + what.number(len(some))
		first := func(w io.Writer, n int) error { return failedTable(w, some[:n], 0) }
		if stop, err := s.held(out, len(some), out.DryRun, would, first); stop {
			return err
		}
		return what.do(ctx, d, some, &out)
	})
}

// held ends a command that has nothing to do, or shows only what it would do; first
// prints so many of those n.
func (s *session) held(out any, n int, dry bool, would string, first func(w io.Writer, n int) error) (bool, error) {
	if n == 0 {
		return true, s.show(out, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, "nothing to do: nothing is as you say")
			return err
		})
	}
	if !dry {
		return false, nil
	}
	return true, s.show(out, func(w io.Writer) error {
		if err := first(w, min(mostShown, n)); err != nil {
			return err
		}
		if n > mostShown {
			fmt.Fprintf(w, "and %d more\n", n-mostShown)
		}
		_, err := fmt.Fprintf(w, "\nwould %s: --yes does it\n", would)
		return err
	})
}
