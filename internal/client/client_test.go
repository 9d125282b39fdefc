package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const partitions = 3

type world struct {
	t     *testing.T
	c     *kfake.Cluster
	opts  []kgo.Opt
	serde *schemas.Serde
	*client.Client
	adm *kadm.Client
}

func start(t *testing.T) world {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "ns.order-commands", "ns.order-table"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := world{t: t, c: c, opts: []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, serde: schemas.NewLocalSerde()}
	if w.Client, err = client.New(client.Config{Opts: w.opts, Serde: w.serde, Namespace: "ns", Source: "/test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	if w.adm, err = kadm.NewOptClient(w.opts...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.adm.Close)
	return w
}

func (w world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// begin opens a transaction with these orders on the order log.
func (w world) begin(txnID string, orders ...*schemas.Order) *kgo.Client {
	w.t.Helper()
	cl, err := kgo.NewClient(append(slices.Clone(w.opts), kgo.TransactionalID(txnID), kgo.DefaultProduceTopic("ns.order-table"))...)
	w.ok(err)
	w.t.Cleanup(cl.Close)
	w.ok(cl.BeginTransaction())
	for _, o := range orders {
		value, err := w.serde.Encode(nil, topics.OrderTable, o)
		w.ok(err)
		w.ok(cl.ProduceSync(w.t.Context(), &kgo.Record{Key: []byte(o.OrderID), Value: value}).FirstErr())
	}
	return cl
}

func (w world) commit(orders ...*schemas.Order) {
	w.t.Helper()
	w.ok(w.begin("committer", orders...).EndTransaction(w.t.Context(), kgo.TryCommit))
}

func order(id, state string, placed int64) *schemas.Order {
	return &schemas.Order{OrderID: id, State: state, PlacedAt: placed, CustomerID: "cus_" + id[len(id)-1:], Currency: "EUR"}
}

func TestCommandIsReadableByAnyone(t *testing.T) {
	w := start(t)
	m := flow.Message{ID: "evt_1", Type: schemas.OrdersOrderCancel, Topic: topics.OrderCommands, Key: "ord_1", At: 5, Correlation: "ord_1",
		Body: &schemas.CancelOrder{OrderID: "ord_1", Reason: "changed my mind"}}
	w.ok(w.Command(t.Context(), m))

	span, err := client.Whole(t.Context(), w.adm, "ns.order-commands")
	w.ok(err)
	var got []*kgo.Record
	w.ok(span.Read(t.Context(), w.opts, func(r *kgo.Record) (bool, error) { got = append(got, r); return true, nil }))
	if len(got) != 1 {
		t.Fatalf("%d records, want 1", len(got))
	}
	r := got[0]
	if p := client.PartitionOf("ord_1", partitions); r.Partition != p {
		t.Errorf("on partition %d, want %d", r.Partition, p)
	}
	if s := event.Header(r, event.Source); s != "/test" {
		t.Errorf("ce_source %q", s)
	}
	parsed := event.Parse(r)
	if parsed.ID != m.ID || parsed.Type != m.Type || parsed.At != m.At || parsed.Key != m.Key {
		t.Errorf("read back as %+v", parsed)
	}
	body, err := w.serde.Decode(t.Context(), topics.OrderCommands, r.Value)
	w.ok(err)
	if *body.(*schemas.CancelOrder) != *m.Body.(*schemas.CancelOrder) {
		t.Errorf("body %+v", body)
	}
}

// What every other client computes: murmur2 & 0x7fffffff, modulo.
func TestPartitionOf(t *testing.T) {
	// Hashes as in Apache Kafka's UtilsTest, made positive.
	for key, hash := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107} {
		hash &= 0x7fffffff
		if got := client.PartitionOf(key, 1000); got != hash%1000 {
			t.Errorf("%q is on %d of 1000, want %d", key, got, hash%1000)
		}
	}
}

func TestErrors(t *testing.T) {
	w := start(t)
	err := w.Command(t.Context(), flow.Message{ID: "e", Topic: topics.CreditCommands, Key: "cus_1", Type: schemas.CreditLimitSet,
		Body: &schemas.SetLimit{CustomerID: "cus_1", Limit: 1, Currency: "EUR"}})
	if !errors.Is(err, client.ErrNoTopic) {
		t.Errorf("a topic that is not there: %v", err)
	}
	err = w.Command(t.Context(), flow.Message{ID: "e", Topic: topics.OrderCommands, Key: "cus_1", Body: &schemas.SetLimit{}})
	if !errors.Is(err, schemas.ErrNotAllowed) {
		t.Errorf("a body that does not belong there: %v", err)
	}
	if _, err := w.GetOrder(t.Context(), "ord_none"); !errors.Is(err, client.ErrNoOrder) {
		t.Errorf("an order that is not there: %v", err)
	}
	if _, err := client.Whole(t.Context(), w.adm, "nowhere"); !errors.Is(err, client.ErrNoTopic) {
		t.Errorf("offsets of a topic that is not there: %v", err)
	}
}

func TestGetOrderSeesWhatIsCommitted(t *testing.T) {
	w := start(t)
	get := func(id string) string {
		t.Helper()
		o, err := w.GetOrder(t.Context(), id)
		w.ok(err)
		return o.State
	}
	w.commit(order("ord_1", schemas.Placed, 1), order("ord_2", schemas.Placed, 2))
	w.commit(order("ord_1", schemas.Approved, 1))
	if s := get("ord_1"); s != schemas.Approved {
		t.Errorf("ord_1 is %s, want its last version", s)
	}
	if s := get("ord_2"); s != schemas.Placed {
		t.Errorf("ord_2 is %s", s)
	}
	// The log now ends with what was taken back, then with what is undecided.
	w.ok(w.begin("aborter", order("ord_1", schemas.Cancelled, 1)).EndTransaction(t.Context(), kgo.TryAbort))
	if s := get("ord_1"); s != schemas.Approved {
		t.Errorf("ord_1 is %s after an aborted change", s)
	}
	undecided := w.begin("undecided", order("ord_1", schemas.Invoiced, 1))
	if s := get("ord_1"); s != schemas.Approved {
		t.Errorf("ord_1 is %s while the change is not committed", s)
	}
	w.ok(undecided.EndTransaction(t.Context(), kgo.TryCommit))
	if s := get("ord_1"); s != schemas.Invoiced {
		t.Errorf("ord_1 is %s after the commit", s)
	}
}

// A tombstone and an empty value are no order.
func TestNoRow(t *testing.T) {
	w := start(t)
	w.commit(order("ord_1", schemas.Placed, 1), order("ord_2", schemas.Placed, 1))
	cl, err := kgo.NewClient(append(slices.Clone(w.opts), kgo.DefaultProduceTopic("ns.order-table"))...)
	w.ok(err)
	defer cl.Close()
	w.ok(cl.ProduceSync(t.Context(), &kgo.Record{Key: []byte("ord_1")}, &kgo.Record{Key: []byte("ord_2"), Value: []byte{}}).FirstErr())
	for _, id := range []string{"ord_1", "ord_2"} {
		if _, err := w.GetOrder(t.Context(), id); !errors.Is(err, client.ErrNoOrder) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if orders, err := w.ListOrders(t.Context(), client.Filter{}); err != nil || len(orders) != 0 {
		t.Errorf("%v, %v", orders, err)
	}
	w.commit(order("ord_1", schemas.Approved, 1))
	var seen []string
	w.ok(w.WatchOrders(t.Context(), func(o *schemas.Order) bool {
		seen = append(seen, o.State)
		return len(seen) < 3
	}))
	slices.Sort(seen)
	if !slices.Equal(seen, []string{schemas.Approved, schemas.Placed, schemas.Placed}) {
		t.Errorf("watched %v", seen)
	}
}

func TestListOrders(t *testing.T) {
	w := start(t)
	w.commit(order("ord_1", schemas.Placed, 1), order("ord_2", schemas.Placed, 2), order("ord_3", schemas.Placed, 3))
	w.commit(order("ord_3", schemas.Rejected, 3))
	tests := []struct {
		name   string
		filter client.Filter
		want   []string
	}{
		{"all, the last placed first", client.Filter{}, []string{"ord_3", "ord_2", "ord_1"}},
		{"by state, of the last version", client.Filter{State: schemas.Placed}, []string{"ord_2", "ord_1"}},
		{"by customer", client.Filter{Customer: "cus_3"}, []string{"ord_3"}},
		{"both", client.Filter{Customer: "cus_3", State: schemas.Placed}, nil},
		{"the first two", client.Filter{Limit: 2}, []string{"ord_3", "ord_2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			orders, err := w.ListOrders(t.Context(), tt.filter)
			w.ok(err)
			var got []string
			for _, o := range orders {
				got = append(got, o.OrderID)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestWatchOrderSeesPastAndFuture(t *testing.T) {
	w := start(t)
	w.commit(order("ord_1", schemas.Placed, 1), order("ord_2", schemas.Placed, 1))
	seen := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		done <- w.WatchOrder(t.Context(), "ord_1", func(o *schemas.Order) bool {
			seen <- o.State
			return o.State != schemas.Invoiced
		})
	}()
	if s := <-seen; s != schemas.Placed {
		t.Fatalf("first saw %s", s)
	}
	w.commit(order("ord_2", schemas.Invoiced, 1), order("ord_1", schemas.Approved, 1), order("ord_1", schemas.Invoiced, 1))
	if a, b := <-seen, <-seen; a != schemas.Approved || b != schemas.Invoiced {
		t.Errorf("then saw %s and %s", a, b)
	}
	w.ok(<-done)
}

func TestWatchEndsWithItsContext(t *testing.T) {
	w := start(t)
	w.commit(order("ord_1", schemas.Placed, 1))
	ctx, cancel := context.WithCancel(t.Context())
	err := w.WatchOrders(ctx, func(*schemas.Order) bool { cancel(); return true })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSpanKeepsToItsBounds(t *testing.T) {
	w := start(t)
	for range 5 {
		w.commit(order("ord_1", schemas.Placed, 1)) // two offsets each: the record, the marker
	}
	p := client.PartitionOf("ord_1", partitions)
	read := func(s client.Span) (offsets []int64) {
		t.Helper()
		w.ok(s.Read(t.Context(), w.opts, func(r *kgo.Record) (bool, error) { offsets = append(offsets, r.Offset); return true, nil }))
		return offsets
	}
	whole, err := client.Whole(t.Context(), w.adm, "ns.order-table", p)
	w.ok(err)
	if got := read(whole); !slices.Equal(got, []int64{0, 2, 4, 6, 8}) {
		t.Errorf("the whole partition: %v", got)
	}
	whole.From[p], whole.To[p] = 2, 5
	if got := read(whole); !slices.Equal(got, []int64{2, 4}) {
		t.Errorf("from 2 to before 5: %v", got)
	}
	whole.From[p], whole.To[p] = 3, 4
	if got := read(whole); got != nil {
		t.Errorf("a marker alone: %v", got)
	}
	whole.From[p], whole.To[p] = 4, 4
	if got := read(whole); got != nil {
		t.Errorf("an empty span: %v", got)
	}
	at, err := client.At(t.Context(), w.adm, "ns.order-table", time.Now().Add(time.Hour))
	w.ok(err)
	if at[p] != 10 {
		t.Errorf("the offset of a time to come is %d, want the end, 10", at[p])
	}
}

// What a group has not committed for counts from the start, and markers never.
func TestUnread(t *testing.T) {
	w := start(t)
	unread := func(also ...string) int64 {
		t.Helper()
		n, err := client.Unread(t.Context(), w.opts, w.adm, "g", also...)
		w.ok(err)
		return n
	}
	for _, id := range []string{"ord_1", "ord_2", "ord_3", "ord_4", "ord_5", "ord_6"} { // on all partitions
		w.commit(order(id, schemas.Placed, 1))
	}
	if n := unread(); n != 0 {
		t.Errorf("%d records of no topic", n)
	}
	if n := unread("ns.order-table"); n != 6 {
		t.Errorf("%d unread before the first commit, want 6", n)
	}
	p := client.PartitionOf("ord_1", partitions)
	ends, err := client.Ends(t.Context(), w.adm, "ns.order-table")
	w.ok(err)
	var at kadm.Offsets
	at.AddOffset("ns.order-table", p, ends[p]-1, -1) // only the last marker is left there
	w.ok(w.adm.CommitAllOffsets(t.Context(), "g", at))
	there := ends[p] / 2 // each record has a marker
	if there == 0 || there == 6 {
		t.Fatal("all keys on one partition: the test says nothing")
	}
	if n := unread(); n != 6-there {
		t.Errorf("%d unread with one partition read, want %d", n, 6-there)
	}
}
