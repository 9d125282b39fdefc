package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/orderlog/orderlog/schemas"
)

func (s *session) showOrder(o *schemas.Order) error {
	return s.show(o, func(w io.Writer) error { return orderText(w, s.outStyle(), o) })
}

// orderText is one order for a person.
func orderText(w io.Writer, st style, o *schemas.Order) error {
	fmt.Fprintf(w, "%s  %s\n\n", st.bold(o.OrderID), stateText(st, o.State))
	rows := [][]string{{"customer", o.CustomerID}, {"placed", moment(o.PlacedAt)}, {"changed", moment(o.ChangedAt)}}
	add := func(name, value string) { rows = append(rows, []string{name, value}) }
	if o.Gross != 0 {
		add("gross", fmt.Sprintf("%s (net %s, VAT %s at %s)", schemas.Money(o.Gross, o.Currency), schemas.Money(o.Net, ""), schemas.Money(o.VAT, ""), schemas.Percent(o.VATBP)))
	}
	if asked(o.Credit.Ask) {
		add("credit", fmt.Sprintf("%s, %s", schemas.Money(o.Credit.Amount, o.Currency), o.Credit.Ask))
	}
	if asked(o.Invoice.Ask) {
		add("invoice", strings.TrimSpace(o.Invoice.Number+" "+o.Invoice.Ask))
	}
	if asked(o.CreditNote.Ask) {
		add("credit note", strings.TrimSpace(o.CreditNote.Number+" "+o.CreditNote.Ask))
	}
	for _, v := range o.Vouchers {
		add("voucher", fmt.Sprintf("%s over %s (%s)", v.VoucherID, schemas.Money(v.Amount, o.Currency), v.Strategy))
	}
	for _, r := range o.Reasons {
		add("reason", r)
	}
	if err := table(w, rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := table(w, lineRows(o)); err != nil {
		return err
	}
	fmt.Fprintln(w)
	var events [][]string
	for _, e := range o.Timeline {
		events = append(events, []string{moment(e.At), e.Type, e.Detail})
	}
	return table(w, events)
}

func asked(ask string) bool { return ask != "" && ask != schemas.AskNone }

func lineRows(o *schemas.Order) [][]string {
	rows := [][]string{{"LINE", "SKU", "QUANTITY", "PRICE", "DISCOUNT", "NET", "VAT", "STOCK"}}
	for i, l := range o.Lines {
		price, net, vat := "-", "-", "-" // until the inventory has said so
		if l.Stock == schemas.Granted || l.Stock == schemas.Released {
			price, net, vat = schemas.Money(l.UnitPrice, ""), schemas.Money(l.Net, ""), schemas.Money(l.VAT, "")
		} else if l.QuotedPrice > 0 {
			price = schemas.Money(l.QuotedPrice, "") + " quoted"
		}
		rows = append(rows, []string{strconv.Itoa(i + 1), l.SKU, strconv.FormatInt(l.Quantity, 10), price,
			schemas.Percent(l.DiscountBP), net, vat, l.Stock})
	}
	return rows
}

func stateText(st style, state string) string {
	switch state {
	case schemas.Invoiced, schemas.Delivered:
		return st.good(state)
	case schemas.Rejected, schemas.Cancelled, schemas.Expired:
		return st.bad(state)
	}
	return st.warn(state)
}

func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000Z") }

func orderTable(w io.Writer, orders []*schemas.Order) error {
	rows := [][]string{{"ORDER", "STATE", "CUSTOMER", "PLACED", "GROSS", "INVOICE", "REASON"}}
	for _, o := range orders {
		reason := ""
		if len(o.Reasons) > 0 {
			reason = o.Reasons[0]
		}
		rows = append(rows, []string{o.OrderID, o.State, o.CustomerID, moment(o.PlacedAt), schemas.Money(o.Gross, o.Currency), o.Invoice.Number, reason})
	}
	return table(w, rows)
}
