package lag

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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

// A broker that answers nothing may have nothing, or not have fetched it from tiered storage:
// records are gone only if it would have them on its disk.
func TestEmptyAnswer(t *testing.T) {
	for _, c := range []struct {
		name  string
		fetch *kerr.Error // of the partition, which has no records
		local int64       // where what the broker has on its disk begins
		asked *kerr.Error // the answer to that
		want  string
		fault error
	}{
		{"a gap up to the end", nil, 0, nil, "lag 2 records 0 seconds 0", nil},
		{"a gap, and older ones are elsewhere", nil, 1, nil, "lag 2 records 0 seconds 0", nil},
		{"a gap, of a broker without tiers", nil, -1, kerr.UnsupportedVersion, "lag 2 records 0 seconds 0", nil},
		{"not fetched in time", nil, 2, nil, "lag 2 records 2 seconds NaN estimated", errElsewhere},
		{"nobody knows", nil, -1, kerr.NotLeaderForPartition, "lag 2 records 2 seconds NaN estimated", kerr.NotLeaderForPartition},
		{"it says so", kerr.OffsetMovedToTieredStorage, 0, nil, "lag 2 records 2 seconds NaN estimated", kerr.OffsetMovedToTieredStorage},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, kfake.NumBrokers(1))
			w.topic("in", 1)
			w.put(w.cl, "in", time.Hour, time.Hour, time.Minute)
			w.commit("g", "in", 0, 1)
			w.c.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				w.c.KeepControl()
				resp := kreq.ResponseKind().(*kmsg.FetchResponse)
				topic, p := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
				topic.TopicID, p.HighWatermark, p.LastStableOffset = kreq.(*kmsg.FetchRequest).Topics[0].TopicID, 3, 3
				if c.fetch != nil {
					p.ErrorCode = c.fetch.Code
				}
				topic.Partitions = append(topic.Partitions, p)
				resp.Topics = append(resp.Topics, topic)
				return resp, nil, true
			})
			w.c.ControlKey(int16(kmsg.ListOffsets), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				w.c.KeepControl()
				if kreq.(*kmsg.ListOffsetsRequest).Topics[0].Partitions[0].Timestamp != earliestLocal {
					return nil, nil, false
				}
				resp := kreq.ResponseKind().(*kmsg.ListOffsetsResponse)
				topic, p := kmsg.NewListOffsetsResponseTopic(), kmsg.NewListOffsetsResponseTopicPartition()
				topic.Topic, p.Offset = "in", c.local
				if c.asked != nil {
					p.ErrorCode = c.asked.Code
				}
				topic.Partitions = append(topic.Partitions, p)
				resp.Topics = append(resp.Topics, topic)
				return resp, nil, true
			})
			round, err := w.reader(nil).Round(t.Context())
			must(t, err)
			if got := round.of("g", "in", 0); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
			if err := errors.Join(round.Faults...); !errors.Is(err, c.fault) {
				t.Errorf("%v, want %v", err, c.fault)
			}
		})
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

// Of a group that cannot be described neither state nor members are told, and others are.
func TestNotDescribed(t *testing.T) {
	w := newWorld(t, kfake.NumBrokers(1))
	w.topic("in", 1, "retention.ms=7200000")
	w.put(w.cl, "in", time.Hour)
	w.commit("g", "in", 0, 0)
	r := w.reader(nil)
	e := NewExporter(r, Every, slog.New(slog.DiscardHandler))
	must(t, e.look(t.Context()))
	if got := told(t, e, "kafka_consumergroup_members"); len(got) != 1 {
		t.Error(got)
	}
	whole := told(t, e, "orderlog_lag_exporter_last_success_timestamp_seconds")[""]
	w.now = w.now.Add(time.Minute)
	w.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeGroups}, Err: kerr.GroupAuthorizationFailed})
	if err := e.look(t.Context()); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Error(err)
	}
	for _, name := range []string{"kafka_consumergroup_members", "kafka_consumergroup_state"} {
		if got := told(t, e, name); len(got) > 0 {
			t.Errorf("%s: %v of a group that nobody could ask after", name, got)
		}
	}
	if got := told(t, e, "kafka_consumergroup_lag_seconds"); got["consumergroup=g partition=0 topic=in"] != 3660 {
		t.Errorf("what is known of it: %v", got)
	}
	if r.states["g"] != "Empty" {
		t.Errorf("it was %q", r.states["g"])
	}
	if got := told(t, e, "orderlog_lag_exporter_last_success_timestamp_seconds")[""]; got != whole {
		t.Errorf("a round with a fault is a whole one: %v after %v", got, whole)
	}
}

// Nobody is warned in time where downtimes are not known: that is blind, too.
func TestBlindForDowntimes(t *testing.T) {
	w := newWorld(t, kfake.NumBrokers(1))
	w.topic("in", 1)
	w.commit("g", "in", 0, 0)
	e := NewExporter(w.reader(nil), Every, slog.New(slog.DiscardHandler))
	w.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.ClusterAuthorizationFailed})
	if err := e.look(t.Context()); err == nil {
		t.Error("nothing is said")
	}
	if got := told(t, e, "orderlog_lag_exporter_last_success_timestamp_seconds")[""]; got != 0 {
		t.Errorf("a whole round at %v", got)
	}
	if !e.Seeing() {
		t.Error("lags are known")
	}
}
