package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/replay"
)

func newReplayStatus(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [GROUP...]",
		Short: "Show which groups are paused, by what, and what was replayed last",
		Long: `Shows for each group whether it is paused, and whether a replay has begun there that
has not ended. What a replay changes and that the group goes on are one transaction:
one that is under way has changed nothing yet.`,
		Args:    cobra.ArbitraryArgs,
		Example: example("orderlog replay status", "orderlog replay status order -o json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = app.Names()
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
			all, err := r.Status(cmd.Context(), groups)
			if err != nil {
				return s.explain(err)
			}
			return s.show(all, func(w io.Writer) error { return replayStatusText(w, all) })
		},
	}
	return cmd
}

func newReplayPause(s *session) *cobra.Command {
	var h how
	cmd := &cobra.Command{
		Use:   "pause GROUP...",
		Short: "Have all instances of orderlog leave groups, until replay resume",
		Long: `Has all instances of orderlog leave groups, and those that start meanwhile not join
them, until replay resume. What comes waits in the topics. Other consumers do not
know of it.`,
		Args:    cobra.ArbitraryArgs,
		Example: example(`orderlog replay pause voucher --reason "a wrong rule"`),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.eachGroup(cmd, args, &h, "paused", func(r *replay.Replayer, g string) error {
				return r.Pause(cmd.Context(), g, h.reason, h.wait, h.how(s).Tell)
			})
		},
	}
	cmd.Flags().DurationVar(&h.wait, "wait", 30*time.Second, "how long to wait until nobody is in a group")
	h.act.flags(cmd)
	return cmd
}

func newReplayResume(s *session) *cobra.Command {
	var h how
	cmd := &cobra.Command{
		Use:   "resume GROUP...",
		Short: "Have groups go on that were paused",
		Long: `Has groups go on that were paused, by whomever. A replay that is at work on one is
refused its end and changes nothing.`,
		Args:    cobra.ArbitraryArgs,
		Example: example("orderlog replay resume voucher"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.eachGroup(cmd, args, &h, "goes on", func(r *replay.Replayer, g string) error { return r.Resume(cmd.Context(), g, h.reason) })
		},
	}
	h.act.flags(cmd)
	return cmd
}

func (s *session) eachGroup(cmd *cobra.Command, args []string, h *how, said string, do func(*replay.Replayer, string) error) error {
	groups, err := s.groups(cmd, args)
	if err != nil {
		return err
	}
	r, err := s.replayer(cmd.Context(), h.as, "")
	if err != nil {
		return err
	}
	defer r.Close()
	for _, g := range groups {
		if err := do(r, g); err != nil {
			return s.explainReplay(err, "")
		}
		err := s.line(map[string]string{"group": g, "said": said}, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s: %s\n", g, said)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
