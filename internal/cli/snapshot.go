package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/build"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/snapshot"
)

func newSnapshot(s *session) *cobra.Command {
	cmd := needsVerb(&cobra.Command{
		Use:   "snapshot",
		Short: "Keep the state of a cluster outside of it, and bring it back",
		Example: example("orderlog snapshot create --snapshots s3://backup/shop", "",
			"# A new cluster, in place of one that was lost", "orderlog topics apply", "orderlog snapshot restore 20260131T080000.000Z --snapshots s3://backup/shop --yes"),
	})
	cmd.AddCommand(newSnapshotCreate(s), newSnapshotList(s), newSnapshotRestore(s), newSnapshotDelete(s))
	return cmd
}

// snapshots is the flag that says where they are.
func snapshots(cmd *cobra.Command, where *string) {
	cmd.Flags().StringVar(where, "snapshots", "orderlog-snapshots", "`WHERE` snapshots are: a folder, or s3://BUCKET/PREFIX with keys and endpoint in AWS_* as usual")
	settable(cmd, "snapshots")
}

func (s *session) store(where string) (snapshot.Store, error) {
	if where != "" && !strings.Contains(where, "://") {
		where = s.env.path(where)
	}
	store, err := snapshot.At(where, s.env.Getenv)
	if err != nil {
		return nil, prefixed("--snapshots", &usageError{err})
	}
	return store, nil
}

func (s *session) snapshotConfig() snapshot.Config {
	return snapshot.Config{Opts: s.kafka(), Namespace: s.set.namespace, Version: build.Read().Version, Now: s.env.Now, Tell: func(what string) { s.log.Info(what) }}
}

func newSnapshotCreate(s *session) *cobra.Command {
	var where string
	cmd := &cobra.Command{
		Use:   "create [GROUP...]",
		Short: "Take a snapshot of a running system",
		Long: `Takes a snapshot at one moment, without stopping anybody: where every group was, the
rows of its table as of there, documents, commands that are kept for good, dead
letters, and all that was under way. Of the groups named it takes offsets and tables
only, for going back in place (replay plan GROUP --to-snapshot ID).

Schemas are the registry's to keep: its topic, _schemas, is not in it.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.FixedCompletions(app.Names(), cobra.ShellCompDirectiveNoFileComp),
		Example:           example("orderlog snapshot create", "orderlog snapshot create inventory credit --snapshots /var/backups/orderlog"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var groups []string
			var err error
			if len(args) > 0 {
				if groups, err = s.groups(cmd, args); err != nil {
					return err
				}
			}
			store, err := s.store(where)
			if err != nil {
				return err
			}
			if err := s.reachable(cmd.Context()); err != nil {
				return err
			}
			m, err := snapshot.Create(cmd.Context(), s.snapshotConfig(), store, groups...)
			if err != nil {
				return s.explainSnapshot(err)
			}
			return s.show(m, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s: %d records of %d groups, %d bytes, in %s\n", m.ID, m.Records, len(m.Groups), m.Bytes, store)
				return err
			})
		},
	}
	snapshots(cmd, &where)
	return cmd
}

func (s *session) explainSnapshot(err error) error {
	switch {
	case errors.Is(err, snapshot.ErrNone):
		return hinted(err, "`orderlog snapshot list` shows those that there are")
	case errors.Is(err, snapshot.ErrPartial):
		return hinted(err, "orderlog replay plan GROUP --to-snapshot ID")
	case errors.Is(err, snapshot.ErrNotEmpty):
		return hinted(err, "a cluster is restored into new topics; to go back in place: orderlog replay plan GROUP --to-snapshot ID")
	case errors.Is(err, snapshot.ErrElsewhere):
		return hinted(err, "--namespace says of which it is to be")
	case errors.Is(err, client.ErrNoTopic):
		return hinted(err, "`orderlog topics apply` makes what is missing")
	}
	return s.explain(err)
}

func newSnapshotList(s *session) *cobra.Command {
	var where string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List snapshots, the oldest first",
		Args:    nothing(),
		Example: example("orderlog snapshot list -o json --snapshots s3://backup/shop"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := s.store(where)
			if err != nil {
				return err
			}
			all, err := snapshot.List(cmd.Context(), store)
			if err != nil {
				return err
			}
			return s.show(all, func(w io.Writer) error { return snapshotTable(w, all) })
		},
	}
	snapshots(cmd, &where)
	return cmd
}

func snapshotTable(w io.Writer, all []*snapshot.Manifest) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "no snapshots")
		return err
	}
	rows := [][]string{{"ID", "TAKEN", "OF", "PARTITIONS", "RECORDS", "BYTES", "VERSION"}}
	for _, m := range all {
		of := "all"
		if !m.Whole {
			var names []string
			for _, g := range m.Groups {
				names = append(names, g.Name)
			}
			of = strings.Join(names, ",")
		}
		rows = append(rows, []string{m.ID, m.At.Format(time.RFC3339), of, strconv.Itoa(m.Partitions), strconv.FormatInt(m.Records, 10), strconv.FormatInt(m.Bytes, 10), m.Version})
	}
	return table(w, rows)
}

func newSnapshotRestore(s *session) *cobra.Command {
	var where string
	var yes bool
	cmd := &cobra.Command{
		Use:   "restore ID",
		Short: "Bring a lost cluster's state into a new one",
		Long: `Brings all of a snapshot to a cluster whose topics are there and have never been
written to: topics apply, with as many partitions as there were, makes them. The
schema registry must be the one of before, or have been restored with its IDs.
Processors must not run yet; when they do, they go on with what was under way. What
happened after the snapshot is lost, and effects that were sent after it are sent
again: webhook-id and Message-ID are those that they had.

Without --yes the snapshot is only read and checked.`,
		Args:    exactly("ID"),
		Example: example("orderlog topics apply --partitions 8", "orderlog snapshot restore 20260131T080000.000Z --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := s.store(where)
			if err != nil {
				return err
			}
			if !yes {
				return s.checkSnapshot(cmd.Context(), store, args[0])
			}
			if err := s.reachable(cmd.Context()); err != nil {
				return err
			}
			res, err := snapshot.Restore(cmd.Context(), s.snapshotConfig(), store, args[0])
			if err != nil {
				return s.explainSnapshot(err)
			}
			return s.show(res, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "restored %s: %d records, offsets of %d groups; `orderlog verify` proves it\n", res.ID, res.Records, res.Groups)
				return err
			})
		},
	}
	snapshots(cmd, &where)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it; without it, the snapshot is only checked")
	return cmd
}

func (s *session) checkSnapshot(ctx context.Context, store snapshot.Store, id string) error {
	m, err := snapshot.Open(ctx, store, id)
	if err == nil {
		err = m.Check(ctx, store)
	}
	if err != nil {
		return s.explainSnapshot(err)
	}
	return s.show(m, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s is complete: %d records of %d groups, %d partitions a topic; --yes restores it\n", m.ID, m.Records, len(m.Groups), m.Partitions)
		return err
	})
}

func newSnapshotDelete(s *session) *cobra.Command {
	var where string
	cmd := &cobra.Command{
		Use:     "delete ID",
		Short:   "Delete a snapshot",
		Long:    "Deletes a snapshot, or what is left of one that was never finished. A replay that was to be undone with it cannot be any more.",
		Args:    exactly("ID"),
		Example: example("orderlog snapshot delete 20260131T080000.000Z"),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := s.store(where)
			if err != nil {
				return err
			}
			if err := snapshot.Delete(cmd.Context(), store, args[0]); err != nil {
				return s.explainSnapshot(err)
			}
			return s.show(map[string]string{"deleted": args[0]}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, "deleted "+args[0])
				return err
			})
		},
	}
	snapshots(cmd, &where)
	return cmd
}
