package kgoka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const nparts = 4

// bed is a broker with topics, and what tests do to it; c is nil on a real one.
type bed struct {
	t    testing.TB
	c    *kfake.Cluster
	opts []kgo.Opt
	cl   *kgo.Client
	logs *logBook
}

func newBed(t testing.TB, topics ...string) *bed {
	t.Helper()
	b := &bed{t: t, opts: []kgo.Opt{kgo.DisableClientMetrics()}, logs: &logBook{}} // kfake would have them of everybody, each time a client closes
	if apache == nil {
		var err error
		if b.c, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.SeedTopics(nparts, topics...)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.c.Close)
	}
	b.cl = b.client()
	if b.c == nil {
		b.clean(topics...)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", strings.Join(b.logs.lines, ""))
			if b.c == nil {
				t.Log(apache.Log())
			}
		}
	})
	return b
}

func (b *bed) client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.brokers()...), kgo.MetadataMinAge(10 * time.Millisecond)}, append(b.opts, opts...)...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(cl.CloseAllowingRebalance)
	return cl
}

func (b *bed) produce(recs ...*kgo.Record) {
	b.t.Helper()
	if err := b.cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// feed produces n records over keys keys to topic; values are numbers.
func (b *bed) feed(topic string, from, n, keys int) {
	b.t.Helper()
	recs := make([]*kgo.Record, n)
	for i := range recs {
		recs[i] = &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "key-%d", (from+i)%keys), Value: fmt.Append(nil, from+i)}
	}
	b.produce(recs...)
}

// settled returns where topics end once no transaction is open on them: the
// markers of one that has been committed may come after the answer to its end.
func (b *bed) settled(topics ...string) (ends kadm.ListedOffsets) {
	b.t.Helper()
	ctx := context.Background()
	adm := kadm.NewClient(b.cl)
	until(b.t, fmt.Sprintf("no transaction is open on %v", topics), func() bool {
		stable := must(adm.ListCommittedOffsets(ctx, topics...))(b.t)
		ends = must(adm.ListEndOffsets(ctx, topics...))(b.t)
		open := false
		ends.Each(func(e kadm.ListedOffset) {
			s, _ := stable.Lookup(e.Topic, e.Partition)
			open = open || s.Offset < e.Offset
		})
		return !open
	})
	return ends
}

// read returns the committed records of a topic, up to its present end.
func (b *bed) read(topic string) []*kgo.Record {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	adm := kadm.NewClient(b.cl)
	ends := b.settled(topic)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		b.t.Fatal(err)
	}
	from := map[int32]kgo.Offset{}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if s, _ := starts.Lookup(topic, o.Partition); s.Offset < o.Offset {
			from[o.Partition], left[o.Partition] = kgo.NewOffset().AtStart(), o.Offset
		}
	})
	if len(left) == 0 {
		return nil
	}
	cl := b.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	defer cl.Close()
	var out []*kgo.Record
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			b.t.Fatalf("reading %s: %v left", topic, left)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if end, ok := left[r.Partition]; ok && r.Offset >= end-1 {
				delete(left, r.Partition)
			} else if !ok {
				return
			}
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
		})
	}
	return out
}

// rows is what a table topic holds: the last value of each key.
func rows(recs []*kgo.Record) map[string]string {
	out := map[string]string{}
	for _, r := range recs {
		if len(r.Value) == 0 {
			delete(out, string(r.Key))
		} else {
			out[string(r.Key)] = string(r.Value)
		}
	}
	return out
}

func (b *bed) config(id string) Config {
	return Config{Brokers: b.brokers(), ClientOpts: b.opts, Instance: id, Origins: true, MaxPoll: 500,
		SessionTimeout: time.Second, RebalanceTimeout: 2 * time.Second, TransactionTimeout: 1500 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// logBook collects log lines.
type logBook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *logBook) count(what string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.lines {
		if strings.Contains(s, what) {
			n++
		}
	}
	return n
}

// running is a Processor at work.
type running struct {
	*Processor
	t    testing.TB
	stop context.CancelFunc
	err  chan error
	done chan struct{}
}

func start(t testing.TB, cfg Config, g *goka.GroupGraph) *running {
	t.Helper()
	p, err := NewProcessor(cfg, g)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{p, t, cancel, make(chan error, 1), make(chan struct{})}
	go func() {
		err := p.Run(ctx)
		if err != nil {
			cfg.Log.Error("run ended", "error", err)
		}
		r.err <- err
		close(r.done)
	}()
	t.Cleanup(func() { cancel(); <-r.done })
	return r
}

func (r *running) waitReady() *running {
	r.t.Helper()
	return r.waitFor(20 * time.Second)
}

func (r *running) waitFor(most time.Duration) *running {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	if err := r.WaitReady(ctx); err != nil {
		r.t.Fatalf("not ready: %v", err)
	}
	return r
}

// returns is what Run returns.
func (r *running) returns() error {
	r.t.Helper()
	select {
	case err := <-r.err:
		return err
	case <-time.After(20 * time.Second):
		r.t.Fatal("Run does not return")
		return nil
	}
}

func (r *running) end() error {
	r.t.Helper()
	r.stop()
	return r.returns()
}

// mustFail waits until Run ends by itself, with an error that says all of it.
func (r *running) mustFail(says ...string) {
	r.t.Helper()
	err := r.returns()
	if err == nil {
		r.t.Error("Run returned nil")
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			r.t.Errorf("got %v, want it to say %q", err, s)
		}
	}
}

func (r *running) mustEnd() {
	r.t.Helper()
	if err := r.end(); err != nil {
		r.t.Fatal(err)
	}
}

// bubble is a bed in a synctest bubble, without a log.
func bubble(t *testing.T, topics ...string) *bed {
	t.Helper()
	var vn kfake.VirtualNetwork
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(nparts, topics...), kfake.ListenFn(vn.Listen))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	b := &bed{t: t, c: c, opts: []kgo.Opt{kgo.Dialer(vn.DialContext), kgo.DisableClientMetrics()}, logs: &logBook{}}
	b.cl = b.client()
	return b
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// caughtUp waits until the group has committed all of topic. That is a moment before
// what is committed is in the processor's tables and figures: wait for these apart.
func (b *bed) caughtUp(group string, topics ...string) {
	b.t.Helper()
	until(b.t, fmt.Sprintf("%s consumes %v", group, topics), func() bool { return b.lag(group, topics...) == 0 })
}

func (b *bed) lag(group string, topics ...string) int64 {
	b.t.Helper()
	ctx := context.Background()
	adm := kadm.NewClient(b.cl)
	ends := b.settled(topics...)
	starts := must(adm.ListStartOffsets(ctx, topics...))(b.t)
	offs, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return 1
	}
	var lag int64
	ends.Each(func(o kadm.ListedOffset) {
		at, _ := starts.Lookup(o.Topic, o.Partition)
		if c, ok := offs.Lookup(o.Topic, o.Partition); ok {
			at.Offset = c.At
		}
		if d := o.Offset - at.Offset; d > 8 || d > 0 && !b.onlyControl(o.Topic, o.Partition, at.Offset, o.Offset) {
			lag += d
		}
	})
	return lag
}

// onlyControl: a consumer's offset stays before the control records at the end.
// There may be several: the next transaction may have written before the marker
// of the one before it came.
func (b *bed) onlyControl(topic string, part int32, from, end int64) bool {
	cl := b.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {part: kgo.NewOffset().At(from)}}), kgo.KeepControlRecords())
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for from < end && ctx.Err() == nil {
		for _, r := range cl.PollFetches(ctx).Records() {
			if !r.Attrs.IsControl() {
				return false
			}
			from = r.Offset + 1
		}
	}
	return from >= end
}

// counting is a graph: each input adds one to its key's row, and the input's
// value goes on to out with that count.
func counting(group, in, out string) *goka.GroupGraph {
	edges := []goka.Edge{goka.Persist(Bytes{}), goka.Input(goka.Stream(in), Bytes{}, func(ctx goka.Context, _ any) {
		c := From(ctx)
		var n uint64
		if r := c.Row(); r != nil {
			n = binary.BigEndian.Uint64(r)
		}
		c.SetRow(binary.BigEndian.AppendUint64(nil, n+1), nil)
		if out != "" {
			c.EmitRecord(out, c.Key(), c.Record().Value, []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, n+1)}})
		}
	})}
	if out != "" {
		edges = append(edges, goka.Output(goka.Stream(out), Bytes{}))
	}
	return goka.DefineGroup(goka.Group(group), edges...)
}

// checkOnce: out holds every number below n exactly once, in order per key, and
// the tables count them.
func (b *bed) checkOnce(n, keys int, out string, tables ...string) {
	b.t.Helper()
	seen := map[string]int{}
	last := map[string]int{}
	for _, r := range b.read(out) {
		seen[string(r.Value)]++
		var v int
		fmt.Sscan(string(r.Value), &v)
		if p, ok := last[string(r.Key)]; ok && v <= p && seen[string(r.Value)] == 1 {
			b.t.Errorf("%s: %d after %d", r.Key, v, p)
		}
		last[string(r.Key)] = v
	}
	var lost, twice int
	for i := range n {
		switch c := seen[fmt.Sprint(i)]; {
		case c == 0:
			lost++
		case c > 1:
			twice++
		}
	}
	if lost+twice > 0 || len(seen) != n {
		b.t.Errorf("%s: %d lost, %d more than once, %d different of %d", out, lost, twice, len(seen), n)
	}
	for _, table := range tables {
		got := rows(b.read(table))
		for k := range keys {
			want := (n-1-k)/keys + 1
			if v := got[fmt.Sprintf("key-%d", k)]; len(v) != 8 || binary.BigEndian.Uint64([]byte(v)) != uint64(want) {
				b.t.Errorf("%s: key-%d counts %x, want %d", table, k, v, want)
			}
		}
		if len(got) != min(keys, n) {
			b.t.Errorf("%s: rows %v", table, slices.Sorted(maps.Keys(got)))
		}
	}
}

// wire is an instance's network: cut, it is as good as kill -9 to the broker;
// mended, the instance is a zombie.
type wire struct {
	cut atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if w.cut.Load() {
		return nil, errors.New("the wire is cut")
	}
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) kill() {
	w.cut.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// isRequest says whether what is written to a broker begins a request of that kind.
func isRequest(b []byte, key int16) bool {
	return len(b) > 6 && int16(binary.BigEndian.Uint16(b[4:])) == key
}
