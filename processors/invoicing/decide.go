// Package invoicing is the rule of an invoice series: it gives the next number,
// without gaps, to whatever the order saga asks for, an invoice or a credit
// note. It refuses nothing: whether to ask is the saga's business.
package invoicing

import (
	"fmt"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// New returns the rule, keyed by series and year ("A-2026", "CN-2026").
func New() flow.Processor[schemas.Series] {
	return flow.Processor[schemas.Series]{
		Name:    "invoicing",
		Inputs:  []string{topics.InvoicingTasks},
		Outputs: []string{topics.Invoices, topics.OrderReplies},
		Decide:  decide,
		RowType: func(schemas.Series) string { return schemas.SeriesAdvanced },
	}
}

func decide(row schemas.Series, m flow.Message) (schemas.Series, []flow.Message) {
	b, ok := m.Body.(*schemas.IssueInvoice)
	if !ok {
		return row, nil
	}
	row.Series = b.Series
	row.Last++
	doc := issue(row, b, m.At)
	event := schemas.InvoiceIssuedEvent
	if b.Kind == schemas.KindCreditNote {
		event = schemas.CreditNoteIssuedEvent
	}
	return row, []flow.Message{
		{Topic: topics.Invoices, Type: event, Key: doc.InvoiceID, Body: doc},
		{Topic: topics.OrderReplies, Type: event, Key: b.OrderID, Body: &schemas.InvoiceIssued{
			OrderID: b.OrderID, Kind: b.Kind, InvoiceID: doc.InvoiceID, Number: doc.Number, IssuedAt: doc.IssuedAt,
		}},
	}
}

func issue(row schemas.Series, b *schemas.IssueInvoice, at int64) *schemas.Invoice {
	return &schemas.Invoice{
		InvoiceID:  flow.NewID("inv", at, b.OrderID+"/"+b.Kind, 0),
		Kind:       b.Kind,
		Number:     fmt.Sprintf("%s-%06d", row.Series, row.Last),
		Series:     row.Series,
		Seq:        row.Last,
		OrderID:    b.OrderID,
		CustomerID: b.CustomerID,
		Currency:   b.Currency,
		Net:        b.Net,
		VAT:        b.VAT,
		Gross:      b.Gross,
		VATBP:      b.VATBP,
		Corrects:   b.Corrects,
		IssuedAt:   at,
	}
}
