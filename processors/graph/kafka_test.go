package graph_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// shop is the order group on a broker. The test is its customers, the groups that
// answer, and the calendar.
type shop struct {
	t     *testing.T
	opts  []kgo.Opt
	cl    *kgo.Client // places records where they say
	serde *schemas.Serde
	stop  func()
	sent  int

	mu      sync.Mutex
	faulty  map[string]bool // keys on which the rule panics
	decided []string        // "type key", in order

	read map[int32]int64 // of the topic retry, by the calendar
}

const (
	partitions = 2
	namespace  = "test"
)

func full(topic string) string { return topics.Prefixed(namespace, topic) }

func open(t *testing.T) *shop {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second))
	must(t, err)
	t.Cleanup(c.Close)
	s := &shop{t: t, serde: schemas.NewLocalSerde(), faulty: map[string]bool{}, read: map[int32]int64{}}
	s.opts = []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.MetadataMinAge(10 * time.Millisecond)}
	s.cl, err = kgo.NewClient(append(slices.Clone(s.opts), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(t, err)
	t.Cleanup(s.cl.Close)
	changes, err := topicplan.Plan(t.Context(), s.admin(), namespace, partitions, 1)
	must(t, err)
	must(t, topicplan.Apply(t.Context(), s.admin(), changes))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *shop) admin() *kadm.Client { return kadm.NewClient(s.cl) }

// start runs the group until stop, or the end of the test.
func (s *shop) start() {
	s.t.Helper()
	log := slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	env := graph.Env{Namespace: namespace, Partitions: partitions, Serde: s.serde, Log: log, BeforeDecide: func(m flow.Message) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.faulty[m.Key] {
			panic("a bug in the rule")
		}
		s.decided = append(s.decided, m.Type+" "+m.Key)
	}}
	p, err := kgoka.NewProcessor(kgoka.Config{Brokers: s.cl.OptValue(kgo.SeedBrokers).([]string), Instance: "0", Origins: true, SamePartition: []string{full(topics.Retry)}, Log: log,
		SessionTimeout: time.Second, TransactionTimeout: 5 * time.Second}, graph.Of(order.New(order.Config{})).Graph(env))
	must(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(s.stop)
	wait, end := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer end()
	must(s.t, p.WaitReady(wait))
}

func (s *shop) fault(key string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faulty[key] = on
}

// send produces a record and waits until it is handled. Those with an origin are
// answers of a group; the same origin is the same record.
func (s *shop) send(topic string, origin int64, bodies ...any) {
	s.t.Helper()
	for _, body := range bodies {
		s.sent++
		m := flow.Message{ID: fmt.Sprint("evt_", s.sent), Type: schemas.TypeOf(body), At: time.Now().UnixMilli()}
		v, err := s.serde.Encode(nil, topic, body)
		must(s.t, err)
		key := schemas.KeyOf(body)
		r := &kgo.Record{Topic: full(topic), Partition: kgoka.Partition(key, partitions), Key: []byte(key), Value: v, Headers: event.Append(nil, event.DefaultSource, event.Avro, m)}
		if origin > 0 {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: kgoka.OriginHeader, Value: kgoka.Origin{TopicID: [16]byte{1}, Offset: origin}.Append(nil)})
			origin++
		}
		must(s.t, s.cl.ProduceSync(s.t.Context(), r).FirstErr())
	}
	s.caughtUp()
}

func (s *shop) caughtUp() {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left, err := client.Unread(s.t.Context(), s.opts, s.admin(), full("order"), full(topics.OrderCommands), full(topics.OrderReplies), full(topics.OrderLoop))
		must(s.t, err)
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d records are not handled", left)
		}
	}
}

// calendar returns what has come to the topic retry since it was last called and
// is not taken back, in the order of the keys, as what is to be dispatched.
func (s *shop) calendar() (due []*kgo.Record) {
	s.t.Helper()
	entries := map[string]*kgo.Record{}
	must(s.t, content.EachRecord(s.t.Context(), s.opts, full(topics.Retry), func(r *kgo.Record) error {
		if r.Offset < s.read[r.Partition] {
			return nil
		}
		s.read[r.Partition] = r.Offset + 1
		delete(entries, string(r.Key))
		if r.Value == nil {
			return nil
		}
		var p schemas.Parked
		if err := s.serde.DecodeInto(s.t.Context(), topics.Retry, r.Value, &p); err != nil || p.Topic == "" {
			return err // a deadline is far away
		}
		key, value, headers := letter.Dispatch(&p)
		entries[string(r.Key)] = &kgo.Record{Topic: full(p.To), Partition: r.Partition, Key: key, Value: value, Headers: headers}
		return nil
	}))
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		due = append(due, entries[key])
	}
	return due
}

func (s *shop) dispatch(due ...*kgo.Record) {
	s.t.Helper()
	for _, r := range due {
		again := *r
		must(s.t, s.cl.ProduceSync(s.t.Context(), &again).FirstErr())
	}
	s.caughtUp()
}

// back sets the group's offsets to the start.
func (s *shop) back() {
	s.t.Helper()
	s.stop()
	at, err := s.admin().FetchOffsets(s.t.Context(), full("order"))
	must(s.t, err)
	var zero kadm.Offsets
	at.Each(func(o kadm.OffsetResponse) { zero.AddOffset(o.Topic, o.Partition, 0, -1) })
	must(s.t, s.admin().CommitAllOffsets(s.t.Context(), full("order"), zero))
	s.start()
	s.caughtUp()
}

// written counts what the group has written.
func (s *shop) written() map[string]int {
	s.t.Helper()
	n := map[string]int{}
	for _, topic := range []string{topics.OrderTable, topics.Retry, topics.DeadLetter, topics.InventoryTasks, topics.CreditTasks, topics.InvoicingTasks} {
		must(s.t, content.EachRecord(s.t.Context(), s.opts, full(topic), func(*kgo.Record) error { n[topic]++; return nil }))
	}
	return n
}

// unchanged tells that something has had no consequence.
func (s *shop) unchanged(what string, do func()) {
	s.t.Helper()
	before := s.written()
	do()
	s.decides(what)
	if after := s.written(); !maps.Equal(before, after) {
		s.t.Errorf("%s: records %v became %v", what, before, after)
	}
}

func (s *shop) decides(when string, want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.decided, want) {
		s.t.Errorf("%s: decided %q\nwant %q", when, s.decided, want)
	}
	s.decided = nil
}

func (s *shop) order(id string) string {
	s.t.Helper()
	c, err := content.Read(s.t.Context(), s.opts, s.serde, namespace)
	must(s.t, err)
	_, state, _ := strings.Cut(c[topics.OrderTable][id], `"state":"`)
	state, _, _ = strings.Cut(state, `"`)
	return state
}

func placement(id string) any {
	return &schemas.PlaceOrder{OrderID: id, CustomerID: "cus_1", Currency: "EUR", Lines: []schemas.PlaceLine{{SKU: "sku_1", Quantity: 1, UnitPrice: 100}}}
}

// What fails waits with all that follows it, whatever comes twice meanwhile, and
// comes back in its order; other keys flow.
func TestParkingOnALog(t *testing.T) {
	const (
		place    = schemas.OrdersOrderPlace
		reserved = schemas.StockReservedEvent
		charged  = schemas.CreditChargedEvent
	)
	s := open(t)
	s.start()
	s.send(topics.OrderCommands, 0, placement("ord_bad"), placement("ord_good"))
	s.decides("placed", place+" ord_bad", place+" ord_good")

	s.fault("ord_bad", true)
	stock := &schemas.StockReserved{OrderID: "ord_bad", SKU: "sku_1", UnitPrice: 100}
	credit := &schemas.CreditCharged{OrderID: "ord_bad", CustomerID: "cus_1", Amount: 119}
	s.send(topics.OrderReplies, 100, stock, credit)
	s.send(topics.OrderCommands, 0, placement("ord_bad")) // once more, of its own
	good := *stock
	good.OrderID = "ord_good"
	s.send(topics.OrderReplies, 200, &good)
	s.decides("parked", reserved+" ord_good")
	if n := s.written()[topics.Retry]; n != 2+3 {
		t.Fatalf("%d records for the calendar, want two deadlines and three that are parked", n)
	}
	s.unchanged("the same answers again", func() { s.send(topics.OrderReplies, 100, stock, credit) })
	s.unchanged("offsets back to the start", s.back)

	due := s.calendar()
	s.dispatch(due...) // in vain
	s.decides("still a bug")
	again := s.calendar()
	if len(due) != 3 || len(again) != 3 {
		t.Fatalf("%d, then %d are parked", len(due), len(again))
	}

	s.fault("ord_bad", false)
	s.dispatch(again[1], again[0]) // the second one before its turn
	s.decides("out of turn", reserved+" ord_bad")
	rest := s.calendar()
	s.dispatch(append(slices.Clone(again[2:]), rest...)...)
	s.dispatch(s.calendar()...)
	s.decides("all", charged+" ord_bad", place+" ord_bad")
	if got := s.order("ord_bad"); got != schemas.Approved {
		t.Errorf("the order is %s", got)
	}
	s.unchanged("all dispatched again", func() { s.dispatch(slices.Concat(due, again, rest)...) })
	s.unchanged("offsets back to the start, at the end", s.back)
	s.unchanged("the same answers at the end", func() { s.send(topics.OrderReplies, 100, stock, credit) })
	if n := s.written()[topics.DeadLetter]; n > 0 {
		t.Errorf("%d dead letters", n)
	}
	s.send(topics.OrderReplies, 102, &schemas.InvoiceIssued{OrderID: "ord_bad", Kind: schemas.KindInvoice, Number: "A-2026-000001"})
	if got := s.order("ord_bad"); got != schemas.Invoiced {
		t.Errorf("the order is %s", got)
	}
}

// A placement that is cancelled while it is parked does nothing when it comes back,
// and says so.
func TestCancelOfAParkedPlacementOnALog(t *testing.T) {
	s := open(t)
	s.start()
	s.fault("ord_bad", true)
	s.send(topics.OrderCommands, 0, placement("ord_bad"))
	s.send(topics.OrderCommands, 0, &schemas.CancelOrder{OrderID: "ord_bad"})
	s.fault("ord_bad", false)
	s.unchanged("offsets back to the start", s.back)
	due := s.calendar()
	if len(due) != 1 {
		t.Fatalf("%d are parked", len(due))
	}
	s.dispatch(due...)
	s.decides("dispatched")
	if got := s.order("ord_bad"); got != "" {
		t.Errorf("the order is %s", got)
	}
	var dead []string
	must(t, content.EachRecord(t.Context(), s.opts, full(topics.DeadLetter), func(r *kgo.Record) error {
		l := letter.Parse(r)
		dead = append(dead, fmt.Sprintf("%s %d %s", event.Header(r, event.Type), l.Offset, l.Cause))
		return nil
	}))
	if want := []string{"orders.order.cancel 1 cancelled", "orders.order.place 0 cancelled"}; !slices.Equal(dead, want) {
		t.Errorf("dead letters %q, want %q", dead, want)
	}
	s.unchanged("dispatched again", func() { s.dispatch(due...) })
	s.unchanged("offsets back to the start, at the end", s.back)
	s.send(topics.OrderCommands, 0, placement("ord_bad"))
	if got := s.order("ord_bad"); got != schemas.Placed {
		t.Errorf("placed again, the order is %q", got)
	}
}

// A key so large that the broker would take neither a dead letter nor a row with it
// does not stand in the way of others.
func TestHugeKeyOnALog(t *testing.T) {
	s := open(t)
	s.start()
	cl, err := kgo.NewClient(append(slices.Clone(s.opts), kgo.ProducerBatchMaxBytes(1_048_000))...)
	must(t, err)
	defer cl.Close()
	must(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: full(topics.OrderCommands), Key: bytes.Repeat([]byte("k"), 1_040_000), Value: []byte("x")}).FirstErr())
	s.send(topics.OrderCommands, 0, placement("ord_1"), placement("ord_2"), placement("ord_3"))
	if n := s.written()[topics.DeadLetter]; n != 1 {
		t.Errorf("%d dead letters", n)
	}
	for _, id := range []string{"ord_1", "ord_2", "ord_3"} {
		if got := s.order(id); got != schemas.Placed {
			t.Errorf("%s is %q", id, got)
		}
	}
}
