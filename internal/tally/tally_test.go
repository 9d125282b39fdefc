package tally

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/metric"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// told is what a Tally tells, by name and label values: of a counter its value, of a
// histogram "count/sum".
func told(t *testing.T, c *Tally) map[string]string {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	if bad, err := testutil.GatherAndLint(reg); err != nil || len(bad) > 0 {
		t.Errorf("%v, %v", bad, err)
	}
	fs, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range fs {
		for _, m := range f.GetMetric() {
			key := strings.TrimPrefix(f.GetName(), "orderlog_")
			for _, l := range m.GetLabel() {
				key += " " + l.GetName() + "=" + l.GetValue()
			}
			switch h := m.GetHistogram(); {
			case h == nil && m.GetCounter().GetValue() != 0:
				got[key] = fmt.Sprint(m.GetCounter().GetValue())
			case h.GetSampleCount() != 0:
				got[key] = fmt.Sprintf("%d/%g", h.GetSampleCount(), h.GetSampleSum())
				if len(h.GetBucket()) == 0 || h.Schema == nil {
					t.Errorf("%s: %d classic buckets, native %t", key, len(h.GetBucket()), h.Schema != nil)
				}
			}
		}
	}
	return got
}

// shop plays the rule of orders, and hands what it decides to a Tally, as a graph does.
type shop struct {
	t    *testing.T
	now  time.Time
	rule flow.Processor[schemas.Order]
	p    *Processor
	rows map[string]schemas.Order
	made map[string]int64
	in   map[string]int64
	tx   int
}

func (s *shop) send(key string, body any, headers ...kgo.RecordHeader) (commit func()) {
	m := flow.Message{ID: "evt_1", Key: key, At: time.Date(2014, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), Body: body}
	row, there := s.rows[key]
	next, outs := s.rule.Decide(row, m)
	rec := &kgo.Record{Timestamp: s.now, Headers: headers}
	if !there {
		s.made[key] = s.now.UnixMilli()
	}
	s.tx++
	d := &graph.Decision{Transaction: s.tx, Record: rec, New: &next, Outs: outs, From: row.State, To: next.State, MadeAt: s.made[key], EnteredAt: s.in[key]}
	if there {
		d.Old = &row
	}
	if len(next.Timeline) > len(row.Timeline) {
		d.RowType = s.rule.RowType(next)
		s.rows[key] = next
	}
	if row.State != next.State {
		s.in[key] = s.now.UnixMilli()
	}
	return s.p.Decided(d)
}

func (s *shop) commit(key string, body any, headers ...kgo.RecordHeader) {
	if f := s.send(key, body, headers...); f != nil {
		f()
	}
}

func (s *shop) place(id string, lines ...schemas.PlaceLine) {
	s.commit(id, &schemas.PlaceOrder{OrderID: id, CustomerID: "cus_1", Currency: "EUR", Lines: lines})
}

func TestOrders(t *testing.T) {
	s := &shop{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rule: order.New(order.Config{}), rows: map[string]schemas.Order{}, made: map[string]int64{}, in: map[string]int64{}}
	c := New(func() time.Time { return s.now })
	s.p = c.Processor("order")
	line := schemas.PlaceLine{SKU: "sku_1", Quantity: 2, UnitPrice: 1000}
	const ID = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent := func(flags string) kgo.RecordHeader {
		return kgo.RecordHeader{Key: "traceparent", Value: []byte("00-" + ID + "-00f067aa0ba902b7-" + flags)}
	}

	s.place("ord_1", line)
	s.now = s.now.Add(500 * time.Millisecond)
	s.commit("ord_1", &schemas.StockReserved{OrderID: "ord_1", SKU: "sku_1", UnitPrice: 1000})
	s.commit("ord_1", &schemas.CreditCharged{OrderID: "ord_1", Amount: 2380})
	s.send("ord_1", &schemas.DeliverOrder{OrderID: "ord_1"}) // and is aborted
	s.now = s.now.Add(250 * time.Millisecond)
	s.commit("ord_1", &schemas.InvoiceIssued{OrderID: "ord_1", Kind: schemas.KindInvoice}, parent("01"))
	s.now = s.now.Add(time.Hour)
	s.commit("ord_1", &schemas.DeliverOrder{OrderID: "ord_1"}, parent("00"))
	s.commit("ord_1", &schemas.DeliverOrder{OrderID: "ord_1"}) // changes nothing

	s.place("ord_2", line)
	s.now = s.now.Add(time.Second)
	s.commit("ord_2", &schemas.StockRefused{OrderID: "ord_2", SKU: "sku_1", Reason: "out_of_stock", Detail: "wanted 2"})
	s.place("ord_3")
	s.place("ord_4", line)
	s.commit("ord_4", &schemas.CancelOrder{OrderID: "ord_4", Reason: "ord_4 of cus_1: I do not want it"})
	s.place("ord_5", line)
	s.commit("ord_5", &schemas.ExpireOrder{OrderID: "ord_5", State: schemas.Placed, Version: s.rows["ord_5"].EnteredBy})
	s.place("ord_6", line)
	s.commit("ord_6", &schemas.CreditRefused{OrderID: "ord_6", Reason: "because of cus_6"})
	s.commit("ord_7", &schemas.DeliverOrder{OrderID: "ord_7"}) // there is no such order

	want := map[string]string{
		"order_transitions_total from=new reason= to=placed":                  "6",
		"order_transitions_total from=placed reason= to=approved":             "1",
		"order_transitions_total from=approved reason= to=invoiced":           "1",
		"order_transitions_total from=invoiced reason= to=delivered":          "1",
		"order_transitions_total from=placed reason=out_of_stock to=rejected": "1",
		"order_transitions_total from=placed reason=no_lines to=rejected":     "1",
		"order_transitions_total from=placed reason=cancelled to=cancelled":   "1",
		"order_transitions_total from=placed reason=unanswered to=expired":    "1",
		"order_transitions_total from=placed reason=other to=rejected":        "1",
		"order_value_total currency=EUR state=approved":                       "23.8",
		"order_value_total currency=EUR state=invoiced":                       "23.8",
		"order_value_total currency=EUR state=delivered":                      "23.8",
		"order_state_duration_seconds state=placed":                           "6/1.5",
		"order_state_duration_seconds state=approved":                         "1/0.25",
		"order_state_duration_seconds state=invoiced":                         "1/3600",
		"order_invoice_duration_seconds":                                      "1/0.75",
		"events_total processor=order type=order.placed":                      "5",
		"events_total processor=order type=stock.reserved":                    "1",
		"events_total processor=order type=order.approved":                    "1",
		"events_total processor=order type=order.invoiced":                    "1",
		"events_total processor=order type=order.delivered":                   "1",
		"events_total processor=order type=order.rejected":                    "3",
		"events_total processor=order type=order.cancelled":                   "1",
		"events_total processor=order type=order.expired":                     "1",
		"events_total processor=order type=inventory.stock.reserve":           "5",
		"events_total processor=order type=credit.account.charge":             "5",
		"events_total processor=order type=invoicing.invoice.issue":           "1",
		"events_total processor=order type=" + flow.RefusalType:               "1",
	}
	if got := told(t, c); !maps.Equal(got, want) {
		for k := range want {
			if got[k] != want[k] {
				t.Errorf("%s: %q, want %q", k, got[k], want[k])
			}
			delete(got, k)
		}
		t.Errorf("besides: %v", got)
	}
	if got := exemplars(t, c.invoiced.WithLabelValues()); len(got) != 1 || got[0] != ID {
		t.Errorf("exemplars of invoiced orders: %q", got)
	}
	if got := exemplars(t, c.lasted.WithLabelValues(schemas.Invoiced)); len(got) != 0 {
		t.Errorf("exemplars of a trace that nobody recorded: %q", got)
	}
}

// exemplars are the traces that a histogram has examples of.
func exemplars(t *testing.T, o prometheus.Observer) (traces []string) {
	t.Helper()
	var m dto.Metric
	if err := o.(prometheus.Metric).Write(&m); err != nil {
		t.Fatal(err)
	}
	for _, b := range m.GetHistogram().GetBucket() {
		for _, l := range b.GetExemplar().GetLabel() {
			if l.GetName() != metric.TraceID {
				t.Errorf("label %v", l)
			}
			traces = append(traces, l.GetValue())
		}
	}
	return traces
}

func TestTransactions(t *testing.T) {
	c := New(nil)
	p := c.Processor("credit")
	p.Transaction(kgoka.Transaction{Took: time.Second, In: 4})
	p.Transaction(kgoka.Transaction{Took: time.Hour, In: 1, Err: errors.New("aborted")})
	p.Took(time.Millisecond, new(kgo.Record))
	want := map[string]string{"transaction_duration_seconds processor=credit": "1/1", "transaction_records processor=credit": "1/4",
		"decide_duration_seconds processor=credit": "1/0.001"}
	if got := told(t, c); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Whatever stands in orders, labels are few.
func TestLabelsAreFew(t *testing.T) {
	c := New(nil)
	p := c.Processor("order")
	for i := range 1000 {
		o := schemas.Order{State: schemas.Rejected, Currency: fmt.Sprintf("%c%c%c", 'A'+i%26, 'A'+i/26%26, 'A'), Reasons: []string{fmt.Sprintf("code_%d: x", i)},
			Timeline: []schemas.TimelineEntry{{Type: schemas.OrderPlaced}, {Type: schemas.OrderRefused}, {Type: schemas.OrderRejected}}}
		p.Decided(&graph.Decision{Transaction: i, Record: new(kgo.Record), New: &o, To: o.State, RowType: schemas.OrderRejected})()
	}
	for i := range 1000 {
		o := schemas.Order{State: schemas.Rejected, Currency: fmt.Sprint("none ", i), Timeline: []schemas.TimelineEntry{{Type: schemas.OrderPlaced}, {Type: schemas.OrderRejected}}}
		p.Decided(&graph.Decision{Transaction: -i - 1, Record: new(kgo.Record), New: &o, To: o.State, RowType: schemas.OrderRejected})()
	}
	if n := len(p.sheet(0).ways); n > 2*(maxCurrencies+1) {
		t.Errorf("%d ways are remembered", n)
	}
	if n := testutil.CollectAndCount(c.transitions); n != 5 { // with those that begin at 0
		t.Errorf("%d kinds of transitions", n)
	}
	if n := testutil.CollectAndCount(c.value); n != 2*(maxCurrencies+1) {
		t.Errorf("%d values", n)
	}
}

// Of other processors it is counted what they write, too.
func TestOtherRows(t *testing.T) {
	c := New(nil)
	p := c.Processor("voucher")
	if f := p.Decided(&graph.Decision{New: new(schemas.Grants)}); f != nil {
		t.Error("nothing was written, and something is to be counted")
	}
	p.Decided(&graph.Decision{Transaction: 1, New: new(schemas.Grants), RowType: schemas.GrantsChanged,
		Outs: []flow.Message{{Topic: topics.Vouchers, Type: schemas.VoucherGrantedEvent}}})()
	want := map[string]string{"events_total processor=voucher type=" + schemas.GrantsChanged: "1", "events_total processor=voucher type=" + schemas.VoucherGrantedEvent: "1"}
	if got := told(t, c); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Of a transaction the first record has all counted; one that is aborted counts nothing,
// whoever comes after it.
func TestTransactionIsCountedOnce(t *testing.T) {
	c := New(nil)
	p := c.Processor("voucher")
	decide := func(transaction string, partition int32) func() {
		return p.Decided(&graph.Decision{Transaction: transaction, Partition: partition, New: new(schemas.Grants), RowType: schemas.GrantsChanged})
	}
	begun := decide("aborted", 0)
	if begun == nil || decide("aborted", 0) != nil {
		t.Error("a transaction is to be counted more than once")
	}
	one := decide("committed", 0)
	for range 3 {
		if decide("committed", 0) != nil {
			t.Error("a transaction is to be counted more than once")
		}
	}
	other := decide("committed", 1)
	one()
	other()
	decide("next", 1)()
	want := map[string]string{"events_total processor=voucher type=" + schemas.GrantsChanged: "6"}
	if got := told(t, c); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
