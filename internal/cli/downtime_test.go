package cli

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// TestDownPastCompaction has those who follow the order log miss most of its versions:
// doctor has said so before, and they do what they would have done.
func TestDownPastCompaction(t *testing.T) {
	cluster := newCluster(t, map[string]string{"offsets.retention.minutes": "20160"})
	registry := srfake.New()
	t.Cleanup(registry.Close)
	at := []string{"--brokers", strings.Join(cluster.ListenAddrs(), ","), "--registry", registry.URL()}
	orderlog := func(args ...string) string {
		t.Helper()
		code, out, errs := run(t, Env{}, slices.Concat(args, at)...)
		if code != exitDone {
			t.Fatalf("orderlog %s: %d\n%s%s", strings.Join(args, " "), code, out, errs)
		}
		return out
	}
	start := func(names ...string) *app.App {
		t.Helper()
		mails := effect.Default()
		a, err := app.New(app.Config{Brokers: cluster.ListenAddrs(), Registry: registry.URL(), Partitions: 2, ApplyTopics: true, Processors: names,
			Dir: t.TempDir(), Effects: &mails})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Stop() })
		return a
	}
	a := start("order", "inventory", "credit", "invoicing", "retry")
	followers := []string{"voucher", "notification", "effects"}
	if err := start(followers...).Stop(); err != nil {
		t.Fatal(err)
	}
	orderlog("produce", "--orders", "40", "--seed", "5", "--deliver")

	found := orderlog("doctor", "--downtime-floor", "168h")
	if want := "warn  group voucher may stay down for 7d only, on order-table: then versions that others have followed are gone; it still ends right (min.compaction.lag.ms)"; !strings.Contains(found, want) {
		t.Errorf("doctor does not warn:\n%s", found)
	}
	before := versions(t, a)
	cluster.Compact()
	after := versions(t, a)
	if len(after) != 40 || total(after) >= total(before)/2 {
		t.Fatalf("%d versions of %d orders before compaction, %d of %d after: the test says nothing", total(before), len(before), total(after), len(after))
	}

	start(followers...)
	wait := func(what string, done func(orders []schemas.Order) bool) {
		t.Helper()
		for up := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			var orders []schemas.Order
			shop{t, app.Addresses{Brokers: cluster.ListenAddrs()[:1], Registry: registry.URL()}}.read(&orders, "order", "list", "--limit", "0")
			if done(orders) {
				return
			}
			if time.Now().After(up) {
				t.Fatal(what)
			}
		}
	}
	wait("not every order that earned a voucher has one", func(orders []schemas.Order) bool {
		return !slices.ContainsFunc(orders, func(o schemas.Order) bool {
			return o.State == schemas.Delivered && o.Gross >= 10_000 && len(o.Vouchers) == 0
		})
	})
	wait("not everybody is told of everything", func(orders []schemas.Order) bool {
		told := map[string]int{}
		if err := content.EachRecord(t.Context(), a.ClientOpts(), topics.Effects, func(r *kgo.Record) error {
			var e schemas.Effect
			err := a.Serde().DecodeInto(t.Context(), topics.Effects, r.Value, &e)
			told[e.OrderID+" "+e.Event]++
			return err
		}); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{}
		for _, o := range orders {
			for _, e := range o.Timeline {
				if slices.Contains([]string{schemas.OrderApproved, schemas.OrderRejected, schemas.OrderInvoiced, schemas.OrderDelivered, schemas.VoucherGrantedEvent}, e.Type) {
					want[o.OrderID+" "+e.Type]++
				}
			}
		}
		return maps.Equal(told, want)
	})
}

// versions counts an order's records on the order log.
func versions(t *testing.T, a *app.App) map[string]int {
	t.Helper()
	n := map[string]int{}
	if err := content.EachRecord(t.Context(), a.ClientOpts(), topics.OrderTable, func(r *kgo.Record) error {
		n[string(r.Key)]++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func total(of map[string]int) (n int) {
	for _, x := range of {
		n += x
	}
	return n
}
