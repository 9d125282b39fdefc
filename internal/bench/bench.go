// Package bench measures the pipeline: settled orders per second, what that
// costs in records and CPU, and latency at parts of that rate. It runs the
// processors in this process, against a broker elsewhere.
package bench

import (
	"context"
	"io"
	"iter"
	"runtime/pprof"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/barelimit"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/track"
	"github.com/orderlog/orderlog/topics"
)

// Config says what to run.
type Config struct {
	App     app.Config                  // Brokers and Registry must be set; an empty cluster or a namespace of its own
	Setup   iter.Seq[flow.Message]      // products, stock, customers
	Orders  func() (flow.Message, bool) // a stream of placements
	N       int                         // orders for the rate
	Warm    time.Duration               // how long a load has lasted when its latency begins to be measured
	Spread  time.Duration               // how long it is measured then
	Loads   []float64                   // parts of the rate, e.g. 0.1
	CPU     func() time.Duration        // CPU time used so far by whoever shall be counted
	Profile io.Writer                   // gets a CPU profile of this process while it works on the orders for the rate; nil: none
	Say     func(format string, args ...any)
}

// Result is what was measured.
type Result struct {
	Partitions      int32     `json:"partitions"`
	Orders          int       `json:"orders"`
	Seconds         float64   `json:"seconds"` // from the processors' start until the last one has read everything
	OrdersPerSecond float64   `json:"orders_per_second"`
	StartSeconds    float64   `json:"start_seconds"`        // of Seconds: until every processor had its partitions
	CPUMicros       float64   `json:"cpu_micros_per_order"` // of whom Config.CPU counts
	Consumed        float64   `json:"records_consumed_per_order"`
	Produced        float64   `json:"records_produced_per_order"`
	RecordBytes     float64   `json:"bytes_per_record"` // key, value and headers
	Latencies       []Latency `json:"latencies"`

	Bare    barelimit.Result `json:"bare_limit"`
	OfLimit float64          `json:"of_limit"` // OrdersPerSecond / Bare.OrdersPerSecond
}

// Latency is due to be placed -> seen invoiced by a read_committed consumer: a
// sender that is late does not make it shorter.
type Latency struct {
	Load   float64       `json:"load"` // part of OrdersPerSecond
	Rate   float64       `json:"orders_per_second"`
	Orders int           `json:"orders"` // measured; those of the warm-up are not
	P50    time.Duration `json:"p50_ns"`
	P90    time.Duration `json:"p90_ns"`
	P99    time.Duration `json:"p99_ns"`
	Max    time.Duration `json:"max_ns"`
}

type run struct {
	Config
	app     *app.App
	out     *client.Client
	tracker *track.Tracker
}

// Rate measures how fast the processors work off N orders, and what that costs.
func Rate(ctx context.Context, cfg Config) (res Result, err error) {
	r := &run{Config: cfg}
	defer r.stop()
	err = r.rate(ctx, &res)
	return res, err
}

// Run measures all.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	r := &run{Config: cfg}
	defer r.stop()
	if err := r.rate(ctx, &res); err != nil {
		return res, err
	}
	if err := r.watch(ctx, res); err != nil {
		return res, err
	}
	defer r.tracker.Stop()
	sizes, err := r.sizes(ctx)
	if err != nil {
		return res, err
	}
	for _, n := range sizes {
		res.RecordBytes += float64(n) / float64(len(sizes))
	}
	for _, load := range cfg.Loads {
		l, err := r.latency(ctx, load, res.OrdersPerSecond)
		if err != nil {
			return res, err
		}
		res.Latencies = append(res.Latencies, l)
	}
	if err := r.app.Stop(); err != nil {
		return res, err
	}
	r.Say("the bare limit: one transactional loop that moves as many records of these sizes")
	res.Bare, err = barelimit.Run(ctx, r.app.ClientOpts(), barelimit.Shape{Topic: topics.Prefixed(cfg.App.Namespace, "bare"),
		Partitions: cfg.App.Partitions, Consume: res.Consumed, Produce: res.Produced, Sizes: sizes}, res.Orders, cfg.CPU)
	res.OfLimit = res.OrdersPerSecond / res.Bare.OrdersPerSecond
	return res, err
}

// sizes samples the records that the processors wrote: key, value and headers, in bytes.
func (r *run) sizes(ctx context.Context) (sizes []int, err error) {
	const every = 97
	n := 0
	for _, t := range topics.All() {
		if t.External {
			continue
		}
		if err := content.EachRecord(ctx, r.app.ClientOpts(), topics.Prefixed(r.App.Namespace, t.Name), func(rec *kgo.Record) error {
			if n++; n%every == 0 {
				sizes = append(sizes, size(rec))
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

func size(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

func (r *run) start(ctx context.Context) error {
	a, err := app.New(r.App)
	if err != nil {
		return err
	}
	r.app = a
	return a.Start(ctx)
}

func (r *run) stop() {
	if r.out != nil {
		r.out.Close()
	}
	if r.app != nil {
		r.app.Stop()
	}
}

// setup writes products and customers and waits until they are known.
func (r *run) setup(ctx context.Context) error {
	r.Say("setting up products and customers")
	if err := r.out.SendAll(ctx, r.Setup, nil); err != nil {
		return err
	}
	return r.out.WaitRead(ctx, "inventory", "credit")
}

// take yields the next n orders.
func (r *run) take(n int) iter.Seq[flow.Message] {
	return func(yield func(flow.Message) bool) {
		for range n {
			m, ok := r.Orders()
			if !ok || !yield(m) {
				return
			}
		}
	}
}

// rate writes the orders while no processor runs, so that the rate is theirs alone.
func (r *run) rate(ctx context.Context, res *Result) (err error) {
	if err := r.start(ctx); err != nil {
		return err
	}
	r.out, err = client.New(client.Config{Opts: r.app.ClientOpts(), Serde: r.app.Serde(), Namespace: r.App.Namespace, Trace: r.app.Trace()})
	if err != nil {
		return err
	}
	if err := r.setup(ctx); err != nil {
		return err
	}
	if err := r.app.Stop(); err != nil {
		return err
	}
	r.Say("writing %d orders", r.N)
	if err := r.out.SendAll(ctx, r.take(r.N), nil); err != nil {
		return err
	}
	r.Say("running them")
	return r.workOff(ctx, res)
}

// watch starts the tracker, which sees what was settled so far.
func (r *run) watch(ctx context.Context, res Result) (err error) {
	if r.tracker, err = track.Start(r.app.ClientOpts(), r.App.Namespace, time.Now); err != nil {
		return err
	}
	if err := r.settled(ctx, r.N); err != nil {
		r.tracker.Stop()
		return err
	}
	r.Say("%d orders settled in %.1f s: %.0f/s; states %v", r.N, res.Seconds, res.OrdersPerSecond, r.tracker.States())
	return nil
}

func (r *run) workOff(ctx context.Context, res *Result) error {
	if r.Profile != nil {
		if err := pprof.StartCPUProfile(r.Profile); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	cpu, began := r.CPU(), time.Now()
	if err := r.start(ctx); err != nil {
		return err
	}
	res.StartSeconds = time.Since(began).Seconds()
	guarded, done := r.app.Guard(ctx)
	defer done()
	if err := r.begun(guarded); err != nil {
		return err
	}
	if err := r.out.WaitRead(guarded, app.Names()...); err != nil { // more than settled: the followers are done, too
		return err
	}
	res.Partitions, res.Orders, res.Seconds = r.App.Partitions, r.N, time.Since(began).Seconds()
	res.OrdersPerSecond = float64(r.N) / res.Seconds
	res.CPUMicros = float64((r.CPU() - cpu).Microseconds()) / float64(r.N)
	for _, s := range r.app.Stats() {
		res.Consumed += float64(s.In) / float64(r.N)
		res.Produced += float64(s.Out) / float64(r.N)
	}
	return nil
}

// begun waits until each processor has committed something: one that has not is taken
// by WaitRead for one that has nothing to do.
func (r *run) begun(ctx context.Context) error {
	idle := func() bool {
		for _, s := range r.app.Stats() {
			if s.In == 0 {
				return true
			}
		}
		return false
	}
	for idle() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// settled waits for the first n orders ever sent.
func (r *run) settled(ctx context.Context, n int) error {
	ctx, done := r.app.Guard(ctx)
	defer done()
	_, err := r.tracker.Wait(ctx, func(s map[string]int) bool { return track.Settled(s) >= n })
	return err
}

// latency sends orders evenly at a part of the rate.
func (r *run) latency(ctx context.Context, load, rate float64) (Latency, error) {
	l := Latency{Load: load, Rate: load * rate}
	warm := int(l.Rate * r.Warm.Seconds())
	all := warm + int(l.Rate*r.Spread.Seconds())
	r.Say("latency at %.0f %%: %d orders at %.0f/s", load*100, all, l.Rate)
	p := pace{rate: l.Rate, began: time.Now()}
	if err := r.out.SendAll(ctx, p.each(ctx, r.take(all)), func(m flow.Message) {
		if p.n > warm {
			r.tracker.Sent(m.Key, p.due)
		}
	}); err != nil {
		return l, err
	}
	r.N += all
	if err := r.settled(ctx, r.N); err != nil {
		return l, err
	}
	took := r.tracker.Latencies()
	l.Orders = len(took)
	l.P50, l.P90, l.P99, l.Max = track.Percentile(took, 50), track.Percentile(took, 90), track.Percentile(took, 99), track.Percentile(took, 100)
	return l, nil
}

// pace is a rate kept since a moment.
type pace struct {
	rate  float64 // a second
	began time.Time
	n     int       // yielded so far
	due   time.Time // when the last one of them was due
}

// each yields what seq yields, evenly, catching up when late.
func (p *pace) each(ctx context.Context, seq iter.Seq[flow.Message]) iter.Seq[flow.Message] {
	return func(yield func(flow.Message) bool) {
		for m := range seq {
			p.due = p.began.Add(time.Duration(float64(p.n) / p.rate * 1e9))
			if wait := time.Until(p.due); wait > 0 && pause(ctx, wait) != nil {
				return
			}
			if p.n++; !yield(m) {
				return
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
