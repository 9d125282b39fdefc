package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/mend"
)

// skipped is what `retries skip` says.
type skipped struct {
	Action string   `json:"action"`
	DryRun bool     `json:"dry_run"`
	Group  string   `json:"group"`
	Key    string   `json:"key"`
	First  int64    `json:"first"` // of the places that are skipped
	Lost   int64    `json:"lost"`  // how many
	Since  string   `json:"since"` // when they were due
	Behind []failed `json:"behind"`
}

func newRetriesSkip(s *session) *cobra.Command {
	var f pick
	var a act
	cmd := &cobra.Command{
		Use:   "skip --group PROCESSOR --key KEY",
		Short: "Have a row's queue go on without what is lost",
		Long: `What is parked of a row comes back in its order, so where the first entry is
nowhere any more, because somebody has deleted it from retry-table or the topic was
damaged, the others wait for ever. This has them go on: what is lost becomes a
dead letter without content, with the cause "cancelled". What still stands in the
calendar, or is under way, is not lost. It is only shown unless there is --yes.`,
		Args: nothing(),
		Example: example("orderlog retries skip --group order --key ord_17",
			`orderlog retries skip --group order --key ord_17 --yes --reason "retry-table was made anew"`),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(s, nil); err != nil {
				return err
			}
			if f.Group == "" || f.Key == "" {
				return hinted(usagef("%s needs --group and --key", cmd.CommandPath()), "it is about the queue of one row")
			}
			return s.atDesk(cmd, a.as, func(ctx context.Context, d *mend.Desk) error {
				lost, err := skip(ctx, d, &f, &a)
				if err != nil {
					return err
				}
				out := skipped{deedName(cmd), !a.yes, lost.Group, lost.Key, lost.First, lost.Count, rfc(lost.Due), failedAll(lost.Behind)}
				return s.show(out, func(w io.Writer) error { return lostText(w, lost, a.yes) })
			})
		},
	}
	cmd.Flags().StringVar(&f.Group, "group", "", "of this `PROCESSOR`")
	cmd.Flags().StringVar(&f.Key, "key", "", "of the row with this `KEY`: an order, a product, a customer")
	cmd.Flags().BoolVar(&a.yes, "yes", false, "do it; without it, it is only shown")
	cmd.RegisterFlagCompletionFunc("group", cobra.FixedCompletions(app.Names(), cobra.ShellCompDirectiveNoFileComp))
	a.flags(cmd)
	return cmd
}

// skip looks for what is lost, and skips it if that is said.
func skip(ctx context.Context, d *mend.Desk, f *pick, a *act) (mend.Lost, error) {
	if a.yes { // what others are about to do comes before this looks
		if err := d.TakeOver(ctx, "retries"); err != nil {
			return mend.Lost{}, err
		}
	}
	lost, err := d.Lost(ctx, f.Group, f.Key)
	if err != nil {
		return lost, fmt.Errorf("%s of %s: %w", f.Key, f.Group, err)
	}
	if a.yes {
		err = d.Skip(ctx, lost, a.reason)
	}
	return lost, err
}

func lostText(w io.Writer, lost mend.Lost, done bool) error {
	fmt.Fprintf(w, "lost: %s, whose turn it was %s\n", many(int(lost.Count), "place", "places"), moment(lost.Due))
	if n := len(lost.Behind); n == 0 {
		fmt.Fprintln(w, "nothing waits behind it")
	} else if err := failedTable(w, lost.Behind[:min(mostShown, n)], max(0, n-mostShown)); err != nil {
		return err
	}
	said := "skipped: what waits behind it goes on when it is due"
	if !done {
		said = "\nwould skip what is lost, and have what waits behind it go on: --yes does it"
	}
	_, err := fmt.Fprintln(w, said)
	return err
}
