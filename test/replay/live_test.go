package replay

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/internal/snapshot"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/test/kafka"
	"github.com/orderlog/orderlog/topics"
)

const opening = 100_000 // credit of a new customer

// shop is orderlog on the cluster, at work, and who is told of what happens.
type shop struct {
	*testing.T // the one at hand
	whole      *testing.T
	cluster    *kafka.Cluster
	cfg        app.Config
	opts       []kgo.Opt
	adm        *kadm.Client
	serde      *schemas.Serde
	store      snapshot.Store
	run        *app.App
	orders     uint64 // seed of the next ones

	mu    sync.Mutex
	calls map[string]int // of the webhook, by ID
}

func openShop(t *testing.T, c *kafka.Cluster) *shop {
	registry, err := devbroker.Start(t.Context(), devbroker.Config{})
	must(t, err)
	t.Cleanup(func() { registry.Stop() })
	s := &shop{T: t, whole: t, cluster: c, calls: map[string]int{}, store: snapshot.Folder(t.TempDir()), orders: uint64(time.Now().UnixNano())}
	t.Logf("seed %d", s.orders)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls[r.Header.Get("webhook-id")]++
	}))
	t.Cleanup(hook.Close)
	e := effect.Default()
	e.Mail.To = "" // nobody gets mails
	e.Webhooks = []effect.Webhook{{Name: "erp", URL: hook.URL, Secrets: [][]byte{make([]byte, 32)}, Timeout: 20 * time.Second, Concurrency: 20}}
	s.cfg = app.Config{Brokers: c.Brokers(), Registry: registry.RegistryURL(), Namespace: fmt.Sprintf("live-%d", time.Now().UnixNano()), ApplyTopics: true,
		Partitions: 4, Effects: &e, Rules: processors.Config{OpeningLimit: opening}, BeforeDecide: bugs,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))}
	s.opts = s.cfg.ClientOpts()
	s.adm, err = kadm.NewOptClient(s.opts...)
	must(t, err)
	t.Cleanup(s.adm.Close)
	s.serde, err = schemas.NewSerde(t.Context(), schemas.SerdeConfig{Registry: s.cfg.Registry, Namespace: s.cfg.Namespace})
	must(t, err)
	s.start()
	t.Cleanup(func() { must(t, s.run.Stop()) })
	return s
}

// with is the shop in a test within the test.
func (s *shop) with(t *testing.T, do func()) {
	was := s.T
	s.T = t
	defer func() { s.T = was }()
	do()
}

func (s *shop) start() {
	s.Helper()
	s.cfg.Dir = s.whole.TempDir()
	a, err := app.New(s.cfg)
	must(s.T, err)
	must(s.T, a.Start(s.whole.Context()))
	s.run = a
}

// bugs has some of what comes fail: it is parked, for longer than the test takes.
func bugs(m flow.Message) {
	id := ""
	switch b := m.Body.(type) {
	case *schemas.CancelOrder:
		id = b.OrderID
	case *schemas.StockReserved:
		id = b.OrderID
	}
	if id != "" && strings.Contains("abc", id[len(id)-1:]) {
		panic("a bug")
	}
}

func (s *shop) name(bare string) string { return topics.Prefixed(s.cfg.Namespace, bare) }

// trade sends what some orders are, and all that goes wrong with them, one after the
// other until it is told to stop.
func (s *shop) trade(orders int, stop <-chan struct{}) error {
	s.orders++
	w, err := workload.New(workload.Config{Seed: s.orders, Orders: orders, Customers: 100, Products: 100, Stock: 4000, Credit: 30_000_000, Faults: workload.Faults{
		Duplicates: 0.05, Conflicts: 0.02, UnknownProducts: 0.02, Broke: 0.1, SoldOut: 0.1, Cancels: 0.15, Undecodable: 0.01, EarlyDeliveries: 0.05, Deliveries: 0.3}})
	if err != nil {
		return err
	}
	out, err := client.New(client.Config{Opts: s.opts, Serde: s.serde, Namespace: s.cfg.Namespace})
	if err != nil {
		return err
	}
	defer out.Close()
	ctx, batch := context.WithoutCancel(s.Context()), out.Batch()
	send := func(it workload.Item) error {
		if it.Raw != nil {
			return batch.Send(ctx, &kgo.Record{Topic: s.name(it.Topic), Key: []byte(it.Key), Value: it.Raw})
		}
		r, err := out.Record(it.Message)
		if err != nil {
			return err
		}
		return batch.Send(ctx, r)
	}
	for it := range w.Setup() {
		if err := send(it); err != nil {
			return err
		}
	}
	n := 0
	for it := range w.Commands() {
		if err := send(it); err != nil {
			return err
		}
		if n++; stop == nil || n%5 != 0 {
			continue
		}
		if err := batch.Wait(ctx); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-time.After(50 * time.Millisecond): // 100 a second
		}
	}
	return batch.Wait(ctx)
}

// deliver sends a delivery of every order that there is.
func (s *shop) deliver() {
	s.Helper()
	out, err := client.New(client.Config{Opts: s.opts, Serde: s.serde, Namespace: s.cfg.Namespace})
	must(s.T, err)
	defer out.Close()
	must(s.T, out.SendAll(s.Context(), func(yield func(flow.Message) bool) {
		for id := range s.books().content[topics.OrderTable] {
			if !yield(workload.Delivery(id, time.Now().UnixMilli())) {
				return
			}
		}
	}, nil))
}

// during has orders keep coming while something is done.
func (s *shop) during(do func()) {
	s.Helper()
	stop, sent := make(chan struct{}), make(chan error, 1)
	go func() { sent <- s.trade(100_000, stop) }()
	defer func() { must(s.T, <-sent) }()
	defer close(stop)
	do()
}

// proven waits until nothing is under way but what is parked.
func (s *shop) proven(wait time.Duration) verify.Report {
	s.Helper()
	r, err := verify.Run(s.Context(), verify.Config{Client: s.opts, Serde: s.serde, Namespace: s.cfg.Namespace, Wait: wait, OpeningLimit: opening})
	must(s.T, err)
	if !r.OK {
		r.Text(s.Output(), false)
		s.Fatal("the books do not balance")
	}
	select {
	case err := <-s.run.Failed():
		s.Fatal(err)
	default:
	}
	return r
}

const aWhile = 40 * time.Second

// books are what must stay as it is.
type books struct {
	content content.Content
	counts  map[string]int    // committed records, by topic
	numbers map[string]string // of invoices
	told    map[string]int
	unsure  map[string]int64 // of effects: tries of which nobody knows whether they came
}

func (s *shop) books() books {
	s.Helper()
	c, err := content.Read(s.Context(), s.opts, s.serde, s.cfg.Namespace)
	must(s.T, err)
	delete(c, topics.Audit)
	b := books{content: c, counts: map[string]int{}, numbers: map[string]string{}, unsure: map[string]int64{}}
	for _, topic := range topics.All() {
		if topic.Name == topics.Audit || topic.Name == topics.Control {
			continue
		}
		must(s.T, content.EachRecord(s.Context(), s.opts, s.name(topic.Name), func(r *kgo.Record) error {
			b.counts[topic.Name]++
			if len(r.Value) == 0 || topic.Name != topics.Invoices && topic.Name != topics.EffectsTable {
				return nil
			}
			body, err := s.serde.Decode(s.Context(), topic.Name, r.Value)
			switch is := body.(type) {
			case *schemas.Invoice:
				b.numbers[is.InvoiceID] = is.Number
			case *schemas.LedgerEntry:
				b.unsure[is.EffectID] = is.Unsure
			}
			return err
		}))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.told = maps.Clone(s.calls)
	return b
}

// same compares all but how many records there are.
func (s *shop) same(was, is books) {
	s.Helper()
	for _, d := range content.Diff(was.content, is.content, 5) {
		s.Error(d)
	}
	if !maps.Equal(was.numbers, is.numbers) {
		s.Error("invoices have other numbers")
	}
	if !maps.Equal(was.told, is.told) {
		s.Errorf("%d are told, it was %d", len(is.told), len(was.told))
	}
}

// kept says that what was there is as it was, whatever came after it.
func (s *shop) kept(was, is books) {
	s.Helper()
	for _, topic := range []string{topics.OrderTable, topics.VoucherTable, topics.Vouchers} {
		for key, row := range was.content[topic] {
			if got := is.content[topic][key]; got != row {
				s.Errorf("%s %s: %s, and it was %s", topic, key, got, row)
			}
		}
	}
	for id, n := range was.numbers {
		if is.numbers[id] != n {
			s.Errorf("invoice %s has number %s and had %s", id, is.numbers[id], n)
		}
	}
	for id, n := range is.told { // some have been told again since the cluster was lost
		if most := max(1, was.told[id]) + int(is.unsure[id]); n > most {
			s.Errorf("%s was told %d times, and may be %d", id, n, most)
		}
	}
}

// damage deletes some rows of a table, and has others say what they said at first.
func (s *shop) damage(group string) int {
	s.Helper()
	first, last := map[string]*kgo.Record{}, map[string]*kgo.Record{}
	must(s.T, content.EachRecord(s.Context(), s.opts, s.name(group+"-table"), func(r *kgo.Record) error {
		if first[string(r.Key)] == nil {
			first[string(r.Key)] = r
		}
		last[string(r.Key)] = r
		return nil
	}))
	cl, err := kgo.NewClient(append(s.opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(s.T, err)
	defer cl.Close()
	i, all := 0, []*kgo.Record{}
	for key, r := range last {
		bad := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key}
		switch i++; {
		case i%3 == 0:
			continue
		case i%3 == 1 && !bytes.Equal(first[key].Value, r.Value):
			bad.Value, bad.Headers = first[key].Value, r.Headers
		}
		all = append(all, bad)
	}
	must(s.T, cl.ProduceSync(s.Context(), all...).FirstErr())
	return len(all)
}

// replayer moves groups of the shop; step is its hook.
func (s *shop) replayer(step func(replay.Step) error, more ...kgo.Opt) *replay.Replayer {
	s.Helper()
	r, err := replay.New(replay.Config{Opts: append(s.opts[:len(s.opts):len(s.opts)], more...), Serde: s.serde, Namespace: s.cfg.Namespace, Who: "ann",
		Step: step, Session: 5 * time.Second, Store: s.store})
	must(s.T, err)
	s.Cleanup(r.Close)
	return r
}

var stopping = replay.How{Stop: true, Wait: 20 * time.Second, Why: "a test"}

// redelivered are the groups that can be.
func redelivered() (groups []string) {
	for _, u := range replay.Units() {
		if u.Origins {
			groups = append(groups, u.Name)
		}
	}
	return groups
}

// rebuilt are those that are computed.
func rebuilt() []string { return append(verify.Rebuilt(), "voucher") }

func toEarliest(groups ...string) replay.Spec {
	return replay.Spec{Groups: groups, Target: replay.Target{Kind: replay.ToEarliest}}
}

func rebuild(groups ...string) replay.Spec {
	return replay.Spec{Groups: groups, Mode: replay.Rebuild, Target: replay.Target{Kind: replay.ToCurrent}}
}
