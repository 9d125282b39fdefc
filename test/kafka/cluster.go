// Package kafka runs an Apache Kafka cluster (KRaft) for tests, of processes
// that end with the test. Its jars come from Maven, once. It leaves topics,
// groups and whoever uses them to the caller.
//
// ORDERLOG_TEST_KAFKA=1 has the tests that need it run; the others of a package
// may ask Wanted. ORDERLOG_TEST_BROKERS=host:port,... has them use brokers that
// are there already, for tests only: topics and groups of common names are deleted.
package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Options of a cluster; the zero value is one node.
type Options struct {
	// Nodes is 1 or 3; 0 is 1. Topics made without a number of replicas have
	// one on each node, and with three nodes a write needs two of them.
	Nodes int

	// Config is added to each node's server.properties.
	Config map[string]string

	// Proxy puts a Proxy before each node, beside the direct way: whoever starts
	// from ProxyBrokers stays behind them.
	Proxy bool

	// Own says that brokers from outside will not do, because the test stops
	// nodes. Config and Proxy say so, too.
	Own bool
}

// Cluster is a running cluster. Nodes are counted from 0, their IDs from 1.
type Cluster struct {
	nodes   []*node
	outside []string // brokers that are not ours
	dir     string   // of the nodes' data and logs, removed at the end
	rt      runtime
	once    sync.Once
}

// Wanted says whether tests are to run on a real cluster.
func Wanted() bool {
	return os.Getenv("ORDERLOG_TEST_KAFKA") != "" || os.Getenv("ORDERLOG_TEST_BROKERS") != ""
}

// Run starts a cluster that ends with the test, or skips the test where none is
// wanted or can be had. Log is shown if the test fails.
func Run(t testing.TB, o Options) *Cluster {
	t.Helper()
	if !Wanted() {
		t.Skip("needs Apache Kafka: set ORDERLOG_TEST_KAFKA=1")
	}
	c, err := Start(t.Context(), o)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Log())
		}
		c.Close()
	})
	return c
}

// Start returns when all nodes answer and groups and transactions have
// coordinators. ctx bounds the start only. The error is ErrUnavailable where
// there is no Java, or where Own is asked of brokers from outside.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if o.Nodes = cmp.Or(o.Nodes, 1); o.Nodes != 1 && o.Nodes != 3 {
		return nil, fmt.Errorf("%d nodes: 1 or 3", o.Nodes)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := &Cluster{}
	if addrs := os.Getenv("ORDERLOG_TEST_BROKERS"); addrs != "" {
		if o.Own || o.Proxy || len(o.Config) > 0 {
			return nil, fmt.Errorf("%w that is the test's own: ORDERLOG_TEST_BROKERS is set", ErrUnavailable)
		}
		c.outside = strings.Split(addrs, ",")
		return c, nil
	}
	defer func() {
		if err != nil {
			if log := c.Log(); log != "" {
				err = fmt.Errorf("%w\n%s", err, log)
			}
			c.Close()
		}
	}()
	if c.rt, err = findRuntime(); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "orderlog-kafka-"); err != nil {
		return nil, err
	}
	if err = c.addNodes(o); err != nil {
		return nil, err
	}
	if err = c.configure(o); err != nil {
		return nil, err
	}
	for _, n := range c.nodes {
		if err = n.start(); err != nil {
			return nil, err
		}
	}
	if err = c.ready(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Cluster) addNodes(o Options) (err error) {
	for i := range o.Nodes {
		n := &node{dir: filepath.Join(c.dir, fmt.Sprintf("node-%d", i)), rt: c.rt, heap: "512m"}
		if o.Nodes > 1 {
			n.heap = "384m"
		}
		c.nodes = append(c.nodes, n)
		for _, addr := range []*string{&n.kafka, &n.controller, &n.behind} {
			if *addr, err = freeAddr(); err != nil {
				return err
			}
		}
		if o.Proxy {
			if n.proxy, err = newProxy(n.behind); err != nil {
				return err
			}
		}
	}
	return nil
}

const clusterID = "b3JkZXJsb2ctdGVzdC0wMQ" // 16 bytes in base64, as Kafka wants them

func (c *Cluster) configure(o Options) error {
	var voters []string
	for i, n := range c.nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, n.controller))
	}
	settings := settings(o)
	errs := make([]error, len(c.nodes))
	var all sync.WaitGroup
	for i, n := range c.nodes {
		all.Go(func() { errs[i] = n.configure(i+1, clusterID, strings.Join(voters, ","), settings) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// settings are those of all nodes: replicas that fit, and small and quick where
// that changes nothing but the time a test takes.
func settings(o Options) map[string]string {
	replicas, inSync := "1", "1"
	if o.Nodes == 3 {
		replicas, inSync = "3", "2"
	}
	all := map[string]string{
		"default.replication.factor":               replicas,
		"min.insync.replicas":                      inSync,
		"offsets.topic.replication.factor":         replicas,
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            inSync,
		"offsets.topic.num.partitions":             "10",
		"transaction.state.log.num.partitions":     "10",
		"auto.create.topics.enable":                "false",
		"group.initial.rebalance.delay.ms":         "0",
		"group.min.session.timeout.ms":             "1000",
		"broker.heartbeat.interval.ms":             "500", // a node that was killed is given up after
		"broker.session.timeout.ms":                "5000",
		"log.cleaner.dedupe.buffer.size":           "8388608",
		"num.network.threads":                      "2",
		"num.io.threads":                           "4",
	}
	maps.Copy(all, o.Config)
	return all
}

// Brokers are the bootstrap addresses, host:port, of all nodes, dead ones too.
func (c *Cluster) Brokers() []string {
	addrs := slices.Clone(c.outside)
	for _, n := range c.nodes {
		addrs = append(addrs, n.kafka)
	}
	return addrs
}

// ProxyBrokers are the bootstrap addresses of all nodes behind their proxies.
func (c *Cluster) ProxyBrokers() (addrs []string) {
	for _, n := range c.nodes {
		addrs = append(addrs, n.proxy.Addr())
	}
	return addrs
}

// Proxy is the one before node i; Options.Proxy has it made.
func (c *Cluster) Proxy(i int) *Proxy { return c.nodes[i].proxy }

// Kill ends node i as a power cut of its process would (SIGKILL).
func (c *Cluster) Kill(i int) error { return c.nodes[i].end(os.Kill, time.Minute) }

// Stop ends node i in order (SIGTERM): it hands its partitions on.
func (c *Cluster) Stop(i int) error { return c.nodes[i].end(syscall.SIGTERM, 20*time.Second) }

// StartNode starts node i again, on its data and address, and returns when it
// and all other living nodes answer. It waits until these have given the node up:
// one that was killed and is back before that leads what it led until its session
// ends, though they refuse to register it, and if it coordinates transactions it
// commits some that the others have never heard of and abort later (seen on
// Apache Kafka 4.2.0).
func (c *Cluster) StartNode(ctx context.Context, i int) error {
	if c.nodes[i].running() {
		return fmt.Errorf("node %d runs", i)
	}
	if c.living()*2 > len(c.nodes) { // a majority, which can give it up
		if err := c.ready(ctx); err != nil {
			return err
		}
	}
	if err := c.nodes[i].start(); err != nil {
		return err
	}
	return c.ready(ctx)
}

func (c *Cluster) living() (n int) {
	for _, node := range c.nodes {
		if node.running() {
			n++
		}
	}
	return n
}

// Command is one of Kafka's classes, for the caller to run.
func Command(ctx context.Context, class string, args ...string) (*exec.Cmd, error) {
	rt, err := findRuntime()
	if err != nil {
		return nil, err
	}
	return rt.command(ctx, "128m", "ERROR", class, args...), nil
}

// Tool runs one of Kafka's command line classes and returns what it prints, such
// as org.apache.kafka.tools.TransactionsCommand; --bootstrap-server is added.
func (c *Cluster) Tool(ctx context.Context, class string, args ...string) ([]byte, error) {
	cmd, err := Command(ctx, class, append([]string{"--bootstrap-server", strings.Join(c.Brokers(), ",")}, args...)...)
	if err != nil {
		return nil, err
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w\n%s%s", class, err, out, exit.Stderr)
	}
	return out, err
}

// Log is what the nodes have complained about last.
func (c *Cluster) Log() string {
	var text strings.Builder
	for i, n := range c.nodes {
		fmt.Fprintf(&text, "node %d complains:\n%s", i, n.complaints(60))
	}
	return text.String()
}

// Close kills all nodes and removes their data. It is safe to call twice.
func (c *Cluster) Close() {
	c.once.Do(func() {
		for i, n := range c.nodes {
			_ = c.Kill(i) // SIGKILL is obeyed
			if n.proxy != nil {
				n.proxy.close()
			}
		}
		if c.dir != "" {
			_ = os.RemoveAll(c.dir) // a leftover in the system's temporary folder harms no test
		}
	})
}

// ready waits until all living nodes know of each other, and groups and
// transactions have their coordinators: the topics behind these are made at first
// use. A node opens its port once the controller has let it in.
func (c *Cluster) ready(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		err := c.look(ctx, cl)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cluster not ready: %w: %w", context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Cluster) look(ctx context.Context, cl *kgo.Client) error {
	living := c.living()
	for i, seed := range cl.SeedBrokers() {
		if !c.nodes[i].running() {
			continue
		}
		kresp, err := seed.Request(ctx, kmsg.NewPtrMetadataRequest())
		if err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
		if known := len(kresp.(*kmsg.MetadataResponse).Brokers); known != living {
			return fmt.Errorf("node %d knows of %d nodes, %d live", i, known, living)
		}
	}
	const name = "orderlog-test-start"
	adm := kadm.NewClient(cl)
	if err := adm.FindGroupCoordinators(ctx, name).Error(); err != nil {
		return err
	}
	return adm.FindTxnCoordinators(ctx, name).Error()
}
