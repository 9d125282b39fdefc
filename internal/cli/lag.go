package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/calendar"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/internal/ledger"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/topics"
)

// groupLag is how far one group is on one partition.
type groupLag struct {
	Group     string `json:"group"`
	State     string `json:"state"` // Stable, Empty ...; Dead: nobody ever ran it
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing yet
	Start     int64  `json:"start"`     // of the log
	End       int64  `json:"end"`       // last stable offset
	Lag       int64  `json:"lag"`       // offsets up to End, 0 where only markers are left

	// Behind is the age of the first record that is not handled, in seconds.
	Behind float64 `json:"behind_seconds"`
}

func newLag(s *session) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "lag [GROUP...]",
		Short: "Show how far each processor is behind",
		Long: `Shows what each processor's consumer group has still to handle, per partition, up
to the end of what is committed (the last stable offset). The lag counts offsets,
of which some are transaction markers; where nothing but markers is left, it is 0.
BEHIND is the age of the first record that is not handled yet. The groups of mails
and webhooks are left out until they have run.`,
		Example: example("orderlog lag", "orderlog lag order voucher -o json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lags, err := s.lag(cmd.Context(), args, all)
			if err != nil {
				return s.explain(err)
			}
			return s.show(lags, func(w io.Writer) error { return lagTable(w, lags) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every group of the cluster, not only orderlog's")
	return cmd
}

// pipeline lists the processors' groups, without namespace, and their inputs.
func pipeline() (groups []string, inputs map[string][]string) {
	inputs = map[string][]string{}
	for _, r := range processors.All(processors.Config{}) {
		groups = append(groups, r.Name())
		inputs[r.Name()] = append(slices.Clone(r.Inputs()), topics.Loop(r.Name()))
	}
	groups = append(groups, calendar.Name, ledger.Name)
	inputs[calendar.Name], inputs[ledger.Name] = calendar.Inputs(), ledger.Inputs()
	return groups, inputs
}

func (s *session) lag(ctx context.Context, only []string, all bool) ([]groupLag, error) {
	ours, inputs := pipeline()
	if !all {
		for _, g := range only {
			if !slices.Contains(ours, s.bare(g)) {
				return nil, unknown("group", g, ours)
			}
		}
	}
	adm, err := s.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	var groups []string
	wanted := map[string][]string{} // topics that a group reads even where it has committed nothing
	for _, g := range ours {
		groups = append(groups, s.name(g))
		for _, t := range inputs[g] {
			wanted[s.name(g)] = append(wanted[s.name(g)], s.name(t))
		}
	}
	if all {
		listed, err := adm.ListGroups(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing groups: %w", err)
		}
		groups = append(groups, listed.Groups()...)
		slices.Sort(groups)
		groups = slices.Compact(groups)
	}
	if len(only) > 0 {
		groups = slices.DeleteFunc(groups, func(g string) bool {
			return !slices.Contains(only, g) && !slices.Contains(only, s.bare(g))
		})
	}
	optional := map[string]bool{} // unless they are asked after: who tells nobody is not behind
	if len(only) == 0 {
		optional[s.name("notification")], optional[s.name(ledger.Name)] = true, true
	}
	return s.lagOf(ctx, adm, groups, wanted, optional)
}

// lagOf leaves optional groups out that have never run.
func (s *session) lagOf(ctx context.Context, adm *kadm.Client, groups []string, wanted map[string][]string, optional map[string]bool) ([]groupLag, error) {
	described, err := adm.DescribeGroups(ctx, groups...)
	if err != nil {
		return nil, fmt.Errorf("describing groups: %w", err)
	}
	log := ends{adm: adm, byTopic: map[string]bounds{}}
	lags := []groupLag{}
	for _, g := range groups {
		committed, err := group.Offsets(ctx, adm, g) // none if nobody ever ran it
		if err != nil {
			return nil, err
		}
		if len(committed) == 0 && optional[g] {
			continue
		}
		names := slices.Concat(wanted[g], sorted(committed))
		slices.Sort(names)
		for _, topic := range slices.Compact(names) {
			b, err := log.of(ctx, topic)
			if errors.Is(err, client.ErrNoTopic) {
				continue // doctor's business
			}
			if err != nil {
				return nil, err
			}
			for _, p := range sorted(b.end) {
				l := groupLag{Group: g, State: described[g].State, Topic: topic, Partition: p, Committed: -1, Start: b.start[p], End: b.end[p]}
				if o, ok := committed.Lookup(topic, p); ok && o.Err == nil {
					l.Committed = o.At
				}
				l.Lag = max(0, l.End-max(l.Committed, l.Start))
				lags = append(lags, l)
			}
		}
	}
	return lags, s.lookAhead(ctx, lags)
}

// bounds are a topic's first and last stable offsets.
type bounds struct{ start, end map[int32]int64 }

// ends remembers bounds, so that groups of one topic are compared with the same.
type ends struct {
	adm     *kadm.Client
	byTopic map[string]bounds
}

func (e ends) of(ctx context.Context, topic string) (b bounds, err error) {
	if b, ok := e.byTopic[topic]; ok {
		return b, nil
	}
	if b.start, err = client.Starts(ctx, e.adm, topic); err != nil {
		return b, err
	}
	if b.end, err = client.Ends(ctx, e.adm, topic); err != nil {
		return b, err
	}
	e.byTopic[topic] = b
	return b, nil
}

// lookAhead reads the first record that each group has not handled, which tells
// how old it is, and whether there is one at all behind the markers.
func (s *session) lookAhead(ctx context.Context, lags []groupLag) error {
	type reader struct{ group, topic string }
	behind := map[reader][]*groupLag{}
	for i := range lags {
		if l := &lags[i]; l.Lag > 0 {
			key := reader{l.Group, l.Topic}
			behind[key] = append(behind[key], l)
		}
	}
	now := s.env.Now()
	for key, ls := range behind {
		span := client.Span{Topic: key.topic, From: map[int32]int64{}, To: map[int32]int64{}}
		open := map[int32]*groupLag{}
		for _, l := range ls {
			span.From[l.Partition], span.To[l.Partition] = l.End-l.Lag, l.End
			open[l.Partition] = l
		}
		err := span.Read(ctx, s.kafka(), func(r *kgo.Record) (bool, error) {
			if l := open[r.Partition]; l != nil {
				l.Behind = max(0, now.Sub(r.Timestamp).Round(time.Millisecond).Seconds())
				delete(open, r.Partition)
			}
			return len(open) > 0, nil
		})
		if err != nil {
			return err
		}
		for _, l := range open {
			l.Lag = 0
		}
	}
	return nil
}

func lagTable(w io.Writer, lags []groupLag) error {
	rows := [][]string{{"GROUP", "STATE", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND"}}
	for _, l := range lags {
		committed, behind := "-", ""
		if l.Committed >= 0 {
			committed = strconv.FormatInt(l.Committed, 10)
		}
		if l.Lag > 0 {
			behind = (time.Duration(l.Behind*1000) * time.Millisecond).String()
		}
		rows = append(rows, []string{l.Group, l.State, l.Topic, strconv.Itoa(int(l.Partition)), committed,
			strconv.FormatInt(l.End, 10), strconv.FormatInt(l.Lag, 10), behind})
	}
	return table(w, rows)
}
