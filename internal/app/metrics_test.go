package app_test

import (
	"maps"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/schemas"
)

// scrape reads /metrics: the figures by name and labels, of those whose names begin so.
func (w *world) scrape(dial dialer, begin string) map[string]float64 {
	w.t.Helper()
	text := w.get(dial, "/metrics", "")
	if bad, err := promlint.New(strings.NewReader(text)).Lint(); err != nil || len(bad) > 0 {
		w.t.Errorf("%v, %v", bad, err)
	}
	got := map[string]float64{}
	for line := range strings.Lines(text) {
		if line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if name, ok := strings.CutPrefix(line[:max(0, at)], begin); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
			must(w.t, err)
			got[name] = v
		}
	}
	return got
}

// What waits in the calendar, and who waits for nobody any more, can be seen from outside.
func TestFailuresAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		cfg := virtual(t)
		cfg.HTTP, cfg.Processors = "127.0.0.1:80", []string{"order", "inventory", "retry"}
		cfg.BeforeDecide = func(m flow.Message) {
			if (m.Key == "ord_parked" || m.Key == "sku_bug") && !mended.Load() {
				panic("a bug in the rule")
			}
		}
		w := start(t, cfg)
		w.tracker.Stop()        // it would ask every five seconds
		time.Sleep(time.Minute) // what comes from here on is new
		began := time.Now()
		d, err := mend.New(t.Context(), mend.Config{Opts: w.ClientOpts(), Serde: w.Serde(), Who: "ann", Now: time.Now})
		must(t, err)
		defer d.Close()
		must(t, d.TakeOver(t.Context(), "retries"))
		pause, err := d.Pause("inventory", "panic", "a test")
		must(t, err)
		must(t, d.Act(t.Context(), pause))
		w.send(price("sku_pen", 150), receive("sku_pen", 10), price("sku_bug", 1), deliver("ord_a"), deliver("ord_b")) // dead letters: there is no such order
		time.Sleep(time.Second)
		line := schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}
		w.send(place("ord_a", "cus_a", line), place("ord_parked", "cus_a", line))
		time.Sleep(time.Second)
		letters, err := d.Letters(t.Context(), mend.Filter{Key: "ord_a"}, false)
		must(t, err)
		_, err = d.Redrive(t.Context(), letters, mend.Redrive{})
		must(t, err)
		time.Sleep(7 * time.Minute) // ord_parked has failed again, sku_bug is due; ord_a waits for the credit

		check := func(begin string, want map[string]float64) {
			t.Helper()
			if got := w.scrape(cfg.Dial, begin); !maps.Equal(got, want) {
				t.Errorf("%s…: %v\nwant %v", begin, got, want)
			}
		}
		const parked, late, deadline = `{cause="panic",kind="retry",paused="false",processor="order"}`,
			`{cause="panic",kind="retry",paused="true",processor="inventory"}`, `{cause="deadline",kind="deadline",paused="false",processor="order"}`
		check("orderlog_calendar_entries", map[string]float64{parked: 1, late: 1, deadline: 1})
		check("orderlog_calendar_overdue", map[string]float64{parked: 0, late: 1, deadline: 0})
		check("orderlog_calendar_dispatched_total", map[string]float64{`{cause="panic",kind="retry",processor="order"}`: 1})
		due := w.scrape(cfg.Dial, "orderlog_calendar_oldest_due_timestamp_seconds")
		for of, wait := range map[string][2]time.Duration{parked: {30 * time.Minute, 34 * time.Minute}, late: {5 * time.Minute, 6 * time.Minute}, deadline: {time.Hour, time.Hour + time.Minute}} {
			if after := time.UnixMilli(int64(due[of] * 1000)).Sub(began); after < wait[0] || after > wait[1] {
				t.Errorf("%s is due after %v, want %v", of, after, wait)
			}
		}
		delays := w.scrape(cfg.Dial, "orderlog_calendar_dispatch_delay_seconds")
		if delays[`_count{kind="retry"}`] != 1 || delays[`_bucket{kind="retry",le="2"}`] != 1 {
			t.Errorf("delays %v", delays)
		}
		safe := w.scrape(cfg.Dial, "kafka_consumergroup_safe_downtime_seconds")
		const month = 30 * 24 * 3600. // the embedded broker keeps offsets for ever
		if read, left := safe[`{consumergroup="order",topic="order-replies"}`], safe[`{consumergroup="credit",topic="credit-tasks"}`]; read != month || left >= month || left < month-3600 {
			t.Errorf("order has %v seconds, and credit, which is down, %v; want 30 days, and a little less; of %v", read, left, safe)
		}
		const refused = `{cause="refused",processor="order"}`
		check("orderlog_dead_letters_open", map[string]float64{refused: 1})
		check("orderlog_dead_letters_total", map[string]float64{refused: 2})
		if at := w.scrape(cfg.Dial, "orderlog_dead_letters_oldest_open_timestamp_seconds")[refused]; time.UnixMilli(int64(at*1000)).Sub(began).Abs() > time.Minute {
			t.Errorf("the oldest is of %v, not %v", at, began.Unix())
		}

		// All is well again, but for the one that nobody has dealt with.
		mended.Store(true)
		resume, err := d.Resume("inventory", "panic", "a test")
		must(t, err)
		must(t, d.Act(t.Context(), resume))
		time.Sleep(3 * time.Hour)
		check("orderlog_calendar_entries", map[string]float64{})
		check("orderlog_calendar_overdue", map[string]float64{})
		check("orderlog_calendar_dispatched_total", map[string]float64{`{cause="panic",kind="retry",processor="order"}`: 2,
			`{cause="panic",kind="retry",processor="inventory"}`: 1, `{cause="deadline",kind="deadline",processor="order"}`: 2})
		delays = w.scrape(cfg.Dial, "orderlog_calendar_dispatch_delay_seconds")
		if delays[`_count{kind="retry"}`] != 3 || delays[`_bucket{kind="retry",le="2"}`] != 2 || delays[`_bucket{kind="retry",le="600"}`] != 3 {
			t.Errorf("delays %v", delays)
		}
		check("orderlog_dead_letters_open", map[string]float64{refused: 1})
	})
}

// Dead letters are the cluster's: they are counted while the calendar's group is paused. What
// stands in the calendar is not, and then nothing is said of it.
func TestCountedWhilePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		cfg.HTTP, cfg.Processors = "127.0.0.1:80", []string{"order", "retry"}
		w := start(t, cfg)
		w.tracker.Stop() // it would ask every five seconds
		w.send(deliver("ord_a"), place("ord_1", "cus_a", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}))
		time.Sleep(time.Minute)
		open := func() float64 {
			return w.scrape(cfg.Dial, "orderlog_dead_letters_open")[`{cause="refused",processor="order"}`]
		}
		if n, standing := open(), w.scrape(cfg.Dial, "orderlog_calendar_entries"); n != 1 || len(standing) != 1 {
			t.Errorf("%v dead letters are open, %v stand in the calendar", n, standing)
		}
		r := w.replayer(nil)
		must(t, r.Pause(t.Context(), "retry", "a test", 20*time.Minute, func(string) {}))
		w.send(deliver("ord_b"))
		time.Sleep(time.Minute)
		if n, standing := open(), w.scrape(cfg.Dial, "orderlog_calendar_entries"); n != 2 || len(standing) != 0 {
			t.Errorf("%v dead letters are open, %v stand in the calendar that is paused", n, standing)
		}
		as := w.scrape(cfg.Dial, "orderlog_counted_timestamp_seconds")
		if age := time.Since(time.UnixMilli(int64(as[`{what="dead letters"}`] * 1000))); age > 15*time.Second {
			t.Errorf("dead letters are counted as of %v ago", age)
		}
		if _, told := as[`{what="calendar"}`]; told {
			t.Error("a calendar that does not run tells when it was counted")
		}
		must(t, r.Resume(t.Context(), "retry", "a test"))
		time.Sleep(time.Minute)
		if n, standing := open(), w.scrape(cfg.Dial, "orderlog_calendar_entries"); n != 2 || len(standing) != 1 {
			t.Errorf("%v dead letters are open, %v stand in the calendar", n, standing)
		}
	})
}
