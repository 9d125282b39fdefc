package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func client(t *testing.T, brokers []string) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(50*time.Millisecond), kgo.DefaultProduceTopic("kept"),
		kgo.ConsumeTopics("kept"), kgo.UnknownTopicRetries(-1)) // a topic just made is not known everywhere at once
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// What was acknowledged outlives every way a node can end, and Kafka's own tools
// see it. Its folder says whether it ended in order: docker-compose.kafka.yml reads it.
func TestClusterKeeps(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			c := Run(t, Options{Nodes: nodes, Own: true})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cl := client(t, c.Brokers())
			if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, -1, nil, "kept"); err != nil {
				t.Fatal(err)
			}
			last := nodes - 1
			for i, end := range []func(int) error{c.Stop, c.Kill} {
				if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
					t.Fatal(err)
				}
				if err := end(last); err != nil {
					t.Fatal(err)
				}
				_, err := os.Stat(filepath.Join(c.nodes[last].dir, "data", ".kafka_cleanshutdown"))
				if inOrder := err == nil; inOrder != (i == 0) {
					t.Errorf("ended in order: %v (%v)", inOrder, err)
				}
				if err := c.StartNode(ctx, last); err != nil {
					t.Fatal(err)
				}
			}
			out, err := c.Tool(ctx, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--topic", "kept", "--from-beginning", "--max-messages", "2")
			if got := strings.Fields(string(out)); err != nil || fmt.Sprint(got) != "[0 1]" {
				t.Errorf("%q, %v", out, err)
			}
			if out, err = c.Tool(ctx, "org.apache.kafka.tools.TopicCommand", "--describe", "--topic", "none"); err == nil {
				t.Errorf("a tool that fails printed %q and no error", out)
			}
		})
	}
}

func TestClusterProxy(t *testing.T) {
	c := Run(t, Options{Proxy: true})
	cl := client(t, c.ProxyBrokers())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, 1, nil, "kept"); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, kgo.StringRecord("0")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c.Proxy(0).Refuse(true)
	c.Proxy(0).Cut()
	acked := make(chan error, 1)
	cl.Produce(ctx, kgo.StringRecord("1"), func(_ *kgo.Record, err error) { acked <- err })
	if err := cl.Ping(ctx); err == nil {
		t.Error("behind a network that refuses, the broker answers")
	}
	select {
	case err := <-acked:
		t.Errorf("acknowledged by no one, error %v", err)
	default:
	}
	c.Proxy(0).Refuse(false)
	if err := <-acked; err != nil {
		t.Error(err)
	}
}

func TestStartRefuses(t *testing.T) {
	if _, err := Start(t.Context(), Options{Nodes: 2}); err == nil {
		t.Error("two nodes started")
	}
	t.Setenv("ORDERLOG_TEST_BROKERS", "a:1,b:2")
	if c, err := Start(t.Context(), Options{}); err != nil || fmt.Sprint(c.Brokers()) != "[a:1 b:2]" {
		t.Errorf("%v, %v", c, err)
	}
	for name, o := range map[string]Options{"own": {Own: true}, "proxy": {Proxy: true}, "config": {Config: map[string]string{"a": "b"}}} {
		if _, err := Start(t.Context(), o); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
