package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/schemas"
)

func newEffectsResend(s *session) *cobra.Command {
	var f pickEffects
	var a act
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "resend [EFFECT...]",
		Short: "Send effects once more, whatever became of them",
		Long: `Sends effects once more, the sent ones too. Each goes out under the ID that it had, as
Message-ID or webhook-id: a receiver that has it already can tell, and one that looks
at IDs will do nothing. One that waits in the calendar goes at once; one that is on
its way is left alone. Tries that failed still count: one that fails again for a
reason that may pass goes on in the schedule where it was.

A failed one is a dead letter, too. "dlq redrive" sends it as well, and closes the
letter; it does nothing to an effect that was sent meanwhile, so it is safe to repeat.
"effects resend" looks at the ledger only: the letter stays open until it is redriven
or discarded.

More than one are only shown unless there is --yes.`,
		Args: cobra.ArbitraryArgs,
		Example: example(`orderlog effects resend eff_37pVTJWUuFUmAi8l90q31G3NKAL --reason "the customer has lost it"`, "",
			"# All that a receiver was told before it lost its data", "orderlog effects resend --endpoint erp --state sent --before 2026-01-31T15:00:00Z --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait < 0 {
				return usagef("--wait %v: at least 0, which is not at all", wait)
			}
			if err := cmp.Or(f.check(s, args), sayWhich(cmd, f.all || !f.All())); err != nil {
				return err
			}
			return s.atDesk(cmd, a.as, func(ctx context.Context, d *mend.Desk) error {
				all, err := f.read(ctx, d)
				if err != nil {
					return err
				}
				some, _ := limited(all, f.limit)
				return s.resend(ctx, d, some, a, wait)
			})
		},
	}
	f.flags(cmd, 0)
	a.flags(cmd)
	a.manyFlags(cmd.Flags(), &f.all)
	cmd.Flags().DurationVar(&wait, "wait", defaultWait, "how long to wait for what becomes of them, 0 for not at all")
	return cmd
}

// resent is what resend says.
type resent struct {
	Action   string         `json:"action"`
	DryRun   bool           `json:"dry_run"`
	Selected int            `json:"selected"`
	Done     int            `json:"done"`
	Effects  []told         `json:"effects"`          // selected, as they were
	Became   map[string]int `json:"became,omitempty"` // states, of those that have come to an end since
	Failed   []told         `json:"failed,omitempty"` // of them, those that were not sent
	Open     int            `json:"open,omitempty"`   // of those done, whose end did not come in time

	OnTheirWay []string `json:"on_their_way,omitempty"` // left alone
	Lost       []string `json:"lost,omitempty"`         // what they said is kept no more
	HadFailed  int      `json:"had_failed,omitempty"`   // of those done, those with a dead letter that stays open
}

func (s *session) resend(ctx context.Context, d *mend.Desk, some []mend.Effect, a act, wait time.Duration) error {
	out := resent{Action: "effects.resend", DryRun: len(some) > 1 && !a.yes, Selected: len(some), Effects: toldAll(some)}
	first := func(w io.Writer, n int) error { return effectsTable(w, some[:n]) }
	if stop, err := s.held(out, len(some), out.DryRun, "resend "+effects(len(some))+", each under the ID that its receiver knows", first); stop {
		return err
	}
	if err := d.Payloads(ctx, some); err != nil {
		return err
	}
	var can []mend.Effect
	for _, e := range some {
		switch {
		case e.OnItsWay():
			out.OnTheirWay = append(out.OnTheirWay, e.EffectID)
		case e.Payload == "":
			out.Lost = append(out.Lost, e.EffectID)
		default:
			can = append(can, e)
		}
	}
	if len(some) == 1 && len(can) == 0 {
		return out.cannot()
	}
	err := s.sendAgain(ctx, d, can, a.reason, wait, &out)
	return cmp.Or(err, s.show(out, func(w io.Writer) error { return out.text(w, s.outStyle()) }), out.unwell())
}

// cannot says why the only one is left as it is.
func (r *resent) cannot() error {
	e := r.Effects[0]
	if len(r.OnTheirWay) > 0 {
		return hinted(fmt.Errorf("%s is on its way already: it is %s", e.ID, e.State), "`orderlog effects show %s` tells what it waits for", e.ID)
	}
	return hinted(fmt.Errorf("%s cannot be sent again: what it said is kept no more, topic effects has lost its record", e.ID),
		"`orderlog order get %s` has the order", e.Order)
}

// sendAgain does it, and looks what comes of it.
func (s *session) sendAgain(ctx context.Context, d *mend.Desk, es []mend.Effect, why string, wait time.Duration, out *resent) error {
	from, err := d.LedgerEnd(ctx)
	if err != nil {
		return err
	}
	out.Done, err = d.ResendAll(ctx, es, why)
	switch {
	case out.Done > 0 && err != nil || errors.Is(err, mend.ErrTaken):
		return hinted(fmt.Errorf("%d of %s: %w", out.Done, effects(len(es)), err), "with --before %s it leaves out what has gone out since", rfc(asTheyAre(es)))
	case err != nil:
		return err
	}
	for _, e := range es {
		if e.State == schemas.Failed {
			out.HadFailed++
		}
	}
	if wait == 0 {
		return nil
	}
	ended, err := d.Outcome(ctx, from, es, wait)
	out.Open = len(es) - len(ended)
	out.Became = sumEffects(ended).States
	for _, e := range ended {
		if e.State != schemas.Sent {
			out.Failed = append(out.Failed, toldOf(e))
		}
	}
	return err
}

// asTheyAre is the time (Unix ms) before which all of the effects became what they are,
// and none that changes from now on will have. It is by the clock of those who write
// the ledger: ours may be another.
func asTheyAre(es []mend.Effect) (before int64) {
	for _, e := range es {
		before = max(before, e.ChangedAt+1)
	}
	return before
}

func (r *resent) text(w io.Writer, st style) error {
	fmt.Fprintf(w, "resent: %d of %s", r.Done, effects(r.Selected))
	if r.Became != nil {
		fmt.Fprintf(w, "; %d sent, %d failed, %d wait in the calendar", r.Became[schemas.Sent], r.Became[schemas.Failed], r.Became[schemas.Pending])
	}
	fmt.Fprintln(w)
	if r.Done > 0 {
		fmt.Fprintln(w, "under the same IDs as before: who has one already can tell")
	}
	for _, t := range r.Failed[:min(mostShown, len(r.Failed))] {
		again := ""
		if t.Due != "" {
			again = ", again " + t.Due
		}
		fmt.Fprintf(w, "%s %s to %s: %s%s\n", st.bad("not sent:"), word(t.ID), t.party(), brief(t.answer()), again)
	}
	notDone(w, "on their way already", effects, r.OnTheirWay)
	notDone(w, "cannot be sent again, what they said is kept no more", effects, r.Lost)
	if r.HadFailed > 0 {
		fmt.Fprintf(w, "%d had failed: dead letters of them stay open, see `orderlog dlq list --group effects`\n", r.HadFailed)
	}
	return nil
}

// unwell is an error if not all is sent that was to be.
func (r *resent) unwell() error {
	switch {
	case len(r.Failed) > 0:
		return hinted(fmt.Errorf("%s not sent", many(len(r.Failed), "effect was", "effects were")), "`orderlog effects show ID` has every answer")
	case r.Open > 0:
		return hinted(fmt.Errorf("%s neither sent nor failed in time", many(r.Open, "effect has", "effects have")),
			"`orderlog effects list --state pending` shows them; does the processor effects run? `orderlog lag` tells")
	}
	return nil
}
