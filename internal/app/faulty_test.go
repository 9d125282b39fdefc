package app_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Rules panic at random for an hour, and what they could not do comes back: the books
// balance as if they had not. All that groups and calendar have written to one
// another, shown to them once more, changes nothing.
func TestFaultyRules(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		var panics, decided atomic.Uint64
		end := time.Now().Add(time.Hour)
		cfg.BeforeDecide = func(m flow.Message) {
			if n := decided.Add(1); time.Now().Before(end) && rand.New(rand.NewPCG(seed, n)).IntN(10) == 0 {
				panics.Add(1)
				panic("a bug in the rule")
			}
		}
		w := start(t, cfg)
		w.tracker.Stop() // it would ask every five seconds
		const orders = 30
		for i := range 5 {
			w.send(price(fmt.Sprint("sku_", i), int64(4000+i)), receive(fmt.Sprint("sku_", i), 100), limit(fmt.Sprint("cus_", i), 500_000))
		}
		for i := range orders {
			w.send(place(fmt.Sprint("ord_", i), fmt.Sprint("cus_", i%5),
				schemas.PlaceLine{SKU: fmt.Sprint("sku_", i%5), Quantity: 3}, schemas.PlaceLine{SKU: fmt.Sprint("sku_", (i+1)%6), Quantity: 1}))
			if i%3 == 0 {
				w.send(command(topics.OrderCommands, &schemas.CancelOrder{OrderID: fmt.Sprint("ord_", i)}))
			}
		}
		time.Sleep(4 * time.Hour)
		for i := range orders {
			w.send(deliver(fmt.Sprint("ord_", i)))
		}
		time.Sleep(time.Minute)
		w.quiet()
		before, dead := w.content(), w.deadLetters()
		if panics.Load() < 10 || dead["panic"] > 0 {
			t.Fatalf("%d panics, dead letters %v", panics.Load(), dead)
		}

		place, err := kgo.NewClient(append(w.ClientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
		must(t, err)
		defer place.Close()
		for _, tp := range topics.All() {
			if tp.External || tp.Compact || tp.Name == topics.DeadLetter {
				continue
			}
			must(t, content.EachRecord(t.Context(), w.ClientOpts(), tp.Name, func(r *kgo.Record) error {
				return place.ProduceSync(t.Context(), &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}).FirstErr()
			}))
		}
		time.Sleep(4 * time.Hour)
		w.quiet()
		w.same(before)
		if got := w.deadLetters(); !maps.Equal(got, dead) {
			t.Errorf("dead letters %v became %v", dead, got)
		}
	})
}
