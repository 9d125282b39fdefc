package replay_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/internal/snapshot"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// shop is a cluster, processors on it, and who is told of what happens.
type shop struct {
	t   testing.TB
	on  *app.App // the cluster
	cfg app.Config
	run *app.App // the processors; nil: they do not run

	mu    sync.Mutex
	calls map[string]int // webhooks by their ID
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newShop(t testing.TB) *shop {
	s := &shop{t: t, calls: map[string]int{}}
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls[r.Header.Get("webhook-id")]++
	}))
	t.Cleanup(hook.Close)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	on, err := app.New(app.Config{Partitions: 3, Log: log})
	must(t, err)
	must(t, on.StartPlatform(t.Context()))
	t.Cleanup(func() { must(t, on.Stop()) })
	e := effect.Default()
	e.Mail.To = "" // nobody gets mails
	e.Webhooks = []effect.Webhook{{Name: "erp", URL: hook.URL, Secrets: [][]byte{make([]byte, 32)}, Timeout: 20 * time.Second, Concurrency: 20}}
	s.on, s.cfg = on, app.Config{Brokers: on.Addresses().Brokers, Registry: on.Addresses().Registry, Dir: t.TempDir(), Log: log, Effects: &e,
		Rules: processors.Config{OpeningLimit: 100_000}, BeforeDecide: bugs}
	return s
}

// bugs has some of what comes fail: it is parked, for longer than a test takes.
func bugs(m flow.Message) {
	id := ""
	switch b := m.Body.(type) {
	case *schemas.CancelOrder:
		id = b.OrderID
	case *schemas.ReleaseStock:
		id = b.OrderID + "."
	case *schemas.RefundCredit:
		id = b.OrderID + "."
	case *schemas.StockReserved:
		id = b.OrderID
	case *schemas.CreditCharged:
		id = b.OrderID
	}
	if strings.HasSuffix(id, "a") || strings.HasSuffix(id, "b.") {
		panic("a bug")
	}
}

func (s *shop) start() {
	s.t.Helper()
	a, err := app.New(s.cfg)
	must(s.t, err)
	must(s.t, a.Start(s.t.Context()))
	s.run = a
	s.t.Cleanup(func() { must(s.t, a.Stop()) })
}

func (s *shop) stop() { must(s.t, s.run.Stop()) }

// trade sends what some orders are, and all that goes wrong with them.
func (s *shop) trade(seed uint64, orders int) {
	s.t.Helper()
	s.place(workload.Config{Seed: seed, Orders: orders, Customers: 30, Products: 30, Stock: 400, Credit: 3_000_000, Faults: workload.Faults{
		Duplicates: 0.05, Conflicts: 0.02, UnknownProducts: 0.02, Broke: 0.1, SoldOut: 0.1, Cancels: 0.15, Undecodable: 0.02, EarlyDeliveries: 0.05, Deliveries: 0.2}})
}

func (s *shop) place(cfg workload.Config) {
	s.t.Helper()
	w, err := workload.New(cfg)
	must(s.t, err)
	enc, err := client.New(client.Config{Opts: s.on.ClientOpts(), Serde: s.on.Serde()})
	must(s.t, err)
	defer enc.Close()
	cl, err := kgo.NewClient(append(s.on.ClientOpts(), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	must(s.t, err)
	defer cl.Close()
	var rs []*kgo.Record
	add := func(it workload.Item) {
		r := &kgo.Record{Topic: it.Topic, Key: []byte(it.Key), Value: it.Raw}
		if it.Raw == nil {
			r, err = enc.Record(it.Message)
			must(s.t, err)
		}
		rs = append(rs, r)
	}
	for it := range w.Setup() {
		add(it)
	}
	for it := range w.Commands() {
		add(it)
	}
	must(s.t, cl.ProduceSync(s.t.Context(), rs...).FirstErr())
}

// deliver sends a delivery of every order that there is.
func (s *shop) deliver() {
	s.t.Helper()
	enc, err := client.New(client.Config{Opts: s.on.ClientOpts(), Serde: s.on.Serde()})
	must(s.t, err)
	defer enc.Close()
	cl, err := kgo.NewClient(append(s.on.ClientOpts(), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	must(s.t, err)
	defer cl.Close()
	var rs []*kgo.Record
	for id := range s.content()[topics.OrderTable] {
		m := workload.Delivery(id, time.Now().UnixMilli())
		r, err := enc.Record(m)
		must(s.t, err)
		rs = append(rs, r)
	}
	must(s.t, cl.ProduceSync(s.t.Context(), rs...).FirstErr())
}

// proven waits until nothing is under way but what is parked.
func (s *shop) proven() verify.Report {
	s.t.Helper()
	r, err := verify.Run(s.t.Context(), verify.Config{Client: s.on.ClientOpts(), Serde: s.on.Serde(), Wait: 5 * time.Minute, OpeningLimit: s.cfg.Rules.OpeningLimit})
	must(s.t, err)
	if !r.OK {
		r.Text(s.t.Output(), false)
		s.t.Fatal("the books do not balance")
	}
	return r
}

func (s *shop) content() content.Content {
	s.t.Helper()
	c, err := content.Read(s.t.Context(), s.on.ClientOpts(), s.on.Serde(), "")
	must(s.t, err)
	delete(c, topics.Audit)
	return c
}

// caughtUp waits until every group has read what is there.
func (s *shop) caughtUp() {
	s.t.Helper()
	adm, err := kadm.NewOptClient(s.on.ClientOpts()...)
	must(s.t, err)
	defer adm.Close()
	for deadline := time.Now().Add(40 * time.Second); ; {
		var left int64
		for group := range s.run.Stats() {
			n, err := client.Unread(s.t.Context(), s.on.ClientOpts(), adm, group)
			must(s.t, err)
			left += n
		}
		switch {
		case left == 0:
			return
		case time.Now().After(deadline):
			s.t.Fatalf("%d records are still unread", left)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// numbers are those of the invoices, and where each order's state is told.
func (s *shop) numbers() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	must(s.t, content.EachRecord(s.t.Context(), s.on.ClientOpts(), topics.Invoices, func(r *kgo.Record) error {
		var b schemas.Invoice
		err := s.on.Serde().DecodeInto(s.t.Context(), topics.Invoices, r.Value, &b)
		all[b.InvoiceID] = b.Number
		return err
	}))
	return all
}

func (s *shop) told() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// damage deletes rows of a table, changes others, and adds one that nobody asked for.
func (s *shop) damage(rng *rand.Rand, group string) (n int) {
	s.t.Helper()
	table := group + "-table"
	rows := map[string]*kgo.Record{}
	must(s.t, content.EachRecord(s.t.Context(), s.on.ClientOpts(), table, func(r *kgo.Record) error { rows[string(r.Key)] = r; return nil }))
	cl, err := kgo.NewClient(append(s.on.ClientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(s.t, err)
	defer cl.Close()
	keys := slices.Sorted(maps.Keys(rows))
	for i, key := range keys {
		r := &kgo.Record{Topic: table, Partition: rows[key].Partition, Key: []byte(key)}
		switch other := rows[keys[rng.IntN(len(keys))]]; {
		case rng.IntN(3) > 0 && i > 0:
			continue
		case rng.IntN(2) == 0 && i > 0: // another one's, with what this one remembers
			r.Value, r.Headers = s.renamed(table, other.Value, key), rows[key].Headers
		}
		must(s.t, cl.ProduceSync(s.t.Context(), r).FirstErr())
		n++
	}
	return n
}

// renamed is a row's value as if it were that of another key.
func (s *shop) renamed(table string, value []byte, key string) []byte {
	s.t.Helper()
	if len(value) == 0 {
		return nil
	}
	body, err := s.on.Serde().Decode(s.t.Context(), table, value)
	must(s.t, err)
	switch b := body.(type) {
	case *schemas.Stock:
		b.SKU, b.OnHand = key, b.OnHand+7
	case *schemas.Account:
		b.CustomerID, b.Charged, b.Limit = key, b.Charged/2, b.Limit+1
	case *schemas.Series:
		b.Series, b.Last = key, 0
	case *schemas.Notices:
		b.OrderID, b.Seen, b.Asked = key, 0, 0
	case *schemas.Grants:
		b.OrderID, b.Granted = key, nil
	}
	v, err := s.on.Serde().Encode(nil, table, body)
	must(s.t, err)
	return v
}

// Tables that were damaged are what they were, whether one group is rebuilt or all are;
// nothing else changes, nobody is told of anything again, and the shop goes on.
func TestRebuild(t *testing.T) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 0))
	s := newShop(t)
	s.start()
	orders := 2000
	if testing.Short() {
		orders = 400
	}
	s.trade(seed, orders)
	s.proven()
	s.deliver()
	report := s.proven()
	s.stop()
	was, numbers, told := s.content(), s.numbers(), s.told()
	t.Logf("orders %v, %d parked", report.Summary.Orders, report.InFlight)
	if len(told) == 0 || len(numbers) == 0 || len(was[topics.Vouchers]) == 0 {
		t.Fatalf("%d effects, %d invoices, %d vouchers: the test shows nothing", len(told), len(numbers), len(was[topics.Vouchers]))
	}
	r, err := replay.New(replay.Config{Opts: s.on.ClientOpts(), Serde: s.on.Serde(), Who: "test", Store: snapshot.Folder(t.TempDir())})
	must(t, err)
	defer r.Close()
	all := []string{"inventory", "credit", "invoicing", "voucher", "notification"}
	sets := [][]string{all}
	if !testing.Short() {
		sets = append(sets, each(all)...)
	}
	for _, groups := range sets {
		t.Run(fmt.Sprint(groups), func(t *testing.T) {
			s.t = t
			damaged := 0
			for _, g := range groups {
				damaged += s.damage(rng, g)
			}
			if len(content.Diff(was, s.content(), 1)) == 0 {
				t.Fatal("nothing is damaged")
			}
			res, err := r.Run(t.Context(), replay.Spec{Groups: groups, Mode: replay.Rebuild, Target: replay.Target{Kind: replay.ToCurrent}}, replay.How{Why: "test", Wait: 10 * time.Second})
			must(t, err)
			for _, g := range res.Groups {
				t.Logf("%s: %d rows, of %d damaged in all", g.Group, g.Rows, damaged)
			}
			s.start()
			s.proven()
			s.stop()
			for _, d := range content.Diff(was, s.content(), 5) {
				t.Error(d)
			}
			if got := s.numbers(); !maps.Equal(got, numbers) {
				t.Error("invoices have other numbers")
			}
			if got := s.told(); !maps.Equal(got, told) {
				t.Errorf("%d are told, it was %d", len(got), len(told))
			}
		})
	}
	s.t = t
	t.Run("rows remember what they had seen", func(t *testing.T) {
		s.t = t
		groups := []string{"inventory", "credit", "notification"}
		for _, g := range groups {
			s.damage(rng, g)
		}
		for _, spec := range []replay.Spec{
			{Groups: groups, Mode: replay.Rebuild, Target: replay.Target{Kind: replay.ToCurrent}},
			{Groups: groups, Mode: replay.Redeliver, Target: replay.Target{Kind: replay.ToEarliest}},
		} {
			_, err := r.Run(t.Context(), spec, replay.How{Why: "test", Wait: 10 * time.Second})
			must(t, err)
		}
		s.start()
		s.proven()
		s.stop()
		for _, d := range content.Diff(was, s.content(), 5) {
			t.Error(d)
		}
	})
	s.t = t
	t.Run("undone", func(t *testing.T) {
		s.t = t
		for _, g := range all {
			s.damage(rng, g)
		}
		damaged := s.content()
		_, err := r.Run(t.Context(), replay.Spec{Groups: all, Mode: replay.Rebuild, Target: replay.Target{Kind: replay.ToCurrent}}, replay.How{Why: "test", Wait: 10 * time.Second})
		must(t, err)
		for _, g := range all {
			_, err := r.Undo(t.Context(), g, replay.How{Why: "test", Wait: 10 * time.Second})
			must(t, err)
		}
		for _, d := range content.Diff(damaged, s.content(), 5) {
			t.Error(d)
		}
		_, err = r.Run(t.Context(), replay.Spec{Groups: all, Mode: replay.Rebuild, Target: replay.Target{Kind: replay.ToCurrent}}, replay.How{Why: "test", Wait: 10 * time.Second})
		must(t, err)
	})
	s.t = t
	s.start()
	s.trade(seed+1, 100)
	store := snapshot.Folder(t.TempDir())
	m, err := snapshot.Create(t.Context(), snapshot.Config{Opts: s.on.ClientOpts()}, store)
	must(t, err)
	s.trade(seed+2, 200)
	s.proven()
	s.stop()
	was, numbers, told = s.content(), s.numbers(), s.told()
	t.Run("back to a snapshot", func(t *testing.T) {
		s.t = t
		groups := []string{"inventory", "credit", "voucher", "notification"}
		spec, err := replay.ToSnapshot(t.Context(), store, m.ID, "", groups...)
		must(t, err)
		how := replay.How{Why: "test", Wait: 10 * time.Second}
		if _, err := r.Run(t.Context(), spec, how); !errors.Is(err, replay.ErrWarned) {
			t.Errorf("what is decided anew is not warned of: %v", err)
		}
		plan, err := r.Plan(t.Context(), spec)
		must(t, err)
		how.Hash = plan.Hash
		_, err = r.Run(t.Context(), spec, how)
		must(t, err)
		if len(content.Diff(was, s.content(), 1)) == 0 {
			t.Error("the tables are as they were after the snapshot")
		}
		s.start()
		s.caughtUp()
		s.stop()
		_, err = r.Run(t.Context(), replay.Spec{Groups: groups[:2], Mode: replay.Rebuild, Target: replay.Target{Kind: replay.ToCurrent}}, replay.How{Why: "test", Wait: 10 * time.Second})
		must(t, err)
		s.start()
		s.proven()
		for _, d := range content.Diff(was, s.content(), 5) {
			t.Error(d)
		}
		if !maps.Equal(s.numbers(), numbers) || !maps.Equal(s.told(), told) {
			t.Errorf("%d are told, it was %d; or invoices have other numbers", len(s.told()), len(told))
		}
	})
}

func each(all []string) (one [][]string) {
	for _, g := range all {
		one = append(one, []string{g})
	}
	return one
}
