// Package tally counts what the processors do: their transactions, how long rules
// take, what they write, and what becomes of orders. What a transaction writes is
// counted once it is committed, and once only. What stands in tables is counted by
// internal/census.
//
// Labels are few, whatever records say: no order, customer or product is one, and
// codes and currencies are from lists that end.
package tally

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/metric"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
)

// Tally is what one process has counted since it started. It is a
// prometheus.Collector.
type Tally struct {
	now func() time.Time

	transactions, sizes, decisions *prometheus.HistogramVec // by processor
	events                         *prometheus.CounterVec   // by processor and type
	orders
}

// New returns one. now is the clock by which rows note since when they are as they
// are; nil is time.Now.
func New(now func() time.Time) *Tally {
	if now == nil {
		now = time.Now
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return metric.Histogram(prometheus.HistogramOpts{Name: "orderlog_" + name, Help: help, Buckets: buckets}, "processor")
	}
	return &Tally{now: now,
		transactions: histogram("transaction_duration_seconds", "How long a batch took, from its first record until the broker has committed it.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}),
		sizes: histogram("transaction_records", "Records that a committed batch has consumed.",
			[]float64{1, 4, 16, 64, 256, 1024, 4096}),
		decisions: histogram("decide_duration_seconds", "How long a rule took for a record; one of 16 is timed.",
			[]float64{.000001, .000004, .000016, .000064, .000256, .001, .004, .016, .064, .25, 1}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orderlog_events_total",
			Help: "Messages that a rule has written, by their type, rows among them by what they were written for; type dead-letter: an input that it has refused."}, []string{"processor", "type"}),
		orders: newOrders(),
	}
}

// collectors are all.
func (t *Tally) collectors() []prometheus.Collector {
	return []prometheus.Collector{t.transactions, t.sizes, t.decisions, t.events, t.transitions, t.value, t.lasted, t.invoiced}
}

// Describe makes a Tally a prometheus.Collector.
func (t *Tally) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range t.collectors() {
		c.Describe(ch)
	}
}

// Collect makes a Tally a prometheus.Collector.
func (t *Tally) Collect(ch chan<- prometheus.Metric) {
	for _, c := range t.collectors() {
		c.Collect(ch)
	}
}

// Processor is a Tally's part for one processor. It is the graph.Observer of its rule.
type Processor struct {
	t                         *Tally
	name                      string
	transaction, size, decide prometheus.Observer

	mu     sync.Mutex               // held to add sheets
	sheets atomic.Pointer[[]*sheet] // by partition
}

// Processor returns the part for the processor of that name.
func (t *Tally) Processor(name string) *Processor {
	p := &Processor{t: t, name: name, transaction: t.transactions.WithLabelValues(name), size: t.sizes.WithLabelValues(name),
		decide: t.decisions.WithLabelValues(name)}
	p.sheets.Store(new([]*sheet))
	if name == order.Name {
		t.orders.begin()
	}
	return p
}

// Transaction is told of one that has ended; see kgoka.Observer.
func (p *Processor) Transaction(tx kgoka.Transaction) {
	if tx.Err == nil {
		p.transaction.Observe(tx.Took.Seconds())
		p.size.Observe(float64(tx.In))
	}
}

// Took implements graph.Observer.
func (p *Processor) Took(d time.Duration, rec *kgo.Record) {
	metric.Observe(p.decide, d, traceOf(rec))
}

// traceOf is the ID of the record's trace if that is recorded: others cannot be looked up.
func traceOf(rec *kgo.Record) string {
	if parent := trace.Of(rec); parent.Sampled() {
		return parent.TraceID()
	}
	return ""
}

// sheet is what is to be counted of one partition's part of a transaction.
type sheet struct {
	p           *Processor
	transaction any // whose it is
	types       []typed
	moves       []move
	ways        map[way]*counters
	committed   func() // count
}

// typed is how many messages there were of a type.
type typed struct {
	name    string
	n       int
	counter prometheus.Counter
}

// sheet returns that of a partition.
func (p *Processor) sheet(partition int32) *sheet {
	if all := *p.sheets.Load(); int(partition) < len(all) {
		return all[partition]
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Clone(*p.sheets.Load())
	for int(partition) >= len(all) {
		s := &sheet{p: p, ways: map[way]*counters{}}
		s.committed = s.count
		all = append(all, s)
	}
	p.sheets.Store(&all)
	return all[partition]
}

// Decided implements graph.Observer. The first one of a transaction has the others
// counted, too; what is left of one that was aborted is forgotten.
func (p *Processor) Decided(d *graph.Decision) (committed func()) {
	if d.RowType == "" && len(d.Outs) == 0 {
		return nil
	}
	s := p.sheet(d.Partition)
	if s.transaction != d.Transaction {
		s.forget()
		s.transaction, committed = d.Transaction, s.committed
	}
	if d.RowType != "" {
		s.add(d.RowType)
	}
	for i := range d.Outs {
		s.add(d.Outs[i].Type)
	}
	if o, ok := d.New.(*schemas.Order); ok && d.From != d.To {
		old, _ := d.Old.(*schemas.Order)
		s.moves = appendMoves(s.moves, old, o, d, traceOf(d.Record))
	}
	return committed
}

func (s *sheet) add(messageType string) {
	for i := range s.types { // a rule writes few
		if t := &s.types[i]; t.name == messageType {
			t.n++
			return
		}
	}
	s.types = append(s.types, typed{messageType, 1, s.p.t.events.WithLabelValues(s.p.name, messageType)})
}

func (s *sheet) count() {
	for i := range s.types {
		if t := &s.types[i]; t.n > 0 {
			t.counter.Add(float64(t.n))
		}
	}
	if len(s.moves) > 0 {
		now := s.p.t.now()
		for i := range s.moves {
			m := &s.moves[i]
			m.currency = s.p.t.currency(m.currency)
			c := s.ways[m.way]
			if c == nil {
				c = s.p.t.counters(m.way)
				s.ways[m.way] = c
			}
			c.count(m, now)
		}
	}
	s.forget()
}

func (s *sheet) forget() {
	for i := range s.types {
		s.types[i].n = 0
	}
	clear(s.moves)
	s.transaction, s.moves = nil, s.moves[:0]
}
