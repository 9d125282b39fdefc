package snapshot_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/snapshot"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/schemas"
)

// partitions of every topic.
const partitions = 3

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// receiver counts webhooks by their ID.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	calls map[string]int
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{calls: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls[req.Header.Get("webhook-id")]++
	}))
	t.Cleanup(r.Close)
	return r
}

// config is of processors that tell this receiver, and panic on one order in 37.
func config(t testing.TB, hook *receiver) app.Config {
	e := effect.Default()
	e.Mail.To = "" // nobody gets mails
	e.Webhooks = []effect.Webhook{{Name: "erp", URL: hook.URL, Secrets: [][]byte{make([]byte, 32)}, Timeout: 20 * time.Second, Concurrency: 20}}
	return app.Config{Partitions: partitions, Rules: processors.Config{OpeningLimit: 100_000}, Effects: &e, Dir: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
		BeforeDecide: func(m flow.Message) {
			if b, ok := m.Body.(*schemas.CancelOrder); ok && len(b.OrderID) > 0 && b.OrderID[len(b.OrderID)-1] == 'a' {
				panic("a bug")
			}
		}}
}

// platform is a cluster without processors.
func platform(t testing.TB) *app.App {
	t.Helper()
	a, err := app.New(app.Config{Partitions: partitions, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))})
	must(t, err)
	must(t, a.StartPlatform(t.Context()))
	t.Cleanup(func() { must(t, a.Stop()) })
	return a
}

// run starts processors on a cluster.
func run(t testing.TB, on *app.App, cfg app.Config) *app.App {
	t.Helper()
	cfg.Brokers, cfg.Registry = on.Addresses().Brokers, on.Addresses().Registry
	a, err := app.New(cfg)
	must(t, err)
	must(t, a.Start(t.Context()))
	t.Cleanup(func() { must(t, a.Stop()) })
	return a
}

// load sends what some orders and all that goes wrong with them are; it calls at after
// each of the items.
func load(t testing.TB, a *app.App, seed uint64, orders int, at func(i int)) {
	t.Helper()
	w, err := workload.New(workload.Config{Seed: seed, Orders: orders, Customers: 20, Products: 20, Faults: workload.Faults{
		Duplicates: 0.05, Conflicts: 0.02, UnknownProducts: 0.02, Broke: 0.1, SoldOut: 0.2, Cancels: 0.2, Undecodable: 0.02, EarlyDeliveries: 0.05, Deliveries: 0.6}})
	must(t, err)
	cl, err := kgo.NewClient(append(a.ClientOpts(), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerLinger(0))...)
	must(t, err)
	defer cl.Close()
	enc, err := client.New(client.Config{Opts: a.ClientOpts(), Serde: a.Serde()})
	must(t, err)
	defer enc.Close()
	i := 0
	send := func(it workload.Item) {
		r := &kgo.Record{Topic: it.Topic, Key: []byte(it.Key), Value: it.Raw}
		if it.Raw == nil {
			r, err = enc.Record(it.Message)
			must(t, err)
		}
		cl.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
		if i++; i%50 == 0 {
			must(t, cl.Flush(t.Context()))
		}
		at(i)
	}
	for it := range w.Setup() {
		send(it)
	}
	for it := range w.Commands() {
		send(it)
	}
	must(t, cl.Flush(t.Context()))
}

// proven verifies a cluster, and waits until it stands still if it is to.
func proven(t testing.TB, a *app.App, wait time.Duration) verify.Report {
	t.Helper()
	r, err := verify.Run(t.Context(), verify.Config{Client: a.ClientOpts(), Serde: a.Serde(), Wait: wait, StuckAfter: 5 * time.Minute, OpeningLimit: 100_000})
	must(t, err)
	if !r.OK {
		r.Text(t.Output(), false)
		t.Fatal("the books do not balance")
	}
	return r
}

func of(a *app.App) snapshot.Config { return snapshot.Config{Opts: a.ClientOpts(), Version: "test"} }
