package cli

import (
	"context"
	"errors"
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

	items []mend.Item
	due   int64
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
			ctx := cmd.Context()
			d, err := s.desk(ctx, a.as)
			if err != nil {
				return err
			}
			defer d.Close()
			if a.yes { // what others are about to do comes before this looks
				if err := d.TakeOver(ctx, "retries"); err != nil {
					return err
				}
			}
			out, err := s.skip(ctx, d, &f, &a)
			if err != nil {
				return err
			}
			return s.show(out, func(w io.Writer) error { return out.text(w) })
		},
	}
	cmd.Flags().StringVar(&f.Group, "group", "", "of this `PROCESSOR`")
	cmd.Flags().StringVar(&f.Key, "key", "", "of the row with this `KEY`: an order, a product, a customer")
	cmd.Flags().BoolVar(&a.yes, "yes", false, "do it; without it, it is only shown")
	cmd.RegisterFlagCompletionFunc("group", cobra.FixedCompletions(app.Names(), cobra.ShellCompDirectiveNoFileComp))
	a.flags(cmd)
	return cmd
}

func (s *session) skip(ctx context.Context, d *mend.Desk, f *pick, a *act) (*skipped, error) {
	l, err := d.Lost(ctx, f.Group, f.Key)
	if err != nil {
		return nil, s.explainLost(fmt.Errorf("%s of %s: %w", f.Key, f.Group, err))
	}
	out := &skipped{Action: "retries.skip", DryRun: !a.yes, Group: l.Group, Key: l.Key, First: l.First, Lost: l.Count, Since: rfc(l.Due), Behind: failedAll(l.Behind), items: l.Behind, due: l.Due}
	if a.yes {
		err = d.Act(ctx, d.Skip(l, a.reason)...)
	}
	return out, s.explainMend(err)
}

func (s *session) explainLost(err error) error {
	switch {
	case errors.Is(err, mend.ErrHead):
		return hinted(err, "`orderlog retries pull-forward` has it tried now, `orderlog retries cancel` has the queue go on without it")
	case errors.Is(err, mend.ErrUnderway):
		return hinted(err, "look again in a moment; if it stays so: do that processor and retry run? `orderlog lag` tells")
	case errors.Is(err, mend.ErrNoQueue):
		return hinted(err, "`orderlog retries list` shows what waits")
	}
	return s.explainMend(err)
}

func (k *skipped) text(w io.Writer) error {
	times := "1 place, whose turn it was"
	if k.Lost != 1 {
		times = fmt.Sprintf("%d places, whose turn it was", k.Lost)
	}
	fmt.Fprintf(w, "lost: %s %s\n", times, moment(k.due))
	if len(k.items) == 0 {
		fmt.Fprintln(w, "nothing waits behind it")
	} else if err := failedTable(w, k.items[:min(mostShown, len(k.items))], max(0, len(k.items)-mostShown)); err != nil {
		return err
	}
	said := "skipped: what waits behind it goes on when it is due"
	if k.DryRun {
		said = "\nwould skip what is lost, and have what waits behind it go on: --yes does it"
	}
	_, err := fmt.Fprintln(w, said)
	return err
}
