package topicplan_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/topics"
)

const ns = "test"

type cluster struct {
	t *testing.T
	*kfake.Cluster
	adm *kadm.Client
}

func start(t *testing.T) cluster { return startWith(t, 1) }

func startWith(t *testing.T, brokers int) cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cluster{t, c, kadm.NewClient(cl)}
}

func (c cluster) create(name string, partitions int32, configs map[string]string) {
	c.t.Helper()
	if err := c.CreateTopic(topics.Prefixed(ns, name), partitions, configs); err != nil {
		c.t.Fatal(err)
	}
}

// replicated is create with a number of replicas.
func (c cluster) replicated(name string, replication int16, configs map[string]*string) {
	c.t.Helper()
	if _, err := c.adm.CreateTopic(c.t.Context(), 4, replication, configs, topics.Prefixed(ns, name)); err != nil {
		c.t.Fatal(err)
	}
}

func (c cluster) write(name string) {
	c.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(c.t.Context(), &kgo.Record{Topic: topics.Prefixed(ns, name), Key: []byte("k")}).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

func (c cluster) partitions(name string) (n int) {
	for c.PartitionInfo(name, int32(n)) != nil {
		n++
	}
	return n
}

func (c cluster) plan(partitions int32) []topicplan.Change {
	c.t.Helper()
	changes, err := topicplan.Plan(c.t.Context(), c.adm, ns, partitions, 1)
	if err != nil {
		c.t.Fatal(err)
	}
	return changes
}

// of returns the changes of one topic as lines.
func of(changes []topicplan.Change, name string) (lines []string) {
	for _, c := range changes {
		if c.Topic == topics.Prefixed(ns, name) {
			lines = append(lines, c.String())
		}
	}
	return lines
}

func TestEmptyClusterGetsTheCatalogue(t *testing.T) {
	c := start(t)
	changes := c.plan(3)
	if len(changes) != len(topics.All()) {
		t.Fatalf("%d changes for %d topics", len(changes), len(topics.All()))
	}
	if err := topicplan.Apply(t.Context(), c.adm, changes); err != nil {
		t.Fatal(err)
	}
	if again := c.plan(3); len(again) != 0 {
		t.Errorf("after Apply there is still to do: %v", again)
	}
	if err := topicplan.Apply(t.Context(), c.adm, changes); err != nil {
		t.Errorf("applying the same plan again: %v", err)
	}
	info := c.TopicInfo("test.order-table")
	if info == nil || c.partitions("test.order-table") != 3 {
		t.Fatalf("order-table: %+v, want 3 partitions", info)
	}
	for name, want := range map[string]string{"cleanup.policy": "compact", "min.compaction.lag.ms": "604800000"} {
		if got := info.Configs[name]; got == nil || *got != want {
			t.Errorf("order-table %s = %v, want %s", name, got, want)
		}
	}
	commands := c.TopicInfo("test.credit-commands")
	if got := commands.Configs["retention.ms"]; got == nil || *got != "-1" {
		t.Errorf("credit-commands retention.ms = %v, want -1", got)
	}
}

func TestPlan(t *testing.T) {
	compact := map[string]string{"cleanup.policy": "compact"}
	tests := []struct {
		name       string
		setup      func(cluster)
		partitions int32
		topic      string
		want       []string // every change of that topic, as a piece of its line
	}{
		{"nothing there", func(cluster) {}, 0, topics.Invoices,
			[]string{"create test.invoices: 4 partitions, replication 1, cleanup.policy=compact, min.insync.replicas=1"}},
		{"as it should be", func(c cluster) { c.create(topics.Invoices, 4, compact) }, 4, topics.Invoices, nil},
		{"number taken from what is there", func(c cluster) { c.create(topics.Invoices, 6, compact) }, 0, topics.Vouchers,
			[]string{"create test.vouchers: 6 partitions"}},
		{"written topics count more than empty ones", func(c cluster) {
			c.create(topics.Invoices, 9, compact)
			c.create(topics.Vouchers, 2, compact)
			c.write(topics.Vouchers)
		}, 0, topics.Invoices, []string{"partitions 9 -> 2 (cannot: a topic cannot lose partitions"}},
		{"wrong policy", func(c cluster) { c.create(topics.Invoices, 4, nil) }, 4, topics.Invoices,
			[]string{"alter test.invoices: cleanup.policy delete -> compact"}},
		{"policy of both kinds", func(c cluster) {
			c.create(topics.Invoices, 4, map[string]string{"cleanup.policy": "compact,delete"})
		}, 4, topics.Invoices, []string{"cleanup.policy compact,delete -> compact"}},
		{"wrong retention", func(c cluster) {
			c.create(topics.OrderCommands, 4, map[string]string{"retention.ms": "5"})
		}, 4, topics.OrderCommands, []string{"retention.ms 5 -> 604800000"}},
		{"compaction too early", func(c cluster) {
			c.create(topics.OrderTable, 4, map[string]string{"cleanup.policy": "compact", "min.compaction.lag.ms": "0"})
		}, 4, topics.OrderTable, []string{"min.compaction.lag.ms 0 -> 604800000"}},
		{"empty topic grows", func(c cluster) { c.create(topics.Invoices, 2, compact) }, 4, topics.Invoices,
			[]string{"partitions 2 -> 4"}},
		{"written topic does not", func(c cluster) {
			c.create(topics.Invoices, 2, compact)
			c.write(topics.Invoices)
		}, 4, topics.Invoices, []string{"partitions 2 -> 4 (cannot: test.invoices has 2 partitions and was written to"}},
		{"nor does one beside it", func(c cluster) {
			c.create(topics.Invoices, 2, compact)
			c.write(topics.Invoices)
		}, 4, topics.Vouchers, []string{"create test.vouchers: 4 partitions, replication 1, cleanup.policy=compact, min.insync.replicas=1 (cannot: test.invoices has 2"}},
		{"written topics that disagree", func(c cluster) {
			c.create(topics.Invoices, 2, compact)
			c.create(topics.Vouchers, 4, compact)
			c.write(topics.Invoices)
			c.write(topics.Vouchers)
		}, 4, topics.Invoices, []string{"(cannot: test.invoices has 2 partitions, test.vouchers has 4, and both were written to"}},
		{"shrinking", func(c cluster) { c.create(topics.Invoices, 5, compact) }, 4, topics.Invoices,
			[]string{"partitions 5 -> 4 (cannot: a topic cannot lose partitions"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t)
			tt.setup(c)
			got := of(c.plan(tt.partitions), tt.topic)
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.Contains(got[i], tt.want[i]) {
					t.Errorf("got %q, want %q in it", got[i], tt.want[i])
				}
				if strings.Contains(got[i], "cannot") != strings.Contains(tt.want[i], "cannot") {
					t.Errorf("got %q, want %q", got[i], tt.want[i])
				}
			}
		})
	}
}

func TestReplication(t *testing.T) {
	compact := func(inSync string) map[string]*string {
		return map[string]*string{"cleanup.policy": kadm.StringPtr("compact"), "min.insync.replicas": &inSync}
	}
	tests := []struct {
		name        string
		brokers     int
		setup       func(cluster)
		replication int16
		want        []string // every change of invoices, as a piece of its line
	}{
		{"three of three", 3, nil, 0, []string{"create test.invoices: 4 partitions, replication 3, cleanup.policy=compact, min.insync.replicas=2"}},
		{"three of five", 5, nil, 0, []string{"replication 3, "}},
		{"two of two", 2, nil, 0, []string{"replication 2, cleanup.policy=compact, min.insync.replicas=1"}},
		{"as asked", 3, nil, 2, []string{"replication 2, cleanup.policy=compact, min.insync.replicas=1"}},
		{"more than brokers", 2, nil, 3, []string{"replication 3, cleanup.policy=compact, min.insync.replicas=2 (cannot: 3 replicas need as many brokers, and 2 answer"}},
		{"as it should be", 3, func(c cluster) { c.replicated(topics.Invoices, 3, compact("2")) }, 0, nil},
		{"one copy must have it", 3, func(c cluster) { c.replicated(topics.Invoices, 3, compact("1")) }, 0, []string{"min.insync.replicas 1 -> 2"}},
		{"all copies must have it", 3, func(c cluster) { c.replicated(topics.Invoices, 3, compact("3")) }, 0, []string{"min.insync.replicas 3 -> 2"}},
		{"too few", 3, func(c cluster) { c.replicated(topics.Invoices, 1, compact("1")) }, 0,
			[]string{"replication 1 -> 3 (cannot: copy it to more brokers with kafka-reassign-partitions, or use --replication 1"}},
		{"too few, and no write can succeed", 3, func(c cluster) { c.replicated(topics.Invoices, 2, compact("2")) }, 0,
			[]string{"replication 2 -> 3 (cannot", "min.insync.replicas 2 -> 1"}},
		{"few, as asked", 3, func(c cluster) { c.replicated(topics.Invoices, 1, compact("1")) }, 1, nil},
		{"more than asked", 3, func(c cluster) { c.replicated(topics.Invoices, 3, compact("2")) }, 1, []string{"min.insync.replicas 2 -> 1"}},
		{"more than usual", 5, func(c cluster) { c.replicated(topics.Invoices, 5, compact("2")) }, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := startWith(t, tt.brokers)
			if tt.setup != nil {
				tt.setup(c)
			}
			changes, err := topicplan.Plan(t.Context(), c.adm, ns, 4, tt.replication)
			if err != nil {
				t.Fatal(err)
			}
			got := of(changes, topics.Invoices)
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.Contains(got[i], tt.want[i]) || strings.Contains(got[i], "cannot") != strings.Contains(tt.want[i], "cannot") {
					t.Errorf("got %q, want %q", got[i], tt.want[i])
				}
			}
		})
	}
}

func TestApplyReplicates(t *testing.T) {
	c := startWith(t, 3)
	changes, err := topicplan.Plan(t.Context(), c.adm, ns, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := topicplan.Apply(t.Context(), c.adm, changes); err != nil {
		t.Fatal(err)
	}
	found, err := topicplan.Look(t.Context(), c.adm, ns)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.Replicas != 3 || f.Settings["min.insync.replicas"] != "2" {
			t.Errorf("%s has %d replicas and min.insync.replicas %s", f.FullName, f.Replicas, f.Settings["min.insync.replicas"])
		}
	}
}

func TestApplyDoesWhatItCanAndSaysTheRest(t *testing.T) {
	c := start(t)
	c.create(topics.Invoices, 2, nil)
	c.write(topics.Invoices)
	err := topicplan.Apply(t.Context(), c.adm, c.plan(4))
	if err == nil || !strings.Contains(err.Error(), " test.invoices, ") || strings.Count(err.Error(), "\n") > 0 {
		t.Errorf("error %v, want the blocked topics in it, in one line", err)
	}
	info := c.TopicInfo("test.invoices")
	if got := info.Configs["cleanup.policy"]; got == nil || *got != "compact" {
		t.Errorf("cleanup.policy = %v: what could be done was left undone", got)
	}
	if n := c.partitions("test.invoices"); n != 2 {
		t.Errorf("%d partitions, want 2: a written topic was repartitioned", n)
	}
	if c.TopicInfo("test.vouchers") != nil {
		t.Error("a topic was created that is not co-partitioned with the others")
	}
}

func TestApplyGrowsEmptyTopics(t *testing.T) {
	c := start(t)
	c.create(topics.Invoices, 2, nil)
	if err := topicplan.Apply(t.Context(), c.adm, c.plan(4)); err != nil {
		t.Fatal(err)
	}
	if n := c.partitions("test.invoices"); n != 4 {
		t.Errorf("%d partitions, want 4", n)
	}
}

// A topic is usable only when its partitions are led: Apply must not return
// while the broker still answers that they are not.
func TestApplyWaitsForLeaders(t *testing.T) {
	c := start(t)
	changes := c.plan(1)
	leaderless := 3
	c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.MetadataRequest)
		if len(r.Topics) == 0 || leaderless == 0 {
			return nil, nil, false
		}
		leaderless--
		resp := r.ResponseKind().(*kmsg.MetadataResponse)
		for _, rt := range r.Topics {
			st := kmsg.NewMetadataResponseTopic()
			st.Topic = rt.Topic
			st.ErrorCode = kerr.LeaderNotAvailable.Code
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	if err := topicplan.Apply(t.Context(), c.adm, changes); err != nil {
		t.Fatal(err)
	}
	if leaderless != 0 {
		t.Errorf("Apply returned while topics had no leader")
	}
}

// Brokers learn of a topic one after the other: a leader that does not know yet
// that it is one is asked again, and so is who lists.
func TestLeadersThatDoNotKnowYet(t *testing.T) {
	c := start(t)
	changes := c.plan(1)
	ignorant := 0
	c.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if ignorant == 0 {
			return nil, nil, false
		}
		ignorant--
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, rt := range req.(*kmsg.ListOffsetsRequest).Topics {
			st := kmsg.NewListOffsetsResponseTopic()
			st.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				sp := kmsg.NewListOffsetsResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.UnknownTopicOrPartition.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	const times = 20 // more often than the client asks again by itself
	ignorant = times
	if err := topicplan.Apply(t.Context(), c.adm, changes); err != nil || ignorant > 0 {
		t.Errorf("Apply: %v, and %d times a leader would not have known", err, ignorant)
	}
	ignorant = times
	if found, err := topicplan.Look(t.Context(), c.adm, ns); err != nil || ignorant > 0 || len(found) != len(topics.All()) {
		t.Errorf("Look: %d topics, %v, and %d times a leader would not have known", len(found), err, ignorant)
	}
}

func TestApplyEndsWithItsContext(t *testing.T) {
	c := start(t)
	changes := c.plan(1)
	c.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return nil, kerr.BrokerNotAvailable, true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := topicplan.Apply(ctx, c.adm, changes); err == nil {
		t.Error("no error though no leader was ever seen")
	}
}
