package order

import (
	"slices"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// step is one message's effect on an order while it is being worked out. It
// starts with a copy of the row whose slices belong to the caller, so a slice is
// copied before its first change.
type step struct {
	cfg      Config
	o        schemas.Order
	at       int64
	outs     []flow.Message
	changed  bool
	ownLines bool
}

// change marks the row as a new version. Every transition goes through it.
func (s *step) change() {
	if s.changed {
		return
	}
	s.changed = true
	s.o.Version++
	s.o.ChangedAt = max(s.o.ChangedAt, s.at)
}

// note writes what happened into the timeline.
func (s *step) note(event, detail string) {
	if !s.changed {
		s.o.Timeline = append(make([]schemas.TimelineEntry, 0, len(s.o.Timeline)+2), s.o.Timeline...)
	}
	s.change()
	s.o.Timeline = append(s.o.Timeline, schemas.TimelineEntry{At: s.o.ChangedAt, Type: event, Detail: detail})
}

// enter is a change of state; its event is named after it.
func (s *step) enter(state, detail string) {
	s.o.State = state
	s.note("order."+state, detail)
	s.o.EnteredBy = s.o.Version
}

func (s *step) because(reason string) {
	s.o.Reasons = append(slices.Clip(s.o.Reasons), reason)
}

// line returns a line that may be changed.
func (s *step) line(i int) *schemas.Line {
	if !s.ownLines {
		s.o.Lines, s.ownLines = slices.Clone(s.o.Lines), true
	}
	return &s.o.Lines[i]
}

// dead tells whether nothing more is wanted for the order.
func (s *step) dead() bool {
	switch s.o.State {
	case schemas.Rejected, schemas.Cancelled, schemas.Expired:
		return true
	}
	return false
}

func (s *step) send(topic, messageType, key string, body any) {
	s.outs = append(s.outs, flow.Message{Topic: topic, Type: messageType, Key: key, Body: body})
}

func (s *step) askStock() {
	for i := range s.o.Lines {
		l := s.line(i)
		l.Stock = schemas.Asked
		s.send(topics.InventoryTasks, schemas.InventoryStockReserve, l.SKU, &schemas.ReserveStock{
			OrderID: s.o.OrderID, Line: int64(i), SKU: l.SKU, Quantity: l.Quantity,
			QuotedPrice: l.QuotedPrice, Currency: s.o.Currency,
		})
	}
}

func (s *step) releaseStock(i int) {
	l := s.line(i)
	l.Stock = schemas.Released
	s.send(topics.InventoryTasks, schemas.InventoryStockRelease, l.SKU, &schemas.ReleaseStock{
		OrderID: s.o.OrderID, Line: int64(i), SKU: l.SKU, Quantity: l.Quantity,
	})
}

func (s *step) askCredit(gross int64) {
	s.o.Credit = schemas.CreditAsk{Ask: schemas.Asked, Amount: gross}
	s.send(topics.CreditTasks, schemas.CreditAccountCharge, s.o.CustomerID, &schemas.ChargeCredit{
		OrderID: s.o.OrderID, CustomerID: s.o.CustomerID, Amount: gross, Currency: s.o.Currency,
	})
}

func (s *step) refundCredit() {
	s.o.Credit.Ask = schemas.Released
	s.send(topics.CreditTasks, schemas.CreditAccountRefund, s.o.CustomerID, &schemas.RefundCredit{
		OrderID: s.o.OrderID, CustomerID: s.o.CustomerID, Amount: s.o.Credit.Amount,
	})
}

func (s *step) askInvoice() {
	s.o.Invoice.Ask = schemas.Asked
	s.issue(schemas.InvoicingInvoiceIssue, schemas.KindInvoice, s.cfg.Series, "")
}

func (s *step) askCreditNote() {
	s.o.CreditNote.Ask = schemas.Asked
	s.issue(schemas.InvoicingCreditNoteIssue, schemas.KindCreditNote, "CN", s.o.Invoice.Number)
}

// issue asks the series of the year in which the order was placed, for credit
// notes too: the number must not depend on which message came first.
func (s *step) issue(messageType, kind, series, corrects string) {
	key := series + "-" + year(s.o.PlacedAt)
	s.send(topics.InvoicingTasks, messageType, key, &schemas.IssueInvoice{
		OrderID: s.o.OrderID, Kind: kind, Series: key, CustomerID: s.o.CustomerID, Currency: s.o.Currency,
		Net: s.o.Net, VAT: s.o.VAT, Gross: s.o.Gross, VATBP: s.o.VATBP, Corrects: corrects,
	})
}
