package replay_test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/internal/snapshot"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/topics"
)

var benchOrders = flag.Int("replay.orders", 10_000, "orders of BenchmarkRebuild")

// BenchmarkRebuild empties tables and computes them anew, group by group and all at
// once: how long that takes until all is as it was, and how long a bare consumer takes
// for the same topics. What must not change is compared, too.
func BenchmarkRebuild(b *testing.B) {
	s := newShop(b)
	s.cfg.Rules.OpeningLimit = 1 << 40
	s.cfg.Effects.Webhooks[0].Events = []string{"order.invoiced"}
	s.start()
	s.place(workload.Config{Seed: 1, Orders: *benchOrders, Customers: *benchOrders / 20, Products: 1000, Stock: 1 << 30, Credit: 1 << 40,
		Faults: workload.Faults{Duplicates: 0.01, UnknownProducts: 0.01, Cancels: 0.05, Deliveries: 0.5}})
	s.proven()
	s.stop()
	was, numbers, told := s.content(), s.numbers(), s.told()
	b.Logf("%d orders, %d invoices, %d vouchers, %d effects", len(was[topics.OrderTable]), len(numbers), len(was[topics.Vouchers]), len(told))
	r, err := replay.New(replay.Config{Opts: s.on.ClientOpts(), Serde: s.on.Serde(), Who: "bench", Store: snapshot.Folder(b.TempDir())})
	must(b, err)
	defer r.Close()
	all := []string{"inventory", "credit", "invoicing", "voucher", "notification"}
	for _, groups := range append(each(all), all) {
		b.Run(fmt.Sprint(groups), func(b *testing.B) {
			s.t = b
			var took, bare time.Duration
			var records, rows int64
			for range b.N {
				for _, g := range groups {
					s.wipe(g)
				}
				began := time.Now()
				res, err := r.Run(b.Context(), replay.Spec{Groups: groups, Mode: replay.Rebuild, Target: replay.Target{Kind: replay.ToCurrent}}, replay.How{Wait: 10 * time.Second})
				must(b, err)
				took += time.Since(began)
				for _, g := range res.Groups {
					rows += int64(g.Rows)
				}
				began = time.Now()
				s.start()
				s.caughtUp() // vouchers are granted anew
				if slices.Contains(groups, "voucher") {
					took += time.Since(began)
				}
				s.stop()
				n, d := s.bare(groups)
				records, bare = records+n, bare+d
				for _, d := range content.Diff(was, s.content(), 5) {
					b.Error(d)
				}
				if !maps.Equal(s.numbers(), numbers) || !maps.Equal(s.told(), told) {
					b.Errorf("%d are told, it was %d; or invoices have other numbers", len(s.told()), len(told))
				}
			}
			b.ReportMetric(took.Seconds()/float64(b.N), "s/rebuild")
			b.ReportMetric(bare.Seconds()/float64(b.N), "s/bare-read")
			b.ReportMetric(float64(records)/took.Seconds(), "records/s")
			b.ReportMetric(bare.Seconds()/took.Seconds(), "of-bare")
			b.ReportMetric(float64(rows)/float64(b.N), "rows-written")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// wipe deletes all rows of a group's table.
func (s *shop) wipe(group string) {
	s.t.Helper()
	var rs []*kgo.Record
	must(s.t, content.EachRecord(s.t.Context(), s.on.ClientOpts(), group+"-table", func(r *kgo.Record) error {
		rs = append(rs, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key})
		return nil
	}))
	cl, err := kgo.NewClient(append(s.on.ClientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(s.t, err)
	defer cl.Close()
	must(s.t, cl.ProduceSync(s.t.Context(), rs...).FirstErr())
}

// bare reads the order log and what these groups read and wrote, without looking at it.
func (s *shop) bare(groups []string) (records int64, took time.Duration) {
	s.t.Helper()
	adm, err := kadm.NewOptClient(s.on.ClientOpts()...)
	must(s.t, err)
	defer adm.Close()
	read := map[string]bool{topics.OrderTable: true}
	for _, r := range processors.All(processors.Config{}) {
		for _, g := range groups {
			if r.Name() != g {
				continue
			}
			read[g+"-table"] = true
			for _, in := range r.Inputs() {
				read[in] = true
			}
		}
	}
	began := time.Now()
	for topic := range read {
		span, err := client.Whole(s.t.Context(), adm, topic)
		must(s.t, err)
		must(s.t, span.Read(s.t.Context(), s.on.ClientOpts(), func(*kgo.Record) (bool, error) { records++; return true, nil }))
	}
	return records, time.Since(began)
}
