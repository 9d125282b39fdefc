package lag

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// told are the figures by their labels.
func told(t *testing.T, f *Figures) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(f)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			got[strings.Join(labels, " ")] = m.GetGauge().GetValue()
		}
	}
	return got
}

// The least of a topic's partitions is told of each group, for ever where there is
// no end, and nothing where nothing is known.
func TestFigures(t *testing.T) {
	f := NewFigures(nil, nil, nil)
	safe := func(seconds float64) *Safe { return &Safe{Left: seconds} }
	lags := []Partition{
		{Group: "order", Topic: "order-commands", Partition: 0, Safe: safe(7)},
		{Group: "order", Topic: "order-commands", Partition: 1, Safe: safe(5)},
		{Group: "order", Topic: "order-commands", Partition: 2},
		{Group: "order", Topic: "order-loop", Partition: 0},
		{Group: "retry", Topic: "retry", Partition: 0, Safe: safe(0)},
	}
	f.keep(lags, true)
	want := map[string]float64{"order order-commands": 5, "order order-loop": math.Inf(1), "retry retry": 0}
	if got := told(t, f); !maps.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	f.keep(lags, false)
	if got := told(t, f); len(got) != 0 {
		t.Errorf("told %v though nothing is known", got)
	}
}

// What Follow finds on a broker: a record that nobody has read, and its age.
func TestFollow(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	opts := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, map[string]*string{"retention.ms": kadm.StringPtr("7200000")}, "in"); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Timestamp: time.Now().Add(-time.Hour)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	f := NewFigures(opts, []Group{{Name: "g", Topics: []string{"in"}}}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	var following sync.WaitGroup
	following.Go(func() { f.Follow(ctx) })
	defer following.Wait()
	defer cancel()
	for len(told(t, f)) == 0 {
		if ctx.Err() != nil {
			t.Fatal("nothing was told")
		}
		time.Sleep(time.Millisecond)
	}
	if left := told(t, f)["g in"]; left < 3500 || left > 3600 {
		t.Errorf("%v seconds left, want the second of two hours", left)
	}
}
