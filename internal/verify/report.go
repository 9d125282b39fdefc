package verify

import (
	"slices"
	"strings"
	"time"

	"github.com/orderlog/orderlog/topics"
)

// Report is what holds of the log up to Offsets, and what does not.
type Report struct {
	OK     bool    `json:"ok"`
	Still  bool    `json:"still"` // nothing was in flight: every bound was an equality
	Checks []Check `json:"checks"`

	// Offsets are the read-committed ends up to which it holds, by topic as it is
	// called on the cluster, and partition.
	Offsets map[string]map[int32]int64 `json:"offsets"`

	At *time.Time `json:"at,omitempty"` // the moment of the past that it is about, within half a minute; nil: now

	Since *time.Time `json:"since,omitempty"` // of the checkpoint that it went on from; nil: all was read

	InFlight int64         `json:"in_flight"` // orders that wait for a verdict, and records for their processor
	Records  int64         `json:"records"`   // read
	Took     time.Duration `json:"took_ns"`
	Summary  Summary       `json:"summary"`
}

// Summary is what the log says of the business.
type Summary struct {
	Orders      map[string]int64 `json:"orders"`   // by state
	Reasons     map[string]int64 `json:"reasons"`  // why orders died, by code
	Repeated    int64            `json:"repeated"` // placements sent again, the same
	Conflicting int64            `json:"conflicting"`
	Refused     int64            `json:"refused_commands"`
	Turnover    map[string]Money `json:"turnover"` // of invoiced and delivered orders, by currency
	Invoices    int64            `json:"invoices"`
	CreditNotes int64            `json:"credit_notes"`
	Vouchers    int64            `json:"vouchers"`
	Products    int64            `json:"products"` // rows of the inventory
	OnHand      int64            `json:"on_hand"`  // units, all products
	Customers   int64            `json:"customers"`
	DeadLetters map[string]int64 `json:"dead_letters"` // by topic and cause
}

// Money is a sum of orders, in minor units.
type Money struct {
	Net   int64 `json:"net"`
	VAT   int64 `json:"vat"`
	Gross int64 `json:"gross"`
}

// Check is one claim and what speaks against it.
type Check struct {
	Name       string      `json:"name"`
	OK         bool        `json:"ok"`
	Checked    int64       `json:"checked"` // things looked at
	Failed     int64       `json:"failed"`  // violations found; only the first are listed
	Violations []Violation `json:"violations,omitempty"`
	Gone       int64       `json:"gone,omitempty"` // of the past: rows of which compaction has left later versions only, not compared
	Note       string      `json:"note,omitempty"`
	Skipped    string      `json:"skipped,omitempty"` // why it was not made

	who func(key string) []string // the orders that a key concerns; nil: none
}

// Violation is one thing that does not hold.
type Violation struct {
	What   string   `json:"what"`
	Orders []string `json:"orders,omitempty"` // concerned
	Keys   []string `json:"keys,omitempty"`   // products, customers, series, documents
	Detail string   `json:"detail,omitempty"`
}

const (
	showViolations = 20   // listed per check
	keepViolations = 1000 // of which the listed ones are the first in order
	showOrders     = 10   // named per violation
)

func begin(name string) *Check { return &Check{Name: name, OK: true} }

func (c *Check) fail(vs ...Violation) {
	for _, v := range vs {
		c.OK = false
		c.Failed++
		if len(c.Violations) < keepViolations {
			c.Violations = append(c.Violations, v)
		}
	}
}

func (c *Check) note(s string) {
	if c.Note != "" {
		c.Note += "; "
	}
	c.Note += s
}

func (c *Check) done() Check {
	slices.SortFunc(c.Violations, func(a, b Violation) int {
		return strings.Compare(a.order(), b.order())
	})
	c.Violations = c.Violations[:min(len(c.Violations), showViolations)]
	for i := range c.Violations {
		if v := &c.Violations[i]; c.who != nil && len(v.Orders) == 0 && len(v.Keys) > 0 {
			v.Orders = c.who(v.Keys[0])
		}
	}
	return *c
}

func (v Violation) order() string {
	return strings.Join(v.Keys, " ") + " " + strings.Join(v.Orders, " ") + v.What + v.Detail
}

// violation names what stands under key, an order or something else.
func violation(topic, what, key, detail string) Violation {
	v := Violation{What: what, Detail: detail}
	switch topic {
	case topics.OrderCommands, topics.OrderTable, topics.VoucherTable, topics.OrderReplies:
		v.Orders = []string{key}
	default:
		v.Keys = []string{key}
	}
	return v
}

var checks = []struct {
	name string
	of   func(*world) Check
}{
	{"orders", checkOrders}, {"stock", checkStock}, {"credit", checkCredit}, {"invoices", checkInvoices}, {"amounts", checkAmounts}, {"vouchers", checkVouchers},
	{"effects", checkEffects}, {"stuck", checkStuck}, {"deadlines", checkDeadlines}, {"history", checkHistory}, {"parked", listParked}, {"dead letters", listDeadLetters},
}

// report runs the checks over what was folded.
func (w *world) report() Report {
	r := Report{OK: true, Still: w.still, Offsets: map[string]map[int32]int64{}, InFlight: w.waiting(), Summary: w.summary()}
	for topic, ends := range w.cut.ends {
		m := map[int32]int64{}
		for p, end := range ends {
			m[int32(p)] = end
		}
		r.Offsets[w.names(topic)] = m
	}
	if w.past != nil {
		r.At, r.InFlight = &w.past.at, 0
	}
	w.eachOrder(func(o *order) { r.InFlight += one(o.asks() > 0) })
	r.Checks = make([]Check, len(checks))
	var jobs []func() error
	for i, c := range checks {
		jobs = append(jobs, func() error {
			if why := w.skips(c.name); why != "" {
				r.Checks[i] = Check{Name: c.name, OK: true, Skipped: why}
			} else {
				r.Checks[i] = c.of(w)
			}
			return nil
		})
	}
	_ = parallel(jobs) // which only read what was folded
	for _, c := range r.Checks {
		r.OK = r.OK && c.OK
	}
	return r
}

func (w *world) summary() Summary {
	s := Summary{Orders: map[string]int64{}, Reasons: map[string]int64{}, Turnover: map[string]Money{}, DeadLetters: w.dead.causes}
	w.eachOrder(func(o *order) {
		s.Orders[o.state]++
		s.Refused += o.refusals
		for _, why := range o.reasons {
			s.Reasons[why]++
		}
		s.Vouchers += int64(len(o.vouchers))
		s.Invoices += one(o.invoice.Number != "")
		s.CreditNotes += one(o.creditNote.Number != "")
		if !dead(o.state) && o.invoice.Number != "" {
			m := s.Turnover[o.currency]
			s.Turnover[o.currency] = Money{m.Net + o.net, m.VAT + o.vat, m.Gross + o.gross}
		}
	})
	for _, in := range w.orderCommands {
		s.Repeated += in.again
		s.Conflicting += in.other
	}
	for _, t := range w.stock {
		s.Products += int64(len(t.rows))
		for _, row := range t.rows {
			s.OnHand += row.OnHand
		}
	}
	for _, t := range w.accounts {
		s.Customers += int64(len(t.rows))
	}
	return s
}

func listDeadLetters(w *world) Check {
	c := begin("dead letters")
	c.Checked = w.dead.total
	for _, cause := range sortedKeys(w.dead.causes) {
		c.note(count(w.dead.causes[cause]) + " " + cause)
	}
	return c.done()
}
