package calendar

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/wire"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const nparts = 4

// world is a broker with the catalogue's topics, and what tests do to it.
type world struct {
	t     testing.TB
	c     *kfake.Cluster
	addrs []string
	dial  wire.Dial
	cl    *kgo.Client // records go where the test says
	serde *schemas.Serde
	skew  atomic.Int64 // of the calendar's clock, ns
	seq   int64

	session time.Duration // of the group; heartbeats are what an idle hour costs
}

// newWorld is one on the machine's network; bubble is one for synctest.
func newWorld(t testing.TB) *world { return seed(t, new(net.Dialer).DialContext) }

func bubble(t testing.TB) *world {
	var vn kfake.VirtualNetwork
	return seed(t, vn.DialContext, kfake.ListenFn(vn.Listen))
}

func seed(t testing.TB, dial wire.Dial, opts ...kfake.Opt) *world {
	t.Helper()
	var names []string
	for _, tp := range topics.All() {
		names = append(names, tp.Name)
	}
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.SeedTopics(nparts, names...))...)
	must(t, err)
	t.Cleanup(c.Close)
	w := &world{t: t, c: c, addrs: c.ListenAddrs(), dial: dial, serde: schemas.NewLocalSerde(), session: 4 * time.Minute}
	w.cl, err = kgo.NewClient(append(w.opts(dial), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(t, err)
	t.Cleanup(w.cl.Close)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) opts(dial wire.Dial) []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(w.addrs...), kgo.Dialer(dial), kgo.MetadataMinAge(10 * time.Millisecond), kgo.FetchMaxWait(time.Minute), kgo.DisableClientMetrics()}
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) }

// entry is a parked record of the group order, in its calendar's partition.
type entry struct {
	part   int32
	key    string
	parked *schemas.Parked
}

func (e entry) value(w *world) []byte {
	w.t.Helper()
	v, err := w.serde.Encode(nil, topics.Retry, e.parked)
	must(w.t, err)
	return v
}

// entry is due then, by the world's clock; later ones of one time sort behind it.
func (w *world) entry(part int32, due time.Time) entry {
	w.seq++
	return entry{part, retry.Key(due.UnixMilli(), fmt.Sprintf("%08d.order.ab", w.seq)), &schemas.Parked{To: topics.OrderLoop, Group: "order", Due: due.UnixMilli(), Seq: w.seq,
		Class: letter.Transient, Cause: "panic", Topic: topics.OrderCommands, Partition: int64(part), Offset: w.seq, Timestamp: w.now().UnixMilli(),
		Headers: []schemas.Header{{Key: event.Type, Value: []byte(schemas.OrdersOrderPlace)}}, Key: fmt.Appendf(nil, "ord_%d", w.seq), Value: []byte("as it was")}}
}

func (w *world) produce(rs ...*kgo.Record) {
	w.t.Helper()
	must(w.t, w.cl.ProduceSync(context.Background(), rs...).FirstErr())
}

func (w *world) park(es ...entry) {
	w.t.Helper()
	var rs []*kgo.Record
	for _, e := range es {
		rs = append(rs, &kgo.Record{Topic: topics.Retry, Partition: e.part, Key: []byte(e.key), Value: e.value(w)})
	}
	w.produce(rs...)
}

func (w *world) unpark(e entry) {
	w.t.Helper()
	w.produce(&kgo.Record{Topic: topics.Retry, Partition: e.part, Key: []byte(e.key)})
}

// command sends a person's word to a partition.
func (w *world) command(part int32, kind string, cmd *schemas.RetryCommand) {
	w.t.Helper()
	v, err := w.serde.Encode(nil, topics.RetryCommands, cmd)
	must(w.t, err)
	w.produce(&kgo.Record{Topic: topics.RetryCommands, Partition: part, Key: []byte(cmd.Entry), Value: v,
		Headers: event.Append(nil, event.DefaultSource, "", flow.Message{ID: "evt_1", Type: kind})})
}

func (w *world) everywhere(kind, group, cause string) {
	w.t.Helper()
	for part := range int32(nparts) {
		w.command(part, kind, &schemas.RetryCommand{Entry: retry.PauseKey(group, cause), Group: group, Cause: cause, Who: "ann"})
	}
}

// read returns the committed records of a topic.
func (w *world) read(topic string) (rs []*kgo.Record) {
	w.t.Helper()
	must(w.t, content.EachRecord(context.Background(), w.opts(w.dial), topic, func(r *kgo.Record) error {
		rs = append(rs, r)
		return nil
	}))
	return rs
}

// back is what has come back to the group order, in the order of time.
func (w *world) back() []*kgo.Record {
	w.t.Helper()
	rs := w.read(topics.OrderLoop)
	slices.SortStableFunc(rs, func(a, b *kgo.Record) int { return a.Timestamp.Compare(b.Timestamp) })
	return rs
}

// standing is the keys in the calendar.
func (w *world) standing() map[string]bool {
	w.t.Helper()
	keys := map[string]bool{}
	for _, r := range w.read(topics.RetryTable) {
		if keys[string(r.Key)] = true; len(r.Value) == 0 {
			delete(keys, string(r.Key))
		}
	}
	return keys
}

// instance is a calendar at work, on a network of its own.
type instance struct {
	*kgoka.Processor
	*wire.Wire
	cal  *Calendar
	stop context.CancelFunc
	done chan error
}

func (w *world) start(name, dir string) *instance {
	w.t.Helper()
	level := slog.LevelError
	if os.Getenv("ORDERLOG_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: level}))
	i := &instance{Wire: &wire.Wire{Dial: w.dial, Counts: wire.Transaction}, cal: New(graph.Env{Serde: w.serde, Now: w.now, Log: log}), done: make(chan error, 1)}
	var err error
	i.Processor, err = kgoka.NewProcessor(i.cal.Runtime(kgoka.Config{Brokers: w.addrs, ClientOpts: w.opts(i.Connect), Instance: name, Dir: dir, Log: log,
		SessionTimeout: w.session, Heartbeat: w.session / 10, RebalanceTimeout: 2 * time.Second, TransactionTimeout: 1500 * time.Millisecond}), i.cal.Graph())
	must(w.t, err)
	ctx, stop := context.WithCancel(context.Background())
	i.stop = stop
	go func() {
		var counting sync.WaitGroup
		counting.Go(func() { i.cal.Count(ctx, i.Processor) })
		err := i.cal.Run(ctx, i.Processor)
		counting.Wait()
		i.done <- err
	}()
	w.t.Cleanup(func() { i.end(w.t) })
	return i
}

func (i *instance) ready(t testing.TB) *instance {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(t, i.WaitReady(ctx))
	return i
}

// end stops it in order; twice is once.
func (i *instance) end(t testing.TB) {
	t.Helper()
	i.stop()
	if err := <-i.done; err != nil {
		t.Errorf("the calendar ended: %v", err)
	}
	i.done <- nil
}
