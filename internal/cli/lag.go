package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/downtime"
	"github.com/orderlog/orderlog/internal/lag"
)

func newLag(s *session) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "lag [GROUP...]",
		Short: "Show how far each processor is behind",
		Long: `Shows what each processor's consumer group has still to handle, per partition, up
to the end of what is committed (the last stable offset). The lag counts offsets,
of which some are transaction markers; where nothing but markers is left, it is 0.
BEHIND is the age of the first record that is not handled yet. SAFE is how long the
group may stay down from now on before something is gone that it needs: records, by
retention; its offsets, which the brokers forget of a group without members; or, of
a compacted topic, history: versions that others have followed. Without the word it
is records. The groups of mails and webhooks are left out until they have run.`,
		Example: example("orderlog lag", "orderlog lag order voucher -o json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lags, unsafe, err := s.lag(cmd.Context(), args, all)
			if err != nil {
				return s.explain(err)
			}
			if unsafe != nil {
				s.log.Warn("how long groups may stay down is not known", "error", unsafe)
			}
			return s.show(lags, func(w io.Writer) error { return lagTable(w, lags) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every group of the cluster, not only orderlog's")
	return cmd
}

// lag returns the lags of orderlog's groups, of some of them, or of all groups there
// are. Unsafe is why nothing is known about downtimes.
func (s *session) lag(ctx context.Context, only []string, all bool) (lags []lag.Partition, unsafe, err error) {
	groups := lag.Pipeline(s.set.namespace)
	if !all {
		var ours []string
		for _, g := range groups {
			ours = append(ours, s.bare(g.Name))
		}
		for _, g := range only {
			if !slices.Contains(ours, s.bare(g)) {
				return nil, nil, unknown("group", g, ours)
			}
		}
	}
	adm, err := s.admin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer adm.Close()
	if all {
		listed, err := adm.ListGroups(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("listing groups: %w", err)
		}
		for _, name := range listed.Groups() {
			if !slices.ContainsFunc(groups, func(g lag.Group) bool { return g.Name == name }) {
				groups = append(groups, lag.Group{Name: name})
			}
		}
		slices.SortFunc(groups, func(a, b lag.Group) int { return strings.Compare(a.Name, b.Name) })
	}
	if len(only) > 0 {
		groups = slices.DeleteFunc(groups, func(g lag.Group) bool {
			return !slices.Contains(only, g.Name) && !slices.Contains(only, s.bare(g.Name))
		})
		for i := range groups {
			groups[i].Optional = false // it is asked after
		}
	}
	return lag.Reader{Opts: s.kafka(), Adm: adm, Now: s.env.Now}.Read(ctx, groups)
}

func lagTable(w io.Writer, lags []lag.Partition) error {
	rows := [][]string{{"GROUP", "STATE", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND", "SAFE"}}
	for _, l := range lags {
		committed, behind := "-", ""
		if l.Committed >= 0 {
			committed = strconv.FormatInt(l.Committed, 10)
		}
		if l.Lag > 0 {
			behind = (time.Duration(l.Behind*1000) * time.Millisecond).String()
		}
		rows = append(rows, []string{l.Group, l.State, l.Topic, strconv.Itoa(int(l.Partition)), committed,
			strconv.FormatInt(l.End, 10), strconv.FormatInt(l.Lag, 10), behind, safeText(l.Safe)})
	}
	return table(w, rows)
}

func safeText(safe *lag.Safe) string {
	switch {
	case safe == nil:
		return ""
	case safe.Loses == downtime.Records:
		return long(safe.Left)
	}
	return fmt.Sprintf("%s (%s)", long(safe.Left), safe.Loses)
}

// long is a time that may be days.
func long(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch days := d / (24 * time.Hour); {
	case days >= 2:
		return fmt.Sprintf("%dd%dh", days, (d-days*24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	default:
		return d.Round(time.Second).String()
	}
}
