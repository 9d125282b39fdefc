package lag

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a cluster with a clock that stands still.
type world struct {
	testing.TB
	c   *kfake.Cluster
	cl  *kgo.Client
	adm *kadm.Client
	now time.Time
}

func newWorld(t testing.TB, opts ...kfake.Opt) *world {
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2)}, opts...)...)
	must(t, err)
	t.Cleanup(c.Close)
	w := &world{TB: t, c: c, now: time.Now().Truncate(time.Millisecond)}
	w.cl = w.client()
	w.adm = kadm.NewClient(w.cl)
	return w
}

func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	w.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(w.c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	must(w, err)
	w.Cleanup(cl.Close)
	return cl
}

func (w *world) topic(name string, partitions int32, settings ...string) {
	w.Helper()
	configs := map[string]*string{}
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		configs[key] = &value
	}
	_, err := w.adm.CreateTopic(w.Context(), partitions, 1, configs, name)
	must(w, err)
}

// put writes records that are so old, one batch each.
func (w *world) put(cl *kgo.Client, topic string, ages ...time.Duration) {
	w.Helper()
	for i, age := range ages {
		must(w, cl.ProduceSync(w.Context(), &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: []byte("value"), Timestamp: w.now.Add(-age)}).FirstErr())
	}
}

// transaction writes records in one.
func (w *world) transaction(cl *kgo.Client, topic string, how kgo.TransactionEndTry, ages ...time.Duration) {
	w.Helper()
	must(w, cl.BeginTransaction())
	w.put(cl, topic, ages...)
	must(w, cl.EndTransaction(w.Context(), how))
}

func (w *world) commit(group, topic string, partition int32, offset int64) {
	w.Helper()
	at := kadm.Offsets{}
	at.AddOffset(topic, partition, offset, -1)
	must(w, w.adm.CommitAllOffsets(w.Context(), group, at))
}

func (w *world) reader(change func(*Config)) *Reader {
	c := Config{Client: w.client(), Others: func(string) bool { return true }, Now: func() time.Time { return w.now }}
	if change != nil {
		change(&c)
	}
	return NewReader(c)
}

func (w *world) round(r *Reader) *Round {
	w.Helper()
	round, err := r.Round(w.Context())
	must(w, err)
	for _, err := range append(round.Faults, round.Unsafe) {
		must(w, err)
	}
	return round
}

func (r *Round) of(group, topic string, partition int32) string {
	i := slices.IndexFunc(r.Partitions, func(p Partition) bool {
		return p.Group == group && p.Topic == topic && p.Partition == partition
	})
	if i < 0 {
		return "not told of"
	}
	p := r.Partitions[i]
	about := ""
	if p.Estimated {
		about = " estimated"
	}
	return fmt.Sprintf("lag %d records %d seconds %v%s", p.Lag, p.Records, float64(p.Seconds), about)
}
