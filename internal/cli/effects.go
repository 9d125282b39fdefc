package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/processors/notification"
	"github.com/orderlog/orderlog/schemas"
)

func newEffects(s *session) *cobra.Command {
	cmd := needsVerb(&cobra.Command{
		Use:   "effects",
		Short: "Look at mails and webhooks, and send them again",
		Long: `An effect is a mail or a webhook by which one party is told of one event of an order.
Each has a row in the ledger, which says what became of it: pending (its turn comes,
or it waits in the calendar), sending, sent or failed. Effects are named by their ID,
which is the Message-ID or the webhook-id, too.`,
		Example: example("orderlog effects list --state failed", "orderlog effects show eff_37pVTJWUuFUmAi8l90q31G3NKAL", "",
			"# The receiver has lost what it was told between two and three", "orderlog effects resend --endpoint erp --since 2026-01-31T14:00:00Z --before 2026-01-31T15:00:00Z --yes"),
	})
	cmd.AddCommand(newEffectsList(s), newEffectsShow(s), newEffectsResend(s))
	return cmd
}

// pickEffects says which.
type pickEffects struct {
	mend.EffectFilter
	since, before string
	limit         int
	all           bool // everything, where one acts
}

func (f *pickEffects) flags(cmd *cobra.Command, limit int) {
	fs := cmd.Flags()
	states := newChoice(&f.State, "", schemas.Pending, schemas.Sending, schemas.Sent, schemas.Failed)
	fs.Var(states, "state", "only those that are so")
	fs.StringVar(&f.Endpoint, "endpoint", "", "only to this `ENDPOINT`: email, or the name of a webhook")
	fs.StringVar(&f.Event, "event", "", "only about this `EVENT`, e.g. order.invoiced or 'order.*'")
	fs.StringVar(&f.Order, "order", "", "only of this `ORDER`")
	fs.StringVar(&f.Customer, "customer", "", "only of this `CUSTOMER`: what was asked for no longer ago than effects are kept, 30 days")
	fs.StringVar(&f.since, "since", "", "only what became so at this `TIME` or later: 2026-01-31T08:00:00Z, or -1h from now")
	fs.StringVar(&f.before, "before", "", "only what became so before this `TIME`")
	fs.IntVar(&f.limit, "limit", limit, "at most so many, 0 for all")
	cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states.allowed, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("event", cobra.FixedCompletions(notification.Events(), cobra.ShellCompDirectiveNoFileComp))
}

// check completes the filter.
func (f *pickEffects) check(s *session, ids []string) error {
	if err := checkLimit(f.limit); err != nil {
		return err
	}
	for _, id := range ids {
		if !strings.HasPrefix(id, "eff_") {
			return hinted(usagef("%q is no effect's ID: want eff_...", id), "`orderlog effects list` shows them, for an order with --order")
		}
	}
	f.IDs = ids
	return cmp.Or(s.when("--since", f.since, &f.Since), s.when("--before", f.before, &f.Before))
}

// read is what is picked of the ledger, whatever the limit is.
func (f *pickEffects) read(ctx context.Context, d *mend.Desk) ([]mend.Effect, error) {
	all, err := d.Effects(ctx, f.EffectFilter)
	if m := f.Missing(all); err == nil && len(m) > 0 {
		return nil, hinted(fmt.Errorf("no effect %s, or it is not as the flags say", strings.Join(m, ", ")), "`orderlog effects list` shows which there are")
	}
	return all, err
}

// effectsShown is the ledger as JSON.
type effectsShown struct {
	effectSums
	Effects []told `json:"effects"`
}

func newEffectsList(s *session) *cobra.Command {
	var f pickEffects
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List effects, those first that are as they are for longest",
		Long: `Lists effects and what became of them, and counts them by state. --since and --before
look at when that became so: when a sent one was sent, since when a pending one waits.`,
		Args: nothing(),
		Example: example("orderlog effects list --order ord_CA-2014-100006", "orderlog effects list --state pending --endpoint erp --before -1h",
			"orderlog effects list --limit 0 -o json"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(s, nil); err != nil {
				return err
			}
			return s.atDesk(cmd, "", func(ctx context.Context, d *mend.Desk) error {
				all, err := f.read(ctx, d)
				if err != nil {
					return err
				}
				sum := sumEffects(all)
				some, rest := limited(all, f.limit)
				return s.show(effectsShown{sum, toldAll(some)}, func(w io.Writer) error {
					if err := effectsTable(w, some); err != nil {
						return err
					}
					if rest > 0 {
						fmt.Fprintf(w, "and %d more: --limit 0 shows all\n", rest)
					}
					_, err := fmt.Fprintf(w, "\n%s\n", sum)
					return err
				})
			})
		},
	}
	f.flags(cmd, mostShown)
	return cmd
}

func newEffectsShow(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "show EFFECT",
		Short: "Show an effect with what is sent, every try, and where it waits",
		Long: `Shows everything that is known of an effect: what became of it and when, as far as
the ledger's log has not been compacted; every try that failed; where it waits; its
dead letters; what persons did about it; and what is sent. That of a sent one is read
where it was asked for, which is kept for 30 days.`,
		Args:    exactly("EFFECT"),
		Example: example("orderlog effects show eff_37pVTJWUuFUmAi8l90q31G3NKAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var f pickEffects
			if err := f.check(s, args); err != nil {
				return err
			}
			return s.atDesk(cmd, "", func(ctx context.Context, d *mend.Desk) error {
				one, err := f.read(ctx, d)
				if err != nil {
					return err
				}
				if err := d.Payloads(ctx, one); err != nil {
					return err
				}
				about, err := d.About(ctx, one[0])
				if err != nil {
					return err
				}
				shown := toldInFull(one[0], about)
				return s.show(shown, func(w io.Writer) error { return shown.text(w, s.outStyle()) })
			})
		},
	}
}
