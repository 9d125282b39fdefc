// Package topicplan compares the catalogue of topics with a cluster and brings
// the cluster to it. It creates and alters; it never deletes a topic, never
// lowers a partition count, and never lets keys move to other partitions.
package topicplan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/orderlog/orderlog/topics"
)

// DefaultPartitions is what Plan takes where nobody says a number and no topic
// is there yet.
const DefaultPartitions = 4

// Replicas is how many copies of a record there should be, where there are as
// many brokers: one may fail while another one is being mended.
const Replicas = 3

// Kafka's names of the settings that are compared.
const (
	cleanupPolicy = "cleanup.policy"
	retention     = "retention.ms"
	compactionLag = "min.compaction.lag.ms"
	minInSync     = "min.insync.replicas"
)

// What a Change is about, where it is not a setting's name.
const (
	Create      = "create"
	Partitions  = "partitions"
	Replication = "replication"
)

// Change is one difference between the catalogue and the cluster.
type Change struct {
	Topic string `json:"topic"` // with namespace
	What  string `json:"what"`  // Create, Partitions, Replication, or the name of a setting
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`

	// Of what shall be created.
	Partitions  int32             `json:"partitions,omitempty"`
	Replication int16             `json:"replication,omitempty"`
	Settings    map[string]string `json:"settings,omitempty"`

	// Blocked says why Apply will not do this; empty: it will.
	Blocked string `json:"blocked,omitempty"`
}

// Missing says that the topic is not there at all.
func (c Change) Missing() bool { return c.What == Create }

// String is the change as one line for a person.
func (c Change) String() string {
	var s string
	switch c.What {
	case Create:
		s = fmt.Sprintf("create %s: %d partitions, replication %d", c.Topic, c.Partitions, c.Replication)
		for _, name := range sortedKeys(c.Settings) {
			s += fmt.Sprintf(", %s=%s", name, c.Settings[name])
		}
	default:
		s = fmt.Sprintf("alter %s: %s %s -> %s", c.Topic, c.What, c.From, c.To)
	}
	if c.Blocked != "" {
		s += " (cannot: " + c.Blocked + ")"
	}
	return s
}

// Plan lists what differs, in the order of the catalogue; nothing is changed.
// Partitions 0 means the count of the topics that are there, DefaultPartitions
// where there are none.
//
// Replication 0 means Replicas, or as many as there are brokers, but not fewer
// than the topics that are there have. All but one of the replicas must have a
// record before it counts as written (min.insync.replicas), so that one broker
// may fail. Topics with fewer replicas are told and blocked, because moving them
// is a matter of when and where to; those with more are left alone.
//
// All topics must have one count, so that equal keys meet. Where a topic that
// was written to has another count than asked for, every creation and every new
// partition is blocked: keys would not meet, or move.
func Plan(ctx context.Context, adm *kadm.Client, namespace string, partitions int32, replication int16) ([]Change, error) {
	found, err := Look(ctx, adm, namespace)
	if err != nil {
		return nil, err
	}
	cluster, err := adm.BrokerMetadata(uncached(ctx))
	if err != nil {
		return nil, fmt.Errorf("asking who the brokers are: %w", err)
	}
	return compare(found, len(cluster.Brokers), partitions, int(replication)), nil
}

func compare(found []Found, brokers int, partitions int32, replication int) []Change {
	if partitions <= 0 {
		partitions = usualCount(found)
	}
	if replication <= 0 {
		replication = usualReplication(found, brokers)
	}
	blocked := anchored(found, partitions)
	uncreatable := blocked
	if blocked == "" && replication > brokers {
		uncreatable = fmt.Sprintf("%d replicas need as many brokers, and %d answer: start the others or use --replication %d", replication, brokers, brokers)
	}
	var changes []Change
	for _, f := range found {
		if !f.Exists {
			changes = append(changes, Change{Topic: f.FullName, What: Create, Partitions: partitions,
				Replication: int16(replication), Settings: settings(f.Topic, replication), Blocked: uncreatable})
			continue
		}
		if f.Partitions != partitions {
			changes = append(changes, repartition(f, partitions, blocked))
		}
		if f.Replicas < replication {
			changes = append(changes, Change{Topic: f.FullName, What: Replication, From: strconv.Itoa(f.Replicas), To: strconv.Itoa(replication),
				Blocked: fmt.Sprintf("copy it to more brokers with kafka-reassign-partitions, or use --replication %d", f.Replicas)})
		}
		want := settings(f.Topic, min(f.Replicas, replication))
		for _, name := range sortedKeys(want) {
			if have := f.Settings[name]; have != want[name] {
				changes = append(changes, Change{Topic: f.FullName, What: name, From: have, To: want[name]})
			}
		}
	}
	return changes
}

// usualCount is the largest count of the topics that were written to, else of
// those that exist.
func usualCount(found []Found) int32 {
	var written, any int32
	for _, f := range found {
		any = max(any, f.Partitions)
		if f.Written {
			written = max(written, f.Partitions)
		}
	}
	switch {
	case written > 0:
		return written
	case any > 0:
		return any
	}
	return DefaultPartitions
}

// usualReplication is Replicas, or as many as there are brokers; a broker that is
// down just now does not make it fewer than the topics that are there have.
func usualReplication(found []Found, brokers int) int {
	most := brokers
	for _, f := range found {
		most = max(most, f.Replicas)
	}
	return min(Replicas, most)
}

// anchored says why the count cannot be partitions, or "".
func anchored(found []Found, partitions int32) string {
	var first Found
	for _, f := range found {
		switch {
		case !f.Written:
		case !first.Written:
			first = f
		case f.Partitions != first.Partitions:
			return fmt.Sprintf("%s has %d partitions, %s has %d, and both were written to: use a new namespace",
				first.FullName, first.Partitions, f.FullName, f.Partitions)
		}
	}
	if !first.Written || first.Partitions == partitions {
		return ""
	}
	return fmt.Sprintf("%s has %d partitions and was written to, equal keys must stay together: use %d partitions or a new namespace",
		first.FullName, first.Partitions, first.Partitions)
}

func repartition(f Found, partitions int32, blocked string) Change {
	c := Change{Topic: f.FullName, What: Partitions, From: fmt.Sprint(f.Partitions), To: fmt.Sprint(partitions), Blocked: blocked}
	if blocked == "" && f.Partitions > partitions {
		c.Blocked = "a topic cannot lose partitions: delete it by hand or use a new namespace"
	}
	return c
}

// settings are the topic settings that the catalogue asks for.
func settings(t topics.Topic, replicas int) map[string]string {
	s := map[string]string{cleanupPolicy: "delete", minInSync: strconv.Itoa(InSync(replicas))}
	switch {
	case t.Compact:
		s[cleanupPolicy] = "compact"
		if t.MinLag > 0 {
			s[compactionLag] = strconv.FormatInt(t.MinLag.Milliseconds(), 10)
		}
	case t.Retention == topics.Forever:
		s[retention] = "-1"
	default:
		s[retention] = strconv.FormatInt(t.Retention.Milliseconds(), 10)
	}
	return s
}

// InSync is the min.insync.replicas that goes with a number of replicas.
func InSync(replicas int) int { return max(1, replicas-1) }

// Found is a topic of the catalogue as the cluster has it.
type Found struct {
	topics.Topic
	FullName   string // with namespace
	Exists     bool
	Partitions int32
	Replicas   int
	Written    bool // a record was ever written to it
	Settings   map[string]string
}

// settle is how long Look waits for brokers that do not agree yet about topics
// that were just made, or that are changing leaders.
const settle = 15 * time.Second

// Look reads the state of every topic of the catalogue.
func Look(ctx context.Context, adm *kadm.Client, namespace string) ([]Found, error) {
	deadline := time.Now().Add(settle)
	for {
		found, err := look(ctx, adm, namespace)
		if err == nil || !kerr.IsRetriable(err) || time.Now().After(deadline) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(leaderPoll):
		}
	}
}

func look(ctx context.Context, adm *kadm.Client, namespace string) ([]Found, error) {
	var found []Found
	var names []string
	for _, t := range topics.All() {
		f := Found{Topic: t, FullName: topics.Prefixed(namespace, t.Name)}
		found = append(found, f)
		names = append(names, f.FullName)
	}
	details, err := adm.ListTopics(uncached(ctx), names...)
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", err)
	}
	names = names[:0]
	for i := range found {
		f := &found[i]
		d := details[f.FullName]
		if d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			return nil, fmt.Errorf("describing topic %q: %w", f.FullName, d.Err)
		}
		if details.Has(f.FullName) {
			f.Exists, f.Partitions, f.Replicas = true, int32(len(d.Partitions)), d.Partitions.NumReplicas()
			names = append(names, f.FullName)
		}
	}
	if len(names) == 0 {
		return found, nil
	}
	return found, lookInside(ctx, adm, found, names)
}

// lookInside adds what only topics that exist have: settings and records.
func lookInside(ctx context.Context, adm *kadm.Client, found []Found, names []string) error {
	configs, err := adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("describing topic settings: %w", err)
	}
	ends, err := adm.ListEndOffsets(uncached(ctx), names...)
	if err != nil {
		return fmt.Errorf("listing end offsets: %w", err)
	}
	for i := range found {
		f := &found[i]
		if !f.Exists {
			continue
		}
		rc, err := configs.On(f.FullName, nil)
		if err == nil {
			err = rc.Err
		}
		if err != nil {
			return fmt.Errorf("describing settings of topic %q: %w", f.FullName, err)
		}
		f.Settings = make(map[string]string, len(rc.Configs))
		for _, c := range rc.Configs {
			f.Settings[c.Key] = c.MaybeValue()
		}
		for _, o := range ends[f.FullName] {
			if o.Err != nil {
				return fmt.Errorf("reading end of topic %q partition %d: %w", f.FullName, o.Partition, o.Err)
			}
			f.Written = f.Written || o.Offset > 0
		}
	}
	return nil
}

// uncached makes kadm ask the broker: it answers from kgo's metadata cache, up to
// five seconds old, unless authorized operations are asked for.
func uncached(ctx context.Context) context.Context { return kadm.WithAuthorizedOps(ctx) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
