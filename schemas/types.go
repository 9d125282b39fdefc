package schemas

// Amounts are minor units (cents) of the order's ISO 4217 currency; rates are
// basis points; times are Unix milliseconds. Every Avro field has the name in
// the tag, and none is a union.

// PlaceOrder asks for an order. What it says is known by its order ID and the
// hash of this body: the same again does nothing, another body is refused.
type PlaceOrder struct {
	OrderID    string      `avro:"order_id" json:"order_id"`
	CustomerID string      `avro:"customer_id" json:"customer_id"`
	Currency   string      `avro:"currency" json:"currency"`
	Lines      []PlaceLine `avro:"lines" json:"lines"`
}

// PlaceLine is one wish. UnitPrice is the list price that the customer was
// quoted, 0 where none was: a quote that is no longer the list price is refused.
type PlaceLine struct {
	SKU        string `avro:"sku" json:"sku"`
	Quantity   int64  `avro:"quantity" json:"quantity"`
	UnitPrice  int64  `avro:"unit_price" json:"unit_price"`
	DiscountBP int64  `avro:"discount_bp" json:"discount_bp"`
}

// DeliverOrder says that an invoiced order has reached its customer.
type DeliverOrder struct {
	OrderID string `avro:"order_id" json:"order_id"`
}

// CancelOrder asks to undo an order that is not delivered yet.
type CancelOrder struct {
	OrderID string `avro:"order_id" json:"order_id"`
	Reason  string `avro:"reason" json:"reason"`
}

// ExpireOrder is a deadline that has passed: it acts only if the order is still
// in that state, entered by that version.
type ExpireOrder struct {
	OrderID string `avro:"order_id" json:"order_id"`
	State   string `avro:"state" json:"state"`
	Version int64  `avro:"version" json:"version"`
}

// Order states.
const (
	Placed    = "placed"
	Approved  = "approved"
	Invoiced  = "invoiced"
	Delivered = "delivered"
	Rejected  = "rejected"
	Cancelled = "cancelled"
	Expired   = "expired"
)

// OrderStates are all of them, in the order in which an order has them: first those on
// its way, then those of orders that died.
func OrderStates() []string {
	return []string{Placed, Approved, Invoiced, Delivered, Rejected, Cancelled, Expired}
}

// States of an ask, what an order wants of a resource.
const (
	AskNone  = "none"
	Asked    = "asked"
	Granted  = "granted"
	Refused  = "refused"
	Released = "released" // given back, or granted too late and given back
)

// Order is the row of the order log: the whole order with every verdict.
type Order struct {
	OrderID    string          `avro:"order_id" json:"order_id"`
	State      string          `avro:"state" json:"state"`
	Version    int64           `avro:"version" json:"version"`         // transitions so far
	EnteredBy  int64           `avro:"entered_by" json:"entered_by"`   // version that entered State
	CustomerID string          `avro:"customer_id" json:"customer_id"` //
	Currency   string          `avro:"currency" json:"currency"`       //
	PlacedAt   int64           `avro:"placed_at" json:"placed_at"`     //
	ChangedAt  int64           `avro:"changed_at" json:"changed_at"`   // event time of the last transition
	BodyHash   [16]byte        `avro:"body_hash" json:"-"`             // head of SHA-256 of the PlaceOrder body (see Hash)
	VATBP      int64           `avro:"vat_bp" json:"vat_bp"`           //
	Lines      []Line          `avro:"lines" json:"lines"`             //
	Net        int64           `avro:"net" json:"net"`                 // totals, 0 until every line has a price
	VAT        int64           `avro:"vat" json:"vat"`                 //
	Gross      int64           `avro:"gross" json:"gross"`             //
	Credit     CreditAsk       `avro:"credit" json:"credit"`           //
	Invoice    InvoiceAsk      `avro:"invoice" json:"invoice"`         //
	CreditNote InvoiceAsk      `avro:"credit_note" json:"credit_note"` // of an invoiced order that died
	Vouchers   []EarnedVoucher `avro:"vouchers" json:"vouchers"`       //
	Reasons    []string        `avro:"reasons" json:"reasons"`         // why it was rejected, cancelled or expired
	Refusals   int64           `avro:"refused_commands" json:"refused_commands"`
	Timeline   []TimelineEntry `avro:"timeline" json:"timeline"`
}

// Line is one line of an order with the verdict on it.
type Line struct {
	SKU         string `avro:"sku" json:"sku"`
	Quantity    int64  `avro:"quantity" json:"quantity"`
	QuotedPrice int64  `avro:"quoted_price" json:"quoted_price"` // 0: none
	DiscountBP  int64  `avro:"discount_bp" json:"discount_bp"`
	UnitPrice   int64  `avro:"unit_price" json:"unit_price"` // the list price it was reserved at
	Net         int64  `avro:"net" json:"net"`
	VAT         int64  `avro:"vat" json:"vat"`
	Stock       string `avro:"stock" json:"stock"` // ask state
}

// CreditAsk is what an order wants of its customer's account.
type CreditAsk struct {
	Ask    string `avro:"ask" json:"ask"`
	Amount int64  `avro:"amount" json:"amount"`
	Opened int64  `avro:"opened" json:"opened"` // limit with which this ask opened the account, 0: it was there
}

// InvoiceAsk is what an order wants of a series: an invoice or a credit note.
type InvoiceAsk struct {
	Ask       string `avro:"ask" json:"ask"`
	InvoiceID string `avro:"invoice_id" json:"invoice_id"`
	Number    string `avro:"number" json:"number"`
	IssuedAt  int64  `avro:"issued_at" json:"issued_at"`
}

// EarnedVoucher is a voucher that this order earned.
type EarnedVoucher struct {
	Strategy  string `avro:"strategy" json:"strategy"`
	VoucherID string `avro:"voucher_id" json:"voucher_id"`
	Amount    int64  `avro:"amount" json:"amount"`
}

// TimelineEntry is one transition, e.g. "order.placed", "stock.reserved".
type TimelineEntry struct {
	At     int64  `avro:"at" json:"at"`
	Type   string `avro:"type" json:"type"`
	Detail string `avro:"detail" json:"detail"`
}

// SetPrice makes a product known and prices it; the last one wins.
type SetPrice struct {
	SKU      string `avro:"sku" json:"sku"`
	Name     string `avro:"name" json:"name"`
	Price    int64  `avro:"price" json:"price"`
	Currency string `avro:"currency" json:"currency"`
}

// ReceiveStock adds goods; 1 <= Quantity <= 1e12.
type ReceiveStock struct {
	SKU      string `avro:"sku" json:"sku"`
	Quantity int64  `avro:"quantity" json:"quantity"`
}

// ReserveStock asks for one line's goods.
type ReserveStock struct {
	OrderID     string `avro:"order_id" json:"order_id"`
	Line        int64  `avro:"line" json:"line"` // index into Order.Lines
	SKU         string `avro:"sku" json:"sku"`
	Quantity    int64  `avro:"quantity" json:"quantity"`
	QuotedPrice int64  `avro:"quoted_price" json:"quoted_price"`
	Currency    string `avro:"currency" json:"currency"`
}

// ReleaseStock gives one line's goods back. It is always obeyed and not answered.
type ReleaseStock struct {
	OrderID  string `avro:"order_id" json:"order_id"`
	Line     int64  `avro:"line" json:"line"`
	SKU      string `avro:"sku" json:"sku"`
	Quantity int64  `avro:"quantity" json:"quantity"`
}

// StockReserved grants a line at the list price of that moment.
type StockReserved struct {
	OrderID   string `avro:"order_id" json:"order_id"`
	Line      int64  `avro:"line" json:"line"`
	SKU       string `avro:"sku" json:"sku"`
	UnitPrice int64  `avro:"unit_price" json:"unit_price"`
}

// StockRefused refuses a line: "unknown_product", "out_of_stock",
// "stale_quote", "currency_mismatch".
type StockRefused struct {
	OrderID string `avro:"order_id" json:"order_id"`
	Line    int64  `avro:"line" json:"line"`
	SKU     string `avro:"sku" json:"sku"`
	Reason  string `avro:"reason" json:"reason"`
	Detail  string `avro:"detail" json:"detail"`
}

// Stock is the inventory's row. It knows no order.
type Stock struct {
	SKU      string `avro:"sku" json:"sku"`
	Name     string `avro:"name" json:"name"`
	Priced   bool   `avro:"priced" json:"priced"` // false: received but not for sale yet
	Price    int64  `avro:"price" json:"price"`
	Currency string `avro:"currency" json:"currency"`
	OnHand   int64  `avro:"on_hand" json:"on_hand"`
}

// SetLimit sets a customer's credit limit; the last one wins. A limit below what
// is charged stops further charges and changes no order.
type SetLimit struct {
	CustomerID string `avro:"customer_id" json:"customer_id"`
	Limit      int64  `avro:"limit" json:"limit"`
	Currency   string `avro:"currency" json:"currency"`
}

// ChargeCredit asks for an order's gross amount.
type ChargeCredit struct {
	OrderID    string `avro:"order_id" json:"order_id"`
	CustomerID string `avro:"customer_id" json:"customer_id"`
	Amount     int64  `avro:"amount" json:"amount"`
	Currency   string `avro:"currency" json:"currency"`
}

// RefundCredit gives an order's amount back. Always obeyed, not answered.
type RefundCredit struct {
	OrderID    string `avro:"order_id" json:"order_id"`
	CustomerID string `avro:"customer_id" json:"customer_id"`
	Amount     int64  `avro:"amount" json:"amount"`
}

// CreditCharged grants the amount.
type CreditCharged struct {
	OrderID    string `avro:"order_id" json:"order_id"`
	CustomerID string `avro:"customer_id" json:"customer_id"`
	Amount     int64  `avro:"amount" json:"amount"`
	Opened     int64  `avro:"opened" json:"opened"` // as in CreditAsk
}

// CreditRefused refuses it: "insufficient_credit", "currency_mismatch".
type CreditRefused struct {
	OrderID    string `avro:"order_id" json:"order_id"`
	CustomerID string `avro:"customer_id" json:"customer_id"`
	Reason     string `avro:"reason" json:"reason"`
	Detail     string `avro:"detail" json:"detail"`
	Opened     int64  `avro:"opened" json:"opened"`
}

// Account is the credit's row. It knows no order.
type Account struct {
	CustomerID string `avro:"customer_id" json:"customer_id"`
	Currency   string `avro:"currency" json:"currency"`
	Limit      int64  `avro:"limit" json:"limit"`
	Charged    int64  `avro:"charged" json:"charged"`
}

// Kinds of invoices.
const (
	KindInvoice    = "invoice"
	KindCreditNote = "credit_note"
)

// IssueInvoice asks a series for its next number. Its key is the series row:
// "A-2026" for invoices of series A in 2026, "CN-2026" for credit notes.
type IssueInvoice struct {
	OrderID    string `avro:"order_id" json:"order_id"`
	Kind       string `avro:"kind" json:"kind"`
	Series     string `avro:"series" json:"series"` // the row's key
	CustomerID string `avro:"customer_id" json:"customer_id"`
	Currency   string `avro:"currency" json:"currency"`
	Net        int64  `avro:"net" json:"net"`
	VAT        int64  `avro:"vat" json:"vat"`
	Gross      int64  `avro:"gross" json:"gross"`
	VATBP      int64  `avro:"vat_bp" json:"vat_bp"`
	Corrects   string `avro:"corrects" json:"corrects"` // invoice number that a credit note takes back
}

// InvoiceIssued answers it.
type InvoiceIssued struct {
	OrderID   string `avro:"order_id" json:"order_id"`
	Kind      string `avro:"kind" json:"kind"`
	InvoiceID string `avro:"invoice_id" json:"invoice_id"`
	Number    string `avro:"number" json:"number"`
	IssuedAt  int64  `avro:"issued_at" json:"issued_at"`
}

// Series is the invoicing's row.
type Series struct {
	Series string `avro:"series" json:"series"`
	Last   int64  `avro:"last" json:"last"` // last number given, 0: none
}

// Invoice is the document: an invoice or a credit note. Its lines stand in the
// order. Number is Series + "-" + Seq with at least six digits.
type Invoice struct {
	InvoiceID  string `avro:"invoice_id" json:"invoice_id"`
	Kind       string `avro:"kind" json:"kind"`
	Number     string `avro:"number" json:"number"`
	Series     string `avro:"series" json:"series"`
	Seq        int64  `avro:"seq" json:"seq"`
	OrderID    string `avro:"order_id" json:"order_id"`
	CustomerID string `avro:"customer_id" json:"customer_id"`
	Currency   string `avro:"currency" json:"currency"`
	Net        int64  `avro:"net" json:"net"`
	VAT        int64  `avro:"vat" json:"vat"`
	Gross      int64  `avro:"gross" json:"gross"`
	VATBP      int64  `avro:"vat_bp" json:"vat_bp"`
	Corrects   string `avro:"corrects" json:"corrects"`
	IssuedAt   int64  `avro:"issued_at" json:"issued_at"`
}

// VoucherGranted tells the order of its voucher.
type VoucherGranted struct {
	OrderID   string `avro:"order_id" json:"order_id"`
	Strategy  string `avro:"strategy" json:"strategy"`
	VoucherID string `avro:"voucher_id" json:"voucher_id"`
	Amount    int64  `avro:"amount" json:"amount"`
}

// Grants is the voucher processor's row, by order.
type Grants struct {
	OrderID string          `avro:"order_id" json:"order_id"`
	Granted []EarnedVoucher `avro:"granted" json:"granted"`
}

// Voucher is the document.
type Voucher struct {
	VoucherID  string `avro:"voucher_id" json:"voucher_id"`
	OrderID    string `avro:"order_id" json:"order_id"`
	CustomerID string `avro:"customer_id" json:"customer_id"`
	Strategy   string `avro:"strategy" json:"strategy"`
	Amount     int64  `avro:"amount" json:"amount"`
	Currency   string `avro:"currency" json:"currency"`
	GrantedAt  int64  `avro:"granted_at" json:"granted_at"`
}

// Notices is the notification's row, by order.
type Notices struct {
	OrderID string `avro:"order_id" json:"order_id"`
	Seen    int64  `avro:"seen" json:"seen"`   // entries of the order's timeline that were looked at
	Asked   int64  `avro:"asked" json:"asked"` // effects that were asked for
}

// Kinds of effects.
const (
	KindEmail   = "email"
	KindWebhook = "webhook"
)

// Effect asks for something outside Kafka: that one party is told of one event.
type Effect struct {
	EffectID string `avro:"effect_id" json:"effect_id"` // the same at every try: Message-ID, webhook-id
	Kind     string `avro:"kind" json:"kind"`
	Event    string `avro:"event" json:"event"` // "order.invoiced"
	OrderID  string `avro:"order_id" json:"order_id"`
	To       string `avro:"to" json:"to"`           // mail address, or the name of a webhook
	At       int64  `avro:"at" json:"at"`           // event time
	Payload  string `avro:"payload" json:"payload"` // JSON: what a webhook's body is, and a mail is made of
}

// States of an effect.
const (
	Pending = "pending" // to be sent, or sent again
	Sending = "sending" // a try has begun: after a crash nobody knows its outcome
	Sent    = "sent"
	Failed  = "failed" // for good
)

// LedgerEntry is the row of the effects: an effect and what became of it.
type LedgerEntry struct {
	EffectID  string `avro:"effect_id" json:"effect_id"`
	Kind      string `avro:"kind" json:"kind"`
	Event     string `avro:"event" json:"event"`
	OrderID   string `avro:"order_id" json:"order_id"`
	To        string `avro:"to" json:"to"`
	At        int64  `avro:"at" json:"at"`
	Payload   string `avro:"payload" json:"payload"` // "" once it is sent
	State     string `avro:"state" json:"state"`
	Tries     int64  `avro:"tries" json:"tries"`           // begun so far
	Unsure    int64  `avro:"unsure" json:"unsure"`         // of them, those whose outcome is not known: it may have been sent once more
	Code      int64  `avro:"code" json:"code"`             // of the last answer, SMTP or HTTP; 0: none
	Text      string `avro:"text" json:"text"`             // of the last answer, or what went wrong
	ChangedAt int64  `avro:"changed_at" json:"changed_at"` // when State was entered, by the clock
	Due       int64  `avro:"due" json:"due"`               // of a pending one: when the calendar brings it back; 0: its turn is next
	Offset    int64  `avro:"offset" json:"offset"`         // of the record that asked for it, on the row's partition of "effects"
	AskedAt   int64  `avro:"asked_at" json:"asked_at"`     // and its timestamp

	Attempts []Attempt `avro:"attempts" json:"attempts"` // that failed, the oldest first
}

// Effect is what was asked for.
func (b LedgerEntry) Effect() Effect {
	return Effect{EffectID: b.EffectID, Kind: b.Kind, Event: b.Event, OrderID: b.OrderID, To: b.To, At: b.At, Payload: b.Payload}
}

// Parked is an entry of the calendar: a record and when it shall go where. It is
// what a group could not handle yet, or a deadline.
type Parked struct {
	To        string    `avro:"to" json:"to"`       // catalogue topic that it is dispatched to
	Group     string    `avro:"group" json:"group"` // processor that parked it
	Due       int64     `avro:"due" json:"due"`
	Seq       int64     `avro:"seq" json:"seq"`       // place in the queue of its key
	Cancel    string    `avro:"cancel" json:"cancel"` // why a person wants it not to be tried again
	Class     string    `avro:"class" json:"class"`
	Cause     string    `avro:"cause" json:"cause"` // a short fixed word, for counting
	Error     string    `avro:"error" json:"error"`
	Topic     string    `avro:"topic" json:"topic"` // where the record stood, as on the cluster; "" of a deadline
	Partition int64     `avro:"partition" json:"partition"`
	Offset    int64     `avro:"offset" json:"offset"`
	Timestamp int64     `avro:"timestamp" json:"timestamp"`
	Origin    []byte    `avro:"origin" json:"origin"`     // its header of that name
	Attempts  []Attempt `avro:"attempts" json:"attempts"` // the oldest first
	Headers   []Header  `avro:"headers" json:"headers"`   // its others
	Key       []byte    `avro:"key" json:"key"`
	Value     []byte    `avro:"value" json:"value"`
}

// Attempt is one that failed.
type Attempt struct {
	At    int64  `avro:"at" json:"at"`
	Error string `avro:"error" json:"error"`
}

// Header is a record's header.
type Header struct {
	Key   string `avro:"key" json:"key"`
	Value []byte `avro:"value" json:"value"`
}

// RetryCommand is what a person wants of the calendar: of one entry that it shall
// be due at another time, or not be tried again; of all of a group and cause that
// they wait until further notice. Which one it is, its message type says.
type RetryCommand struct {
	Entry  string `avro:"entry" json:"entry"` // record key of the entry
	Due    int64  `avro:"due" json:"due"`
	Group  string `avro:"group" json:"group"` // "": every one
	Cause  string `avro:"cause" json:"cause"` // "": every one
	Who    string `avro:"who" json:"who"`
	Reason string `avro:"reason" json:"reason"`
}

// Actions that say what became of a dead letter, or of an entry of the calendar.
const (
	Redriven  = "dlq.redrive"
	Edited    = "dlq.edit" // and redriven as edited
	Discarded = "dlq.discard"

	EntryCancelled = "retries.cancel"
)

// Audited is an action of a person. What is "<noun>.<verb>", as on the command line.
type Audited struct {
	Who    string `avro:"who" json:"who"`
	At     int64  `avro:"at" json:"at"`
	What   string `avro:"what" json:"what"`
	Why    string `avro:"why" json:"why"`
	Target string `avro:"target" json:"target"` // <topic>/<partition>/<offset>@<Unix ms> of a record; else what the action names
	Group  string `avro:"group" json:"group"`
	Key    string `avro:"key" json:"key"`       // of the row that it is for
	Before []byte `avro:"before" json:"before"` // value of the target, if it was changed
	After  []byte `avro:"after" json:"after"`   // what it was changed to
}

// GroupControl says whether a group shall run: where it shall not, all of its
// instances leave it.
type GroupControl struct {
	Group  string `avro:"group" json:"group"` // processor
	Paused bool   `avro:"paused" json:"paused"`
	Who    string `avro:"who" json:"who"`
	Why    string `avro:"why" json:"why"`
	At     int64  `avro:"at" json:"at"`
	Replay string `avro:"replay" json:"replay"` // ID of the replay that wants it; "": a person does
}
