package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// orderLog is one partition of the order log, folded to the last version of each
// order. What needs the whole record is judged as it passes.
type orderLog struct {
	w      *world
	orders map[string]*order
	names  interned
	row    schemas.Order // the record at hand
	purse  purse
	hash   xxhash.Digest // of timelines; the same in every run
	end    int64         // after the last record
	faults []Violation
}

func newOrderLog(w *world) *orderLog {
	return &orderLog{w: w, orders: map[string]*order{}, names: interned{}}
}

// order is what the checks need of an order's last version.
type order struct {
	pos
	id, customer, currency string
	state                  string
	gross, net, vat, vatBP int64
	lines                  []line
	credit                 schemas.CreditAsk
	invoice, creditNote    schemas.InvoiceAsk
	vouchers               []schemas.EarnedVoucher
	reasons                []string // codes
	body                   [16]byte
	refusals               int64
	version                int64
	told                   int64 // entries of the timeline up to the last one that somebody may be told of
	heard                  int64 // the same, as of the last version that teller has handled
	history                trail
	noted                  bool    // as it was before, with another note of its group's
	faults                 *faults // nil: none
}

type line struct {
	sku      string
	quantity int64
	price    int64 // that it was granted at
	stock    string
}

// faults is what was found wrong with an order's records as they passed.
type faults struct{ amounts, history, trail string }

// trail is how far an order has come: the highest version seen, and its timeline.
type trail struct {
	version int64
	entries int
	sum     uint64
}

func (l *orderLog) add(r *kgo.Record) error {
	l.end = r.Offset + 1
	key := string(r.Key)
	if len(r.Value) == 0 { // a command that nobody could obey leaves a row without an order
		if _, ok := l.orders[key]; ok {
			l.fault("an order was deleted", key, where(r))
		}
		return nil
	}
	err := l.w.serde.DecodeInto(l.w.ctx, topics.OrderTable, r.Value, &l.row)
	switch {
	case errors.Is(err, schemas.ErrRegistry):
		return err
	case err != nil:
		l.fault("a record that cannot be read", key, where(r)+": "+err.Error())
		return nil
	case l.row.OrderID != key:
		l.fault("a record under another order's key", key, where(r)+": it is of "+l.row.OrderID)
		return nil
	}
	l.apply(at(r), &l.row)
	l.orders[key].noted = event.Header(r, event.Type) == ""
	if c := l.w.cut; c != nil && c.told != nil && r.Offset < c.told[r.Partition] {
		l.orders[key].heard = l.orders[key].told
	}
	return nil
}

func (l *orderLog) fault(what, key, detail string) {
	if len(l.faults) < keepViolations {
		l.faults = append(l.faults, Violation{What: what, Orders: []string{key}, Detail: detail})
	}
}

// apply takes a version of an order; it keeps no part of it.
func (l *orderLog) apply(at pos, row *schemas.Order) {
	o, ok := l.orders[row.OrderID]
	if !ok {
		o = &order{id: strings.Clone(row.OrderID)}
		l.orders[o.id] = o
	}
	var broken string
	if o.faults != nil {
		broken = o.faults.trail // stays, whatever follows
	}
	if b := l.follow(&o.history, row); broken == "" {
		broken = b
	}
	f := faults{amounts: l.purse.fault(row), history: historyFault(row), trail: broken}
	o.faults = nil
	if f != (faults{}) {
		o.faults = &f
	}
	l.keep(o, at, row)
}

// keep copies what the checks need. Strings are cloned or shared: those of a
// record hang together in memory.
func (l *orderLog) keep(o *order, at pos, row *schemas.Order) {
	o.pos = at
	o.customer, o.currency, o.state = l.names.of(row.CustomerID), l.names.of(row.Currency), l.names.of(row.State)
	o.net, o.vat, o.gross, o.vatBP = row.Net, row.VAT, row.Gross, row.VATBP
	o.credit = row.Credit
	o.credit.Ask = l.names.of(row.Credit.Ask)
	l.keepInvoice(&o.invoice, row.Invoice)
	l.keepInvoice(&o.creditNote, row.CreditNote)
	if len(o.lines) != len(row.Lines) {
		o.lines = make([]line, len(row.Lines))
	}
	for i, r := range row.Lines {
		o.lines[i] = line{l.names.of(r.SKU), r.Quantity, r.UnitPrice, l.names.of(r.Stock)}
	}
	o.vouchers = nil
	for _, v := range row.Vouchers {
		o.vouchers = append(o.vouchers, schemas.EarnedVoucher{Strategy: l.names.of(v.Strategy), VoucherID: strings.Clone(v.VoucherID), Amount: v.Amount})
	}
	o.reasons = nil
	for _, why := range row.Reasons {
		code, _, _ := strings.Cut(why, ":")
		o.reasons = append(o.reasons, l.names.of(code))
	}
	o.body, o.refusals, o.version, o.told = row.BodyHash, row.Refusals, row.Version, lastTellable(row.Timeline)
}

func (l *orderLog) keepInvoice(to *schemas.InvoiceAsk, from schemas.InvoiceAsk) {
	if to.InvoiceID != from.InvoiceID || to.Number != from.Number {
		to.InvoiceID, to.Number = strings.Clone(from.InvoiceID), strings.Clone(from.Number)
	}
	to.Ask, to.IssuedAt = l.names.of(from.Ask), from.IssuedAt
}

// follow checks that each version of an order continues the one before: a higher
// version has the same timeline and perhaps more. Anything else means that two
// writers, or one that had forgotten, wrote the same order. An older record that
// stands in the log again is no harm as long as the newest comes last.
func (l *orderLog) follow(t *trail, row *schemas.Order) (fault string) {
	before, all := l.sums(row.Timeline, t.entries)
	switch {
	case row.Version < t.version:
		return ""
	case row.Version == t.version && (len(row.Timeline) != t.entries || all != t.sum):
		fault = fmt.Sprintf("two records say different things of version %d", row.Version)
	case row.Version > t.version && (len(row.Timeline) < t.entries || before != t.sum):
		fault = fmt.Sprintf("version %d does not continue version %d", row.Version, t.version)
	}
	*t = trail{row.Version, len(row.Timeline), all}
	return fault
}

// sums hashes a timeline: its first n entries, and all.
var zero = []byte{0}

func (l *orderLog) sums(timeline []schemas.TimelineEntry, n int) (head, all uint64) {
	h := &l.hash
	h.Reset()
	var b [8]byte
	for i, e := range timeline {
		if i == n {
			head = h.Sum64()
		}
		binary.BigEndian.PutUint64(b[:], uint64(e.At))
		h.Write(b[:])
		h.WriteString(e.Type)
		h.Write(zero)
		h.WriteString(e.Detail)
		h.Write(zero)
	}
	all = h.Sum64()
	switch {
	case n == 0:
		head = 0
	case n >= len(timeline):
		head = all
	}
	return head, all
}

// dead orders keep nothing.
func dead(state string) bool {
	return state == schemas.Rejected || state == schemas.Cancelled || state == schemas.Expired
}

// asks counts what an order waits for.
func (o *order) asks() (n int) {
	for _, l := range o.lines {
		if l.stock == schemas.Asked {
			n++
		}
	}
	for _, ask := range []string{o.credit.Ask, o.invoice.Ask, o.creditNote.Ask} {
		if ask == schemas.Asked {
			n++
		}
	}
	return n
}
