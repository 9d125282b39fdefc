package barelimit

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func cluster(t testing.TB) []kgo.Opt {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
}

// What comes out is as many records as were asked for, of the sizes asked for,
// committed.
func TestMovesWhatItSays(t *testing.T) {
	opts := cluster(t)
	const orders = 2000
	shape := Shape{Topic: "bare", Partitions: 4, Consume: 2.5, Produce: 4, Sizes: []int{10, 200}, Poll: 700}
	var asked time.Duration
	res, err := Run(t.Context(), opts, shape, orders, func() time.Duration { asked += time.Second; return asked })
	if err != nil {
		t.Fatal(err)
	}
	if res.Consumed != 5000 || res.Produced != 8000 || res.Transactions < 8 || res.CPU != time.Second {
		t.Errorf("%+v", res)
	}
	cl, err := kgo.NewClient(append(opts, kgo.ConsumeTopics("bare-out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	bySize := map[int]int{}
	for n := 0; n < 8000; {
		fs := cl.PollFetches(t.Context())
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) { n++; bySize[len(r.Value)]++ })
	}
	if bySize[10] != 4000 || bySize[200] != 4000 {
		t.Errorf("sizes %v", bySize)
	}
}

func TestShapes(t *testing.T) {
	good := Shape{Topic: "t", Partitions: 1, Consume: 1, Produce: 1, Sizes: []int{1}}
	for name, spoil := range map[string]func(*Shape){
		"topic":      func(s *Shape) { s.Topic = "" },
		"partitions": func(s *Shape) { s.Partitions = 0 },
		"consume":    func(s *Shape) { s.Consume = 0 },
		"produce":    func(s *Shape) { s.Produce = -1 },
		"no sizes":   func(s *Shape) { s.Sizes = nil },
		"sizes":      func(s *Shape) { s.Sizes = []int{5, -1} },
	} {
		s := good
		spoil(&s)
		if _, err := Run(t.Context(), nil, s, 1, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	opts, runs := cluster(b), 0
	for _, poll := range []int{2000, 8000} {
		b.Run(fmt.Sprintf("poll=%d", poll), func(b *testing.B) {
			for b.Loop() {
				runs++
				shape := Shape{Topic: fmt.Sprintf("bare%d", runs), Partitions: 4, Consume: 9, Produce: 14, Sizes: []int{150, 600}, Poll: poll}
				res, err := Run(b.Context(), opts, shape, 20_000, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(res.RecordsPerSecond, "records/s")
				b.ReportMetric(res.OrdersPerSecond, "orders/s")
			}
		})
	}
}
