package app_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// virtual is a configuration for synctest in which days pass cheaply: nobody asks
// often whether all are still there.
func virtual(t testing.TB) app.Config {
	var net kfake.VirtualNetwork
	cfg := config(t)
	cfg.Listen, cfg.Dial = net.Listen, net.DialContext
	cfg.Tune = func(k *kgoka.Config) {
		k.SessionTimeout, k.Heartbeat = 5*time.Minute, 30*time.Second
		k.ClientOpts = append(slices.Clone(k.ClientOpts), kgo.FetchMaxWait(time.Minute), kgo.DisableClientMetrics())
	}
	return cfg
}

// A rule that panics is tried again, and when another build has come, succeeds.
// Meanwhile the rest flows.
func TestParkedComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		cfg := virtual(t)
		cfg.BeforeDecide = func(m flow.Message) {
			if m.Key == "ord_bug" && !mended.Load() {
				panic("a bug in the rule")
			}
		}
		w := start(t, cfg)
		w.send(price("sku_pen", 150), receive("sku_pen", 100))
		line := schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}
		w.send(place("ord_bug", "cus_a", line), place("ord_good", "cus_a", line))
		time.Sleep(10 * time.Minute) // it has failed twice
		w.states(map[string]int{"invoiced": 1})
		mended.Store(true)
		time.Sleep(30 * time.Minute)
		w.states(map[string]int{"invoiced": 2})
		w.send(deliver("ord_bug"))
		w.states(map[string]int{"invoiced": 1, "delivered": 1})
		if got := w.deadLetters(); len(got) > 0 {
			t.Errorf("dead letters %v", got)
		}
		w.quiet()
	})
}

// A person takes a deadline away: the order waits for ever, as it is, and nothing is
// wrong with that. When something happens to it, it has another one.
func TestDeadlineTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		cfg.Processors = []string{"order", "retry"} // nobody answers
		w := start(t, cfg)
		w.tracker.Stop() // it would ask every five seconds
		d, err := mend.New(t.Context(), mend.Config{Opts: w.ClientOpts(), Serde: w.Serde(), Who: "ann", Now: time.Now})
		must(t, err)
		defer d.Close()
		is := func(state string, entries int) {
			t.Helper()
			es, _, err := d.Calendar(t.Context())
			must(t, err)
			var o schemas.Order
			w.eachRow(topics.OrderTable, func(r *kgo.Record) { must(t, w.Serde().DecodeInto(t.Context(), topics.OrderTable, r.Value, &o)) })
			rep, err := verify.Run(t.Context(), verify.Config{Client: w.ClientOpts(), Serde: w.Serde()})
			must(t, err)
			at := slices.IndexFunc(rep.Checks, func(c verify.Check) bool { return c.Name == "deadlines" })
			if o.State != state || len(es) != entries || !rep.Checks[at].OK {
				t.Errorf("%s, and %d in the calendar, want %s and %d; %+v", o.State, len(es), state, entries, rep.Checks[at])
			}
		}
		placed := place("ord_1", "cus_a", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1})
		w.send(placed)
		time.Sleep(time.Minute)
		is(schemas.Placed, 1)
		es, _, err := d.Calendar(t.Context())
		must(t, err)
		deed, err := d.Cancel(es[0], "a test")
		must(t, err)
		must(t, d.TakeOver(t.Context(), "retries"))
		must(t, d.Act(t.Context(), deed))
		time.Sleep(3 * time.Hour)
		is(schemas.Placed, 0)
		w.send(placed)
		time.Sleep(time.Minute)
		is(schemas.Placed, 1)
		time.Sleep(time.Hour)
		is(schemas.Expired, 0)
	})
}

// What fails at every attempt is tried when the schedule says, and is then a dead
// letter that tells of all attempts.
func TestScheduleToItsEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("many virtual hours")
	}
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		cfg.Processors = []string{"order", "retry"}
		tried := make(chan time.Time, 100)
		cfg.BeforeDecide = func(flow.Message) {
			tried <- time.Now()
			panic("a bug in the rule")
		}
		w := start(t, cfg)
		w.tracker.Stop() // it would ask every five seconds
		w.send(place("ord_bug", "cus_a", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}))
		time.Sleep(75 * time.Hour)
		last := <-tried
		for n, wait := range retry.Default() {
			at := <-tried
			if d := at.Sub(last); d < wait || d > wait+wait/10+time.Second {
				t.Errorf("attempt %d after %v, want %v and up to a tenth more", n+2, d, wait)
			}
			last = at
		}
		if len(tried) > 0 {
			t.Errorf("%d attempts more", len(tried))
		}
		var letters []letter.Letter
		must(t, content.EachRecord(t.Context(), w.ClientOpts(), topics.DeadLetter, func(r *kgo.Record) error {
			letters = append(letters, letter.Parse(r))
			return nil
		}))
		if len(letters) != 1 || len(letters[0].Attempts) != 6 || letters[0].Cause != "panic" || letters[0].Topic != topics.OrderCommands {
			t.Errorf("dead letters %+v", letters)
		}
	})
}
