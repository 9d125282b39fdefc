package census

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/topics"
)

const nparts = 2

// world is a broker in a bubble of synctest, and what tests do to it.
type world struct {
	t    testing.TB
	opts []kgo.Opt
	cl   *kgo.Client
}

func newWorld(t testing.TB) *world {
	t.Helper()
	names := []string{"in", "g-table"}
	for _, tp := range topics.All() {
		names = append(names, tp.Name)
	}
	var net kfake.VirtualNetwork
	c, err := kfake.NewCluster(kfake.ListenFn(net.Listen), kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.SeedTopics(nparts, names...))
	must(t, err)
	t.Cleanup(c.Close)
	w := &world{t: t, opts: []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.Dialer(net.DialContext), kgo.MetadataMinAge(10 * time.Millisecond), kgo.DisableClientMetrics()}}
	w.cl, err = kgo.NewClient(w.opts...)
	must(t, err)
	t.Cleanup(w.cl.Close)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) produce(rs ...*kgo.Record) {
	w.t.Helper()
	must(w.t, w.cl.ProduceSync(w.t.Context(), rs...).FirstErr())
}

// put has a row of the group g for each of n keys.
func (w *world) put(n int) {
	w.t.Helper()
	for i := range n {
		w.produce(&kgo.Record{Topic: "in", Key: fmt.Append(nil, i), Value: []byte("x")})
	}
}

// run runs a group beside what follows its processor, until the test ends, or stop is called.
func (w *world) run(g *goka.GroupGraph, instance string, follow func(context.Context, *kgoka.Processor)) (stop func()) {
	w.t.Helper()
	p, err := kgoka.NewProcessor(kgoka.Config{Brokers: w.cl.OptValue(kgo.SeedBrokers).([]string), ClientOpts: w.opts, Instance: instance, Log: slog.New(slog.DiscardHandler),
		SessionTimeout: time.Minute, Heartbeat: 5 * time.Second, RebalanceTimeout: 2 * time.Second, TransactionTimeout: 1500 * time.Millisecond}, g)
	must(w.t, err)
	ctx, end := context.WithCancel(context.Background())
	ran, followed := make(chan error, 1), make(chan bool)
	go func() { ran <- p.Run(ctx) }()
	go func() { defer close(followed); follow(ctx, p) }()
	var over atomic.Bool
	stop = func() {
		if over.Swap(true) {
			return
		}
		end()
		<-followed
		if err := <-ran; err != nil {
			w.t.Errorf("instance %s ended: %v", instance, err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// keeps is a group that keeps its inputs.
func keeps() *goka.GroupGraph {
	return goka.DefineGroup("g", goka.Persist(kgoka.Bytes{}), goka.Input("in", kgoka.Bytes{}, func(ctx goka.Context, v any) { ctx.SetValue(v) }))
}

// rows is a Census of rows, whatever they are.
type rows struct {
	Census[int]

	mu     sync.Mutex
	taken  int
	broken error     // why they cannot be counted
	wrong  time.Time // when the sum is, though nothing moves
	slow   time.Duration
}

var rowCount = desc("rows", "Rows.")

func (r *rows) Collect(ch chan<- prometheus.Metric) {
	if n := r.Tell(ch); n != nil {
		ch <- prometheus.MustNewConstMetric(rowCount, prometheus.GaugeValue, float64(*n))
	}
}

func newRows(log slog.Handler) *rows {
	r := new(rows)
	r.Census = Census[int]{Of: "rows", Log: slog.New(log), Take: func(_ context.Context, p *kgoka.Processor) (n int, stale int64, err error) {
		time.Sleep(r.slow)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.taken++
		if r.broken != nil {
			return 0, 0, r.broken
		}
		if stale = Never; time.Now().Before(r.wrong) {
			stale = r.wrong.UnixMilli()
		}
		err = p.Rows("", "", func(string, []byte, []byte) error { n++; return nil })
		return n, stale, err
	}}
	return r
}

func (r *rows) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = err
}

func (r *rows) wrongAt(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = at
}

func (r *rows) read() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}

// told is what collectors tell, without what their names begin with; and of how old that
// is, in whole seconds.
func told(t testing.TB, cs ...prometheus.Collector) map[string]int {
	t.Helper()
	reg := prometheus.NewRegistry()
	for _, c := range cs {
		reg.MustRegister(c)
	}
	fs, err := reg.Gather()
	must(t, err)
	got := map[string]int{}
	for _, f := range fs {
		for _, m := range f.GetMetric() {
			key, v := strings.TrimPrefix(f.GetName(), "orderlog_"), m.GetGauge().GetValue()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			if head, tail, old := strings.Cut(key, "_timestamp_seconds"); old {
				key, v = head+tail+" ago", float64(time.Now().UnixMilli())/1000-v
			}
			got[key] = int(v)
		}
	}
	return got
}

func same(t testing.TB, what string, got, want map[string]int) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// What has not moved is not read again, and is right as of now all the same; what has
// moved is, and what is wrong by the clock alone.
func TestRecount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(t), newRows(slog.DiscardHandler)
		same(t, "nothing is here yet", told(t, r), map[string]int{})
		w.run(keeps(), "1", r.Follow)
		check := func(what string, sum, taken int) {
			t.Helper()
			synctest.Wait()
			got := told(t, r)
			if age := got["counted rows ago"]; age > int(countEvery.Seconds()) {
				t.Errorf("%s: as of %d s ago", what, age)
			}
			if got["rows"] != sum || r.read() != taken {
				t.Errorf("%s: %v, read %d times, want %d of %d", what, got, r.read(), sum, taken)
			}
		}
		time.Sleep(time.Hour)
		check("empty", 0, 1)
		w.put(10)
		time.Sleep(time.Hour)
		check("ten", 10, 2)
		r.wrongAt(time.Now().Add(time.Hour))
		w.put(5) // the same rows, as others
		time.Sleep(time.Minute)
		check("written again", 10, 3)
		time.Sleep(time.Hour)
		check("wrong by the clock", 10, 4)
		time.Sleep(time.Hour)
		check("and right since", 10, 4)
	})
}

// lines counts what is logged.
type lines struct {
	slog.Handler
	n atomic.Int64
}

func (*lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) Handle(context.Context, slog.Record) error { l.n.Add(1); return nil }

// Who cannot count says so once, and tells what was counted last as what it is: old. If
// nothing was, that is as old as the rows are here.
func TestCannotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := newWorld(t), new(lines)
		r := newRows(log)
		r.fail(errors.New("no registry"))
		w.run(keeps(), "1", r.Follow)
		check := func(what string, logged int64, want map[string]int) {
			t.Helper()
			synctest.Wait()
			got := told(t, r)
			got["counted rows ago"] = got["counted rows ago"] / 60 * 60
			same(t, what, got, want)
			if n := log.n.Load(); n != logged {
				t.Errorf("%s: %d lines are logged, want %d", what, n, logged)
			}
		}
		w.put(3)
		time.Sleep(10*time.Minute + 30*time.Second)
		check("from the beginning", 1, map[string]int{"counted rows ago": 600})
		r.fail(nil)
		time.Sleep(time.Minute)
		check("mended", 1, map[string]int{"rows": 3, "counted rows ago": 0})

		r.fail(kgoka.ErrNotHere) // is nobody's fault, and hides no other one
		w.put(5)
		time.Sleep(10*time.Minute + 30*time.Second)
		check("as if they were taken away", 1, map[string]int{"rows": 3, "counted rows ago": 600})
		r.fail(errors.New("broken once more"))
		time.Sleep(10 * time.Minute)
		check("broken", 2, map[string]int{"rows": 3, "counted rows ago": 1200})
		r.fail(nil)
		time.Sleep(time.Minute)
		check("mended again", 2, map[string]int{"rows": 5, "counted rows ago": 0})
	})
}

// What takes long is done seldom, but for the first time, which may come before the work
// that has waited, and for what failed: that would be told as it was for long.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(t), newRows(slog.DiscardHandler)
		r.slow = 10 * time.Second
		r.fail(errors.New("no registry"))
		w.run(keeps(), "1", r.Follow)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := r.read(); n < 10 {
			t.Errorf("tried %d times in five minutes", n)
		}
		check := func(what string, after time.Duration, want int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := told(t, r); got["rows"] != want {
				t.Errorf("%s: %v, want %d", what, got, want)
			}
		}
		w.put(3)
		r.fail(nil)
		for range 30 {
			if time.Sleep(time.Second); told(t, r)["rows"] == 3 {
				break
			}
		}
		check("the first one", 0, 3)
		w.put(5)
		check("the second one", 25*time.Second, 5)
		w.put(7)
		check("not yet", countLatest-time.Minute, 5)
		check("the third one", 2*time.Minute, 7)
	})
}

// What is handed over is forgotten at once: two that tell of one row would count it twice.
func TestHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, one, two := newWorld(t), newRows(slog.DiscardHandler), newRows(slog.DiscardHandler)
		w.put(100)
		w.run(keeps(), "1", one.Follow)
		time.Sleep(time.Minute)
		if got := told(t, one); got["rows"] != 100 {
			t.Fatal(got)
		}
		two.fail(errors.New("no registry"))
		stop := w.run(keeps(), "2", two.Follow)
		time.Sleep(time.Minute)
		half := told(t, one)["rows"]
		if half == 0 || half == 100 {
			t.Errorf("of 100 rows, one of two has %d", half)
		}
		if _, counted := told(t, two)["rows"]; counted {
			t.Error("it has counted what it cannot read")
		}
		two.fail(nil)
		time.Sleep(time.Minute)
		if n := told(t, two)["rows"]; n != 100-half {
			t.Errorf("of 100 rows, one of two has %d and the other one %d", half, n)
		}
		stop()
		same(t, "it has ended", told(t, two), map[string]int{})
		time.Sleep(5 * time.Minute) // its place is kept for it that long
		if got := told(t, one); got["rows"] != 100 {
			t.Error(got)
		}
	})
}
