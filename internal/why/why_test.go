package why_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/lag"
	"github.com/orderlog/orderlog/internal/why"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// namespace keeps names on the cluster and in the catalogue apart.
const namespace = "shop"

func on(topic string) string { return topics.Prefixed(namespace, topic) }

// shop is running processors, with what has become of a workload.
type shop struct {
	*app.App
	*client.Client
	*why.Reader
	t *testing.T
}

func open(t *testing.T, bug func(flow.Message)) shop {
	t.Helper()
	mails := effect.Default()
	a, err := app.New(app.Config{Partitions: 3, Namespace: namespace, Dir: t.TempDir(), Effects: &mails, BeforeDecide: bug, Rules: processors.Config{OpeningLimit: 100_000},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))})
	must(t, err)
	must(t, a.Start(t.Context()))
	t.Cleanup(func() { must(t, a.Stop()) })
	c, err := client.New(client.Config{Opts: a.ClientOpts(), Serde: a.Serde(), Namespace: namespace})
	must(t, err)
	t.Cleanup(c.Close)
	r, err := why.New(t.Context(), why.Config{Opts: a.ClientOpts(), Serde: a.Serde(), Namespace: namespace})
	must(t, err)
	t.Cleanup(r.Close)
	return shop{a, c, r, t}
}

// sell sends a workload, and waits until everybody has done what there is to do.
func (s shop) sell(cfg workload.Config) {
	s.t.Helper()
	w, err := workload.New(cfg)
	must(s.t, err)
	b := s.Batch()
	for item := range w.Setup() {
		s.send(b, item)
	}
	must(s.t, b.Wait(s.t.Context()))
	must(s.t, s.WaitRead(s.t.Context(), "inventory", "credit"))
	for item := range w.Commands() {
		s.send(b, item)
	}
	must(s.t, b.Wait(s.t.Context()))
	s.settle()
}

func (s shop) send(b *client.Batch, item workload.Item) {
	s.t.Helper()
	r := &kgo.Record{Topic: on(item.Topic), Key: []byte(item.Key), Value: item.Raw}
	if item.Body != nil {
		var err error
		r, err = s.Record(item.Message)
		must(s.t, err)
	}
	must(s.t, b.Send(s.t.Context(), r))
}

func (s shop) settle() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	var groups []string
	for _, g := range lag.Pipeline("") {
		groups = append(groups, g.Name)
	}
	must(s.t, s.WaitRead(ctx, groups...))
}

// end delivers the orders that are invoiced, but for some that it cancels.
func (s shop) end() {
	s.t.Helper()
	orders, err := s.ListOrders(s.t.Context(), client.Filter{State: schemas.Invoiced})
	must(s.t, err)
	for i, o := range orders {
		m := flow.Message{ID: "evt_end" + o.OrderID, Topic: topics.OrderCommands, Key: o.OrderID, At: time.Now().UnixMilli(),
			Type: schemas.OrdersOrderDeliver, Body: &schemas.DeliverOrder{OrderID: o.OrderID}}
		if i%4 == 0 {
			m.Type, m.Body = schemas.OrdersOrderCancel, &schemas.CancelOrder{OrderID: o.OrderID, Reason: "a test"}
		}
		must(s.t, s.Command(s.t.Context(), m))
	}
	s.settle()
}

// chain is the past of an order as a list.
func (s shop) chain(order string) (*why.Chain, []*why.Record) {
	s.t.Helper()
	c, err := s.Why(s.t.Context(), order)
	must(s.t, err)
	var all []*why.Record
	must(s.t, c.Walk(func(r *why.Record) error { all = append(all, r); return nil }))
	return c, all
}

// logs are the places of all records of each order, found without knowing where they
// could be.
func (s shop) logs() map[string]map[why.Place]bool {
	s.t.Helper()
	of := map[string]map[why.Place]bool{}
	for _, topic := range topics.All() {
		if topic.Compact && !slices.Contains([]string{topics.OrderTable, topics.Invoices, topics.Vouchers, topics.EffectsTable}, topic.Name) {
			continue // rows of others, which know no order, and the calendar's
		}
		must(s.t, content.EachRecord(s.t.Context(), s.ClientOpts(), on(topic.Name), func(r *kgo.Record) error {
			order := cmp.Or(event.Header(r, event.Correlation), string(r.Key))
			if of[order] == nil {
				of[order] = map[why.Place]bool{}
			}
			of[order][why.Place{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}] = true
			return nil
		}))
	}
	return of
}

// Every order of a shop with every kind of trouble: its chain has every record of it
// once and below its cause, each of its asks and answers, and its timeline.
func TestChains(t *testing.T) {
	const parked = "ord_parked"
	s := open(t, func(m flow.Message) {
		if m.Key == parked && m.Type == schemas.OrdersOrderDeliver {
			panic("a bug in the rule")
		}
	})
	const seed = 7
	s.sell(workload.Config{Seed: seed, Orders: 60, Products: 12, Customers: 10, Faults: workload.Faults{Duplicates: .1, Conflicts: .1, UnknownProducts: .05, Broke: .1,
		SoldOut: .05, Cancels: .2, Undecodable: .1, EarlyDeliveries: .1}})
	s.end()
	s.order(parked)
	must(t, s.Command(t.Context(), flow.Message{ID: "evt_deliver", Topic: topics.OrderCommands, Key: parked, Type: schemas.OrdersOrderDeliver, At: time.Now().UnixMilli(),
		Body: &schemas.DeliverOrder{OrderID: parked}}))
	s.settle()

	orders, err := s.ListOrders(t.Context(), client.Filter{})
	must(t, err)
	logs := s.logs()
	seen := map[string]int{}
	for _, o := range orders {
		c, all := s.chain(o.OrderID)
		if c.State != o.State || len(c.Missing) > 0 {
			t.Errorf("seed %d: %s is %s, not %s; missing %q", seed, o.OrderID, c.State, o.State, c.Missing)
		}
		s.complete(o, all, logs[o.OrderID])
		s.asks(o, all, seen)
		s.timeline(o, all)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	for _, kind := range []string{"ReserveStock", "StockRefused", "CreditRefused", "ReleaseStock", "credit_note", "Voucher", "Effect", "sent or to be sent", "dead"} {
		if seen[kind] == 0 {
			t.Errorf("seed %d: no order has a %s: the test says little; seen %v", seed, kind, seen)
		}
	}

	_, all := s.chain(parked)
	i := slices.IndexFunc(all, func(r *why.Record) bool { return r.Topic == on(topics.Retry) && strings.Contains(r.Says, "panic") })
	if i < 0 || !strings.HasPrefix(all[i].Open, "it is in the calendar, due ") || !strings.Contains(all[i].Says, "a bug in the rule") || all[i].Depth != 1 ||
		all[i-1].Type != schemas.OrdersOrderDeliver && all[i-2].Type != schemas.OrdersOrderDeliver {
		t.Errorf("what is parked is not shown below its command: %d", i)
	}
}

// order places one that is invoiced.
func (s shop) order(id string) {
	s.t.Helper()
	at := time.Now().UnixMilli()
	for _, m := range []flow.Message{
		{ID: "evt_price", Topic: topics.InventoryCommands, Key: "sku_good", Type: schemas.InventoryPriceSet, Body: &schemas.SetPrice{SKU: "sku_good", Name: "good", Price: 900, Currency: "EUR"}},
		{ID: "evt_receive", Topic: topics.InventoryCommands, Key: "sku_good", Type: schemas.InventoryStockReceive, Body: &schemas.ReceiveStock{SKU: "sku_good", Quantity: 9}},
		{ID: "evt_place", Topic: topics.OrderCommands, Key: id, Type: schemas.OrdersOrderPlace, Body: &schemas.PlaceOrder{OrderID: id, CustomerID: "cus_1", Currency: "EUR",
			Lines: []schemas.PlaceLine{{SKU: "sku_good", Quantity: 1}}}},
	} {
		m.At = at
		must(s.t, s.Command(s.t.Context(), m))
		s.settle()
	}
}

// complete wants every record of the order, once, and no cause that is gone.
func (s shop) complete(o *schemas.Order, all []*why.Record, want map[why.Place]bool) {
	s.t.Helper()
	got := map[why.Place]bool{}
	for _, r := range all {
		if got[r.Place] {
			s.t.Errorf("%s: %s is there twice", o.OrderID, r.Place)
		}
		if got[r.Place] = true; r.Gone != "" || r.Says == "" {
			s.t.Errorf("%s: %s says %q, gone %q", o.OrderID, r.Place, r.Says, r.Gone)
		}
		if from := r.Topic == on(topics.OrderCommands); from != (r.Cause == nil) || (r.Depth == 0) != from {
			s.t.Errorf("%s: %s at depth %d has the cause %v", o.OrderID, r.Place, r.Depth, r.Cause)
		}
	}
	for p := range want {
		if !got[p] {
			s.t.Errorf("%s: %s is not in its chain", o.OrderID, p)
		}
	}
	for p := range got {
		if !want[p] {
			s.t.Errorf("%s: %s is in its chain, and not its own", o.OrderID, p)
		}
	}
}

// asks wants a task for each of the order's asks and an answer below it.
func (s shop) asks(o *schemas.Order, all []*why.Record, seen map[string]int) {
	s.t.Helper()
	want := map[string]int{}
	for _, l := range o.Lines {
		switch l.Stock {
		case schemas.Granted:
			want[schemas.StockReservedEvent]++
		case schemas.Released:
			want[schemas.StockReservedEvent]++
			want[schemas.InventoryStockRelease]++
			seen["ReleaseStock"]++
		case schemas.Refused:
			want[schemas.StockRefusedEvent]++
			seen["StockRefused"]++
		}
		if l.Stock != schemas.AskNone {
			want[schemas.InventoryStockReserve]++
			seen["ReserveStock"]++
		}
	}
	switch o.Credit.Ask {
	case schemas.Granted, schemas.Released:
		want[schemas.CreditAccountCharge], want[schemas.CreditChargedEvent] = 1, 1
	case schemas.Refused:
		want[schemas.CreditAccountCharge], want[schemas.CreditRefusedEvent] = 1, 1
		seen["CreditRefused"]++
	}
	if o.Credit.Ask == schemas.Released {
		want[schemas.CreditAccountRefund] = 1
	}
	if o.Invoice.Ask == schemas.Granted {
		want[schemas.InvoicingInvoiceIssue], want[schemas.InvoiceIssuedEvent] = 1, 2 // the answer and the document
	}
	if o.CreditNote.Ask == schemas.Granted {
		want[schemas.InvoicingCreditNoteIssue], want[schemas.CreditNoteIssuedEvent] = 1, 2
		seen["credit_note"]++
	}
	if n := len(o.Vouchers); n > 0 {
		want[schemas.VoucherGrantedEvent] = 2 * n
		seen["Voucher"] += n
	}
	for _, e := range o.Timeline {
		if slices.Contains([]string{schemas.OrderApproved, schemas.OrderRejected, schemas.OrderInvoiced, schemas.OrderDelivered, schemas.VoucherGrantedEvent}, e.Type) {
			want[schemas.NotificationsEmailSend]++
			seen["Effect"]++
		}
	}
	got := map[string]int{}
	for _, r := range all {
		switch r.Topic {
		case on(topics.OrderTable), on(topics.OrderCommands), on(topics.Retry), on(topics.OrderLoop):
		case on(topics.DeadLetter):
			seen["dead"]++
			if r.Open != "nobody has dealt with it" {
				s.t.Errorf("%s: dead letter %s: %q", o.OrderID, r.Place, r.Open)
			}
		case on(topics.EffectsTable):
			if seen["sent or to be sent"]++; r.Cause.Topic != on(topics.Effects) {
				s.t.Errorf("%s: %s is not below its effect, but %s", o.OrderID, r.Place, r.Cause)
			}
		default:
			got[r.Type]++
		}
		for _, below := range r.Caused {
			if below.Topic == on(topics.OrderReplies) && r.Topic != on(topics.OrderTable) && !strings.HasSuffix(r.Topic, "-tasks") {
				s.t.Errorf("%s: the answer %s is below %s", o.OrderID, below.Place, r.Place)
			}
		}
	}
	if !maps.Equal(got, want) {
		s.t.Errorf("%s: asks and answers %v, want %v", o.OrderID, got, want)
	}
}

// timeline wants the versions to say what the order's timeline says, in its order.
func (s shop) timeline(o *schemas.Order, all []*why.Record) {
	s.t.Helper()
	versions := slices.DeleteFunc(slices.Clone(all), func(r *why.Record) bool { return r.Topic != on(topics.OrderTable) })
	slices.SortFunc(versions, func(a, b *why.Record) int { return cmp.Compare(a.Offset, b.Offset) })
	var said, want []string
	for _, v := range versions {
		_, entries, ok := strings.Cut(v.Says, ": ")
		if ok && !strings.Contains(v.Says, " again: ") {
			said = append(said, entries)
		}
	}
	for _, e := range o.Timeline {
		want = append(want, strings.TrimSuffix(e.Type+": "+e.Detail, ": "))
	}
	if got, want := strings.Join(said, "; "), strings.Join(want, "; "); got != want {
		s.t.Errorf("%s: versions say\n%s\nits timeline\n%s", o.OrderID, got, want)
	}
	history, err := s.History(s.t.Context(), o.OrderID)
	must(s.t, err)
	var entries []schemas.TimelineEntry
	for i, v := range history {
		entries = append(entries, v.Entries...)
		if v.Missing != 0 || v.Cause == nil || i > 0 && v.Version > history[i-1].Version && len(v.Changes)+len(v.Entries) == 0 {
			s.t.Errorf("%s: version %d: missing %d, cause %v, changes %q", o.OrderID, v.Version, v.Missing, v.Cause, v.Changes)
		}
	}
	if last := history[len(history)-1]; !slices.Equal(entries, o.Timeline) || last.Version != o.Version || last.State != o.State {
		s.t.Errorf("%s: history ends with version %d, %s, and has %d of %d entries", o.OrderID, last.Version, last.State, len(entries), len(o.Timeline))
	}
}

// What retention has taken is said where it is named, and listed.
func TestGone(t *testing.T) {
	s := open(t, nil)
	s.order("ord_1")
	cl, err := kgo.NewClient(s.ClientOpts()...)
	must(t, err)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ends, err := adm.ListEndOffsets(t.Context(), on(topics.OrderCommands), on(topics.InventoryTasks))
	must(t, err)
	_, err = adm.DeleteRecords(t.Context(), ends.Offsets())
	must(t, err)

	c, all := s.chain("ord_1")
	gone := map[string]string{}
	for _, r := range all {
		if r.Gone != "" {
			gone[r.Topic] += r.Gone
			if r.Depth != 0 || len(r.Caused) == 0 {
				t.Errorf("%s at depth %d, with %d below it", r.Place, r.Depth, len(r.Caused))
			}
		}
	}
	for _, topic := range []string{on(topics.OrderCommands), on(topics.InventoryTasks)} {
		if !strings.HasPrefix(gone[topic], "no longer on the log, which begins at ") {
			t.Errorf("on %s is gone: %q", topic, gone[topic])
		}
	}
	want := []string{"the command that placed it, which stood on shop.order-commands", "the task to reserve line 1, which stood on shop.inventory-tasks"}
	if len(gone) != 2 || !slices.Equal(c.Missing, want) {
		t.Errorf("gone %v, missing %q, want %q", gone, c.Missing, want)
	}
}

// Compaction leaves the last version only, which is younger than what the first one
// has caused.
func TestOlderThanItsVersions(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics.OrderTable, topics.InventoryTasks))
	must(t, err)
	defer c.Close()
	opts := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	cl, err := kgo.NewClient(opts...)
	must(t, err)
	defer cl.Close()
	serde, now := schemas.NewLocalSerde(), time.Now()
	for _, placed := range []time.Time{now.Add(-20 * 24 * time.Hour), time.UnixMilli(-1)} {
		id := "ord_" + placed.Format("2006")
		put := func(topic, key string, at time.Time, body any) {
			t.Helper()
			value, err := serde.Encode(nil, topic, body)
			must(t, err)
			must(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: value, Timestamp: at,
				Headers: event.Append(nil, "", "", flow.Message{ID: "evt_" + topic, Type: schemas.TypeOf(body), Correlation: id})}).FirstErr())
		}
		put(topics.InventoryTasks, "sku_1", now.Add(-19*24*time.Hour), &schemas.ReserveStock{OrderID: id, SKU: "sku_1"})
		put(topics.OrderTable, id, now, &schemas.Order{OrderID: id, Version: 5, State: schemas.Placed, PlacedAt: placed.UnixMilli(), CustomerID: "cus_1",
			Lines: []schemas.Line{{SKU: "sku_1", Stock: schemas.Asked}}})
		r, err := why.New(t.Context(), why.Config{Opts: opts, Serde: serde})
		must(t, err)
		defer r.Close()
		chain, err := r.Why(t.Context(), id)
		must(t, err)
		if len(chain.Tops) != 2 || chain.Tops[0].Type != schemas.InventoryStockReserve ||
			!slices.Equal(chain.Missing, []string{"versions 1 to 4 of it, which stood on order-table: compacted", "the command that placed it, which stood on order-commands"}) {
			t.Errorf("placed %v: %d at the top, missing %q", placed, len(chain.Tops), chain.Missing)
		}
	}
}

func TestNoOrder(t *testing.T) {
	s := open(t, nil)
	if _, err := s.Why(t.Context(), "ord_none"); !errors.Is(err, client.ErrNoOrder) {
		t.Errorf("why: %v", err)
	}
	if _, err := s.History(t.Context(), "ord_none"); !errors.Is(err, client.ErrNoOrder) {
		t.Errorf("history: %v", err)
	}
}
