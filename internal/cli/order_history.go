package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/why"
	"github.com/orderlog/orderlog/schemas"
)

func newOrderHistory(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "history ORDER",
		Short: "Show every version of an order that the order log still has",
		Long: `Shows each version of an order on the order log: when it was written and where it
stands, the event and its ID, what was being handled (topic/partition/offset), and
what it changed. Compaction leaves the last version of an order that has not changed
for a week; which ones are missing is said.`,
		Args:    exactly("ORDER"),
		Example: example("orderlog order history ord_CA-2014-100006", "orderlog order history ord_CA-2014-100006 -o json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.past(cmd.Context(), args[0], func(r *why.Reader) error {
				versions, err := r.History(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return s.show(versions, func(w io.Writer) error { return historyText(w, s.outStyle(), versions) })
			})
		},
	}
}

// past looks at what the logs have of an order; what is wrong with that is explained.
func (s *session) past(ctx context.Context, order string, look func(*why.Reader) error) error {
	if err := checkID("ord_", order); err != nil {
		return err
	}
	serde, err := s.online(ctx)
	if err != nil {
		return err
	}
	r, err := why.New(ctx, why.Config{Opts: s.kafka(), Serde: serde, Namespace: s.set.namespace})
	if err != nil {
		return s.explain(err)
	}
	defer r.Close()
	return s.explainOrder(look(r))
}

func historyText(w io.Writer, st style, versions []why.Version) error {
	for i, v := range versions {
		if v.Missing > 0 {
			fmt.Fprintf(w, "%s\n", st.warn("compaction took "+versionRange(v.Version-v.Missing, v.Version-1)))
		}
		what := v.Type
		if i > 0 && v.Version == versions[i-1].Version {
			what = "the same again: only what is remembered beside it has changed"
		}
		cause := "unknown"
		if v.Cause != nil {
			cause = v.Cause.String()
		}
		fmt.Fprintf(w, "%s  version %d  %s  %s\n", moment(v.Time), v.Version, stateText(st, v.State), st.bold(line(what)))
		fmt.Fprintf(w, "    %s\n", st.dim(fmt.Sprintf("at %s, %s; cause %s", v.Place, word(v.ID), cause)))
		for _, e := range v.Entries {
			fmt.Fprintf(w, "    + %s\n", line(entryText(e)))
		}
		for _, c := range v.Changes {
			fmt.Fprintf(w, "    %s\n", line(c))
		}
	}
	return nil
}

func entryText(e schemas.TimelineEntry) string {
	if e.Detail == "" {
		return e.Type
	}
	return e.Type + ": " + e.Detail
}

func versionRange(first, last int64) string {
	if first == last {
		return fmt.Sprintf("version %d", first)
	}
	return fmt.Sprintf("versions %d to %d", first, last)
}
