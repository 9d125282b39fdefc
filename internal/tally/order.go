package tally

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderlog/orderlog/internal/metric"
	"github.com/orderlog/orderlog/processors/credit"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
)

// orders are the figures of orders. All are counted where the processor order runs:
// the sum is of all instances.
type orders struct {
	transitions *prometheus.CounterVec   // by from, to and reason
	value       *prometheus.CounterVec   // by state and currency
	lasted      *prometheus.HistogramVec // by state
	invoiced    *prometheus.HistogramVec

	mu         *sync.Mutex
	currencies map[string]bool // that are labels
}

func newOrders() orders {
	return orders{
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orderlog_order_transitions_total",
			Help: "Orders that have gone from one state to another, and the code of the reason if there is one. From new: they were placed."}, []string{"from", "to", "reason"}),
		value: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orderlog_order_value_total",
			Help: "Value of the orders that have entered a state, with VAT, in whole units of the currency. An order has none until all of its lines have prices."}, []string{"state", "currency"}),
		lasted: metric.Histogram(prometheus.HistogramOpts{Name: "orderlog_order_state_duration_seconds",
			Help:    "How long orders were in a state that they have left, by the processor's clock.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 30, 300, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600}}, "state"),
		invoiced: metric.Histogram(prometheus.HistogramOpts{Name: "orderlog_order_invoice_duration_seconds",
			Help:    "Time from the timestamp of the record that placed an order until the order is invoiced and that is committed.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600}}),
		mu: new(sync.Mutex), currencies: map[string]bool{},
	}
}

// begin has the figures begin at 0 that every shop has: what comes to be with its first
// count has no rate until the second.
func (os *orders) begin() {
	os.invoiced.WithLabelValues()
	from := fresh
	for _, to := range []string{schemas.Placed, schemas.Approved, schemas.Invoiced, schemas.Delivered} {
		os.transitions.WithLabelValues(from, to, "")
		if from != fresh {
			os.lasted.WithLabelValues(from)
		}
		from = to
	}
}

// way is a change of state that orders take. As a key it has labels, of which there are few.
type way struct{ from, to, reason, currency string }

// counters are what a way is counted in: to look them up by their labels takes longer
// than to count.
type counters struct {
	transitions, value prometheus.Counter
	lasted             prometheus.Observer // nil: nothing has lasted
	invoiced           prometheus.Observer // nil: it does not lead there
}

// move is a change of an order's state.
type move struct {
	way
	value   int64 // minor units
	entered int64 // when it entered from, Unix ms; 0: not known, or it was in none
	passing bool  // it entered and left from by one record
	made    int64 // timestamp of the record that placed it, Unix ms; 0: not known
	trace   string
}

// fresh is what an order comes from that is new.
const fresh = "new"

// appendMoves adds the states that an order has entered since old, which is nil of a
// new one.
func appendMoves(ms []move, old, o *schemas.Order, d *graph.Decision, trace string) []move {
	m, known := move{way: way{from: fresh, currency: o.Currency}, value: o.Gross, made: d.MadeAt, trace: trace}, 0
	if old != nil {
		m.from, m.entered, known = old.State, d.EnteredAt, len(old.Timeline)
	}
	for _, e := range o.Timeline[min(known, len(o.Timeline)):] {
		to, ok := strings.CutPrefix(e.Type, "order.")
		if !ok || e.Type == schemas.OrderRefused {
			continue
		}
		m.to, m.reason = to, reason(to, o)
		ms = append(ms, m)
		m.from, m.entered, m.passing = to, 0, true
	}
	return ms
}

// reason is the code of why an order has entered a state; the first one, where there
// are several.
func reason(state string, o *schemas.Order) string {
	switch state {
	case schemas.Rejected, schemas.Cancelled, schemas.Expired:
	default:
		return ""
	}
	if len(o.Reasons) == 0 {
		return otherCode
	}
	code, _, _ := strings.Cut(o.Reasons[0], ":")
	if !codes[code] {
		return otherCode
	}
	return code
}

const otherCode = "other"

// codes are the reasons that there are: what stands behind one, in an order, may be anything.
var codes = func() map[string]bool {
	m := map[string]bool{}
	for _, c := range []string{
		order.InvalidOrderID, order.InvalidCustomerID, order.InvalidCurrency, order.InvalidSKU, order.InvalidQuantity, order.InvalidDiscount,
		order.InvalidPrice, order.NoLines, order.TooManyLines, order.TotalTooLarge,
		inventory.UnknownProduct, inventory.CurrencyMismatch, inventory.StaleQuote, inventory.OutOfStock,
		credit.InsufficientCredit, credit.CurrencyMismatch,
		schemas.Cancelled, order.Unanswered,
	} {
		m[c] = true
	}
	return m
}()

func (os *orders) counters(w way) *counters {
	c := &counters{transitions: os.transitions.WithLabelValues(w.from, w.to, w.reason), value: os.value.WithLabelValues(w.to, w.currency)}
	if w.from != fresh {
		c.lasted = os.lasted.WithLabelValues(w.from)
	}
	if w.to == schemas.Invoiced {
		c.invoiced = os.invoiced.WithLabelValues()
	}
	return c
}

func (c *counters) count(m *move, now time.Time) {
	c.transitions.Inc()
	c.value.Add(float64(max(0, m.value)) / 100)
	switch {
	case m.passing:
		metric.Observe(c.lasted, 0, m.trace)
	case m.entered != 0 && c.lasted != nil:
		metric.Observe(c.lasted, now.Sub(time.UnixMilli(m.entered)), m.trace)
	}
	if m.made != 0 && c.invoiced != nil {
		metric.Observe(c.invoiced, now.Sub(time.UnixMilli(m.made)), m.trace)
	}
}

const maxCurrencies = 20

// currency is the label of a currency: the first ones have their own.
func (os *orders) currency(code string) string {
	os.mu.Lock()
	defer os.mu.Unlock()
	switch {
	case os.currencies[code]:
		return code
	case !schemas.IsCurrency(code) || len(os.currencies) == maxCurrencies:
		return "other"
	}
	os.currencies[code] = true
	return code
}
