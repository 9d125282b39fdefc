package cli

import (
	"bytes"
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

// aim is where groups shall go on, as kafka-consumer-groups has it.
type aim struct {
	earliest, latest, current bool
	offset, shift             int64
	datetime, duration, file  string
	topics                    []string
	mode                      string
	snapshot, where           string
}

func (a *aim) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&a.earliest, "to-earliest", false, "from the start of the logs")
	fs.BoolVar(&a.latest, "to-latest", false, "from the end of the logs: what is not handled is passed over")
	fs.BoolVar(&a.current, "to-current", false, "from where the group is; from the end where it has been nowhere")
	fs.Int64Var(&a.offset, "to-offset", 0, "from offset `N` of every partition meant")
	fs.Int64Var(&a.shift, "shift-by", 0, "`N` offsets on, or back if negative")
	fs.StringVar(&a.datetime, "to-datetime", "", "from the first record of this `TIME` or later: 2026-01-31T08:00:00.000, UTC without a zone")
	fs.StringVar(&a.duration, "by-duration", "", "from the first record of this long ago or later: `PnDTnHnMnS`")
	fs.StringVar(&a.file, "from-file", "", "from where a `FILE` of \"topic,partition,offset\" says, - for standard input")
	fs.StringVar(&a.snapshot, "to-snapshot", "", "back to the snapshot of this `ID`, tables, too")
	snapshots(cmd, &a.where)
	fs.StringSliceVar(&a.topics, "topic", nil, "only of this input: `TOPIC` or TOPIC:0,1 (may be repeated)")
	fs.StringVar(&a.mode, "mode", replay.Redeliver, "what becomes of the tables: "+strings.Join(replay.Modes(), ", "))
	cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions(replay.Modes(), cobra.ShellCompDirectiveNoFileComp))
}

var aims = []string{"to-earliest", "to-latest", "to-current", "to-offset", "shift-by", "to-datetime", "by-duration", "from-file", "to-snapshot"}

// spec reads the flags; without one of them the target is where the groups are, if
// that is allowed.
func (a *aim) spec(s *session, cmd *cobra.Command, groups []string, orCurrent bool) (spec replay.Spec, err error) {
	if spec.Groups, err = s.groups(cmd, groups); err != nil {
		return spec, err
	}
	given := slices.DeleteFunc(slices.Clone(aims), func(f string) bool { return !cmd.Flags().Changed(f) })
	switch {
	case len(given) > 1:
		return spec, usagef("--%s and --%s: one of them", given[0], given[1])
	case len(given) == 1:
		spec.Target.Kind = replay.Kind(given[0])
	case orCurrent:
		spec.Target.Kind = replay.ToCurrent
	default:
		return spec, hinted(usagef("%s needs to know where to go on from", cmd.CommandPath()), "one of --%s", strings.Join(aims, ", --"))
	}
	if !slices.Contains(replay.Modes(), a.mode) {
		return spec, prefixed("--mode", unknown("mode", a.mode, replay.Modes()))
	}
	if a.snapshot != "" {
		return a.back(s, cmd, spec.Groups)
	}
	spec.Mode = a.mode
	switch t := &spec.Target; t.Kind {
	case replay.ToOffset:
		t.N = a.offset
	case replay.ShiftBy:
		t.N = a.shift
	case replay.ToDatetime:
		t.Time, err = replay.ParseDatetime(a.datetime)
	case replay.ByDuration:
		t.Ago, err = replay.ParseDuration(a.duration)
		t.Time = s.env.Now().Add(-t.Ago).Truncate(time.Millisecond)
	case replay.FromFile:
		var text []byte
		if text, err = s.readFile(a.file); err != nil {
			return spec, fmt.Errorf("reading offsets: %w", err)
		}
		t.File, err = replay.ParseFile(bytes.NewReader(text))
	}
	if err != nil {
		return spec, prefixed("--"+given[0], &usageError{err})
	}
	for _, text := range joined(a.topics) {
		one, err := replay.ParseSelection(text)
		if err != nil {
			return spec, prefixed("--topic", &usageError{err})
		}
		spec.Only = append(spec.Only, one)
	}
	return spec, nil
}

// back has groups go back to a snapshot, as a whole.
func (a *aim) back(s *session, cmd *cobra.Command, groups []string) (replay.Spec, error) {
	for _, f := range []string{"mode", "topic"} {
		if cmd.Flags().Changed(f) {
			return replay.Spec{}, usagef("--to-snapshot and --%s: one of them", f)
		}
	}
	store, err := s.store(a.where)
	if err != nil {
		return replay.Spec{}, err
	}
	spec, err := replay.ToSnapshot(cmd.Context(), store, a.snapshot, s.set.namespace, groups...)
	if err != nil {
		return spec, s.explainSnapshot(err)
	}
	return spec, nil
}

// joined mends what a list of flags has split: the numbers of TOPIC:0,1.
func joined(parts []string) (all []string) {
	for _, p := range parts {
		if isNumber(p) && len(all) > 0 {
			all[len(all)-1] += "," + p
		} else {
			all = append(all, p)
		}
	}
	return all
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
	adm, err := s.admin(ctx)
	if err != nil {
		return nil, err
	}
	adm.Close()
	serde, err := s.serde(ctx)
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
