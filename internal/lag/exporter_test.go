package lag

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// told are the figures of a name by their labels.
func told(t *testing.T, e *Exporter, name string) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(e)
	families, err := reg.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			if family.GetName() == name {
				got[strings.Join(labels, " ")] = m.GetGauge().GetValue()
			}
		}
	}
	return got
}

// Whatever a round has shown is told, under the names that others use.
func TestCollect(t *testing.T) {
	w := newWorld(t)
	w.topic("in", 2, "retention.ms=7200000")
	w.topic("kept", 1, "retention.ms=-1")
	w.put(w.cl, "in", time.Hour, time.Hour)
	w.put(w.cl, "kept", time.Minute)
	w.commit("g", "in", 0, 1)
	e := NewExporter(w.reader(func(c *Config) {
		c.Expected = []Expected{{Name: "new", Topics: []string{"kept"}}, {Name: "elsewhere", Topics: []string{"there"}}}
	}), Every, slog.New(slog.DiscardHandler))
	if e.Seeing() || len(told(t, e, "kafka_consumergroup_lag")) > 0 {
		t.Error("something is told before anything was seen")
	}
	e.look(t.Context())
	if !e.Seeing() {
		t.Error("it was seen")
	}
	for name, want := range map[string]map[string]float64{
		"kafka_consumergroup_lag":                              {"consumergroup=g partition=0 topic=in": 1, "consumergroup=g partition=1 topic=in": -1},
		"kafka_consumergroup_current_offset":                   {"consumergroup=g partition=0 topic=in": 1, "consumergroup=g partition=1 topic=in": -1},
		"kafka_consumergroup_lag_records":                      {"consumergroup=g partition=0 topic=in": 1, "consumergroup=g partition=1 topic=in": 0, "consumergroup=new partition=0 topic=kept": 1},
		"kafka_consumergroup_lag_seconds":                      {"consumergroup=g partition=0 topic=in": 3600, "consumergroup=g partition=1 topic=in": 0, "consumergroup=new partition=0 topic=kept": 60},
		"kafka_consumergroup_state":                            {"consumergroup=g state=Empty": 1, "consumergroup=new state=Dead": 1},
		"kafka_consumergroup_members":                          {"consumergroup=g": 0, "consumergroup=new": 0},
		"kafka_consumergroup_catch_up_seconds":                 {},
		"kafka_consumergroup_safe_downtime_seconds":            {"consumergroup=g topic=in": 3600, "consumergroup=new topic=kept": math.Inf(1)},
		"kafka_consumergroup_safe_downtime_whole_seconds":      {"consumergroup=g topic=in": 7200, "consumergroup=new topic=kept": math.Inf(1)},
		"kafka_topic_partition_current_offset":                 {"partition=0 topic=in": 2, "partition=1 topic=in": 0, "partition=0 topic=kept": 1},
		"kafka_topic_partition_oldest_offset":                  {"partition=0 topic=in": 0, "partition=1 topic=in": 0, "partition=0 topic=kept": 0},
		"orderlog_lag_exporter_last_success_timestamp_seconds": {"": float64(w.now.UnixMilli()) / 1000},
	} {
		if got := told(t, e, name); !maps.Equal(got, want) {
			t.Errorf("%s: %v\nwant %v", name, got, want)
		}
	}
	problems, err := testutil.CollectAndLint(e)
	if err != nil || len(problems) > 0 {
		t.Error(err, problems)
	}
	w.now = w.now.Add(time.Minute)
	e.look(t.Context())
	if got := told(t, e, "kafka_consumergroup_catch_up_seconds"); !math.IsInf(got["consumergroup=g"], 1) {
		t.Errorf("%v of a group that does nothing", got)
	}
}

// A downtime is not told where it is not known since when a group has waited, or how large
// a log is: it may be shorter than that of one who has read all.
func TestCollectUnknownDowntime(t *testing.T) {
	w := newWorld(t, kfake.NumBrokers(1))
	w.topic("in", 2, "retention.ms=7200000")
	w.topic("lost", 2, "retention.ms=-1")
	w.topic("sized", 1, "retention.bytes=1000000")
	w.topic("kept", 1, "retention.ms=-1")
	for _, topic := range []string{"in", "lost", "sized", "kept"} {
		w.put(w.cl, topic, time.Hour, time.Hour, time.Hour)
	}
	_, err := w.adm.DeleteRecords(t.Context(), kadm.Offsets{"lost": {0: {Topic: "lost", At: 2}}})
	must(t, err)
	w.commit("g", "in", 0, 0)
	w.commit("done", "in", 0, 3)
	w.commit("g", "lost", 0, 0)
	w.commit("done", "sized", 0, 3)
	const budget = -1 // nothing is read, so seconds are not known
	e := NewExporter(w.reader(func(c *Config) {
		c.Budget, c.Expected = budget, []Expected{{Name: "new", Topics: []string{"kept"}}}
	}), Every, slog.New(slog.DiscardHandler))
	w.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeLogDirs}, Err: kerr.ClusterAuthorizationFailed})
	e.look(t.Context())
	want := map[string]float64{"consumergroup=done topic=in": 7200, "consumergroup=g topic=lost": 0, "consumergroup=new topic=kept": math.Inf(1)}
	if got := told(t, e, "kafka_consumergroup_safe_downtime_seconds"); !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if got := told(t, e, "kafka_consumergroup_safe_downtime_whole_seconds")["consumergroup=g topic=lost"]; !math.IsInf(got, 1) {
		t.Errorf("%v of what is kept for ever", got)
	}
	w.now = w.now.Add(settingsEvery)
	e.read.cfg.Budget = defaultBudget
	must(t, e.look(t.Context()))
	got := told(t, e, "kafka_consumergroup_safe_downtime_seconds")
	if _, known := got["consumergroup=done topic=sized"]; !known || got["consumergroup=g topic=in"] != 3540 {
		t.Error(got)
	}
}

// A name that is not UTF-8 is told in some way, and two of them are two.
func TestCollectNames(t *testing.T) {
	w := newWorld(t, kfake.NumBrokers(1))
	w.topic("in", 1)
	for _, group := range []string{"g\xff", "g\xfe", "größe"} {
		w.commit(group, "in", 0, 0)
	}
	e := NewExporter(w.reader(nil), Every, slog.New(slog.DiscardHandler))
	must(t, e.look(t.Context()))
	got := slices.Sorted(maps.Keys(told(t, e, "kafka_consumergroup_members")))
	if want := []string{`consumergroup=g\xfe`, `consumergroup=g\xff`, `consumergroup=größe`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// When the cluster is away what was seen last is told for two minutes, and then nothing.
func TestAway(t *testing.T) {
	w := newWorld(t)
	w.topic("in", 1)
	w.put(w.cl, "in", time.Hour)
	w.commit("g", "in", 0, 0)
	cl := w.client(kgo.RetryTimeout(time.Second), kgo.RequestRetries(0))
	e := NewExporter(NewReader(Config{Client: cl, Others: func(string) bool { return true }, Now: func() time.Time { return w.now }}), Every, slog.New(slog.DiscardHandler))
	e.look(t.Context())
	at := told(t, e, "orderlog_lag_exporter_last_success_timestamp_seconds")[""]
	w.c.Close()
	for _, c := range []struct {
		after time.Duration
		told  int
	}{{time.Minute, 1}, {time.Minute, 0}} {
		w.now = w.now.Add(c.after)
		e.look(t.Context())
		if got := told(t, e, "kafka_consumergroup_lag_seconds"); len(got) != c.told || e.Seeing() != (c.told > 0) {
			t.Errorf("%v later: %v", c.after, got)
		}
		if got := told(t, e, "orderlog_lag_exporter_last_success_timestamp_seconds")[""]; got != at {
			t.Errorf("success at %v, and it was at %v", got, at)
		}
	}
}

// A group that nobody runs: its lag in seconds rises with the clock, and falls to 0 when
// somebody has read all. What it then took is what the catch-up has said.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net kfake.VirtualNetwork
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(net.Listen))
		must(t, err)
		defer c.Close()
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.Dialer(net.DialContext))
		must(t, err)
		defer cl.Close()
		w := &world{TB: t, c: c, cl: cl, adm: kadm.NewClient(cl), now: time.Now()}
		w.topic("in", 1)
		w.put(cl, "in", make([]time.Duration, 600)...)
		w.commit("g", "in", 0, 0)
		e := NewExporter(NewReader(Config{Client: cl, Others: func(string) bool { return true }}), Every, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var following sync.WaitGroup
		following.Go(func() { e.Follow(ctx) })
		defer following.Wait()
		defer cancel()

		const who = "consumergroup=g partition=0 topic=in"
		for minutes := range 10 {
			time.Sleep(time.Second)
			if got, want := told(t, e, "kafka_consumergroup_lag_seconds")[who], float64(minutes*60); got < want || got > want+1 {
				t.Fatalf("%v seconds behind after %v", got, want)
			}
			time.Sleep(time.Minute - time.Second)
		}
		began := time.Now()
		for at := int64(2); at <= 600; at += 2 { // two a second
			time.Sleep(time.Second)
			w.commit("g", "in", 0, at)
			if passed := time.Since(began); passed.Round(time.Second) == 100*time.Second {
				said := told(t, e, "kafka_consumergroup_catch_up_seconds")["consumergroup=g"]
				if left := 200.; said < .7*left || said > 1.3*left {
					t.Errorf("%v seconds more are said, and it will take %v", said, left)
				}
			}
		}
		time.Sleep(Every)
		if behind, catch := told(t, e, "kafka_consumergroup_lag_seconds")[who], told(t, e, "kafka_consumergroup_catch_up_seconds")["consumergroup=g"]; behind != 0 || catch != 0 {
			t.Errorf("%v seconds behind, %v to catch up, of a group that has read all", behind, catch)
		}
	})
}

// What a look at 1,000 groups of 100 partitions takes; all of them are behind, and the
// first look reads a batch of each partition.
func BenchmarkRound(b *testing.B) {
	const groups, partitions = 1000, 100
	for _, topics := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("%d topics", topics), func(b *testing.B) {
			w := newWorld(b, kfake.NumBrokers(3))
			for i := range topics {
				topic := fmt.Sprint("t", i)
				w.topic(topic, partitions)
				for p := range int32(partitions) {
					w.cl.Produce(b.Context(), &kgo.Record{Topic: topic, Partition: p, Timestamp: w.now.Add(-time.Hour)}, nil)
					w.cl.Produce(b.Context(), &kgo.Record{Topic: topic, Partition: p, Timestamp: w.now.Add(-time.Minute)}, nil)
				}
			}
			must(b, w.cl.Flush(b.Context()))
			var all sync.WaitGroup
			slots := make(chan struct{}, 16)
			for g := range groups {
				at := kadm.Offsets{}
				for p := range int32(partitions) {
					at.AddOffset(fmt.Sprint("t", g%topics), p, int64(g%2), -1)
				}
				all.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					if err := w.adm.CommitAllOffsets(b.Context(), fmt.Sprint("group", g), at); err != nil {
						b.Error(err)
					}
				})
			}
			all.Wait()
			r := w.reader(nil)
			first := w.round(r)
			if len(first.Partitions) != groups*partitions {
				b.Fatal(len(first.Partitions))
			}
			known := 1.
			for last := first; slices.ContainsFunc(last.Partitions, func(p Partition) bool { return p.Estimated || p.Seconds < 60 }); known++ {
				last = w.round(r)
			}
			requests := 0
			w.c.Control(func(kmsg.Request) (kmsg.Response, error, bool) { w.c.KeepControl(); requests++; return nil, nil, false })
			for b.Loop() {
				w.round(r)
			}
			b.ReportMetric(known, "rounds/known")
			b.ReportMetric(float64(requests)/float64(b.N), "requests/op")
			b.ReportMetric(first.Took.Seconds()*1000, "ms/first")
			b.ReportMetric(float64(first.Read), "bytes/first")
		})
	}
}
