package pipeline

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/test/kafka"
	"github.com/orderlog/orderlog/topics"
)

// trouble fails a part of everything, twice, and counts.
type trouble struct {
	mu     sync.Mutex
	tries  map[string]int // decisions on placements, by order
	calls  map[string]int // of the webhook, by ID
	taken  map[string]int // of them, those that were answered with 200
	parked int            // decisions that failed
	at     map[int]func() // called at so many calls
}

func unlucky(id string, oneIn uint32) bool { return crc32.ChecksumIEEE([]byte(id))%oneIn == 0 }

func (x *trouble) beforeDecide(m flow.Message) {
	if m.Type != schemas.OrdersOrderPlace {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tries[m.Key]++
	if n := x.tries[m.Key]; n <= 2 && unlucky(m.Key, 4) {
		x.parked++
		panic(fmt.Sprintf("try %d", n))
	}
}

func (x *trouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("webhook-id")
	x.mu.Lock()
	defer x.mu.Unlock()
	x.calls[id]++
	switch n := x.calls[id]; {
	case n <= 2 && unlucky(id, 5):
		w.WriteHeader(http.StatusRequestTimeout) // a trouble of this one, which closes no gate
	case n == 1 && unlucky(id, 50):
		panic(http.ErrAbortHandler) // hangs up
	default:
		x.taken[id]++
	}
	if do := x.at[len(x.calls)]; do != nil {
		delete(x.at, len(x.calls))
		go do()
	}
}

func (x *trouble) told() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.calls)
}

// TestFailed has a quarter of all placements fail twice and a fifth of all webhooks
// be refused twice, while one instance joins and another one ends: each is parked, comes
// back when it is due, and is done once.
func TestFailed(t *testing.T) {
	const n = 1000
	c := kafka.Run(t, kafka.Options{})
	registry, err := devbroker.Start(t.Context(), devbroker.Config{})
	must(t, err)
	defer registry.Stop()
	x := &trouble{tries: map[string]int{}, calls: map[string]int{}, taken: map[string]int{}, at: map[int]func(){}}
	hook := httptest.NewServer(x)
	hook.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer hook.Close()
	effects := effect.Default()
	effects.Mail.To = ""
	effects.Webhooks = []effect.Webhook{{Name: "erp", URL: hook.URL, Secrets: [][]byte{make([]byte, 32)}, Timeout: 20 * time.Second, Concurrency: 20}}
	namespace := fmt.Sprintf("test-%d", time.Now().UnixNano())
	start := func(instance string) *app.App {
		a, err := app.New(app.Config{Brokers: c.Brokers(), Registry: registry.RegistryURL(), Namespace: namespace, ApplyTopics: true, Instance: instance,
			Dir: t.TempDir(), Effects: &effects, Schedule: retry.Schedule{400 * time.Millisecond, 400 * time.Millisecond, 400 * time.Millisecond},
			BeforeDecide: x.beforeDecide, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
		must(t, err)
		must(t, a.Start(t.Context()))
		return a
	}
	first := start("0")
	ended, others := make(chan error, 1), make(chan *app.App, 1)
	x.at[n/8] = func() { others <- start("1") }
	x.at[n] = func() { ended <- first.Stop() }

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := client.New(client.Config{Opts: first.ClientOpts(), Serde: first.Serde(), Namespace: namespace})
	must(t, err)
	defer out.Close()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w, err := workload.New(workload.Config{Seed: seed, Orders: n})
	must(t, err)
	must(t, out.SendAll(ctx, workload.Messages(w.Setup()), func(flow.Message) {}))
	must(t, out.SendAll(ctx, workload.Messages(w.Commands()), func(flow.Message) {}))
	second := <-others
	defer func() { must(t, second.Stop()) }()
	t.Logf("the second instance is there after %d webhooks", x.told())
	must(t, <-ended)
	t.Logf("the first one has ended after %d", x.told())

	rows := settled(ctx, t, second, namespace, 2*n) // approved, invoiced
	report, err := verify.Run(ctx, verify.Config{Client: second.ClientOpts(), Serde: second.Serde(), Namespace: namespace, Wait: time.Minute})
	must(t, err)
	if !report.OK {
		var why strings.Builder
		_ = report.Verdict(&why, false)
		t.Error(why.String())
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	unsure := 0
	for id, row := range rows {
		taken := int64(x.taken[id])
		if row.State != schemas.Sent || taken < 1 || taken > 1+row.Unsure {
			t.Errorf("taken %d times: %+v", taken, row)
		}
		unsure += int(row.Unsure)
	}
	for id := range x.calls {
		if _, ok := rows[id]; !ok {
			t.Errorf("the webhook was told of %s, which the ledger does not know", id)
		}
	}
	back := map[string]int{} // what the calendar dispatched to the group order, by where it first stood
	must(t, content.EachRecord(ctx, second.ClientOpts(), topics.Prefixed(namespace, topics.OrderLoop), func(r *kgo.Record) error {
		if l := letter.Parse(r); l.Seq > 0 || len(l.Attempts) > 0 {
			back[fmt.Sprintf("%s/%d/%d, attempt %d", l.Topic, l.Partition, l.Offset, len(l.Attempts))]++
		}
		return nil
	}))
	for what, times := range back {
		if times != 1 {
			t.Errorf("%s was dispatched %d times", what, times)
		}
	}
	if len(x.tries) != n || len(back) < n/4 || x.parked < n/4 {
		t.Errorf("%d orders, %d decisions failed, %d dispatches", len(x.tries), x.parked, len(back))
	}
	t.Logf("%d orders, %d decisions failed, %d dispatches, %d webhooks, %d tries unsure", len(x.tries), x.parked, len(back), len(rows), unsure)
}

// settled waits until so many effects were asked for and all are sent, and returns
// the ledger.
func settled(ctx context.Context, t *testing.T, a *app.App, namespace string, effects int) map[string]schemas.LedgerEntry {
	t.Helper()
	for {
		asked, rows, open := 0, map[string]schemas.LedgerEntry{}, 0
		orders := map[string]int64{}
		each := func(topic string, do func(value []byte) error) {
			must(t, content.EachRecord(ctx, a.ClientOpts(), topics.Prefixed(namespace, topic), func(r *kgo.Record) error {
				if len(r.Value) == 0 {
					return nil
				}
				return do(r.Value)
			}))
		}
		each(topics.NotificationTable, func(value []byte) error {
			var n schemas.Notices
			err := a.Serde().DecodeInto(ctx, topics.NotificationTable, value, &n)
			orders[n.OrderID] = n.Asked
			return err
		})
		each(topics.EffectsTable, func(value []byte) error {
			var e schemas.LedgerEntry
			err := a.Serde().DecodeInto(ctx, topics.EffectsTable, value, &e)
			rows[e.EffectID] = e
			return err
		})
		for _, n := range orders {
			asked += int(n)
		}
		for _, e := range rows {
			if e.State != schemas.Sent {
				open++
			}
		}
		if asked == effects && len(rows) == effects && open == 0 {
			return rows
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d orders, %d effects asked for, %d in the ledger, %d of them not sent", len(orders), asked, len(rows), open)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
