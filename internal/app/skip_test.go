package app_test

import (
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// A queue whose head is lost waits until a person has it go on; before, nobody can
// take away what is only late.
func TestLostHead(t *testing.T) {
	if testing.Short() {
		t.Skip("many virtual hours")
	}
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		cfg := virtual(t)
		cfg.BeforeDecide = func(m flow.Message) {
			if m.Key == "sku_pen" && !mended.Load() {
				panic("a bug in the rule")
			}
		}
		w := start(t, cfg)
		w.tracker.Stop() // it would ask every five seconds
		d, err := mend.New(t.Context(), mend.Config{Opts: w.ClientOpts(), Serde: w.Serde(), Who: "ann", Now: time.Now})
		must(t, err)
		defer d.Close()
		w.send(price("sku_pen", 150))
		time.Sleep(time.Second)
		w.send(receive("sku_pen", 5), receive("sku_pen", 7))
		time.Sleep(time.Second)
		lost := func() (mend.Lost, error) { return d.Lost(t.Context(), "inventory", "sku_pen") }
		if _, err := lost(); !errors.Is(err, mend.ErrHead) {
			t.Errorf("as it should be: %v", err)
		}
		entries, _, err := d.Calendar(t.Context())
		must(t, err)
		if len(entries) != 3 {
			t.Fatalf("%d entries", len(entries))
		}
		place, err := kgo.NewClient(append(w.ClientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
		must(t, err)
		defer place.Close()
		must(t, place.ProduceSync(t.Context(), &kgo.Record{Topic: topics.Retry, Partition: entries[0].Partition, Key: []byte(entries[0].Entry)}).FirstErr())
		mended.Store(true)
		time.Sleep(24 * time.Hour)
		l, err := lost()
		if err != nil || l.First != 0 || l.Count != 1 || len(l.Behind) != 2 {
			t.Fatalf("%+v, %v", l, err)
		}
		must(t, d.TakeOver(t.Context(), "retries"))
		must(t, d.Skip(t.Context(), l, "a test"))
		time.Sleep(10 * time.Minute)
		if _, err := lost(); !errors.Is(err, mend.ErrNoQueue) {
			t.Errorf("after it: %v", err)
		}
		var letters []letter.Letter
		must(t, content.EachRecord(t.Context(), w.ClientOpts(), topics.DeadLetter, func(r *kgo.Record) error {
			letters = append(letters, letter.Parse(r))
			return nil
		}))
		if len(letters) != 1 || letters[0].Cause != "cancelled" || letters[0].Group != "inventory" || string(letters[0].Key) != "sku_pen" ||
			letters[0].Error != "it was lost, and ann has the queue go on without it: a test" {
			t.Errorf("dead letters %+v", letters)
		}
		w.send(price("sku_pen", 160))
		time.Sleep(time.Second)
		var stock schemas.Stock
		w.eachRow(topics.InventoryTable, func(r *kgo.Record) {
			must(t, w.Serde().DecodeInto(t.Context(), topics.InventoryTable, r.Value, &stock))
		})
		if stock.OnHand != 12 || stock.Price != 160 {
			t.Errorf("%d on hand at %d: what was behind has not come in full", stock.OnHand, stock.Price)
		}
		if got := w.deadLetters(); !maps.Equal(got, map[string]int{"cancelled": 1}) {
			t.Errorf("dead letters %v", got)
		}
	})
}

// Whatever an entry is doing while a person looks, it is not taken for lost.
func TestLateIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		cfg.Processors = []string{"inventory", "retry"}
		cfg.Schedule = slices.Repeat(retry.Schedule{50 * time.Millisecond}, 10)
		cfg.BeforeDecide = func(flow.Message) { panic("a bug in the rule") }
		w := start(t, cfg)
		w.tracker.Stop()
		d, err := mend.New(t.Context(), mend.Config{Opts: w.ClientOpts(), Serde: w.Serde(), Who: "ann", Now: time.Now})
		must(t, err)
		defer d.Close()
		seen := map[error]int{}
		for range 5 {
			w.send(price("sku_pen", 150))
			time.Sleep(3 * time.Millisecond)
			for range 100 {
				l, err := d.Lost(t.Context(), "inventory", "sku_pen")
				if err == nil {
					t.Fatalf("%+v is said to be lost", l)
				}
				for _, why := range []error{mend.ErrHead, mend.ErrUnderway, mend.ErrNoQueue} {
					if errors.Is(err, why) {
						seen[why]++
					}
				}
				if errors.Is(err, mend.ErrHead) {
					time.Sleep(time.Until(time.UnixMilli(l.Due))) // the next look is while it moves
				}
			}
			time.Sleep(time.Second)
		}
		if seen[mend.ErrHead] == 0 || seen[mend.ErrNoQueue] == 0 { // internal/mend has the rest, one by one
			t.Errorf("it was looked at in these states only: %v", seen)
		}
	})
}
