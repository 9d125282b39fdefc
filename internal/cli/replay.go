package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/internal/snapshot"
)

func newReplay(s *session) *cobra.Command {
	cmd := needsVerb(&cobra.Command{
		Use:   "replay",
		Short: "Have groups go on from somewhere else, and undo it",
		Example: example("orderlog replay plan order --by-duration PT2H", "",
			"# Agree to that plan; the group's instances leave it, and come back", "orderlog replay run order --by-duration PT2H --plan 0b6e33dfea88 --stop"),
	})
	cmd.AddCommand(newReplayPlan(s), newReplayRun(s), newReplayDiff(s), newReplayStatus(s), newReplayUndo(s), newReplayPause(s), newReplayResume(s))
	return cmd
}

// groups are names of processors, with or without namespace.
func (s *session) groups(cmd *cobra.Command, args []string) (names []string, err error) {
	if len(args) == 0 {
		return nil, hinted(usagef("%s needs GROUP", cmd.CommandPath()), "one or more of %s", strings.Join(app.Names(), ", "))
	}
	for _, g := range args {
		bare := s.bare(g)
		if !slices.Contains(app.Names(), bare) {
			return nil, unknown("group", g, app.Names())
		}
		if slices.Contains(names, bare) {
			return nil, usagef("group %s stands there twice", bare)
		}
		names = append(names, bare)
	}
	return names, nil
}

// replayer is what moves groups; where snapshots are, it need not know for all.
func (s *session) replayer(ctx context.Context, as, where string) (*replay.Replayer, error) {
	var store snapshot.Store
	if where != "" {
		var err error
		if store, err = s.store(where); err != nil {
			return nil, err
		}
	}
	serde, err := s.online(ctx)
	if err != nil {
		return nil, err
	}
	return replay.New(replay.Config{Opts: s.kafka(), Serde: serde, Namespace: s.set.namespace, Who: s.who(as), Now: s.env.Now, Store: store,
		Bad: func(err error) { s.log.Warn("nobody obeys a control record that cannot be read", "error", err) }})
}

func (s *session) explainReplay(err error, args string) error {
	switch {
	case errors.Is(err, replay.ErrNotEmpty):
		return hinted(err, "stop who is in it, or have instances of orderlog leave it with --stop")
	case errors.Is(err, replay.ErrBusy):
		return hinted(err, "`orderlog replay run ... --plan %s` with the same target goes on with it, `orderlog replay undo` forgets it", planOf(err))
	case errors.Is(err, replay.ErrMoved):
		return hinted(err, "`orderlog replay plan%s` shows what it is now", args)
	case errors.Is(err, replay.ErrWarned):
		return hinted(err, "who wants that agrees to it by --plan with the hash that `orderlog replay plan%s` prints", args)
	case errors.Is(err, replay.ErrProblem):
		return hinted(err, "`orderlog replay plan%s` shows all of it", args)
	case errors.Is(err, replay.ErrNothing):
		return hinted(err, "`orderlog audit list --what 'replay.*'` lists what was done")
	}
	return s.explain(err)
}

// planOf finds the hash in an error that names a replay.
func planOf(err error) string {
	for word := range strings.FieldsSeq(err.Error()) {
		if hash, _, ok := strings.Cut(word, "."); ok && len(hash) == 12 {
			return hash
		}
	}
	return "HASH"
}

func newReplayPlan(s *session) *cobra.Command {
	var a aim
	cmd := &cobra.Command{
		Use:   "plan GROUP...",
		Short: "Show what a replay would do, and change nothing",
		Long: `Shows for each partition that a group reads where it is and where it would go on,
how much it would read again, what it would pass over, and what is no longer there.
Targets mean what they mean to kafka-consumer-groups --reset-offsets; one that has
gone from the log is an error here, and the plan ends with exit code 1.

The hash at the end is of what matters of the plan: mode, target, groups, topics,
and the offsets, but not those that a group which runs, or who writes, moves on
meanwhile. With it, replay run does this plan and no other.`,
		Args: cobra.ArbitraryArgs,
		Example: example("orderlog replay plan inventory credit --to-earliest",
			"orderlog replay plan order --topic order-replies:0,3 --to-datetime 2026-01-31T08:00:00.000 -o json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := a.spec(s, cmd, args, true)
			if err != nil {
				return err
			}
			r, err := s.replayer(cmd.Context(), "", "")
			if err != nil {
				return err
			}
			defer r.Close()
			p, err := r.Plan(cmd.Context(), spec)
			if err != nil {
				return s.explain(err)
			}
			if err := s.show(p, func(w io.Writer) error { return planText(w, s.outStyle(), p) }); err != nil {
				return err
			}
			if !p.OK() {
				return hinted(fmt.Errorf("the plan cannot be run"), "it says what is wrong, and another target may do")
			}
			return nil
		},
	}
	a.flags(cmd)
	return cmd
}

// how is how something is run.
type how struct {
	act
	stop bool
	wait time.Duration
	plan string
}

func (h *how) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&h.stop, "stop", false, "have instances of orderlog leave the groups, and come back when it is done")
	cmd.Flags().DurationVar(&h.wait, "wait", 30*time.Second, "how long to wait until nobody is in a group")
	h.act.flags(cmd)
}

func (h *how) how(s *session) replay.How {
	return replay.How{Hash: h.plan, Stop: h.stop, Wait: h.wait, Why: h.reason, Tell: func(what string) { s.log.Info(what) }}
}

func newReplayRun(s *session) *cobra.Command {
	var a aim
	var h how
	cmd := &cobra.Command{
		Use:   "run GROUP...",
		Short: "Do what a plan says",
		Long: `Has groups go on from somewhere else. Of each group, its offsets, its table, what
the audit says, and that its instances may go on, are one transaction: whenever this
is killed, all of it has happened or nothing. Run again with the same --plan, it goes
on where it was; replay status says how things stand.

The group must be empty. With --stop, instances of orderlog leave it and come back;
who else is in it is named. --yes does without a plan's hash, but not where the plan
warns of what is lost.`,
		Args: cobra.ArbitraryArgs,
		Example: example("orderlog replay run voucher --to-earliest --stop --yes",
			`orderlog replay run order --shift-by -1000 --plan 0b6e33dfea88 --stop --reason "the shop was down"`),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := a.spec(s, cmd, args, false)
			if err != nil {
				return err
			}
			if (h.plan == "") == !h.yes {
				return hinted(usagef("%s needs --plan HASH or --yes", cmd.CommandPath()), "`orderlog replay plan` with the same target prints the hash")
			}
			r, err := s.replayer(cmd.Context(), h.as, a.where)
			if err != nil {
				return err
			}
			defer r.Close()
			res, err := r.Run(cmd.Context(), spec, h.how(s))
			return s.replayed(res, err, " "+strings.Join(args, " "))
		},
	}
	a.flags(cmd)
	h.flags(cmd)
	cmd.Flags().StringVar(&h.plan, "plan", "", "`HASH` of the plan that is agreed to")
	cmd.Flags().BoolVar(&h.yes, "yes", false, "do it without a plan's hash")
	return cmd
}

func newReplayUndo(s *session) *cobra.Command {
	var h how
	var where string
	cmd := &cobra.Command{
		Use:   "undo GROUP",
		Short: "Bring a group back to where it was before its last replay",
		Long: `Brings a group back to where it was before its last replay that is not undone. A
replay that was interrupted has changed nothing: then the group only goes on.`,
		Args:    exactly("GROUP"),
		Example: example("orderlog replay undo order --stop"),
		RunE: func(cmd *cobra.Command, args []string) error {
			groups, err := s.groups(cmd, args)
			if err != nil {
				return err
			}
			r, err := s.replayer(cmd.Context(), h.as, where)
			if err != nil {
				return err
			}
			defer r.Close()
			res, err := r.Undo(cmd.Context(), groups[0], h.how(s))
			if err == nil && res == nil {
				return s.show(map[string]any{"group": groups[0], "resumed": true}, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "%s: the replay had changed nothing; its instances go on\n", groups[0])
					return err
				})
			}
			return s.replayed(res, err, "")
		},
	}
	h.flags(cmd)
	snapshots(cmd, &where)
	return cmd
}

// replayed tells what was done, also before an error.
func (s *session) replayed(res *replay.Result, err error, args string) error {
	if res == nil || err != nil && len(res.Groups) == 0 {
		return s.explainReplay(err, args)
	}
	shown := s.show(res, func(w io.Writer) error {
		for _, g := range res.Groups {
			text := fmt.Sprintf("%s: %d partitions moved, %d offsets to be read again", g.Group, g.Changed, g.Again)
			if g.Rows > 0 {
				text += fmt.Sprintf(", %d rows written", g.Rows)
			}
			if g.Snapshot != "" {
				text += ", the table of before in snapshot " + g.Snapshot
			}
			if g.Resumed {
				text += "; its instances go on"
			}
			if g.Before {
				text = g.Group + ": was done before the run was interrupted"
			}
			fmt.Fprintln(w, text)
		}
		_, err := fmt.Fprintf(w, "replay %s\n", res.ID)
		return err
	})
	if err != nil {
		return s.explainReplay(err, args)
	}
	return shown
}
