package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orderlog/orderlog/schemas"
)

// next is what may follow a state; "" is no order yet.
var next = map[string][]string{
	"":                {schemas.Placed},
	schemas.Placed:    {schemas.Approved, schemas.Rejected, schemas.Cancelled, schemas.Expired},
	schemas.Approved:  {schemas.Invoiced, schemas.Cancelled, schemas.Expired},
	schemas.Invoiced:  {schemas.Delivered, schemas.Cancelled},
	schemas.Delivered: {},
	schemas.Rejected:  {},
	schemas.Cancelled: {},
	schemas.Expired:   {},
}

const shownRefusals = 16 // of refused commands, in a timeline

// historyFault tells what is wrong with the story that an order's record tells,
// "" if nothing: the states in its timeline follow each other, the last one is
// the order's, and each verdict in it is one that the record's asks show.
func historyFault(o *schemas.Order) string {
	state, last := "", int64(0)
	seen := tally{}
	for _, e := range o.Timeline {
		if e.At < last {
			return fmt.Sprintf("the timeline goes back in time at %s", e.Type)
		}
		last = e.At
		s, ok := stateOf(e.Type)
		if !ok {
			seen.count(e.Type)
			continue
		}
		if !slices.Contains(next[state], s) {
			return fmt.Sprintf("%s follows %q", e.Type, state)
		}
		state = s
	}
	switch {
	case state != o.State:
		return fmt.Sprintf("the state is %s, the timeline ends with %q", o.State, state)
	case o.EnteredBy < 1 || o.EnteredBy > o.Version:
		return fmt.Sprintf("version %d is to have entered the state, of %d", o.EnteredBy, o.Version)
	case last > o.ChangedAt:
		return "the timeline is ahead of the last change"
	}
	if fault := seen.differs(o); fault != "" {
		return fault
	}
	return statesFault(o)
}

func stateOf(event string) (string, bool) {
	s, ok := strings.CutPrefix(event, "order.")
	return s, ok && event != schemas.OrderRefused
}

// tally counts the entries of a timeline that are no states.
type tally struct {
	reserved, refused, charged, creditRefused, issued, noted, vouchers, commands, unknown int64
}

func (t *tally) count(event string) {
	switch event {
	case schemas.StockReservedEvent:
		t.reserved++
	case schemas.StockRefusedEvent:
		t.refused++
	case schemas.CreditChargedEvent:
		t.charged++
	case schemas.CreditRefusedEvent:
		t.creditRefused++
	case schemas.InvoiceIssuedEvent:
		t.issued++
	case schemas.CreditNoteIssuedEvent:
		t.noted++
	case schemas.VoucherGrantedEvent:
		t.vouchers++
	case schemas.OrderRefused:
		t.commands++
	default:
		t.unknown++
	}
}

// differs compares the verdicts of the timeline with what the asks say.
func (t tally) differs(o *schemas.Order) string {
	want := tally{vouchers: int64(len(o.Vouchers)), commands: min(o.Refusals, shownRefusals)}
	for _, l := range o.Lines {
		want.reserved += one(l.Stock == schemas.Granted || l.Stock == schemas.Released)
		want.refused += one(l.Stock == schemas.Refused)
	}
	want.charged = one(o.Credit.Ask == schemas.Granted || o.Credit.Ask == schemas.Released)
	want.creditRefused = one(o.Credit.Ask == schemas.Refused)
	want.issued = one(o.Invoice.Ask == schemas.Granted)
	want.noted = one(o.CreditNote.Ask == schemas.Granted)
	if t != want {
		return fmt.Sprintf("the timeline tells of verdicts %+v, the asks of %+v", t, want)
	}
	return ""
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// statesFault tells which ask does not fit the state that an order is in.
// Whether a dead order gave everything back is the business of another check.
func statesFault(o *schemas.Order) string {
	stock := map[string]int{}
	for _, l := range o.Lines {
		stock[l.Stock]++
	}
	granted := stock[schemas.Granted] == len(o.Lines) && o.Credit.Ask == schemas.Granted
	if !dead(o.State) && o.CreditNote.Ask != schemas.AskNone {
		return o.State + ", with a credit note"
	}
	switch o.State {
	case schemas.Placed:
		if stock[schemas.Granted]+stock[schemas.Asked] != len(o.Lines) || o.Invoice.Ask != schemas.AskNone {
			return "placed, with a line neither asked nor granted, or an invoice"
		}
		if granted {
			return "placed, though everything is granted"
		}
	case schemas.Approved:
		if !granted || o.Invoice.Ask != schemas.Asked {
			return "approved, but not everything is granted, or no invoice is asked"
		}
	case schemas.Invoiced, schemas.Delivered:
		if !granted || o.Invoice.Ask != schemas.Granted {
			return o.State + ", but not everything is granted"
		}
	}
	return ""
}
