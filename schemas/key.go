package schemas

// KeyOf returns the record key that body belongs under: the row or the entity
// that it is for. It is "" for a body that is not of the catalogue, and for an
// entry of the calendar, whose key package retry makes.
func KeyOf(body any) string {
	switch b := body.(type) {
	case *PlaceOrder:
		return b.OrderID
	case *DeliverOrder:
		return b.OrderID
	case *CancelOrder:
		return b.OrderID
	case *ExpireOrder:
		return b.OrderID
	case *Order:
		return b.OrderID
	case *StockReserved:
		return b.OrderID
	case *StockRefused:
		return b.OrderID
	case *CreditCharged:
		return b.OrderID
	case *CreditRefused:
		return b.OrderID
	case *InvoiceIssued:
		return b.OrderID
	case *VoucherGranted:
		return b.OrderID
	case *Grants:
		return b.OrderID
	case *SetPrice:
		return b.SKU
	case *ReceiveStock:
		return b.SKU
	case *ReserveStock:
		return b.SKU
	case *ReleaseStock:
		return b.SKU
	case *Stock:
		return b.SKU
	case *SetLimit:
		return b.CustomerID
	case *ChargeCredit:
		return b.CustomerID
	case *RefundCredit:
		return b.CustomerID
	case *Account:
		return b.CustomerID
	case *IssueInvoice:
		return b.Series
	case *Series:
		return b.Series
	case *Invoice:
		return b.InvoiceID
	case *Voucher:
		return b.VoucherID
	case *RetryCommand:
		return b.Entry
	case *Audited:
		return b.Who
	case *GroupControl:
		return b.Group
	case *Notices:
		return b.OrderID
	case *Effect:
		return b.EffectID
	case *LedgerEntry:
		return b.EffectID
	}
	return ""
}
