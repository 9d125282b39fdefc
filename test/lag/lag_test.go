// Package lag holds no code: its test compares lags with those of Kafka's own tool, and
// with what is known of the records.
package lag

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/lag"
	"github.com/orderlog/orderlog/test/kafka"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a cluster that compacts without delay.
type world struct {
	*testing.T
	cluster *kafka.Cluster
	cl      *kgo.Client
	adm     *kadm.Client
}

func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	w.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(w.cluster.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(50*time.Millisecond), kgo.UnknownTopicRetries(-1))...)
	must(w.T, err)
	w.Cleanup(cl.Close)
	return cl
}

func (w *world) topic(name string, partitions int32, settings map[string]string) {
	w.Helper()
	configs := map[string]*string{}
	for k, v := range settings {
		configs[k] = &v
	}
	_, err := w.adm.CreateTopic(w.Context(), partitions, 1, configs, name)
	must(w.T, err)
}

func (w *world) put(cl *kgo.Client, topic, key string, age time.Duration) {
	w.Helper()
	must(w.T, cl.ProduceSync(w.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte("value"), Timestamp: time.Now().Add(-age)}).FirstErr())
}

func (w *world) commit(group, topic string, offset int64) {
	w.Helper()
	at := kadm.Offsets{}
	at.AddOffset(topic, 0, offset, -1)
	w.within(20*time.Second, "a broker knows of topic "+topic, func() bool {
		err := w.adm.CommitAllOffsets(w.Context(), group, at)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) {
			must(w.T, err)
		}
		return err == nil
	})
}

// within repeats what may take a while on a broker.
func (w *world) within(d time.Duration, what string, done func() bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), d)
	defer cancel()
	for !done() {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			w.Fatalf("%s: not within %v", what, d)
		}
	}
}

func TestOnKafka(t *testing.T) {
	w := &world{T: t, cluster: kafka.Run(t, kafka.Options{Config: map[string]string{"log.cleaner.backoff.ms": "200"}})}
	w.cl = w.client()
	w.adm = kadm.NewClient(w.cl)
	tx := w.client(kgo.TransactionalID("writer"))
	transaction := func(topic string, how kgo.TransactionEndTry, ages ...time.Duration) {
		t.Helper()
		must(t, tx.BeginTransaction())
		for _, age := range ages {
			w.put(tx, topic, "k", age)
		}
		must(t, tx.EndTransaction(t.Context(), how))
	}

	w.topic("plain", 1, nil)
	for _, age := range []time.Duration{50, 40, 30} {
		w.put(w.cl, "plain", "k", age*time.Minute)
	}
	w.commit("stopped", "plain", 1)
	w.commit("at-end", "plain", 3)
	w.topic("empty", 1, nil)
	w.commit("idle", "empty", 0)

	w.topic("tx", 1, nil) // 0 1 aborted 2 marker, 3 4 committed 5 marker, 6 aborted 7 marker
	transaction("tx", kgo.TryAbort, 60*time.Minute, 50*time.Minute)
	transaction("tx", kgo.TryCommit, 40*time.Minute, 30*time.Minute)
	transaction("tx", kgo.TryAbort, 20*time.Minute)
	w.commit("before", "tx", 0)
	w.commit("between", "tx", 4)

	w.topic("stamped", 1, map[string]string{"message.timestamp.type": "LogAppendTime"})
	w.put(w.cl, "stamped", "k", 10*365*24*time.Hour)
	w.commit("imports", "stamped", 0)

	w.topic("compacted", 1, map[string]string{"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.001", "min.compaction.lag.ms": "0"})
	for i := range 12 { // each is a segment, by its time
		w.put(w.cl, "compacted", fmt.Sprint(i%3), time.Duration(60-i)*time.Minute)
	}
	w.commit("compact", "compacted", 1)

	// One that runs, in either way to be in a group, and one that has read all that a
	// transaction wrote: behind it is a marker, and that is all.
	running := w.client(kgo.ConsumerGroup("running"), kgo.ConsumeTopics("plain"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	modern := w.client(kgo.ServerSideBalancer(), kgo.ConsumerGroup("modern"), kgo.ConsumeTopics("plain"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	done := w.client(kgo.ConsumerGroup("done"), kgo.ConsumeTopics("tx"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for cl, want := range map[*kgo.Client]int{running: 3, modern: 3, done: 2} {
		for n := 0; n < want; {
			fetches := cl.PollFetches(t.Context())
			must(t, fetches.Err0())
			n += fetches.NumRecords()
		}
		must(t, cl.CommitUncommittedOffsets(t.Context()))
	}
	nobody := w.client(kgo.ConsumerGroup("uncommitted"), kgo.ConsumeTopics("plain"), kgo.DisableAutoCommit())
	go nobody.PollFetches(t.Context())

	r := lag.NewReader(lag.Config{Client: w.client(), Others: func(string) bool { return true }})
	var round *lag.Round
	w.within(60*time.Second, "all groups have settled and the topic is compacted", func() bool {
		var err error
		round, err = r.Round(t.Context())
		must(t, err)
		if len(round.Faults) > 0 || round.Unsafe != nil {
			t.Log(round.Faults, round.Unsafe)
			return false
		}
		stable := 0
		for _, g := range round.Groups {
			if g.State == "Stable" {
				stable++
			}
		}
		i := slices.IndexFunc(round.Partitions, func(p lag.Partition) bool { return p.Group == "compact" })
		r = lag.NewReader(lag.Config{Client: w.client(), Others: func(string) bool { return true }}) // what was read is remembered
		return stable == 4 && round.Partitions[i].Records < 11
	})

	t.Run("as Kafka's tool", func(t *testing.T) {
		got := map[string]string{}
		for _, p := range round.Partitions {
			committed, lag := "-", "-"
			if p.Committed >= 0 {
				committed, lag = fmt.Sprint(p.Committed), fmt.Sprint(p.Lag)
			}
			got[fmt.Sprintf("%s %s/%d", p.Group, p.Topic, p.Partition)] = fmt.Sprintf("%s %d %s", committed, p.End, lag)
		}
		want := map[string]string{}
		for _, f := range w.tool(9) {
			want[fmt.Sprintf("%s %s/%s", f[0], f[1], f[2])] = strings.Join(f[3:6], " ")
		}
		if !maps.Equal(got, want) {
			t.Errorf("%v\nwant %v", got, want)
		}
		states := map[string]string{}
		for _, g := range round.Groups {
			states[g.Group] = fmt.Sprint(g.State, " ", g.Members)
		}
		want = map[string]string{}
		for _, f := range w.tool(0, "--state") {
			want[f[0]] = strings.Join(f[len(f)-2:], " ")
		}
		if !maps.Equal(states, want) {
			t.Errorf("%v\nwant %v", states, want)
		}
	})

	for group, want := range map[string]struct {
		lag, records int64
		age          time.Duration
	}{
		"stopped": {2, 2, 40 * time.Minute}, "at-end": {0, 0, 0}, "idle": {0, 0, 0}, "before": {8, 2, 40 * time.Minute}, "between": {4, 1, 30 * time.Minute},
		"imports": {1, 1, 0}, "running": {0, 0, 0}, "modern": {0, 0, 0}, "done": {3, 0, 0}, "uncommitted": {-1, 3, 50 * time.Minute},
	} {
		i := slices.IndexFunc(round.Partitions, func(p lag.Partition) bool { return p.Group == group })
		p := round.Partitions[i]
		if p.Lag != want.lag || p.Records != want.records || p.Estimated || (p.Seconds == 0) != (want.records == 0) ||
			float64(p.Seconds) < want.age.Seconds() || float64(p.Seconds) > (want.age+2*time.Minute).Seconds() {
			t.Errorf("%s: %+v\nwant %+v", group, p, want)
		}
	}

	// What compaction has left is counted, and the next of it is as old as it is.
	p := round.Partitions[slices.IndexFunc(round.Partitions, func(p lag.Partition) bool { return p.Group == "compact" })]
	n, next := w.left("compacted", 1)
	if p.Records != n || p.Lag != 11 || round.At.Sub(next).Seconds()-float64(p.Seconds) > .1 {
		t.Errorf("%+v\nwant %d records, the next of %v", p, n, next)
	}
}

// tool are the lines of Kafka's own, in fields; 0: however many.
func (w *world) tool(fields int, args ...string) (lines [][]string) {
	w.Helper()
	out, err := w.cluster.Tool(w.Context(), "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", append([]string{"--describe", "--all-groups"}, args...)...)
	must(w.T, err)
	for line := range bytes.Lines(out) {
		f := strings.Fields(string(line))
		if len(f) > 4 && f[0] != "GROUP" && f[0] != "Consumer" && (fields == 0 || len(f) == fields) {
			lines = append(lines, f)
		}
	}
	if len(lines) == 0 {
		w.Fatalf("nothing from Kafka's tool:\n%s", out)
	}
	return lines
}

// left reads a partition in another way.
func (w *world) left(topic string, from int64) (n int64, next time.Time) {
	w.Helper()
	cl := w.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(from)}}))
	ends, err := w.adm.ListEndOffsets(w.Context(), topic)
	must(w.T, err)
	end, _ := ends.Lookup(topic, 0)
	for last := int64(-1); last < end.Offset-1; {
		fetches := cl.PollFetches(w.Context())
		must(w.T, fetches.Err0())
		fetches.EachRecord(func(r *kgo.Record) {
			if n++; n == 1 {
				next = r.Timestamp
			}
			last = r.Offset
		})
	}
	return n, next
}
