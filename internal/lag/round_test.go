package lag

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
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

// TestLag is every way in which a group can stand to a log.
func TestLag(t *testing.T) {
	w := newWorld(t)
	tx := w.client(kgo.TransactionalID("tx"))
	minutes := func(ns ...int) (ages []time.Duration) {
		for _, n := range ns {
			ages = append(ages, time.Duration(n)*time.Minute)
		}
		return ages
	}
	for topic, write := range map[string]func(string){
		"plain":  func(t string) { w.put(w.cl, t, minutes(50, 40, 30, 20, 10)...) },
		"future": func(t string) { w.put(w.cl, t, minutes(-10)...) },
		"markers": func(t string) { // a record and its marker, three times
			for _, n := range []int{30, 20, 10} {
				w.transaction(tx, t, kgo.TryCommit, minutes(n)...)
			}
		},
		"aborted": func(t string) { // 0 1 aborted, 2 its marker, 3 4 committed, 5 marker, 6 aborted, 7 marker
			w.transaction(tx, t, kgo.TryAbort, minutes(60, 50)...)
			w.transaction(tx, t, kgo.TryCommit, minutes(40, 30)...)
			w.transaction(tx, t, kgo.TryAbort, minutes(20)...)
		},
		"many": func(t string) { // in one batch
			var rs []*kgo.Record
			for i := range 10 {
				rs = append(rs, &kgo.Record{Topic: t, Timestamp: w.now.Add(-time.Duration(10-i) * time.Minute)})
			}
			must(w, w.cl.ProduceSync(w.Context(), rs...).FirstErr())
		},
		"deleted": func(t string) {
			w.put(w.cl, t, minutes(50, 40, 30)...)
			_, err := w.adm.DeleteRecords(w.Context(), kadm.Offsets{t: {0: {Topic: t, At: 2}}})
			must(w, err)
		},
		"empty": func(string) {},
	} {
		w.topic(topic, 1)
		write(topic)
	}
	w.topic("old", 1, "retention.ms=-1")
	w.put(w.cl, "old", 10*365*24*time.Hour)

	w.topic("compacted", 1, "cleanup.policy=compact", "min.compaction.lag.ms=0", "segment.ms=1", "min.cleanable.dirty.ratio=0")
	for range 3 { // keys 0 1 2, three times; the last ones stay, at 6 7 8
		w.put(w.cl, "compacted", minutes(30, 20, 10)...)
	}
	w.put(w.cl, "compacted", minutes(5)...) // 9, key 0 again, in a segment of its own
	w.c.Compact()

	w.topic("open", 1) // its last transaction is not decided
	w.put(w.cl, "open", minutes(20)...)
	must(t, tx.BeginTransaction())
	w.put(tx, "open", minutes(10)...)

	for _, c := range []struct {
		name, topic string
		at          int64
		want        string
	}{
		{"stopped", "plain", 2, "lag 3 records 3 seconds 1800"},
		{"at the start", "plain", 0, "lag 5 records 5 seconds 3000"},
		{"at the end", "plain", 5, "lag 0 records 0 seconds 0"},
		{"idle", "empty", 0, "lag 0 records 0 seconds 0"},
		{"from the future", "future", 0, "lag 1 records 1 seconds 0"},
		{"imported", "old", 0, "lag 1 records 1 seconds 3.1536e+08"},
		{"within a batch", "many", 7, "lag 3 records 3 seconds 180"},
		{"before markers", "markers", 0, "lag 6 records 3 seconds 1800"},
		{"at a marker", "markers", 1, "lag 5 records 2 seconds 1200"},
		{"done, but for a marker", "markers", 5, "lag 1 records 0 seconds 0"},
		{"before what was aborted", "aborted", 0, "lag 8 records 2 seconds 2400"},
		{"in what was aborted", "aborted", 1, "lag 7 records 2 seconds 2400"},
		{"behind the last that counts", "aborted", 5, "lag 3 records 0 seconds 0"},
		{"lost", "deleted", 0, "lag 3 records 1 seconds 1800"},
		{"before gaps", "compacted", 0, ""},
		{"at an open transaction", "open", 1, "lag 1 records 0 seconds 0"},
		{"before it", "open", 0, "lag 2 records 1 seconds 1200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.commit(c.name, c.topic, 0, c.at)
			got := w.round(w.reader(func(cfg *Config) { cfg.Others = func(g string) bool { return g == c.name } })).of(c.name, c.topic, 0)
			if c.topic == "compacted" { // how much is gone is the broker's choice
				left, next := w.left("compacted", 0)
				if c.want = fmt.Sprintf("lag 10 records %d seconds %v", left, w.now.Sub(next).Seconds()); left == 10 {
					t.Fatal("nothing was compacted")
				}
			}
			if got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
		})
	}

	// Nothing committed: from the start, and told of only if it is expected, or assigned.
	r := w.reader(func(cfg *Config) {
		cfg.Expected = []Expected{{Name: "new", Topics: []string{"plain"}}, {Name: "never", Topics: []string{"plain"}, Optional: true}}
	})
	round := w.round(r)
	if got := round.of("new", "plain", 0); got != "lag -1 records 5 seconds 3000" {
		t.Errorf("new: %s", got)
	}
	if got := round.of("never", "plain", 0); got != "not told of" {
		t.Errorf("optional: %s", got)
	}
}

// left reads a topic in another way.
func (w *world) left(topic string, from int64) (n int, next time.Time) {
	w.Helper()
	cl := w.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(from)}}), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	ends, err := w.adm.ListCommittedOffsets(w.Context(), topic)
	must(w, err)
	end, _ := ends.Lookup(topic, 0)
	for last := int64(-1); last < end.Offset-1; {
		cl.PollFetches(w.Context()).EachRecord(func(r *kgo.Record) {
			if n++; n == 1 {
				next = r.Timestamp
			}
			last = r.Offset
		})
	}
	return n, next
}

// fetches counts requests to read.
func (w *world) fetches() *int {
	n := new(int)
	w.c.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		w.c.KeepControl()
		*n++
		return nil, nil, false
	})
	return n
}

// What was read is remembered: a group that has not moved costs what is new.
func TestNothingIsReadTwice(t *testing.T) {
	w := newWorld(t)
	w.topic("in", 1)
	w.put(w.cl, "in", time.Hour, time.Hour, time.Hour)
	w.commit("a", "in", 0, 1)
	w.commit("b", "in", 0, 1)
	r := w.reader(nil)
	fetches := w.fetches()
	first := w.round(r)
	if *fetches != 1 || first.Read == 0 {
		t.Errorf("%d fetches of %d bytes for two groups at one place", *fetches, first.Read)
	}
	if again := w.round(r); *fetches != 1 || again.Read != 0 || again.of("a", "in", 0) != "lag 2 records 2 seconds 3600" {
		t.Errorf("%d fetches, %d bytes; %s", *fetches, again.Read, again.of("a", "in", 0))
	}
	w.put(w.cl, "in", time.Minute)
	if more := w.round(r); more.Read >= first.Read || more.of("a", "in", 0) != "lag 3 records 3 seconds 3600" {
		t.Errorf("%d bytes, and %d before; %s", more.Read, first.Read, more.of("a", "in", 0))
	}
	w.commit("a", "in", 0, 4)
	w.commit("b", "in", 0, 3)
	done := w.round(r)
	if got := done.of("a", "in", 0) + ", " + done.of("b", "in", 0); got != "lag 0 records 0 seconds 0, lag 1 records 1 seconds 60" {
		t.Error(got)
	}
	if len(r.places) != 1 {
		t.Errorf("%d places are remembered where one group is behind", len(r.places))
	}
}

// Only the first partition of an answer is sure to have a batch larger than its limit.
func TestLargeBatches(t *testing.T) {
	w := newWorld(t, kfake.NumBrokers(1))
	w.topic("in", 5)
	for p := range int32(5) {
		must(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Partition: p, Value: make([]byte, 300<<10), Timestamp: w.now.Add(-time.Hour)}).FirstErr())
		w.commit("g", "in", p, 0)
	}
	round := w.round(w.reader(nil))
	for p := range int32(5) {
		if got := round.of("g", "in", p); got != "lag 1 records 1 seconds 3600" {
			t.Errorf("partition %d: %s", p, got)
		}
	}
}

// Beyond the budget numbers follow from what was read, and get exact round by round.
func TestBudget(t *testing.T) {
	w := newWorld(t, kfake.NumBrokers(1))
	w.topic("in", 1)
	tx := w.client(kgo.TransactionalID("tx"))
	for range 30 { // 10 records, a marker
		must(t, tx.BeginTransaction())
		for range 10 {
			tx.Produce(t.Context(), &kgo.Record{Topic: "in", Value: make([]byte, 3<<10), Timestamp: w.now.Add(-time.Hour)}, nil)
		}
		must(t, tx.Flush(t.Context()))
		must(t, tx.EndTransaction(t.Context(), kgo.TryCommit))
	}
	w.commit("far", "in", 0, 0)
	w.commit("near", "in", 0, 25*11)
	r := w.reader(func(c *Config) { c.Budget = 400 << 10 })
	round := w.round(r)
	if got := round.of("near", "in", 0); got != "lag 55 records 50 seconds 3600" {
		t.Errorf("who is nearly at the end shall be counted first: %s", got)
	}
	if got := round.Partitions[0]; !got.Estimated || got.Records < 290 || got.Records > 310 || got.Seconds != 3600 {
		t.Errorf("%+v, want 300 records, more or less", got)
	}
	if round.Read > 600<<10 {
		t.Errorf("%d bytes read", round.Read)
	}
	for range 5 {
		round = w.round(r)
	}
	if got := round.of("far", "in", 0); got != "lag 330 records 300 seconds 3600" {
		t.Errorf("it has been read in the meantime: %s", got)
	}
	// No budget to find the next record of who has moved: it is as old as one that was known, or younger.
	r.cfg.Budget = -1
	w.commit("far", "in", 0, 11)
	if got := w.round(r).of("far", "in", 0); got != "lag 319 records 319 seconds 3600 estimated" {
		t.Error(got)
	}
	w.commit("unseen", "in", 0, 22)
	if got := w.round(r).of("unseen", "in", 0); got != "lag 308 records 308 seconds NaN estimated" {
		t.Error(got)
	}
}

// What a broker does not let be read is counted in offsets, and a fault of the round; the
// next one tries again.
func TestNotReadable(t *testing.T) {
	w := newWorld(t, kfake.NumBrokers(1))
	for _, topic := range []string{"in", "secret"} {
		w.topic(topic, 1)
		w.put(w.cl, topic, time.Hour, time.Minute)
		w.commit("g", topic, 0, 0)
	}
	began := w.now
	secret, err := w.adm.Metadata(t.Context(), "secret")
	must(t, err)
	w.c.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		if w.now.After(began) {
			return nil, nil, false
		}
		w.c.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.FetchResponse)
		for _, asked := range kreq.(*kmsg.FetchRequest).Topics {
			topic := kmsg.NewFetchResponseTopic()
			topic.TopicID = asked.TopicID
			p := kmsg.NewFetchResponseTopicPartition()
			if kadm.TopicID(asked.TopicID) == secret.Topics["secret"].ID {
				p.ErrorCode = kerr.TopicAuthorizationFailed.Code
			} // and nothing of the other one, as when it throttles
			topic.Partitions = append(topic.Partitions, p)
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
	r := w.reader(nil)
	round, err := r.Round(t.Context())
	must(t, err)
	w.now = w.now.Add(time.Second)
	if got := round.of("g", "secret", 0); got != "lag 2 records 2 seconds NaN estimated" {
		t.Error(got)
	}
	if got := round.of("g", "in", 0); got != "lag 2 records 2 seconds NaN estimated" {
		t.Error(got)
	}
	if len(round.Faults) != 1 || !errors.Is(round.Faults[0], kerr.TopicAuthorizationFailed) || !errors.Is(round.Faults[0], errNothing) {
		t.Error(round.Faults)
	}
	if got := w.round(r).of("g", "secret", 0); got != "lag 2 records 2 seconds 3601" {
		t.Error(got)
	}
}

// Where a group stands that cannot be asked after is not known: it is not at the start
// of the log, though it is expected, and nobody shall be woken for that.
func TestOffsetsNotReadable(t *testing.T) {
	w := newWorld(t, kfake.NumBrokers(1))
	w.topic("in", 1)
	w.put(w.cl, "in", time.Hour, time.Minute)
	w.commit("g", "in", 0, 2)
	w.commit("other", "in", 0, 1)
	r := w.reader(func(c *Config) {
		c.Expected = []Expected{{Name: "g", Topics: []string{"in"}}, {Name: "new", Topics: []string{"in"}}}
	})
	w.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Group: "g", Err: kerr.GroupAuthorizationFailed})
	round, err := r.Round(t.Context())
	must(t, err)
	for group, want := range map[string]string{"g": "not told of", "other": "lag 1 records 1 seconds 60", "new": "lag -1 records 2 seconds 3600"} {
		if got := round.of(group, "in", 0); got != want {
			t.Errorf("%s: %s, want %s", group, got, want)
		}
	}
	if g := round.Groups[0]; g.Group != "g" || g.CatchUp.Known() {
		t.Errorf("%+v", g)
	}
	if len(round.Faults) != 1 || !errors.Is(round.Faults[0], kerr.GroupAuthorizationFailed) {
		t.Error(round.Faults)
	}
	if got := w.round(r).of("g", "in", 0); got != "lag 0 records 0 seconds 0" {
		t.Error(got)
	}
}

// A topic made anew under its name is another one, though a group stands at the same
// offset.
func TestTopicMadeAnew(t *testing.T) {
	w := newWorld(t)
	w.topic("in", 1)
	w.put(w.cl, "in", time.Hour)
	w.commit("g", "in", 0, 0)
	r := w.reader(nil)
	w.round(r)
	_, err := w.adm.DeleteTopics(t.Context(), "in")
	must(t, err)
	w.topic("in", 1)
	w.adm = kadm.NewClient(w.client())
	w.put(w.client(), "in", time.Minute)
	w.commit("g", "in", 0, 0)
	if got := w.round(r).of("g", "in", 0); got != "lag 1 records 1 seconds 60" {
		t.Error(got)
	}
}

// Members, and what they have been assigned though they have committed nothing.
func TestMembers(t *testing.T) {
	w := newWorld(t)
	w.topic("in", 2)
	w.put(w.cl, "in", time.Hour)
	member := w.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("in"), kgo.DisableAutoCommit())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := member.PollFetches(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	round := w.round(w.reader(nil))
	if len(round.Groups) != 1 || round.Groups[0].State != "Stable" || round.Groups[0].Members != 1 {
		t.Errorf("%+v", round.Groups)
	}
	if got := round.of("g", "in", 0); got != "lag -1 records 1 seconds 3600" {
		t.Error(got)
	}
}

func TestCatchUp(t *testing.T) {
	for _, c := range []struct {
		lag           int64
		in, out, want Number
	}{
		{0, unknown, unknown, 0},
		{0, 100, 0, 0},
		{1, unknown, unknown, unknown},
		{1, 0, 0, never},
		{100, 0, 10, 10},
		{100, 5, 10, 20},
		{100, 10, 10, never},
		{100, 20, 10, never},
		{50, 100, 100, .5}, // in hand
		{101, 100, 100, never},
	} {
		if got := catchUp(c.lag, c.in, c.out); got != c.want && (got.Known() || c.want.Known()) {
			t.Errorf("%d behind, %v in, %v out: %v, want %v", c.lag, c.in, c.out, got, c.want)
		}
	}
}

// Rates are those of the last rounds, and begin anew where a group was put back.
func TestRates(t *testing.T) {
	w := newWorld(t)
	w.topic("in", 2)
	w.put(w.cl, "in", make([]time.Duration, 100)...)
	r := w.reader(nil)
	for _, c := range []struct {
		at        int64 // of the group, ten seconds later than before
		more      int   // records that have come
		out, in   Number
		catchUp   Number
		catchesUp string
	}{
		{0, 0, unknown, unknown, unknown, "one round says nothing"},
		{10, 0, 1, 0, 90, "9 s more for each 9"},
		{30, 0, 1.5, 0, 70 / 1.5, "the mean of two"},
		{30, 30, 1, 1, never, "as many come"},
		{130, 0, 3.25, .75, 0, "all read"},
		{20, 0, unknown, unknown, unknown, "put back"},
		{20, 0, 0, 0, never, "and down"},
	} {
		w.put(w.cl, "in", make([]time.Duration, c.more)...)
		w.commit("g", "in", 0, c.at)
		got := w.round(r)
		topic, g := got.Topics[0], got.Groups[0]
		if !same(topic.Out, c.out) || !same(topic.In, c.in) || !same(topic.CatchUp, c.catchUp) || !same(g.CatchUp, c.catchUp) {
			t.Errorf("at %d (%s): %+v, %+v", c.at, c.catchesUp, topic, g)
		}
		w.now = w.now.Add(10 * time.Second)
	}
}

func same(a, b Number) bool {
	return a == b || !a.Known() && !b.Known() || math.Abs(float64(a-b)) < 1e-9
}

func TestNumberJSON(t *testing.T) {
	for _, n := range []Number{0, 1.5, unknown, never} {
		text, err := json.Marshal(n)
		must(t, err)
		back := Number(7)
		must(t, json.Unmarshal(text, &back))
		if !same(n, back) {
			t.Errorf("%v is %s and read as %v", float64(n), text, float64(back))
		}
	}
}

// More groups and partitions are not more requests.
func TestRequests(t *testing.T) {
	count := func(groups int, partitions int32) (n int) {
		w := newWorld(t)
		w.topic("in", partitions)
		for g := range groups {
			w.commit(fmt.Sprint("g", g), "in", int32(g)%partitions, 0)
		}
		r := w.reader(nil)
		w.round(r)
		w.c.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
			w.c.KeepControl()
			n++
			return nil, nil, false
		})
		w.round(r)
		return n
	}
	few, many := count(4, 4), count(100, 20)
	if many > few {
		t.Errorf("%d requests for 100 groups, %d for 4", many, few)
	}
}
