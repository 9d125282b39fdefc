package order

import (
	"fmt"

	"github.com/orderlog/orderlog/schemas"
)

// MaxRefusals is how many refused commands a timeline shows; Refusals counts all.
const MaxRefusals = 16

// Unanswered is why an order has expired, and of whom.
const Unanswered = "unanswered"

// reject collects a reason, and ends a placed order with the first one.
func (s *step) reject(why string) {
	s.because(why)
	if s.o.State == schemas.Placed {
		s.die(schemas.Rejected, "")
	}
}

// die ends an order and takes back all that is granted now. What is still asked
// is taken back when it is answered.
func (s *step) die(state, detail string) {
	s.enter(state, detail)
	for i := range s.o.Lines {
		if s.o.Lines[i].Stock == schemas.Granted {
			s.releaseStock(i)
		}
	}
	if s.o.Credit.Ask == schemas.Granted {
		s.refundCredit()
	}
	if s.o.Invoice.Ask == schemas.Granted {
		s.askCreditNote()
	}
}

func (s *step) cancel(b *schemas.CancelOrder) {
	switch s.o.State {
	case schemas.Placed, schemas.Approved, schemas.Invoiced:
		why := cut(b.Reason)
		if why == "" {
			s.because(schemas.Cancelled)
		} else {
			s.because(schemas.Cancelled + ": " + why)
		}
		s.die(schemas.Cancelled, "")
	case schemas.Cancelled:
	default:
		s.refuse(schemas.OrdersOrderCancel, "the order is "+s.o.State)
	}
}

func (s *step) deliver() {
	switch s.o.State {
	case schemas.Invoiced:
		s.enter(schemas.Delivered, "")
	case schemas.Delivered:
	default:
		s.refuse(schemas.OrdersOrderDeliver, "the order is "+s.o.State)
	}
}

// refuse counts a command that cannot be obeyed.
func (s *step) refuse(command, why string) {
	s.o.Refusals++
	if s.o.Refusals > MaxRefusals {
		s.change()
		return
	}
	s.note(schemas.OrderRefused, command+": "+why)
}

// expire ends an order that waited too long, if it still waits in the state
// that the deadline was set for.
func (s *step) expire(b *schemas.ExpireOrder) {
	if s.o.State != b.State || s.o.EnteredBy != b.Version {
		return
	}
	switch s.o.State {
	case schemas.Placed, schemas.Approved:
		for _, who := range s.silent() {
			s.because(Unanswered + ": " + who)
		}
		s.die(schemas.Expired, "")
	}
}

// silent names who has not answered yet.
func (s *step) silent() (who []string) {
	for i, l := range s.o.Lines {
		if l.Stock == schemas.Asked {
			who = append(who, fmt.Sprintf("inventory line %d %s", i+1, l.SKU))
		}
	}
	if s.o.Credit.Ask == schemas.Asked {
		who = append(who, "credit "+s.o.CustomerID)
	}
	if s.o.Invoice.Ask == schemas.Asked {
		who = append(who, "invoicing")
	}
	return who
}
