package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/schemas"
)

func newRetries(s *session) *cobra.Command {
	cmd := needsVerb(&cobra.Command{
		Use:   "retries",
		Short: "Look at what is tried again later, and change when",
		Long: `What a processor could not handle, and may handle later, waits in the calendar for
its next attempt; so do deadlines. Entries are named by PARTITION/OFFSET of their
record in retry-table, as the list shows it.`,
		Example: example("orderlog retries next", "orderlog retries list --cause panic", "",
			"# A rule is mended: do not wait for the hour", "orderlog retries pull-forward --group order --cause panic --yes"),
	})
	cmd.AddCommand(newRetriesList(s), newRetriesShow(s), newRetriesNext(s), newPullForward(s), newRetriesCancel(s), newRetriesSkip(s),
		newPause(s, "pause", "Let what failed for a cause wait until further notice", (*mend.Desk).Pause),
		newPause(s, "resume", "Lift a pause: what is overdue is tried at once", (*mend.Desk).Resume))
	return cmd
}

// entries is what is picked of the calendar.
func (f *pick) entries(all []mend.Item) (some []mend.Item, rest int, err error) {
	return f.some("entry", "retries list", all)
}

// calendarShown is the calendar as JSON.
type calendarShown struct {
	Pauses  []*schemas.RetryCommand `json:"pauses"`
	Entries []failed                `json:"entries"`
}

func newRetriesList(s *session) *cobra.Command {
	var f pick
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what is tried again, the first due first",
		Long: `Lists what waits in the calendar for its next attempt, the first due first, and
what is paused. Deadlines are listed with --cause deadline only: every order that
waits has one.`,
		Args:    nothing(),
		Example: example("orderlog retries list --group order --due-before 30m", "orderlog retries list --cause deadline --limit 0 -o json"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(s, nil); err != nil {
				return err
			}
			return s.atDesk(cmd, "", func(ctx context.Context, d *mend.Desk) error {
				all, pauses, err := d.Calendar(ctx)
				if err != nil {
					return err
				}
				some, rest, err := f.entries(all)
				if err != nil {
					return err
				}
				return s.show(calendarShown{pauses, failedAll(some)}, func(w io.Writer) error {
					if err := pausesText(w, s.outStyle(), pauses); err != nil {
						return err
					}
					return failedTable(w, some, rest)
				})
			})
		},
	}
	f.flags(cmd, mostShown)
	f.dueFlag(cmd.Flags())
	return cmd
}

func pausesText(w io.Writer, st style, pauses []*schemas.RetryCommand) error {
	for _, p := range pauses {
		why := ""
		if p.Reason != "" {
			why = ": " + line(p.Reason)
		}
		if _, err := fmt.Fprintf(w, "%s %s, by %s%s\n", st.warn("paused:"), scope(p.Group, p.Cause), word(p.Who), why); err != nil {
			return err
		}
	}
	return nil
}

// scope names what is paused.
func scope(group, cause string) string {
	return fmt.Sprintf("processor %s, cause %s", cmp.Or(group, "any"), cmp.Or(cause, "any"))
}

func newRetriesShow(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "show ENTRY",
		Short:   "Show an entry with its record, decoded, and every attempt",
		Args:    exactly("ENTRY"),
		Example: example("orderlog retries show 2/17"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f := new(pick)
			if err := f.check(s, args); err != nil {
				return err
			}
			return s.atDesk(cmd, "", func(ctx context.Context, d *mend.Desk) error {
				all, _, err := d.Calendar(ctx)
				if err != nil {
					return err
				}
				some, _, err := f.entries(all)
				if err != nil {
					return err
				}
				shown := detailed(ctx, d.Serde(), some[0])
				return s.show(shown, func(w io.Writer) error { return shown.text(w, s.outStyle()) })
			})
		},
	}
}

// next is what is due, and until when.
type next struct {
	Next      *failed                 `json:"next"` // of what failed
	InSeconds float64                 `json:"in_seconds"`
	Overdue   int                     `json:"overdue"`
	Within    map[string]int          `json:"within"` // those that are overdue among them
	Later     int                     `json:"later"`
	Deadlines int                     `json:"deadlines"`
	Pauses    []*schemas.RetryCommand `json:"pauses"`
}

var horizons = []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour}

func newRetriesNext(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "next",
		Short:   "Show what is tried next, and how much is due until when",
		Args:    nothing(),
		Example: example("orderlog retries next"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.atDesk(cmd, "", func(ctx context.Context, d *mend.Desk) error {
				all, pauses, err := d.Calendar(ctx)
				if err != nil {
					return err
				}
				n := nextOf(all, s.env.Now())
				n.Pauses = pauses
				return s.show(n, func(w io.Writer) error { return n.text(w, s.outStyle()) })
			})
		},
	}
}

// nextOf counts entries, which are in the order in which they are due.
func nextOf(all []mend.Item, now time.Time) next {
	n := next{Within: map[string]int{}}
	for _, h := range horizons {
		n.Within[h.String()] = 0
	}
	for _, it := range all {
		if it.Deadline() {
			n.Deadlines++
			continue
		}
		wait := time.UnixMilli(it.Due).Sub(now)
		if n.Next == nil {
			f := failedOf(it)
			n.Next, n.InSeconds = &f, wait.Seconds()
		}
		if wait <= 0 {
			n.Overdue++
		}
		for _, h := range horizons {
			if wait <= h {
				n.Within[h.String()]++
			}
		}
		if wait > horizons[len(horizons)-1] {
			n.Later++
		}
	}
	return n
}

func (n next) text(w io.Writer, st style) error {
	if err := pausesText(w, st, n.Pauses); err != nil {
		return err
	}
	first := "nothing"
	if f := n.Next; f != nil {
		in := time.Duration(n.InSeconds * float64(time.Second)).Round(time.Second)
		first = fmt.Sprintf("%s in %v: %s of %s, attempt %d: %s: %s", f.ID, in, word(f.Key), f.Group, len(f.Attempts)+1, line(f.Cause), brief(f.Error))
	}
	rows := [][]string{{"next", first}, {"overdue", strconv.Itoa(n.Overdue)}}
	for _, h := range horizons {
		rows = append(rows, []string{"within " + h.String(), strconv.Itoa(n.Within[h.String()])})
	}
	return table(w, append(rows, []string{"later", strconv.Itoa(n.Later)}, []string{"deadlines", strconv.Itoa(n.Deadlines)}))
}

func newPullForward(s *session) *cobra.Command {
	var f pick
	var a act
	var to string
	cmd := &cobra.Command{
		Use:   "pull-forward [ENTRY...]",
		Short: "Try again sooner, or later, than the schedule says",
		Long: `Sets when entries are due: now, or --to. What waits behind an entry for the same
row comes along, since it is tried in its order. More than one are only shown
unless there is --yes.`,
		Args:    cobra.ArbitraryArgs,
		Example: example("orderlog retries pull-forward 2/17", "orderlog retries pull-forward --group order --cause panic --to 10m --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			due, err := parseWhen("--to", to, s.env.Now())
			if err != nil {
				return err
			}
			return s.actOnEntries(cmd, &f, &a, args, "pulled forward", mend.Queues,
				func(d *mend.Desk, it mend.Item) (mend.Deed, error) { return d.PullForward(it, due, a.reason) })
		},
	}
	f.actFlags(cmd, &a)
	f.dueFlag(cmd.Flags())
	cmd.Flags().StringVar(&to, "to", "now", "`TIME`: now, 2026-01-31T08:00:00Z, or 10m from now")
	return cmd
}

func newRetriesCancel(s *session) *cobra.Command {
	var f pick
	var a act
	cmd := &cobra.Command{
		Use:   "cancel [ENTRY...]",
		Short: "Try no more: it becomes a dead letter",
		Long: `Has entries not be tried again: each becomes a dead letter, with the cause
"cancelled", when it is its turn; what waits behind it goes on. A deadline is just
gone: the order waits without, until the next record of it, which sets another one
if it waits on. More than one are only shown unless there is --yes.`,
		Args:    cobra.ArbitraryArgs,
		Example: example(`orderlog retries cancel 2/17 --reason "placed twice by hand"`),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.actOnEntries(cmd, &f, &a, args, "cancelled", func(some, _ []mend.Item) []mend.Item { return some },
				func(d *mend.Desk, it mend.Item) (mend.Deed, error) { return d.Cancel(it, a.reason) })
		},
	}
	f.actFlags(cmd, &a)
	f.dueFlag(cmd.Flags())
	return cmd
}

// actOnEntries tells the calendar what to do with what is picked, and with what comes
// along.
func (s *session) actOnEntries(cmd *cobra.Command, f *pick, a *act, ids []string, past string, along func(some, all []mend.Item) []mend.Item, deed func(*mend.Desk, mend.Item) (mend.Deed, error)) error {
	read := func(ctx context.Context, d *mend.Desk) ([]mend.Item, error) {
		all, _, err := d.Calendar(ctx)
		if err != nil {
			return nil, err
		}
		some, _, err := f.entries(all)
		return along(some, all), err
	}
	return s.actOn(cmd, f, a, ids, action{entries, read, func(ctx context.Context, d *mend.Desk, some []mend.Item, out *acted) (err error) {
		if err := d.TakeOver(ctx, "retries"); err != nil {
			return err
		}
		out.Done, err = mend.ActAll(ctx, d, some, func(it mend.Item) (mend.Deed, error) { return deed(d, it) })
		shown := s.show(out, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s: told the calendar of %s\n", past, entries(out.Done))
			return err
		})
		return cmp.Or(err, shown)
	}})
}

// paused is what pause and resume say.
type paused struct {
	Action string `json:"action"`
	Group  string `json:"group"` // "": every one
	Cause  string `json:"cause"`
}

func newPause(s *session, verb, short string, deed func(d *mend.Desk, group, cause, why string) (mend.Deed, error)) *cobra.Command {
	var f pick
	var a act
	cmd := &cobra.Command{
		Use:   verb,
		Short: short,
		Args:  nothing(),
		Long: short + `. Both commands mean the same by --group
and --cause: a pause of a cause is lifted by naming that cause again. What waits
behind a paused record waits with it. A pause without --cause holds deadlines, too:
no order expires until it is lifted.`,
		Example: example("orderlog retries " + verb + " --group order --cause panic"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(f.check(s, nil), sayWhich(cmd, f.all || !f.All())); err != nil {
				return err
			}
			return s.atDesk(cmd, a.as, func(ctx context.Context, d *mend.Desk) error {
				if verb == "resume" {
					if err := isPaused(ctx, d, f.Group, f.Cause); err != nil {
						return err
					}
				}
				it, err := deed(d, f.Group, f.Cause, a.reason)
				if err != nil {
					return err
				}
				if err := d.TakeOver(ctx, "retries"); err != nil {
					return err
				}
				if err := d.Act(ctx, it); err != nil {
					return err
				}
				return s.show(paused{deedName(cmd), f.Group, f.Cause}, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "told the calendar to %s: %s\n", verb, scope(f.Group, f.Cause))
					return err
				})
			})
		},
	}
	cmd.Flags().StringVar(&f.Group, "group", "", "of this `PROCESSOR`")
	cmd.Flags().StringVar(&f.Cause, "cause", "", "with this `CAUSE`")
	cmd.Flags().BoolVar(&f.all, "all", false, "of every processor and cause")
	a.flags(cmd)
	return cmd
}

func isPaused(ctx context.Context, d *mend.Desk, group, cause string) error {
	_, pauses, err := d.Calendar(ctx)
	if err != nil || slices.ContainsFunc(pauses, func(p *schemas.RetryCommand) bool { return p.Group == group && p.Cause == cause }) {
		return err
	}
	return hinted(fmt.Errorf("nothing is paused by that: %s", scope(group, cause)), "`orderlog retries next` shows what is paused")
}
