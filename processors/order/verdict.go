package order

import (
	"fmt"
	"slices"

	"github.com/orderlog/orderlog/schemas"
)

// An answer counts only while its ask is open, so a second one changes nothing.
// What is granted to an order that has died meanwhile is given back at once.

func (s *step) stockReserved(b *schemas.StockReserved) {
	if !s.lineOpen(b.Line, b.SKU) {
		return
	}
	i := int(b.Line)
	l := s.line(i)
	l.Stock, l.UnitPrice = schemas.Granted, b.UnitPrice
	m, ok := lineMoney(l.UnitPrice, l.Quantity, l.DiscountBP, s.o.VATBP)
	l.Net, l.VAT = m.net, m.vat
	ok = ok && s.total()
	s.note(schemas.StockReservedEvent, l.SKU)
	switch {
	case s.dead():
		s.releaseStock(i)
	case !ok:
		s.reject(TotalTooLarge)
	case !s.allGranted():
	case s.o.Credit.Ask == schemas.AskNone:
		s.askCredit(s.o.Gross)
	default:
		s.approve()
	}
}

func (s *step) stockRefused(b *schemas.StockRefused) {
	if !s.lineOpen(b.Line, b.SKU) {
		return
	}
	s.line(int(b.Line)).Stock = schemas.Refused
	s.note(schemas.StockRefusedEvent, b.SKU)
	s.reject(reason(b.Reason, fmt.Sprintf("line %d %s", b.Line+1, b.SKU), b.Detail))
}

func (s *step) lineOpen(i int64, sku string) bool {
	return i >= 0 && i < int64(len(s.o.Lines)) && s.o.Lines[i].SKU == sku && s.o.Lines[i].Stock == schemas.Asked
}

func (s *step) allGranted() bool {
	return !slices.ContainsFunc(s.o.Lines, func(l schemas.Line) bool { return l.Stock != schemas.Granted })
}

// total fills in the order's amounts once every line has a price; it is false
// if they are past int64, as one line's amounts alone may be.
func (s *step) total() bool {
	var sum money
	for _, l := range s.o.Lines {
		if l.Stock == schemas.Asked || l.Stock == schemas.Refused {
			return true
		}
		m, ok := lineMoney(l.UnitPrice, l.Quantity, l.DiscountBP, s.o.VATBP)
		if !ok {
			return false
		}
		if sum, ok = sum.plus(m); !ok {
			return false
		}
	}
	s.o.Net, s.o.VAT, s.o.Gross = sum.net, sum.vat, sum.gross()
	return true
}

func (s *step) creditCharged(b *schemas.CreditCharged) {
	if s.o.Credit.Ask != schemas.Asked {
		return
	}
	s.o.Credit = schemas.CreditAsk{Ask: schemas.Granted, Amount: b.Amount, Opened: b.Opened}
	s.note(schemas.CreditChargedEvent, "")
	if s.dead() {
		s.refundCredit()
		return
	}
	s.approve()
}

func (s *step) creditRefused(b *schemas.CreditRefused) {
	if s.o.Credit.Ask != schemas.Asked {
		return
	}
	s.o.Credit.Ask, s.o.Credit.Opened = schemas.Refused, b.Opened
	s.note(schemas.CreditRefusedEvent, "")
	s.reject(reason(b.Reason, b.CustomerID, b.Detail))
}

// approve asks for the invoice once everything else is granted.
func (s *step) approve() {
	if s.o.Credit.Ask != schemas.Granted || !s.allGranted() {
		return
	}
	s.enter(schemas.Approved, "")
	s.askInvoice()
}

// invoiceIssued takes an invoice or a credit note. An invoice cannot be given
// back: a dead order's is corrected by a credit note, and both stay.
func (s *step) invoiceIssued(b *schemas.InvoiceIssued) {
	ask, event := &s.o.Invoice, schemas.InvoiceIssuedEvent
	if b.Kind == schemas.KindCreditNote {
		ask, event = &s.o.CreditNote, schemas.CreditNoteIssuedEvent
	}
	if ask.Ask != schemas.Asked {
		return
	}
	*ask = schemas.InvoiceAsk{Ask: schemas.Granted, InvoiceID: b.InvoiceID, Number: b.Number, IssuedAt: b.IssuedAt}
	s.note(event, b.Number)
	switch {
	case b.Kind == schemas.KindCreditNote:
	case s.dead():
		s.askCreditNote()
	default:
		s.enter(schemas.Invoiced, "")
	}
}

func (s *step) voucherGranted(b *schemas.VoucherGranted) {
	for _, v := range s.o.Vouchers {
		if v.Strategy == b.Strategy {
			return
		}
	}
	s.o.Vouchers = append(slices.Clip(s.o.Vouchers), schemas.EarnedVoucher{Strategy: b.Strategy, VoucherID: b.VoucherID, Amount: b.Amount})
	s.note(schemas.VoucherGrantedEvent, b.Strategy)
}

// reason reads "out_of_stock: line 2 sku_x (wanted 3, on hand 1)": a code for
// machines, the rest for people. Lines count from 1 in text.
func reason(code, what, detail string) string {
	if detail == "" {
		return code + ": " + what
	}
	return code + ": " + what + " (" + detail + ")"
}
