package schemas

// The fields of every type in the order of its schema.

func (b *PlaceOrder) fields(w *walker) {
	w.str(&b.OrderID, &b.CustomerID, &b.Currency)
	array(w, &b.Lines, func(w *walker, l *PlaceLine) { w.str(&l.SKU).long(&l.Quantity, &l.UnitPrice, &l.DiscountBP) })
}

func (b *DeliverOrder) fields(w *walker) { w.str(&b.OrderID) }
func (b *CancelOrder) fields(w *walker)  { w.str(&b.OrderID, &b.Reason) }
func (b *ExpireOrder) fields(w *walker)  { w.str(&b.OrderID, &b.State).long(&b.Version) }

func (b *Order) fields(w *walker) {
	w.str(&b.OrderID, &b.State).long(&b.Version, &b.EnteredBy).str(&b.CustomerID, &b.Currency).long(&b.PlacedAt, &b.ChangedAt)
	w.fixed(b.BodyHash[:]).long(&b.VATBP)
	array(w, &b.Lines, func(w *walker, l *Line) {
		w.str(&l.SKU).long(&l.Quantity, &l.QuotedPrice, &l.DiscountBP, &l.UnitPrice, &l.Net, &l.VAT).str(&l.Stock)
	})
	w.long(&b.Net, &b.VAT, &b.Gross).str(&b.Credit.Ask).long(&b.Credit.Amount, &b.Credit.Opened)
	b.Invoice.fields(w)
	b.CreditNote.fields(w)
	array(w, &b.Vouchers, func(w *walker, v *EarnedVoucher) { v.fields(w) })
	array(w, &b.Reasons, func(w *walker, s *string) { w.str(s) })
	w.long(&b.Refusals)
	array(w, &b.Timeline, func(w *walker, e *TimelineEntry) { w.long(&e.At).str(&e.Type, &e.Detail) })
}

func (a *InvoiceAsk) fields(w *walker)    { w.str(&a.Ask, &a.InvoiceID, &a.Number).long(&a.IssuedAt) }
func (v *EarnedVoucher) fields(w *walker) { w.str(&v.Strategy, &v.VoucherID).long(&v.Amount) }

func (b *SetPrice) fields(w *walker)     { w.str(&b.SKU, &b.Name).long(&b.Price).str(&b.Currency) }
func (b *ReceiveStock) fields(w *walker) { w.str(&b.SKU).long(&b.Quantity) }
func (b *ReserveStock) fields(w *walker) {
	w.str(&b.OrderID).long(&b.Line).str(&b.SKU).long(&b.Quantity, &b.QuotedPrice).str(&b.Currency)
}
func (b *ReleaseStock) fields(w *walker) {
	w.str(&b.OrderID).long(&b.Line).str(&b.SKU).long(&b.Quantity)
}
func (b *StockReserved) fields(w *walker) {
	w.str(&b.OrderID).long(&b.Line).str(&b.SKU).long(&b.UnitPrice)
}
func (b *StockRefused) fields(w *walker) {
	w.str(&b.OrderID).long(&b.Line).str(&b.SKU, &b.Reason, &b.Detail)
}
func (b *Stock) fields(w *walker) {
	w.str(&b.SKU, &b.Name).flag(&b.Priced).long(&b.Price).str(&b.Currency).long(&b.OnHand)
}

func (b *SetLimit) fields(w *walker) { w.str(&b.CustomerID).long(&b.Limit).str(&b.Currency) }
func (b *ChargeCredit) fields(w *walker) {
	w.str(&b.OrderID, &b.CustomerID).long(&b.Amount).str(&b.Currency)
}
func (b *RefundCredit) fields(w *walker) { w.str(&b.OrderID, &b.CustomerID).long(&b.Amount) }
func (b *CreditCharged) fields(w *walker) {
	w.str(&b.OrderID, &b.CustomerID).long(&b.Amount, &b.Opened)
}
func (b *CreditRefused) fields(w *walker) {
	w.str(&b.OrderID, &b.CustomerID, &b.Reason, &b.Detail).long(&b.Opened)
}
func (b *Account) fields(w *walker) { w.str(&b.CustomerID, &b.Currency).long(&b.Limit, &b.Charged) }

func (b *IssueInvoice) fields(w *walker) {
	w.str(&b.OrderID, &b.Kind, &b.Series, &b.CustomerID, &b.Currency).long(&b.Net, &b.VAT, &b.Gross, &b.VATBP).str(&b.Corrects)
}
func (b *InvoiceIssued) fields(w *walker) {
	w.str(&b.OrderID, &b.Kind, &b.InvoiceID, &b.Number).long(&b.IssuedAt)
}
func (b *Series) fields(w *walker) { w.str(&b.Series).long(&b.Last) }
func (b *Invoice) fields(w *walker) {
	w.str(&b.InvoiceID, &b.Kind, &b.Number, &b.Series).long(&b.Seq).str(&b.OrderID, &b.CustomerID, &b.Currency)
	w.long(&b.Net, &b.VAT, &b.Gross, &b.VATBP).str(&b.Corrects).long(&b.IssuedAt)
}

func (b *VoucherGranted) fields(w *walker) {
	w.str(&b.OrderID, &b.Strategy, &b.VoucherID).long(&b.Amount)
}
func (b *Grants) fields(w *walker) {
	w.str(&b.OrderID)
	array(w, &b.Granted, func(w *walker, v *EarnedVoucher) { v.fields(w) })
}
func (b *Voucher) fields(w *walker) {
	w.str(&b.VoucherID, &b.OrderID, &b.CustomerID, &b.Strategy).long(&b.Amount).str(&b.Currency).long(&b.GrantedAt)
}

func (b *Notices) fields(w *walker) { w.str(&b.OrderID).long(&b.Seen, &b.Asked) }
func (b *Effect) fields(w *walker) {
	w.str(&b.EffectID, &b.Kind, &b.Event, &b.OrderID, &b.To).long(&b.At).str(&b.Payload)
}
func (b *LedgerEntry) fields(w *walker) {
	w.str(&b.EffectID, &b.Kind, &b.Event, &b.OrderID, &b.To).long(&b.At).str(&b.Payload)
	w.str(&b.State).long(&b.Tries, &b.Unsure, &b.Code).str(&b.Text).long(&b.ChangedAt, &b.Due, &b.Offset, &b.AskedAt)
	attempts(w, &b.Attempts)
}

func (b *Parked) fields(w *walker) {
	w.str(&b.To, &b.Group).long(&b.Due, &b.Seq).str(&b.Cancel, &b.Class, &b.Cause, &b.Error, &b.Topic).long(&b.Partition, &b.Offset, &b.Timestamp).bytes(&b.Origin)
	attempts(w, &b.Attempts)
	array(w, &b.Headers, func(w *walker, h *Header) { w.str(&h.Key).bytes(&h.Value) })
	w.bytes(&b.Key, &b.Value)
}
func attempts(w *walker, as *[]Attempt) {
	array(w, as, func(w *walker, a *Attempt) { w.long(&a.At).str(&a.Error) })
}
func (b *RetryCommand) fields(w *walker) {
	w.str(&b.Entry).long(&b.Due).str(&b.Group, &b.Cause, &b.Who, &b.Reason)
}
func (b *GroupControl) fields(w *walker) {
	w.str(&b.Group).flag(&b.Paused).str(&b.Who, &b.Why).long(&b.At).str(&b.Replay)
}
func (b *Audited) fields(w *walker) {
	w.str(&b.Who).long(&b.At).str(&b.What, &b.Why, &b.Target, &b.Group, &b.Key).bytes(&b.Before, &b.After)
}
