// Package doctor holds no code: its test has topics and doctor look at a real
// cluster of three, well and not.
package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderlog/orderlog/internal/cli"
	"github.com/orderlog/orderlog/test/kafka"
	"github.com/orderlog/orderlog/topics"
)

// ward is a cluster and who looks at it.
type ward struct {
	t        *testing.T
	cluster  *kafka.Cluster
	client   *kgo.Client
	adm      *kadm.Client
	registry string
}

func newWard(t *testing.T) *ward {
	c := kafka.Run(t, kafka.Options{Nodes: 3, Own: true})
	registry := srfake.New()
	t.Cleanup(registry.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.MetadataMinAge(50*time.Millisecond), kgo.UnknownTopicRetries(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &ward{t, c, cl, kadm.NewClient(cl), registry.URL()}
}

// run returns what a command line says, on both ways, and its exit code.
func (w *ward) run(line string, env ...string) (text string, code int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	args := append(strings.Fields(line), "--brokers", strings.Join(w.cluster.Brokers(), ","), "--registry", w.registry)
	code = cli.Main(ctx, args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Now: time.Now, Rand: rand.Reader,
		Getenv: func(name string) string {
			for _, pair := range env {
				if value, ok := strings.CutPrefix(pair, name+"="); ok {
					return value
				}
			}
			return ""
		}})
	return out.String(), code
}

// says runs a command line until it ends with that code and says all that: brokers
// learn of each other's troubles when they do.
func (w *ward) says(line string, code int, want ...string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		text, got := w.run(line)
		missing := ""
		for _, x := range want {
			if !strings.Contains(text, x) {
				missing = x
			}
		}
		if got == code && missing == "" {
			return
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("orderlog %s: exit code %d, want %d with %q:\n%s", line, got, code, missing, text)
		case <-tick.C:
		}
	}
}

func (w *ward) set(topic, setting, value string) {
	w.t.Helper()
	answer, err := w.adm.AlterTopicConfigs(w.t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: setting, Value: &value}}, topic)
	if err == nil {
		_, err = answer.On(topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *ward) drop(topic string) {
	w.t.Helper()
	if _, err := w.adm.DeleteTopic(w.t.Context(), topic); err != nil {
		w.t.Fatal(err)
	}
}

// create makes a topic of one partition, on these nodes.
func (w *ward) create(topic string, nodes ...int32) {
	w.t.Helper()
	a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	a.Replicas = nodes
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
	rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis, req.Topics = 10_000, append(req.Topics, rt)
	resp, err := req.RequestWith(w.t.Context(), w.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		w.t.Fatalf("creating %s on %v: %v", topic, nodes, err)
	}
}

func TestThreeNodes(t *testing.T) {
	all := len(topics.All()) // beside two of Kafka's own
	w := newWard(t)
	w.says("topics plan --partitions 1", 0, "create order-table: 1 partitions, replication 3, cleanup.policy=compact", ", min.insync.replicas=2\n")
	w.says("topics apply --partitions 1", 0, "done: create order-table")
	w.says("tail --limit 1", 0) // registers the schemas
	w.says("doctor", 0, "ok    3 of 3 brokers answer, with the API of Kafka ", "leads, all 3 controllers keep up", "ok    the brokers allow the timeouts",
		fmt.Sprintf("ok    every partition of %d topics has all its copies in sync", all+2), fmt.Sprintf("ok    %d topics are as the catalogue says, with 1 partitions each", all),
		"nothing is broken, 1 warning") // nobody runs

	// Drift, and what is done about it.
	w.set("order-table", "min.insync.replicas", "1")
	w.set("invoices", "unclean.leader.election.enable", "true")
	w.drop("vouchers")
	w.create("vouchers", 1)
	w.says("doctor", 1, "warn  min.insync.replicas=1, the catalogue says 2: order-table\n      hint: `orderlog topics apply` sets it",
		"FAIL  fewer replicas than min.insync.replicas, every write is refused: vouchers\n",
		"a copy that is behind may become leader, which loses records: invoices", "warn  fewer than 3 replicas: vouchers (1)\n")
	w.says("topics apply", 1, "vouchers: copy it to more brokers with kafka-reassign-partitions, or use --replication 1")
	w.says("topics plan", 0, "alter vouchers: replication 1 -> 3 (cannot: ")
	if text, _ := w.run("topics plan"); strings.Contains(text, "order-table") {
		t.Errorf("the drift of order-table is not mended:\n%s", text)
	}
	w.drop("vouchers")
	w.says("topics apply", 0, "done: create vouchers: 1 partitions, replication 3")

	w.set("invoices", "unclean.leader.election.enable", "false")

	// A node fails.
	w.create("lone.vouchers", 3)
	w.set("credit-table", "min.insync.replicas", "3")
	if err := w.cluster.Kill(2); err != nil {
		t.Fatal(err)
	}
	w.says("doctor", 1, "ok    2 of 3 brokers answer", "warn  down: broker 3", "of 3; down or behind: controller 3",
		"hint: start it again: if one more fails, topics and leaders cannot change",
		"FAIL  fewer copies in sync than min.insync.replicas, writes are refused: credit-table/0", "warn  copies missing or behind: ")
	w.says("doctor --namespace lone", 1, "FAIL  without a leader, neither read nor written: lone.vouchers/0")
	w.drop("vouchers")
	w.says("topics plan", 0, "create vouchers: 1 partitions, replication 3", "(cannot: 3 replicas need as many brokers, and 2 answer: start the others or use --replication 2)")

	// And comes back.
	if err := w.cluster.StartNode(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	w.says("topics apply", 0, "done: create vouchers: 1 partitions, replication 3", "done: alter credit-table: min.insync.replicas 3 -> 2")
	w.says("doctor", 0, "3 of 3 brokers answer", "all 3 controllers keep up", fmt.Sprintf("every partition of %d topics has all its copies in sync", all+2), fmt.Sprintf("%d topics are as the catalogue says", all))
}

// Kafka without TLS and SASL, spoken to as if it had them.
func TestAnotherLanguage(t *testing.T) {
	c := kafka.Run(t, kafka.Options{})
	w := &ward{t: t, cluster: c, registry: "http://127.0.0.1:1"}
	for _, tt := range []struct {
		name string
		env  []string
		want string
	}{
		{"TLS", []string{"ORDERLOG_TLS=true"}, "hint: do the brokers speak TLS at that port"},
		{"SASL", []string{"ORDERLOG_SASL_MECHANISM=SCRAM-SHA-256", "ORDERLOG_SASL_USER=ann", "ORDERLOG_SASL_PASSWORD=correct horse"},
			"hint: nobody can log in there: another port, or no --sasl-mechanism?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, code := w.run("topics list", tt.env...)
			if code != 1 || !strings.Contains(text, tt.want) || strings.Contains(text, "correct horse") {
				t.Errorf("exit code %d: %s", code, text)
			}
		})
	}
}
