package lag

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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

// What a group has committed of another log than this one is no place to go on from: it
// is not taken for having read all.
func TestBeyondEnd(t *testing.T) {
	w := newWorld(t)
	w.topic("in", 2, "retention.ms=7200000")
	w.put(w.cl, "in", time.Hour, time.Minute)
	w.commit("g", "in", 0, 3)
	w.commit("g", "in", 1, 7)
	r := w.reader(nil)
	round := w.round(r)
	if got := round.of("g", "in", 0) + ", " + round.of("g", "in", 1); got != "lag -1 records 2 seconds 3600, lag -7 records 0 seconds 0" {
		t.Error(got)
	}
	if topic := round.Topics[0]; topic.Beyond != 2 || topic.Lag != 0 || topic.Records != 2 || topic.Safe.Left != 3600 {
		t.Errorf("%+v", topic)
	}
	w.now = w.now.Add(time.Minute)
	if topic := w.round(r).Topics[0]; !topic.CatchUp.Endless() {
		t.Errorf("%+v is to catch up", topic)
	}
	w.commit("g", "in", 0, 2) // the end itself is in order
	w.commit("g", "in", 1, 0)
	if topic := w.round(r).Topics[0]; topic.Beyond != 0 || topic.Records != 0 || topic.Seconds != 0 {
		t.Errorf("%+v", topic)
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

// More groups and partitions are not more requests to a broker.
func TestRequests(t *testing.T) {
	count := func(groups int, partitions int32) (n int) {
		w := newWorld(t, kfake.NumBrokers(1)) // of two, few groups may all have the same one
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
