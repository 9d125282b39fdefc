package devbroker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/orderlog/orderlog/internal/folder"
)

func start(t *testing.T, cfg Config) *Broker {
	t.Helper()
	b, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil && b.Err() == nil {
			t.Error("stopping broker:", err)
		}
	})
	return b
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, cl *kgo.Client, partitions int32, topic string) {
	t.Helper()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
}

// readAll returns the values of a topic up to its end, as a read_committed reader sees them.
func readAll(t *testing.T, addr, topic string) map[string]int {
	t.Helper()
	cl := client(t, addr, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond))
	defer cl.Close() // now: without its broker it takes a second
	adm := kadm.NewClient(cl)
	stable, err := adm.ListCommittedOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	high, err := adm.ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{}
	high.Each(func(o kadm.ListedOffset) {
		if lso, _ := stable.Lookup(topic, o.Partition); lso.Offset != o.Offset {
			t.Errorf("partition %d: last stable offset %d, end %d: a transaction hangs", o.Partition, lso.Offset, o.Offset)
		}
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := map[string]int{}
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading %s, left %v: %v", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				got[string(r.Value)]++
			}
		})
		for p, end := range left { // aborted records move the position too
			if at, ok := cl.UncommittedOffsets()[topic][p]; ok && at.Offset >= end {
				delete(left, p)
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, ok := left[r.Partition]; ok && r.Offset >= end-1 {
				delete(left, r.Partition)
			}
		})
	}
	return got
}

func registryClient(t *testing.T, url string, opts ...sr.ClientOpt) *sr.Client {
	t.Helper()
	cl, err := sr.NewClient(append([]sr.ClientOpt{sr.URLs(url)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func avroSchema(name string) sr.Schema {
	return sr.Schema{Type: sr.TypeAvro, Schema: fmt.Sprintf(`{"type":"record","name":%q,"fields":[{"name":"id","type":"string"}]}`, name)}
}

func TestMemory(t *testing.T) {
	b := start(t, Config{Partitions: 3})
	cl := client(t, b.Addr())
	createTopic(t, cl, -1, "orders")
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Value: []byte("one")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, b.Addr(), "orders"); got["one"] != 1 {
		t.Errorf("read %v", got)
	}
	topics, err := kadm.NewClient(cl).ListTopics(t.Context(), "orders")
	if err != nil || len(topics["orders"].Partitions) != 3 {
		t.Errorf("partitions: %v, %v", topics, err)
	}
	if _, err := registryClient(t, b.RegistryURL()).CreateSchema(t.Context(), "s", avroSchema("A")); err != nil {
		t.Error(err)
	}
	cl.Close()
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	if err := b.Stop(); err != nil {
		t.Error("second stop:", err)
	}
	if _, err := net.Dial("tcp", b.Addr()); err == nil {
		t.Error("still listening after Stop")
	}
}

// Everything a client can see is the same after a clean restart.
func TestRestart(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "made", "on", "demand")}
	first := start(t, cfg)
	cl := client(t, first.Addr(), kgo.TransactionalID("tx"))
	createTopic(t, cl, 2, "orders")
	transact(t, cl, kgo.TryCommit, "kept")
	transact(t, cl, kgo.TryAbort, "aborted")
	adm := kadm.NewClient(cl)
	var offsets kadm.Offsets
	offsets.AddOffset("orders", 1, 7, -1)
	if err := adm.CommitAllOffsets(t.Context(), "group", offsets); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	second := start(t, cfg)
	if second.Addr() != first.Addr() || second.RegistryURL() != first.RegistryURL() {
		t.Errorf("addresses moved: %s %s, then %s %s", first.Addr(), first.RegistryURL(), second.Addr(), second.RegistryURL())
	}
	if got := readAll(t, second.Addr(), "orders"); len(got) != 1 || got["kept"] != 1 {
		t.Errorf("read %v, want the committed record only", got)
	}
	back, err := kadm.NewClient(client(t, second.Addr())).FetchOffsets(t.Context(), "group")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := back.Lookup("orders", 1); o.At != 7 {
		t.Errorf("committed offset %d, want 7", o.At)
	}
}

func transact(t *testing.T, cl *kgo.Client, end kgo.TransactionEndTry, values ...string) {
	t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cl.EndTransaction(t.Context(), end); err != nil {
		t.Fatal(err)
	}
}

func TestPorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	if _, err := Start(t.Context(), Config{Port: portOf(taken)}); err == nil || !strings.Contains(err.Error(), "broker") {
		t.Errorf("a port asked for that is taken: %v", err)
	}
	if _, err := Start(t.Context(), Config{RegistryPort: portOf(taken)}); err == nil || !strings.Contains(err.Error(), "registry") {
		t.Errorf("a registry port asked for that is taken: %v", err)
	}
	dir := t.TempDir()
	if err := writePorts(dir, ports{Broker: portOf(taken)}); err != nil {
		t.Fatal(err)
	}
	if b := start(t, Config{Dir: dir}); portOf(b.kafka) == portOf(taken) {
		t.Error("took a port that is in use")
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	_, err := Start(t.Context(), Config{Dir: dir})
	var locked *folder.LockedError
	if !errors.As(err, &locked) || locked.Dir != dir || locked.PID != os.Getpid() {
		t.Fatalf("second broker: %v", err)
	}
	for _, want := range []string{dir, fmt.Sprint(os.Getpid())} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	start(t, Config{Dir: dir})
}

// What could not be written at the end is the answer of Stop.
func TestStopCannotWrite(t *testing.T) {
	dir := t.TempDir()
	b, err := Start(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(kafkaDir(dir), "topics.json.tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Stop(); err == nil || !strings.Contains(err.Error(), "topics.json") {
			t.Errorf("stop says %v", err)
		}
	}
}

// A start that cannot be says why, and where.
func TestUnusableFolder(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(dir string) error
		want    string
	}{
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o644) }, "cannot be made"},
		{"disk full", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.Symlink("/dev/full", filepath.Join(dir, "probe.tmp")))
		}, "no space left"},
		{"read-only", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "LOCK"), nil, 0o644), os.Chmod(dir, 0o555))
		}, "permission denied"},
		{"kafka folder is a file", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "kafka"), nil, 0o644))
		}, "kafka"},
		{"registry damaged", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "registry.log"), []byte("{}\nnonsense\n"), 0o644))
		}, "registry.log"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "read-only" && os.Getuid() == 0 {
				t.Skip("root may write anywhere")
			}
			if _, err := os.Stat("/dev/full"); tt.name == "disk full" && errors.Is(err, fs.ErrNotExist) {
				t.Skip("no /dev/full here")
			}
			dir := filepath.Join(t.TempDir(), "data")
			if err := tt.prepare(dir); err != nil {
				t.Fatal(err)
			}
			b, err := Start(t.Context(), Config{Dir: dir})
			if err == nil {
				b.Stop()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %q: want %q and the folder in it", err, tt.want)
			}
		})
	}
}

// The whole broker runs in a bubble: no real network, no real time.
func TestSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		b, err := Start(t.Context(), Config{Listen: network.Listen})
		if err != nil {
			t.Fatal(err)
		}
		cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.Dialer(network.DialContext), kgo.TransactionalID("tx"))
		if err != nil {
			t.Fatal(err)
		}
		createTopic(t, cl, 1, "orders")
		transact(t, cl, kgo.TryCommit, "one")
		transport := &http.Transport{DialContext: network.DialContext}
		reg := registryClient(t, b.RegistryURL(), sr.HTTPClient(&http.Client{Transport: transport}))
		if _, err := reg.CreateSchema(t.Context(), "s", avroSchema("A")); err != nil {
			t.Error(err)
		}
		time.Sleep(24 * time.Hour) // the bubble's clock: nothing expires, nothing is cleaned up
		offsets, err := kadm.NewClient(cl).ListStartOffsets(t.Context(), "orders")
		if o, _ := offsets.Lookup("orders", 0); err != nil || o.Offset != 0 {
			t.Errorf("start offset %v, %v", o, err)
		}
		transport.CloseIdleConnections()
		cl.Close()
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
}
