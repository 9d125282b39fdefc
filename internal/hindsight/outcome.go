package hindsight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orderlog/orderlog/processors/credit"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/schemas"
)

// Outcome is what became of an order, less what depends on who came first: numbers,
// and how much was left.
type Outcome struct {
	State    string   `json:"state"`
	Reasons  []string `json:"reasons,omitempty"` // codes, sorted
	Currency string   `json:"currency"`

	Invoiced bool  `json:"invoiced"`
	Net      int64 `json:"net"` // of the invoice
	VAT      int64 `json:"vat"`
	Gross    int64 `json:"gross"`
	Noted    bool  `json:"credit_note"` // which takes the invoice back

	Vouchers []Voucher `json:"vouchers,omitempty"`
}

// Voucher is one that an order earned.
type Voucher struct {
	Strategy string `json:"strategy"`
	Amount   int64  `json:"amount"`
}

func outcomeOf(o *schemas.Order) *Outcome {
	if o == nil {
		return nil
	}
	out := &Outcome{State: o.State, Currency: o.Currency, Invoiced: o.Invoice.Ask == schemas.Granted, Noted: o.CreditNote.Ask == schemas.Granted}
	if out.Invoiced {
		out.Net, out.VAT, out.Gross = o.Net, o.VAT, o.Gross
	}
	for _, why := range o.Reasons {
		code, _, _ := strings.Cut(why, ":")
		out.Reasons = append(out.Reasons, code)
	}
	slices.Sort(out.Reasons)
	out.Reasons = slices.Compact(out.Reasons)
	for _, v := range o.Vouchers {
		out.Vouchers = append(out.Vouchers, Voucher{v.Strategy, v.Amount})
	}
	slices.SortFunc(out.Vouchers, func(a, b Voucher) int { return strings.Compare(a.Strategy, b.Strategy) })
	return out
}

func (o *Outcome) equal(p *Outcome) bool {
	if o == nil || p == nil {
		return o == p
	}
	return o.State == p.State && slices.Equal(o.Reasons, p.Reasons) && o.Currency == p.Currency && o.sameInvoice(p) && slices.Equal(o.Vouchers, p.Vouchers)
}

func (o *Outcome) sameInvoice(p *Outcome) bool {
	return o.Invoiced == p.Invoiced && o.Noted == p.Noted && o.Net == p.Net && o.VAT == p.VAT && o.Gross == p.Gross
}

// billed is what the customer owes.
func (o *Outcome) billed() int64 {
	if !o.Invoiced || o.Noted {
		return 0
	}
	return o.Gross
}

func (o *Outcome) vouchers() (sum int64) {
	for _, v := range o.Vouchers {
		sum += v.Amount
	}
	return sum
}

// describe says what differs, and whose decision that is.
func (d *Difference) describe() {
	var kinds []string
	groups := map[string]bool{}
	a, b := d.Before, d.After
	switch {
	case a == nil:
		kinds, groups["order"] = append(kinds, "only after: "+b.told()), true
	case b == nil:
		kinds, groups["order"] = append(kinds, "only before: "+a.told()), true
	default:
		if a.State != b.State || !slices.Equal(a.Reasons, b.Reasons) {
			kinds = append(kinds, a.told()+" -> "+b.told())
			deciders(groups, a.Reasons, b.Reasons)
		}
		switch {
		case a.State != b.State:
		case a.Invoiced != b.Invoiced || a.Noted != b.Noted:
			kinds, groups["invoicing"] = append(kinds, "documents"), true
		case !a.sameInvoice(b):
			kinds, groups["order"], groups["invoicing"] = append(kinds, "invoice amounts"), true, true
		}
		if !slices.Equal(a.Vouchers, b.Vouchers) {
			kinds, groups["voucher"] = append(kinds, fmt.Sprintf("vouchers %s -> %s", vouchersText(a.Vouchers), vouchersText(b.Vouchers))), true
		}
	}
	d.Kind = strings.Join(kinds, "; ")
	for _, g := range []string{"order", "inventory", "credit", "invoicing", "voucher"} {
		if groups[g] {
			d.Groups = append(d.Groups, g)
		}
	}
}

// deciders adds who gave the reasons that only one side has; the order's rule, if
// nobody else did.
func deciders(groups map[string]bool, a, b []string) {
	of := map[string]string{
		inventory.UnknownProduct: "inventory", inventory.StaleQuote: "inventory", inventory.OutOfStock: "inventory",
		credit.InsufficientCredit: "credit",
	}
	none := true
	for _, code := range slices.Concat(a, b) {
		if slices.Contains(a, code) && slices.Contains(b, code) {
			continue
		}
		none = false
		switch g := of[code]; {
		case g != "":
			groups[g] = true
		case code == inventory.CurrencyMismatch: // the credit's has the same name
			groups["inventory"], groups["credit"] = true, true
		default:
			groups["order"] = true
		}
	}
	if none {
		groups["order"] = true
	}
}

func (o *Outcome) told() string {
	if len(o.Reasons) == 0 {
		return o.State
	}
	return o.State + " (" + strings.Join(o.Reasons, ", ") + ")"
}

func vouchersText(vs []Voucher) string {
	if len(vs) == 0 {
		return "none"
	}
	var names []string
	for _, v := range vs {
		names = append(names, fmt.Sprintf("%s %s", v.Strategy, schemas.Money(v.Amount, "")))
	}
	return strings.Join(names, ", ")
}
