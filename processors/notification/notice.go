package notification

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/orderlog/orderlog/schemas"
)

// Notice is the payload of an effect: the body of a webhook, in the shape that
// the Standard Webhooks specification recommends, and what a mail is made of.
type Notice struct {
	Type      string `json:"type"`      // the event
	Timestamp string `json:"timestamp"` // when it happened, RFC 3339
	Data      Data   `json:"data"`
}

// Data is what an order's event is about. Amounts are minor units.
type Data struct {
	OrderID    string   `json:"order_id"`
	CustomerID string   `json:"customer_id"`
	Currency   string   `json:"currency"`
	Net        int64    `json:"net"` // totals, 0 until every line has a price
	VAT        int64    `json:"vat"`
	Gross      int64    `json:"gross"`
	VATBP      int64    `json:"vat_bp"`
	Lines      []Line   `json:"lines,omitempty"`   // approved, invoiced
	Invoice    *Invoice `json:"invoice,omitempty"` // invoiced
	Voucher    *Voucher `json:"voucher,omitempty"` // voucher granted
	Reasons    []string `json:"reasons,omitempty"` // rejected
}

// Line is one line of the order at the price that it was reserved at.
type Line struct {
	SKU        string `json:"sku"`
	Quantity   int64  `json:"quantity"`
	UnitPrice  int64  `json:"unit_price"`
	DiscountBP int64  `json:"discount_bp"`
	Net        int64  `json:"net"`
	VAT        int64  `json:"vat"`
}

// Invoice names the document.
type Invoice struct {
	InvoiceID string `json:"invoice_id"`
	Number    string `json:"number"`
	IssuedAt  string `json:"issued_at"` // RFC 3339
}

// Voucher is the one that was granted.
type Voucher struct {
	VoucherID string `json:"voucher_id"`
	Strategy  string `json:"strategy"`
	Amount    int64  `json:"amount"`
}

// maxReasons is how many reasons are told: an order of 500 lines may have more
// than fit into a record.
const maxReasons = 16

// notice is made of what the event settled, as far as it can be: a later version
// of the order says the same of it.
func notice(o *schemas.Order, entry int) string {
	e := o.Timeline[entry]
	d := Data{OrderID: o.OrderID, CustomerID: o.CustomerID, Currency: o.Currency, Net: o.Net, VAT: o.VAT, Gross: o.Gross, VATBP: o.VATBP}
	switch e.Type {
	case schemas.OrderApproved:
		d.Lines = lines(o)
	case schemas.OrderInvoiced:
		d.Lines = lines(o)
		d.Invoice = &Invoice{InvoiceID: o.Invoice.InvoiceID, Number: o.Invoice.Number, IssuedAt: timestamp(o.Invoice.IssuedAt)}
	case schemas.OrderRejected:
		d.Reasons = o.Reasons
		if more := len(o.Reasons) - maxReasons; more > 0 {
			d.Reasons = append(append([]string(nil), o.Reasons[:maxReasons]...), fmt.Sprintf("and %d more", more))
		}
	case schemas.VoucherGrantedEvent:
		for _, v := range o.Vouchers {
			if v.Strategy == e.Detail {
				d.Voucher = &Voucher{VoucherID: v.VoucherID, Strategy: v.Strategy, Amount: v.Amount}
			}
		}
	}
	return encode(Notice{Type: e.Type, Timestamp: timestamp(e.At), Data: d})
}

func lines(o *schemas.Order) []Line {
	ls := make([]Line, len(o.Lines))
	for i, l := range o.Lines {
		ls[i] = Line{SKU: l.SKU, Quantity: l.Quantity, UnitPrice: l.UnitPrice, DiscountBP: l.DiscountBP, Net: l.Net, VAT: l.VAT}
	}
	return ls
}

func timestamp(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

func encode(n Notice) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(n); err != nil {
		panic(fmt.Errorf("encoding a notice: %w", err)) // text and numbers can be encoded
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}
