package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/test/kafka"
	"github.com/orderlog/orderlog/topics"
)

// unchanged has Kafka's own tools, and librdkafka's where it is at hand, place
// orders, read them and look at the groups.
func unchanged(ctx context.Context, t *testing.T, c *kafka.Cluster, a *app.App, namespace string) {
	t.Helper()
	out, err := client.New(client.Config{Opts: a.ClientOpts(), Serde: a.Serde(), Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	commands, log := topics.Prefixed(namespace, topics.OrderCommands), topics.Prefixed(namespace, topics.OrderTable)
	const n = 20
	for _, p := range []struct {
		name string
		cmd  func() (*exec.Cmd, error)
		line string
	}{
		{"java", func() (*exec.Cmd, error) {
			return kafka.Command(ctx, "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", strings.Join(c.Brokers(), ","), "--topic", commands,
				"--reader-property", "parse.key=true", "--reader-property", "parse.headers=true")
		}, "content-type:application/json,ce_type:orders.order.place\t%s\t%s\n"},
		{"librdkafka", func() (*exec.Cmd, error) {
			kcat, err := exec.LookPath("kcat")
			if err != nil {
				return nil, nil
			}
			return exec.CommandContext(ctx, kcat, "-P", "-b", strings.Join(c.Brokers(), ","), "-t", commands, "-K", "\t", "-X", "partitioner=murmur2_random",
				"-H", "content-type=application/json", "-H", "ce_type=orders.order.place"), nil
		}, "%s\t%s\n"},
	} {
		id := func(i int) string { return fmt.Sprintf("ord_%s_%d", p.name, i) }
		cmd, err := p.cmd()
		if err != nil {
			t.Fatal(err)
		}
		if cmd == nil {
			t.Logf("%s: not at hand", p.name)
			continue
		}
		var in bytes.Buffer
		for i := range n {
			fmt.Fprintf(&in, p.line, id(i), fmt.Sprintf(`{"order_id":%q,"customer_id":"cus_nobody","currency":"EUR","lines":[{"sku":"sku_nothing","quantity":1}]}`, id(i)))
		}
		cmd.Stdin = &in
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", p.name, err, out)
		}
		for i := range n {
			if err := out.WatchOrder(ctx, id(i), func(o *schemas.Order) bool { return o.State != "rejected" }); err != nil {
				t.Fatalf("%s: order %s: %v", p.name, id(i), err)
			}
		}
	}
	cl, err := kgo.NewClient(a.ClientOpts()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	span, err := client.Whole(ctx, kadm.NewClient(cl), commands)
	if err != nil {
		t.Fatal(err)
	}
	foreign := 0
	if err := span.Read(ctx, a.ClientOpts(), func(r *kgo.Record) (bool, error) {
		if strings.HasPrefix(string(r.Key), "ord_java_") || strings.HasPrefix(string(r.Key), "ord_librdkafka_") {
			foreign++
			if want := kgoka.Partition(string(r.Key), len(span.From)); r.Partition != want {
				t.Errorf("%s is on partition %d, want %d", r.Key, r.Partition, want)
			}
		}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if foreign == 0 || foreign%n != 0 {
		t.Errorf("%d foreign orders", foreign)
	}
	tools(ctx, t, c, cl, namespace, log)
}

// tools: the console consumer reads what is committed, the groups have no lag and
// no transaction hangs.
func tools(ctx context.Context, t *testing.T, c *kafka.Cluster, cl *kgo.Client, namespace, log string) {
	t.Helper()
	span, err := client.Whole(ctx, kadm.NewClient(cl), log)
	if err != nil {
		t.Fatal(err)
	}
	committed := 0
	if err := span.Read(ctx, cl.Opts(), func(*kgo.Record) (bool, error) { committed++; return true, nil }); err != nil {
		t.Fatal(err)
	}
	shown, err := c.Tool(ctx, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--topic", log, "--from-beginning", "--isolation-level", "read_committed",
		"--timeout-ms", "5000", "--formatter-property", "print.key=true", "--formatter-property", "print.value=false")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count("\n"+string(shown), "\nord_"); n != committed {
		t.Errorf("the console consumer shows %d records, want %d", n, committed)
	}
	for _, group := range []string{"order", "inventory", "credit", "invoicing", "voucher"} {
		group = topics.Prefixed(namespace, group)
		var out []byte
		for total := int64(-1); total != 0; { // commits follow the last marker a moment later
			if out, err = c.Tool(ctx, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--describe", "--group", group); err != nil {
				t.Fatal(err)
			}
			rows, lag := lagOf(string(out), group)
			if rows == 0 {
				t.Fatalf("%s: no partitions\n%s", group, out)
			}
			total = lag
		}
	}
	out, err := c.Tool(ctx, "org.apache.kafka.tools.TransactionsCommand", "find-hanging", "--broker-id", "1")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(string(out)), "\n"); len(lines) > 1 {
		t.Errorf("hanging transactions:\n%s", out)
	}
}

// lagOf sums up the column LAG of kafka-consumer-groups.
func lagOf(text, group string) (rows int, lag int64) {
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != group {
			continue
		}
		rows++
		var n int64
		if _, err := fmt.Sscan(f[5], &n); err == nil { // "-" where nothing is committed: nothing was there
			lag += n
		}
	}
	return rows, lag
}
