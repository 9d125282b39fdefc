package cli

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/topicplan"
)

func newTopics(s *session) *cobra.Command {
	cmd := needsVerb(&cobra.Command{
		Use:   "topics",
		Short: "Compare the topics with the catalogue, and make them so",
		Example: example("# What is there, what would be done, do it",
			"orderlog topics list", "orderlog topics plan", "orderlog topics apply"),
	})
	cmd.AddCommand(newTopicsList(s), newTopicsPlan(s), newTopicsApply(s))
	return cmd
}

// topicRow is one topic of the catalogue beside what the cluster has.
type topicRow struct {
	Topic      string `json:"topic"`
	Key        string `json:"key"`
	Cleanup    string `json:"cleanup"`
	WrittenBy  string `json:"written_by"`
	Exists     bool   `json:"exists"`
	Partitions int32  `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Written    bool   `json:"written"`
}

func newTopicsList(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the topics of the catalogue and whether they are there",
		Args:    nothing(),
		Example: example("orderlog topics list -o json"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, err := s.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			found, err := topicplan.Look(cmd.Context(), adm, s.set.namespace)
			if err != nil {
				return err
			}
			rows := make([]topicRow, 0, len(found))
			for _, f := range found {
				rows = append(rows, topicRow{Topic: f.FullName, Key: f.Key, Cleanup: cleanup(f), WrittenBy: f.WrittenBy,
					Exists: f.Exists, Partitions: f.Partitions, Replicas: f.Replicas, Written: f.Written})
			}
			return s.show(rows, func(w io.Writer) error { return topicTable(w, rows) })
		},
	}
}

func cleanup(f topicplan.Found) string {
	if f.Compact {
		return "compact"
	}
	return "delete"
}

func topicTable(w io.Writer, rows []topicRow) error {
	lines := [][]string{{"TOPIC", "KEY", "CLEANUP", "PARTITIONS", "WRITTEN BY"}}
	for _, r := range rows {
		there := "missing"
		if r.Exists {
			there = strconv.Itoa(int(r.Partitions))
		}
		lines = append(lines, []string{r.Topic, r.Key, r.Cleanup, there, r.WrittenBy})
	}
	return table(w, lines)
}

// topicFlags say what topics shall be like where they are made.
type topicFlags struct {
	partitions  int32
	replication int16
}

func (f *topicFlags) add(cmd *cobra.Command) {
	cmd.Flags().Int32Var(&f.partitions, "partitions", 0,
		fmt.Sprintf("partitions of every topic (default: as the topics that are there, else %d)", topicplan.DefaultPartitions))
	cmd.Flags().Int16Var(&f.replication, "replication", 0,
		fmt.Sprintf("replicas of every topic (default: %d, or as many as there are brokers); all but one must have a record before it counts as written", topicplan.Replicas))
	settable(cmd, "partitions", "replication")
}

func (f *topicFlags) check() error {
	if f.partitions < 0 || f.partitions > 1000 {
		return usagef("--partitions %d: between 1 and 1000 are possible", f.partitions)
	}
	if f.replication < 0 {
		return usagef("--replication %d: at least 1 is possible", f.replication)
	}
	return nil
}

func newTopicsPlan(s *session) *cobra.Command {
	var f topicFlags
	cmd := &cobra.Command{
		Use:     "plan",
		Short:   "Show what `topics apply` would do",
		Args:    nothing(),
		Example: example("orderlog topics plan --partitions 8"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := s.plan(cmd, f)
			if err != nil {
				return err
			}
			return s.showChanges("", changes)
		},
	}
	f.add(cmd)
	return cmd
}

func (s *session) plan(cmd *cobra.Command, f topicFlags) ([]topicplan.Change, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if f.partitions == 0 && cmd.Flags().Changed("partitions") {
		return nil, usagef("--partitions 0: between 1 and 1000 are possible; leave it away to keep what is there")
	}
	if f.replication == 0 && cmd.Flags().Changed("replication") {
		return nil, usagef("--replication 0: at least 1 is possible; leave it away for %d, or as many as there are brokers", topicplan.Replicas)
	}
	adm, err := s.admin(cmd.Context())
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	changes, err := topicplan.Plan(cmd.Context(), adm, s.set.namespace, f.partitions, f.replication)
	if changes == nil {
		changes = []topicplan.Change{} // [] in JSON, not null
	}
	return changes, err
}

func newTopicsApply(s *session) *cobra.Command {
	var f topicFlags
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Create and alter topics as the catalogue says",
		Long: `Creates what is missing and alters what differs. Never deletes a topic, never
lowers a partition count, never adds partitions where that would move keys that
were written, and copies no topic to more brokers; it says what it left undone
and why.`,
		Args:    nothing(),
		Example: example("orderlog topics apply --partitions 8 --replication 3"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := s.plan(cmd, f)
			if err != nil {
				return err
			}
			adm, err := s.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer adm.Close()
			if err := topicplan.Apply(cmd.Context(), adm, changes); err != nil {
				return hinted(err, "`orderlog topics plan` shows what is left")
			}
			return s.showChanges("done: ", changes)
		},
	}
	f.add(cmd)
	return cmd
}

func (s *session) showChanges(before string, changes []topicplan.Change) error {
	return s.show(changes, func(w io.Writer) error {
		for _, c := range changes {
			fmt.Fprintf(w, "%s%v\n", before, c)
		}
		if len(changes) == 0 {
			fmt.Fprintln(w, "nothing to do: every topic is as the catalogue says")
		}
		return nil
	})
}
