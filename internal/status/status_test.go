package status

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// world is a process that tells what a real one does, as far as it is read here.
type world struct {
	t   *testing.T
	reg *prometheus.Registry
	rec *Recorder

	transitions, consumed, produced, txns, commits, aborted, sent *prometheus.CounterVec
	took                                                          prometheus.Histogram
	orders, calendar, overdue, due, letters, letterAge            *prometheus.GaugeVec
	lag, behind, state, catchUp, safe, pending, waiting           *prometheus.GaugeVec
	recovering, left, counted                                     *prometheus.GaugeVec
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, reg: prometheus.NewRegistry()}
	counter := func(name string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: "."}, labels)
		w.reg.MustRegister(c)
		return c
	}
	gauge := func(name string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: "."}, labels)
		w.reg.MustRegister(g)
		return g
	}
	w.transitions = counter("orderlog_order_transitions_total", "from", "to", "reason")
	w.consumed, w.produced = counter("orderlog_records_consumed_total", "processor"), counter("orderlog_records_produced_total", "processor")
	w.commits = counter("orderlog_commits_total", "processor")
	w.txns, w.aborted = counter("orderlog_transactions_total", "processor"), counter("orderlog_transactions_aborted_total", "processor", "cause")
	w.sent = counter("orderlog_effects_sent_total", "endpoint")
	w.took = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "orderlog_order_invoice_duration_seconds", Help: ".", Buckets: []float64{.1, 1, 10}, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100})
	w.reg.MustRegister(w.took)
	w.orders = gauge("orderlog_orders", "state")
	kind := []string{"processor", "cause", "kind", "paused"}
	w.calendar, w.overdue, w.due = gauge("orderlog_calendar_entries", kind...), gauge("orderlog_calendar_overdue", kind...), gauge("orderlog_calendar_oldest_due_timestamp_seconds", kind...)
	w.counted = gauge("orderlog_counted_timestamp_seconds", "what")
	w.letters, w.letterAge = gauge("orderlog_dead_letters_open", "processor", "cause"), gauge("orderlog_dead_letters_oldest_open_timestamp_seconds", "processor", "cause")
	partition := []string{"consumergroup", "topic", "partition"}
	w.lag, w.behind = gauge("kafka_consumergroup_lag_records", partition...), gauge("kafka_consumergroup_lag_seconds", partition...)
	w.state, w.catchUp = gauge("kafka_consumergroup_state", "consumergroup", "state"), gauge("kafka_consumergroup_catch_up_seconds", "consumergroup")
	w.safe = gauge("kafka_consumergroup_safe_downtime_seconds", "consumergroup", "topic")
	w.pending, w.waiting = gauge("orderlog_effects_pending", "endpoint"), gauge("orderlog_effects_oldest_pending_seconds", "endpoint")
	w.recovering, w.left = gauge("orderlog_table_recovering", "processor", "table", "partition", "role"), gauge("orderlog_table_recovery_seconds_left", "processor", "table", "partition", "role")
	build := gauge("orderlog_build_info", "version", "revision", "goversion")
	build.WithLabelValues("1.2.3", "abc", "go1.26").Set(1)
	start := prometheus.NewGauge(prometheus.GaugeOpts{Name: "process_start_time_seconds", Help: "."})
	start.Set(float64(time.Now().Unix()))
	w.reg.MustRegister(start)
	w.rec = New(Config{Gatherer: w.reg, Groups: map[string]string{"shop.order": "order", "shop.voucher": "voucher", "shop.retry": "retry"}})
	return w
}

// second lets one pass in which that many orders take one step each.
func (w *world) second(placed, invoiced int) *Sample {
	w.transitions.WithLabelValues("new", "placed", "").Add(float64(placed))
	w.transitions.WithLabelValues("approved", "invoiced", "").Add(float64(invoiced))
	w.consumed.WithLabelValues("order").Add(float64(placed + invoiced))
	w.txns.WithLabelValues("order").Add(2)
	for i := range invoiced {
		w.took.Observe(0.1 * float64(1+i%10)) // 0.1 to 1 s
	}
	time.Sleep(Every)
	w.rec.take(time.Now())
	return w.rec.Now()
}

func near(got Figure, want, by float64) bool { return math.Abs(float64(got)-want) <= by }

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rec.take(time.Now())
		if s := w.rec.Now(); s.Orders.Placed.Known() || s.Orders.P50.Known() {
			t.Errorf("known without a past: %+v", s.Orders)
		}
		var s *Sample
		for range 15 {
			s = w.second(20, 10)
		}
		if o := s.Orders; !near(o.Placed, 20, 1e-9) || !near(o.Invoiced, 10, 1e-9) || o.Rejected != 0 || !near(o.P50, 0.5, 0.05) || !near(o.P99, 1, 0.1) {
			t.Errorf("orders %+v, want 20 placed and 10 invoiced a second, half within 0.5 s, all within 1 s", o)
		}
		if p := s.Processors[0]; p.Name != "order" || !p.Here || !near(p.In, 30, 1e-9) || !near(p.Transactions, 2, 1e-9) || p.Aborts != 0 {
			t.Errorf("processor %+v", p)
		}
		for range 10 {
			s = w.second(0, 0)
		}
		if o := s.Orders; o.Placed != 0 || o.P50.Known() {
			t.Errorf("nothing has happened in the window, and it says %+v", o)
		}
		if s.Version != "1.2.3" || !near(s.Uptime, 25, 1e-9) {
			t.Errorf("version %q, up %v", s.Version, s.Uptime)
		}
	})
}

// A processor that was made anew counts from zero.
func TestCountersBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 12 {
			w.second(100, 0)
		}
		w.consumed.Reset()
		s := w.second(100, 0)
		if p := s.Processors[0]; p.In < 0 || p.In > 100 {
			t.Errorf("rate %v", p.In)
		}
	})
}

// What is kept and handed out is the last minutes, and after a moment only what came after.
func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range int(Kept/Every) + 50 {
			w.second(1, 1)
		}
		all := w.rec.Since(time.Time{})
		if len(all) != int(Kept/Every) || all[len(all)-1] != w.rec.Now() || time.Since(all[0].At) >= Kept {
			t.Errorf("%d samples from %v on", len(all), all[0].At)
		}
		if some := w.rec.Since(all[len(all)-4].At); len(some) != 3 || some[0] != all[len(all)-3] {
			t.Errorf("%d samples, want the last three", len(some))
		}
	})
}

// Nothing is told apart from not known: only where it is counted is it nothing.
func TestNothingIsNotUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.consumed.WithLabelValues("voucher").Add(1)
		w.rec.take(time.Now())
		s := w.rec.Now()
		if s.Calendar.Parked.Known() || s.DeadLetters.Open.Known() || s.Orders.Placed.Known() || s.Processors[0].Lag.Known() {
			t.Errorf("known, though neither order nor retry is here: %+v", s)
		}
		w.consumed.WithLabelValues("retry").Add(1) // and it is paused
		w.rec.take(time.Now())
		if s = w.rec.Now(); s.Calendar.Parked.Known() || s.DeadLetters.Open.Known() {
			t.Errorf("known, though nobody counts: %+v", s)
		}
		for _, what := range []string{"calendar", "dead letters"} {
			w.counted.WithLabelValues(what).Set(float64(time.Now().Unix()))
		}
		w.rec.take(time.Now())
		if s = w.rec.Now(); s.Calendar != (Calendar{}) || s.DeadLetters != (DeadLetters{}) {
			t.Errorf("%+v, %+v, want nothing", s.Calendar, s.DeadLetters)
		}
		time.Sleep(5 * time.Minute) // it is tried, and fails
		w.rec.take(time.Now())
		if s = w.rec.Now(); s.Calendar.Parked.Known() || s.DeadLetters.Open.Known() {
			t.Errorf("known, though it could not be counted for minutes: %+v, %+v", s.Calendar, s.DeadLetters)
		}
	})
}

func TestSampleAndProblems(t *testing.T) {
	ago := func(d time.Duration) float64 { return float64(time.Now().Add(-d).Unix()) }
	for _, c := range []struct {
		name  string
		set   func(*world)
		check func(*Sample) bool
		says  []string // the problems, the worst first
	}{
		{"well", func(*world) {}, func(s *Sample) bool { return len(s.Processors) == 2 }, nil},
		{"states in order", func(w *world) {
			for i, state := range []string{"novel", "delivered", "placed"} {
				w.orders.WithLabelValues(state).Set(float64(i))
			}
		}, func(s *Sample) bool {
			return slices.Equal(s.States, []State{{"placed", 2}, {"delivered", 1}, {"novel", 0}})
		}, nil},
		{"lag of partitions", func(w *world) {
			w.lag.WithLabelValues("shop.voucher", "order-table", "0").Set(5)
			w.lag.WithLabelValues("shop.voucher", "order-table", "1").Set(7)
			w.lag.WithLabelValues("other.voucher", "order-table", "1").Set(1000)
			w.behind.WithLabelValues("shop.voucher", "order-table", "0").Set(45)
			w.behind.WithLabelValues("shop.voucher", "order-table", "1").Set(40)
			w.state.WithLabelValues("shop.voucher", "Empty").Set(1)
			w.catchUp.WithLabelValues("shop.voucher").Set(math.Inf(1))
		}, func(s *Sample) bool {
			p := s.Processors[2]
			return p.Name == "voucher" && !p.Here && p.Lag == 12 && p.Behind == 45 && p.State == "Empty" && !p.In.Known()
		}, []string{"voucher is 45s behind (12 records) and does not catch up"}},
		{"far behind, catching up", func(w *world) {
			w.lag.WithLabelValues("shop.voucher", "order-table", "0").Set(1234)
			w.behind.WithLabelValues("shop.voucher", "order-table", "0").Set(301)
			w.catchUp.WithLabelValues("shop.voucher").Set(12)
			w.letters.WithLabelValues("order", "refused").Set(2)
			w.letterAge.WithLabelValues("order", "refused").Set(ago(2 * time.Hour))
		}, func(s *Sample) bool { return s.Problems[0].Bad && !s.Problems[1].Bad && s.DeadLetters.Open == 2 },
			[]string{"voucher is 5m 1s behind (1,234 records) and catches up in 12s", "2 dead letters wait for somebody, the oldest for 2h"}},
		{"calendar", func(w *world) {
			for kind, n := range map[[2]string]float64{{"retry", "false"}: 3, {"retry", "true"}: 4, {"deadline", "false"}: 9} {
				w.calendar.WithLabelValues("order", "panic", kind[0], kind[1]).Set(n)
			}
			w.overdue.WithLabelValues("order", "panic", "retry", "true").Set(4)
			w.due.WithLabelValues("order", "panic", "retry", "true").Set(ago(9 * time.Hour))
		}, func(s *Sample) bool { return s.Calendar == Calendar{7, 4, 9, 0, 0} }, nil},
		{"overdue", func(w *world) {
			w.overdue.WithLabelValues("order", "panic", "retry", "false").Set(1)
			w.due.WithLabelValues("order", "panic", "retry", "false").Set(ago(90 * time.Second))
		}, func(s *Sample) bool { return s.Calendar.Overdue == 1 && near(s.Calendar.Oldest, 90, 1) },
			[]string{"1 entry of the calendar should have been dispatched, the first one 1m 30s ago"}},
		{"counted long ago", func(w *world) {
			w.overdue.WithLabelValues("order", "panic", "retry", "false").Set(1)
			w.due.WithLabelValues("order", "panic", "retry", "false").Set(ago(90 * time.Second))
			w.counted.WithLabelValues("calendar").Set(ago(80 * time.Second))
		}, func(s *Sample) bool { return s.Calendar.Overdue == 1 && near(s.Calendar.Oldest, 10, 1) }, nil},
		{"not counted", func(w *world) {
			w.counted.WithLabelValues("orders").Set(ago(time.Hour))
			w.counted.WithLabelValues("products").Set(ago(29 * time.Minute))
		}, func(s *Sample) bool { return !s.Problems[0].Bad },
			[]string{"orders: not counted for 1h, and what is told is as old"}},
		{"downtime", func(w *world) {
			w.safe.WithLabelValues("shop.order", "a").Set(math.Inf(1))
			w.safe.WithLabelValues("shop.order", "b").Set(5000)
			w.safe.WithLabelValues("shop.voucher", "c").Set(9000)
			w.safe.WithLabelValues("foreign", "d").Set(1)
		}, func(s *Sample) bool { return *s.Downtime == Downtime{"order", "b", 5000} },
			[]string{"order loses something of b if it is down for 1h 23m more"}},
		{"for ever", func(w *world) { w.safe.WithLabelValues("shop.order", "a").Set(math.Inf(1)) }, func(s *Sample) bool { return s.Downtime == nil }, nil},
		{"effects", func(w *world) {
			w.pending.WithLabelValues("shop").Set(3)
			w.waiting.WithLabelValues("shop").Set(400)
		}, func(s *Sample) bool { return s.Effects[0].Name == "shop" && s.Effects[0].Pending == 3 },
			[]string{"shop has not taken 3 effects, the oldest for 6m 40s"}},
		{"aborts among plain commits", func(w *world) {
			w.aborted.WithLabelValues("order", "timeout").Add(5)
			w.commits.WithLabelValues("order").Add(500)
		}, func(s *Sample) bool { return s.Processors[0].Aborted == 5 }, nil},
		{"aborts", func(w *world) { w.aborted.WithLabelValues("order", "timeout").Add(5) }, func(s *Sample) bool { return s.Processors[0].Aborted == 5 },
			[]string{"order aborts 5.0 transactions/s and repeats them"}},
		{"recovery", func(w *world) {
			w.recovering.WithLabelValues("order", "order-table", "0", "active").Set(1)
			w.recovering.WithLabelValues("order", "order-table", "1", "active").Set(0)
			w.left.WithLabelValues("order", "order-table", "0", "active").Set(12)
		}, func(s *Sample) bool { return s.Processors[0].Recovering == 1 },
			[]string{"order reads 1 partition of its tables back, 12s left"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.consumed.WithLabelValues("retry").Add(1)
				w.consumed.WithLabelValues("order").Add(1)
				w.counted.WithLabelValues("calendar").Set(ago(0))
				w.rec.take(time.Now().Add(-time.Second))
				c.set(w)
				w.rec.take(time.Now())
				s := w.rec.Now()
				var says []string
				for _, p := range s.Problems {
					says = append(says, p.What)
				}
				if !slices.Equal(says, c.says) || !c.check(s) {
					text, _ := json.Marshal(s)
					t.Errorf("problems %q, want %q; of %s", says, c.says, text)
				}
			})
		})
	}
}

type broken struct{ prometheus.Gatherer }

func (b broken) Gather() ([]*dto.MetricFamily, error) {
	f, _ := b.Gatherer.Gather()
	return f, errors.New("a collector fails")
}

// What can be gathered is shown, and that not all could is said.
func TestGatheringFails(t *testing.T) {
	w := newWorld(t)
	w.consumed.WithLabelValues("order").Add(1)
	w.rec.cfg.Gatherer = broken{w.reg}
	w.rec.take(time.Now())
	if s := w.rec.Now(); len(s.Processors) != 1 || len(s.Problems) != 1 || !strings.Contains(s.Problems[0].What, "a collector fails") {
		t.Errorf("%+v", s)
	}
}

func TestPlural(t *testing.T) {
	for want, got := range map[string]string{"1 entry": plural(1, "entry"), "2,000 entries": plural(2000, "entry"), "2 effects": plural(2, "effect")} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What is read has the names that the page about metrics has.
func TestNames(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{consumedTotal, producedTotal, transactionsTotal, commitsTotal, abortedTotal, recovering, recoveryLeft, transitionsTotal, invoiceDuration, ordersByState, oldestOpen, countedAt,
		calendarEntries, calendarOverdue, calendarOldest, lettersOpen, lettersOldest, effectsSent, effectsFailed, effectsPending, effectsOldest,
		lagRecords, lagSeconds, groupState, catchUp, safeDowntime, buildInfo} {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/metrics.md has no %s", name)
		}
	}
}

// A sample is taken at once, then now and then, and each second while somebody looks.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.rec.Handler()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.rec.Run(ctx) }()
		taken := func(after time.Duration, want int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if n := len(w.rec.Since(time.Time{})); n != want {
				t.Errorf("%d samples, want %d", n, want)
			}
		}
		taken(0, 1)
		taken(15*time.Second, 2)
		get(h, "/")
		taken(0, 3)
		taken(5*time.Second, 8)
		get(h, "/status.json")
		taken(70*time.Second, 8+60+1) // 60 while it counts as looked at, then one after ten seconds
		stop()
		<-done
	})
}
