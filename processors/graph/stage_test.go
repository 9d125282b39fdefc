package graph

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// stage is one group without a log, a calendar, and a clock that the test moves.
// It is the context of the record at hand, too.
type stage struct {
	embedded
	t     *testing.T
	serde *schemas.Serde
	now   time.Time

	handle func(kgoka.Context, topics.Topic)
	back   func(kgoka.Context)

	rec      *kgo.Record
	offset   int64
	rows     map[string][]byte
	notes    map[string][]byte
	calendar map[string]*schemas.Parked // by key
	sent     map[string][]*kgo.Record   // by topic

	observed []string // what the observer was told is committed, in order
	timed    int      // how often it was told how long the rule took

	decided []string       // "type key" of what was decided, in order
	faulty  map[string]int // key -> how often deciding on it panics; < 0: always
}

func onStage[S any](t *testing.T, p flow.Processor[S]) *stage {
	s := &stage{t: t, serde: schemas.NewLocalSerde(), now: time.UnixMilli(1767225600000), rows: map[string][]byte{}, notes: map[string][]byte{},
		calendar: map[string]*schemas.Parked{}, sent: map[string][]*kgo.Record{}, faulty: map[string]int{}}
	h := newHandler(p, Env{Serde: s.serde, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return s.now }, Observer: watcher{s}, BeforeDecide: func(m flow.Message) {
		if n := s.faulty[m.Key]; n != 0 {
			s.faulty[m.Key]--
			panic("a bug in the rule")
		}
		s.decided = append(s.decided, m.Type+" "+m.Key)
	}})
	s.handle, s.back = h.handle, h.comeBack
	return s
}

func (s *stage) Context() context.Context { return s.t.Context() }
func (s *stage) Group() goka.Group        { return "g" }
func (s *stage) Record() *kgo.Record      { return s.rec }
func (s *stage) Row() []byte              { return s.rows[string(s.rec.Key)] }
func (s *stage) Note() []byte             { return s.notes[string(s.rec.Key)] }
func (s *stage) Fail(err error)           { s.t.Fatal(err) }

func (s *stage) OnCommit(f func()) { f() }
func (s *stage) Transaction() any  { return s.rec }

// ago is in whole minutes if it is long: when what was parked comes back depends on
// its key.
func ago(now time.Time, at int64) time.Duration {
	d := now.Sub(time.UnixMilli(at))
	if d > 2*time.Minute {
		d = d.Truncate(time.Minute)
	}
	return d
}

// watcher is the stage's observer.
type watcher struct{ *stage }

func (w watcher) Took(time.Duration, *kgo.Record) { w.timed++ }

func (w watcher) Decided(d *Decision) func() {
	text := fmt.Sprintf("%s: %s > %s", d.RowType, d.From, d.To)
	for _, o := range d.Outs {
		text += " " + o.Type
	}
	if at := d.MadeAt; at != 0 {
		text += fmt.Sprintf(", made %v ago", ago(w.now, at))
	}
	if at := d.EnteredAt; at != 0 {
		text += fmt.Sprintf(", entered %v ago", ago(w.now, at))
	}
	if d.To != "" && (d.Old == nil) != (d.From == "") || d.New == nil {
		w.t.Errorf("%s: row %v before, %v after", text, d.Old, d.New)
	}
	return func() { w.observed = append(w.observed, text) }
}

func (s *stage) SetRow(row []byte, _ []kgo.RecordHeader) { s.rows[string(s.rec.Key)] = row }
func (s *stage) SetNote(note []byte)                     { s.notes[string(s.rec.Key)] = note }

func (s *stage) EmitRecord(topic, key string, value []byte, hs []kgo.RecordHeader) {
	s.t.Helper()
	s.sent[topic] = append(s.sent[topic], &kgo.Record{Key: []byte(key), Value: value, Headers: slices.Clone(hs)})
	if topic != topics.Retry {
		return
	}
	due, _, ok := retry.ParseKey(key)
	switch {
	case !ok:
		s.t.Fatalf("an entry under %q", key)
	case value == nil:
		delete(s.calendar, key)
	default:
		p := new(schemas.Parked)
		if err := s.serde.DecodeInto(s.t.Context(), topics.Retry, value, p); err != nil || p.Due != due {
			s.t.Fatalf("entry %s: due %d, %v", key, p.Due, err)
		}
		s.calendar[key] = p
	}
}

// send hands over a record.
func (s *stage) send(topic, messageType string, body any) {
	s.t.Helper()
	v, err := s.serde.Encode(nil, topic, body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.raw(topic, messageType, schemas.KeyOf(body), v)
}

func (s *stage) raw(topic, messageType, key string, value []byte) {
	s.t.Helper()
	in, ok := topics.Find(topic)
	if !ok {
		s.t.Fatalf("no topic %s", topic)
	}
	s.offset++
	m := flow.Message{ID: fmt.Sprint("evt_", s.offset), Type: messageType, At: s.now.UnixMilli()}
	s.rec = &kgo.Record{Topic: topic, Partition: 2, Offset: s.offset, Timestamp: s.now, Key: []byte(key), Value: value, Headers: event.Append(nil, event.DefaultSource, event.Avro, m)}
	s.handle(s, in)
}

// dispatch brings back an entry of the calendar.
func (s *stage) dispatch(key string) {
	s.t.Helper()
	p := s.calendar[key]
	delete(s.calendar, key)
	k, v, hs := letter.Dispatch(p)
	s.offset++
	s.rec = &kgo.Record{Topic: p.To, Partition: 2, Offset: s.offset, Timestamp: s.now, Key: k, Value: v, Headers: hs}
	if in, ok := topics.Find(p.To); ok && len(in.Records) > 0 {
		s.handle(s, in)
		return
	}
	s.back(s)
}

// cancelEntry is what a person does to an entry of the calendar.
func (s *stage) cancelEntry(key string) {
	s.t.Helper()
	s.calendar[key].Cancel = "a mistake"
	s.dispatch(key)
}

// redrive brings back a dead letter.
func (s *stage) redrive(i int) {
	s.t.Helper()
	l := s.dead()[i].Redrive(fmt.Sprint("2/", i))
	s.offset++
	s.rec = &kgo.Record{Topic: topics.Loop(l.Group), Partition: 2, Offset: s.offset, Timestamp: s.now, Key: l.Key, Value: l.Value, Headers: l.Headers()}
	s.back(s)
}

// due lists the calendar's keys in their order.
func (s *stage) due() []string { return slices.Sorted(maps.Keys(s.calendar)) }

// pass lets time pass; what is due on the way comes back at its time.
func (s *stage) pass(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for keys := s.due(); len(keys) > 0; keys = s.due() {
		due, _, _ := retry.ParseKey(keys[0])
		at := time.UnixMilli(due)
		if at.After(end) {
			break
		}
		if at.After(s.now) {
			s.now = at
		}
		s.dispatch(keys[0])
	}
	s.now = end
}

func (s *stage) dead() (all []letter.Letter) {
	for _, r := range s.sent[topics.DeadLetter] {
		all = append(all, letter.Parse(r))
	}
	return all
}

// decides compares what was decided since it was last asked.
func (s *stage) decides(want ...string) {
	s.t.Helper()
	if !slices.Equal(s.decided, want) {
		s.t.Errorf("decided %q\nwant    %q", s.decided, want)
	}
	s.decided = nil
}

// parks checks what is in the calendar, as "to cause seq", in its order.
func (s *stage) parks(want ...string) {
	s.t.Helper()
	var got []string
	for _, k := range s.due() {
		p := s.calendar[k]
		got = append(got, fmt.Sprintf("%s %s %d", p.To, p.Cause, p.Seq))
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("parked %q\nwant   %q", got, want)
	}
}

// buries checks the dead letters, as "topic offset cause".
func (s *stage) buries(want ...string) {
	s.t.Helper()
	var got []string
	for _, l := range s.dead() {
		got = append(got, fmt.Sprintf("%s %d %s", l.Topic, l.Offset, l.Cause))
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("dead letters %q\nwant         %q", got, want)
	}
}

func (s *stage) order(id string) (o schemas.Order) {
	s.t.Helper()
	if row := s.rows[id]; row != nil {
		if err := s.serde.DecodeInto(s.t.Context(), topics.OrderTable, row, &o); err != nil {
			s.t.Fatal(err)
		}
	}
	return o
}

func (s *stage) receive(sku string) {
	s.t.Helper()
	s.send(topics.InventoryCommands, schemas.InventoryStockReceive, &schemas.ReceiveStock{SKU: sku, Quantity: 1})
}

func (s *stage) price(sku string) {
	s.t.Helper()
	s.send(topics.InventoryCommands, schemas.InventoryPriceSet, &schemas.SetPrice{SKU: sku, Price: 100, Currency: "EUR"})
}

func (s *stage) place(id string) {
	s.t.Helper()
	s.send(topics.OrderCommands, schemas.OrdersOrderPlace, &schemas.PlaceOrder{OrderID: id, CustomerID: "cus_1", Currency: "EUR",
		Lines: []schemas.PlaceLine{{SKU: "sku_1", Quantity: 1, UnitPrice: 100}}})
}

func (s *stage) cancel(id string) {
	s.t.Helper()
	s.send(topics.OrderCommands, schemas.OrdersOrderCancel, &schemas.CancelOrder{OrderID: id})
}

func (s *stage) grant(id string) {
	s.t.Helper()
	s.send(topics.OrderReplies, schemas.StockReservedEvent, &schemas.StockReserved{OrderID: id, SKU: "sku_1", UnitPrice: 100})
	s.send(topics.OrderReplies, schemas.CreditChargedEvent, &schemas.CreditCharged{OrderID: id, CustomerID: "cus_1", Amount: 119})
}

func (s *stage) invoice(id string) {
	s.t.Helper()
	s.send(topics.OrderReplies, schemas.InvoiceIssuedEvent, &schemas.InvoiceIssued{OrderID: id, Kind: schemas.KindInvoice, Number: "A-2026-000001"})
}

func reasons(o schemas.Order) string { return o.State + ": " + strings.Join(o.Reasons, ", ") }
