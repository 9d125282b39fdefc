package status

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderlog/orderlog/schemas"
)

// How often a sample is taken while somebody looks, how many are kept, and what rates
// are of.
const (
	Every  = time.Second
	Window = 10 * time.Second
	Kept   = 5 * time.Minute

	seldom = 10 * time.Second // while nobody looks
	looks  = time.Minute      // for so long somebody does, who has asked once
	share  = 20               // the part of the time that sampling may take
)

// Config is what a Recorder reads.
type Config struct {
	Gatherer prometheus.Gatherer
	Groups   map[string]string // consumer groups that are processors: their names on the cluster, and here
}

// Recorder keeps the last samples. They are taken where Run runs.
type Recorder struct {
	cfg Config

	woken chan struct{} // somebody looks again

	mu     sync.Mutex
	looked time.Time // when somebody asked last
	kept   []*Sample // oldest first
	window []reading // of the last Window; Run's own
}

// New returns a recorder that has nothing yet.
func New(cfg Config) *Recorder { return &Recorder{cfg: cfg, woken: make(chan struct{}, 1)} }

// Run takes samples until ctx ends. It takes its time where hundreds of other groups are
// on the cluster.
func (r *Recorder) Run(ctx context.Context) {
	for {
		began := time.Now()
		r.take(began)
		took, every := time.Since(began), seldom
		if r.watched() {
			every = Every
		}
		select {
		case <-time.After(max(every-took, share*took)):
		case <-r.woken:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Recorder) watched() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.looked) < looks
}

// look has samples taken more often for a while.
func (r *Recorder) look() {
	if !r.watched() {
		select {
		case r.woken <- struct{}{}:
		default:
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = time.Now()
}

// Now returns the last sample, nil if there is none yet. It must not be changed.
func (r *Recorder) Now() *Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) == 0 {
		return nil
	}
	return r.kept[len(r.kept)-1]
}

// Since returns the samples after a moment, oldest first. They must not be changed.
func (r *Recorder) Since(after time.Time) []*Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, s := range r.kept {
		if s.At.After(after) {
			return slices.Clone(r.kept[i:])
		}
	}
	return nil
}

func (r *Recorder) take(now time.Time) {
	gathered, err := r.cfg.Gatherer.Gather()
	f := byName(gathered) // what can be gathered is, in spite of an error
	read := f.read(now)
	// The reading before is as old as the window, or the oldest, and older where readings
	// are further apart.
	r.window = append(r.window, read)
	for len(r.window) > 2 && now.Sub(r.window[1].at) >= Window {
		r.window = slices.Delete(r.window, 0, 1)
	}
	before := r.window[0]
	s := r.sample(f, change{before, read})
	s.Problems = problems(s, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	first := 0
	for first < len(r.kept) && now.Sub(r.kept[first].At) >= Kept {
		first++
	}
	r.kept = append(slices.Delete(r.kept, 0, first), s)
}

// reading is what rates are computed from: counters at one moment, by name and label.
type reading struct {
	at       time.Time
	counters map[counter]float64
	invoiced distribution // how long orders took
}

type counter struct{ name, label string }

// counters are those read, each with the label that is told apart.
var counters = map[string]string{consumedTotal: "processor", producedTotal: "processor", transactionsTotal: "processor", commitsTotal: "processor", abortedTotal: "processor",
	effectsSent: "endpoint", transitionsTotal: "to"}

// begun stands for all transitions that begin an order, whatever state they lead to.
const begun = "begun"

func (f families) read(now time.Time) reading {
	r := reading{at: now, counters: map[counter]float64{}}
	for name, label := range counters {
		f.each(name, func(labels map[string]string, v float64) {
			r.counters[counter{name, labels[label]}] += v
			if name == transitionsTotal && labels["from"] == noState {
				r.counters[counter{name, begun}] += v
			}
		})
	}
	for _, m := range f[invoiceDuration].GetMetric() {
		r.invoiced = distributionOf(m.GetHistogram())
	}
	return r
}

// change is what has happened between two readings.
type change struct{ before, now reading }

// rate is per second; not known without a reading before.
func (c change) rate(name, label string) Figure {
	seconds := c.now.at.Sub(c.before.at).Seconds()
	if seconds <= 0 {
		return unknown
	}
	was, is := c.before.counters[counter{name, label}], c.now.counters[counter{name, label}]
	if is < was {
		was = 0 // it began anew
	}
	return Figure((is - was) / seconds)
}

// Names of what is read.
const (
	consumedTotal     = "orderlog_records_consumed_total"
	producedTotal     = "orderlog_records_produced_total"
	transactionsTotal = "orderlog_transactions_total"
	commitsTotal      = "orderlog_commits_total"
	abortedTotal      = "orderlog_transactions_aborted_total"
	recovering        = "orderlog_table_recovering"
	recoveryLeft      = "orderlog_table_recovery_seconds_left"
	transitionsTotal  = "orderlog_order_transitions_total"
	invoiceDuration   = "orderlog_order_invoice_duration_seconds"
	ordersByState     = "orderlog_orders"
	countedAt         = "orderlog_counted_timestamp_seconds"
	oldestOpen        = "orderlog_oldest_open_order_timestamp_seconds"
	calendarEntries   = "orderlog_calendar_entries"
	calendarOverdue   = "orderlog_calendar_overdue"
	calendarOldest    = "orderlog_calendar_oldest_due_timestamp_seconds"
	lettersOpen       = "orderlog_dead_letters_open"
	lettersOldest     = "orderlog_dead_letters_oldest_open_timestamp_seconds"
	effectsSent       = "orderlog_effects_sent_total"
	effectsFailed     = "orderlog_effects_failed_total"
	effectsPending    = "orderlog_effects_pending"
	effectsOldest     = "orderlog_effects_oldest_pending_seconds"
	lagRecords        = "kafka_consumergroup_lag_records"
	lagSeconds        = "kafka_consumergroup_lag_seconds"
	groupState        = "kafka_consumergroup_state"
	catchUp           = "kafka_consumergroup_catch_up_seconds"
	safeDowntime      = "kafka_consumergroup_safe_downtime_seconds"
	buildInfo         = "orderlog_build_info"
	startTime         = "process_start_time_seconds"

	noState = "new" // what an order comes from that is placed
)

func (r *Recorder) sample(f families, c change) *Sample {
	now := c.now.at
	s := &Sample{At: now.UTC().Truncate(time.Millisecond), Uptime: since(now, f.all(startTime, most, nil)), States: states(f),
		Processors: r.processors(f, c), Effects: effects(f, c), Downtime: r.downtime(f)}
	f.each(buildInfo, func(labels map[string]string, _ float64) { s.Version = labels["version"] })
	took := c.now.invoiced.since(c.before.invoiced)
	s.Orders = Orders{Placed: unknown, Invoiced: unknown, Rejected: unknown, P50: took.quantile(0.5), P99: took.quantile(0.99),
		Oldest: since(f.counted("orders", now), f.all(oldestOpen, least, nil))}
	if s.here("order") {
		s.Orders.Placed, s.Orders.Invoiced, s.Orders.Rejected = c.rate(transitionsTotal, begun), c.rate(transitionsTotal, schemas.Invoiced), c.rate(transitionsTotal, schemas.Rejected)
	}
	s.counted = map[string]Figure{}
	for what, at := range f.by("what", countedAt, least) {
		s.counted[what] = since(now, at)
	}
	s.Calendar = calendar(f, now, s.nothing("calendar"))
	nothing := s.nothing("dead letters")
	s.DeadLetters = DeadLetters{f.all(lettersOpen, sum, nil).Or(nothing), since(now, f.all(lettersOldest, least, nil)).Or(nothing)}
	return s
}

// here tells whether this process runs a processor.
func (s *Sample) here(processor string) bool {
	return slices.ContainsFunc(s.Processors, func(p Processor) bool { return p.Here && p.Name == processor })
}

// nothing is what it means that there is no series: what is counted and not there is 0.
func (s *Sample) nothing(what string) Figure {
	if age, counted := s.counted[what]; counted && age < uncountedSoon {
		return 0
	}
	return unknown
}

// since is how long ago a Unix time was; none is long ago.
func since(now time.Time, unix Figure) Figure {
	if !unix.Known() || unix <= 0 {
		return unknown
	}
	return Figure(math.Max(0, float64(now.UnixMilli())/1000-float64(unix)))
}

// counted is as of when orders or the calendar are counted: what is open or overdue then
// may be done by now.
func (f families) counted(what string, now time.Time) time.Time {
	if at := f.all(countedAt, least, map[string]string{"what": what}); at.Known() {
		return time.UnixMilli(int64(at * 1000))
	}
	return now
}

// states are those that orders are counted by, in their order.
func states(f families) []State {
	counted := f.by("state", ordersByState, sum)
	out := []State{}
	for _, name := range schemas.OrderStates() {
		if n, ok := counted[name]; ok {
			out = append(out, State{name, n})
			delete(counted, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(counted)) {
		out = append(out, State{name, counted[name]})
	}
	return out
}

func calendar(f families, now time.Time, nothing Figure) Calendar {
	if f.all(calendarEntries, sum, nil).Known() {
		nothing = 0 // of what there is, nothing is so
	}
	retries, deadlines, paused, running := map[string]string{"kind": "retry"}, map[string]string{"kind": "deadline"}, map[string]string{"paused": "true"}, map[string]string{"paused": "false"}
	c := Calendar{f.all(calendarEntries, sum, retries), f.all(calendarEntries, sum, paused), f.all(calendarEntries, sum, deadlines), f.all(calendarOverdue, sum, running), nothing}
	for _, n := range []*Figure{&c.Parked, &c.Paused, &c.Deadlines, &c.Overdue} {
		*n = n.Or(nothing)
	}
	if c.Overdue > 0 {
		c.Oldest = since(f.counted("calendar", now), f.all(calendarOldest, least, running))
	}
	return c
}

// processors are those here, and those that others may run.
func (r *Recorder) processors(f families, c change) []Processor {
	records, seconds, left := f.by("consumergroup", lagRecords, sum), f.by("consumergroup", lagSeconds, most), f.by("consumergroup", catchUp, most)
	aborted, recovers, recovery := f.by("processor", abortedTotal, sum), f.by("processor", recovering, sum), f.by("processor", recoveryLeft, most)
	here := f.by("processor", consumedTotal, sum)
	state := map[string]string{}
	f.each(groupState, func(labels map[string]string, v float64) {
		if v == 1 {
			state[labels["consumergroup"]] = labels["state"]
		}
	})
	group := map[string]string{} // by processor
	for g, p := range r.cfg.Groups {
		group[p] = g
	}
	out := []Processor{}
	names := maps.Clone(here)
	for g, p := range r.cfg.Groups {
		if _, ok := records[g]; ok {
			names[p] = 0
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		g := group[name]
		p := Processor{Name: name, State: state[g], Lag: of(records, g), Behind: of(seconds, g), CatchUp: of(left, g),
			In: unknown, Out: unknown, Transactions: unknown, Aborts: unknown, Aborted: unknown, Left: unknown}
		if _, p.Here = here[name]; p.Here {
			p.In, p.Out = c.rate(consumedTotal, name), c.rate(producedTotal, name)
			p.Transactions, p.commits, p.Aborts = c.rate(transactionsTotal, name), c.rate(commitsTotal, name), c.rate(abortedTotal, name)
			p.Aborted, p.Recovering, p.Left = of(aborted, name).Or(0), int(of(recovers, name).Or(0)), of(recovery, name)
		}
		out = append(out, p)
	}
	return out
}

func effects(f families, c change) []Endpoint {
	failed, pending, oldest, sent := f.by("endpoint", effectsFailed, sum), f.by("endpoint", effectsPending, sum), f.by("endpoint", effectsOldest, most), f.by("endpoint", effectsSent, sum)
	names := maps.Clone(pending)
	maps.Copy(names, sent)
	out := []Endpoint{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, Endpoint{name, c.rate(effectsSent, name), of(failed, name).Or(0), of(pending, name), of(oldest, name)})
	}
	return out
}

// downtime is the shortest that ends at all.
func (r *Recorder) downtime(f families) (d *Downtime) {
	f.each(safeDowntime, func(labels map[string]string, v float64) {
		g := labels["consumergroup"]
		if p, ours := r.cfg.Groups[g]; ours && !math.IsInf(v, 1) && (d == nil || Figure(v) < d.Left) {
			d = &Downtime{p, labels["topic"], Figure(v)}
		}
	})
	return d
}
