package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/replay"
)

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
