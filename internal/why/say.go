package why

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// tell puts into words what each record says, and what is open.
func (p *past) tell() {
	before := new(schemas.Order)
	whole := len(p.gaps()) == 0
	for _, r := range p.versions() {
		switch o, ok := r.body.(*schemas.Order); {
		case !ok:
			r.Says = "there is no order yet, only what is remembered of its records"
		case o.Version == before.Version:
			r.Says = fmt.Sprintf("version %d again: only what is remembered beside it has changed", o.Version)
		default:
			var said []string
			for _, e := range news(before, o) {
				said = append(said, strings.TrimSuffix(e.Type+": "+e.Detail, ": "))
			}
			r.Says = fmt.Sprintf("version %d, %s: %s", o.Version, o.State, strings.Join(said, "; "))
			before = o
		}
	}
	for _, r := range p.records {
		if r.Says == "" {
			r.Says = p.says(r)
		}
		r.Open = p.open(r)
		if r.Open != "" || len(r.Caused) > 0 {
			continue
		}
		if r.parked() {
			r.Says += "; taken out of the calendar"
		}
		if p.r.catalogued(r.Topic).Key == "order" && p.read[r.Topic].group != "" {
			r.Says += map[bool]string{true: "; it changed nothing", false: "; what it changed is gone, if it did"}[whole]
		}
	}
}

// versions are the order's records on the order log, in their order.
func (p *past) versions() (vs []*Record) {
	for _, r := range p.records {
		if r.Topic == p.r.name(topics.OrderTable) {
			vs = append(vs, r)
		}
	}
	slices.SortFunc(vs, func(a, b *Record) int { return int(a.Offset - b.Offset) })
	return vs
}

func (p *past) says(r *Record) string {
	l := r.letter
	said := words(r.body)
	if r.fault != nil {
		said = "cannot be decoded: " + r.fault.Error()
	}
	switch {
	case r.Topic == p.r.name(topics.DeadLetter):
		return strings.TrimSuffix(fmt.Sprintf("group %s gives up: %s: %s, attempts %d", l.Group, l.Cause, l.Error, len(l.Attempts)), ", attempts 0")
	case r.parked() && l.Topic == "":
		return "deadline of group " + l.Group + ", " + clock(l.Due)
	case r.parked():
		return fmt.Sprintf("group %s parks %s: %s: %s; attempts %d, place %d of its queue, next %s", l.Group, Place{l.Topic, l.Partition, l.Offset}, l.Cause, l.Error, len(l.Attempts), l.Seq, clock(l.Due))
	case l.Redriven != "":
		return join("a person has brought it back", said)
	case l.Cancel != "":
		return join("it shall not be tried again: "+l.Cancel, said)
	case l.Due != 0 && l.Topic != "":
		return join(fmt.Sprintf("back out of the calendar, attempts %d", len(l.Attempts)), said)
	}
	return said
}

func join(a, b string) string { return strings.TrimSuffix(a+": "+b, ": ") }

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05Z") }

// words are what a body says.
func words(body any) string {
	money := schemas.Money
	switch b := body.(type) {
	case *schemas.PlaceOrder:
		return fmt.Sprintf("%s orders, lines: %d, currency: %s", b.CustomerID, len(b.Lines), b.Currency)
	case *schemas.DeliverOrder:
		return "it has reached its customer"
	case *schemas.CancelOrder:
		return join("cancel it", b.Reason)
	case *schemas.ExpireOrder:
		return fmt.Sprintf("the deadline of version %d, %s, has passed", b.Version, b.State)
	case *schemas.ReserveStock:
		return fmt.Sprintf("line %d asks for %d of %s%s", b.Line+1, b.Quantity, b.SKU, quoted(b))
	case *schemas.ReleaseStock:
		return fmt.Sprintf("line %d gives %d of %s back; not answered", b.Line+1, b.Quantity, b.SKU)
	case *schemas.StockReserved:
		return fmt.Sprintf("line %d granted: %s at %s", b.Line+1, b.SKU, money(b.UnitPrice, ""))
	case *schemas.StockRefused:
		return join(fmt.Sprintf("line %d refused: %s, %s", b.Line+1, b.SKU, b.Reason), b.Detail)
	case *schemas.ChargeCredit:
		return fmt.Sprintf("asks for %s of %s's credit", money(b.Amount, b.Currency), b.CustomerID)
	case *schemas.RefundCredit:
		return fmt.Sprintf("gives %s back to %s; not answered", money(b.Amount, ""), b.CustomerID)
	case *schemas.CreditCharged:
		return fmt.Sprintf("credit granted: %s of %s", money(b.Amount, ""), b.CustomerID)
	case *schemas.CreditRefused:
		return join(fmt.Sprintf("credit refused: %s, %s", b.CustomerID, b.Reason), b.Detail)
	case *schemas.IssueInvoice:
		return fmt.Sprintf("asks series %s for the number of %s over %s", b.Series, document(b.Kind), money(b.Gross, b.Currency))
	case *schemas.InvoiceIssued:
		return fmt.Sprintf("%s %s", document(b.Kind), b.Number)
	case *schemas.Invoice:
		return fmt.Sprintf("%s %s over %s", document(b.Kind), b.Number, money(b.Gross, b.Currency))
	case *schemas.VoucherGranted:
		return fmt.Sprintf("voucher %s over %s, for %s", b.VoucherID, money(b.Amount, ""), b.Strategy)
	case *schemas.Voucher:
		return fmt.Sprintf("voucher %s over %s, for %s", b.VoucherID, money(b.Amount, b.Currency), b.Strategy)
	case *schemas.Effect:
		return fmt.Sprintf("%s to %s about %s", b.Kind, b.To, b.Event)
	case *schemas.LedgerEntry:
		return ledger(b)
	case *schemas.Audited:
		return join(fmt.Sprintf("%s by %s", b.What, b.Who), b.Why)
	}
	return ""
}

func document(kind string) string { return strings.ReplaceAll(kind, "_", " ") }

func quoted(b *schemas.ReserveStock) string {
	if b.QuotedPrice == 0 {
		return ""
	}
	return fmt.Sprintf(", quoted %s", schemas.Money(b.QuotedPrice, b.Currency))
}

func ledger(e *schemas.LedgerEntry) string {
	s := fmt.Sprintf("%s, %s to %s, tries %d", e.State, e.Kind, e.To, e.Tries)
	if e.Unsure > 0 {
		s += fmt.Sprintf(" (%d of unknown outcome)", e.Unsure)
	}
	if e.Code != 0 {
		s += fmt.Sprintf(", answer %d", e.Code)
	}
	return join(s, e.Text)
}

// open is what a record waits for.
func (p *past) open(r *Record) string {
	if id, ok := r.entry(); ok && r.parked() && p.standing[id] != nil {
		due, _, _ := retry.ParseKey(p.standing[id].Key) // it may have been pulled forward
		return "it is in the calendar, due " + clock(due)
	}
	if r.Topic == p.r.name(topics.DeadLetter) && !slices.ContainsFunc(r.Caused, dealt) {
		return "nobody has dealt with it"
	}
	g := p.read[r.Topic]
	if g.group == "" {
		return ""
	}
	switch at, ok := g.at[r.Partition]; {
	case !ok || at < 0:
		return "group " + g.group + " has not begun to read it"
	case r.Offset >= at:
		return fmt.Sprintf("group %s has not read it yet: it stands at %d", g.group, at)
	}
	return ""
}

func dealt(r *Record) bool {
	a, ok := r.body.(*schemas.Audited)
	return ok && slices.Contains([]string{schemas.Redriven, schemas.Edited, schemas.Discarded}, a.What)
}

// gaps are the versions that the order log does not have between those it has.
func (p *past) gaps() (gaps [][2]int64) {
	var last int64
	for _, r := range p.versions() {
		if o, ok := r.body.(*schemas.Order); ok {
			if o.Version > last+1 {
				gaps = append(gaps, [2]int64{last + 1, o.Version - 1})
			}
			last = max(last, o.Version)
		}
	}
	return gaps
}

// missing lists what the order says has been, and is on no log that was read.
func (p *past) missing() (missing []string) {
	for _, g := range p.gaps() {
		missing = append(missing, fmt.Sprintf("versions %d to %d of it, which stood on %s: compacted", g[0], g[1], p.r.name(topics.OrderTable)))
	}
	if p.now == nil {
		return missing
	}
	there := map[thing]bool{}
	for _, r := range p.records {
		there[thingOf(p.r.catalogued(r.Topic).Name, r.body)] = true
	}
	for _, t := range things(p.now) {
		if !there[t] {
			missing = append(missing, fmt.Sprintf("%s, which stood on %s", t.what, p.r.name(t.topic)))
		}
	}
	return missing
}

// thing is a record as an order speaks of it.
type thing struct{ topic, what string }

func thingOf(topic string, body any) thing {
	switch b := body.(type) {
	case *schemas.PlaceOrder:
		return thing{topic, "the command that placed it"}
	case *schemas.ReserveStock:
		return thing{topic, fmt.Sprintf("the task to reserve line %d", b.Line+1)}
	case *schemas.ReleaseStock:
		return thing{topic, fmt.Sprintf("the task to release line %d", b.Line+1)}
	case *schemas.StockReserved:
		return thing{topic, fmt.Sprintf("the grant of line %d", b.Line+1)}
	case *schemas.StockRefused:
		return thing{topic, fmt.Sprintf("the refusal of line %d", b.Line+1)}
	case *schemas.ChargeCredit:
		return thing{topic, "the task to charge credit"}
	case *schemas.RefundCredit:
		return thing{topic, "the task to refund credit"}
	case *schemas.CreditCharged:
		return thing{topic, "the grant of credit"}
	case *schemas.CreditRefused:
		return thing{topic, "the refusal of credit"}
	case *schemas.IssueInvoice:
		return thing{topic, "the task to issue the " + document(b.Kind)}
	case *schemas.InvoiceIssued:
		return thing{topic, "the answer with the number of the " + document(b.Kind)}
	case *schemas.Invoice:
		return thing{topic, document(b.Kind) + " " + b.Number}
	case *schemas.VoucherGranted:
		return thing{topic, "the message of voucher " + b.VoucherID}
	case *schemas.Voucher:
		return thing{topic, "voucher " + b.VoucherID}
	}
	return thing{}
}

// things are what there must have been for an order to be as it is.
func things(o *schemas.Order) (all []thing) {
	add := func(topic string, body any) { all = append(all, thingOf(topic, body)) }
	add(topics.OrderCommands, &schemas.PlaceOrder{})
	for i, l := range o.Lines {
		line := int64(i)
		if asked(l.Stock) {
			add(topics.InventoryTasks, &schemas.ReserveStock{Line: line})
		}
		switch l.Stock {
		case schemas.Refused:
			add(topics.OrderReplies, &schemas.StockRefused{Line: line})
		case schemas.Granted, schemas.Released:
			add(topics.OrderReplies, &schemas.StockReserved{Line: line})
		}
		if l.Stock == schemas.Released {
			add(topics.InventoryTasks, &schemas.ReleaseStock{Line: line})
		}
	}
	if asked(o.Credit.Ask) {
		add(topics.CreditTasks, &schemas.ChargeCredit{})
	}
	switch o.Credit.Ask {
	case schemas.Refused:
		add(topics.OrderReplies, &schemas.CreditRefused{})
	case schemas.Granted, schemas.Released:
		add(topics.OrderReplies, &schemas.CreditCharged{})
	}
	if o.Credit.Ask == schemas.Released {
		add(topics.CreditTasks, &schemas.RefundCredit{})
	}
	for i, ask := range []schemas.InvoiceAsk{o.Invoice, o.CreditNote} {
		kind := []string{schemas.KindInvoice, schemas.KindCreditNote}[i]
		if asked(ask.Ask) {
			add(topics.InvoicingTasks, &schemas.IssueInvoice{Kind: kind})
		}
		if ask.Ask == schemas.Granted {
			add(topics.OrderReplies, &schemas.InvoiceIssued{Kind: kind})
			add(topics.Invoices, &schemas.Invoice{Kind: kind, Number: ask.Number})
		}
	}
	for _, v := range o.Vouchers {
		add(topics.OrderReplies, &schemas.VoucherGranted{VoucherID: v.VoucherID})
		add(topics.Vouchers, &schemas.Voucher{VoucherID: v.VoucherID})
	}
	return all
}
