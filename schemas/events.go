package schemas

// Message types (ce_type). Commands and tasks read <service>.<entity>.<request>,
// events <entity>.<past verb>.
const (
	OrdersOrderPlace   = "orders.order.place"
	OrdersOrderDeliver = "orders.order.deliver"
	OrdersOrderCancel  = "orders.order.cancel"
	OrdersOrderExpire  = "orders.order.expire"

	InventoryPriceSet     = "inventory.price.set"
	InventoryStockReceive = "inventory.stock.receive"
	InventoryStockReserve = "inventory.stock.reserve"
	InventoryStockRelease = "inventory.stock.release"
	StockReservedEvent    = "stock.reserved"
	StockRefusedEvent     = "stock.refused"
	StockChanged          = "stock.changed" // a written row of the inventory

	CreditLimitSet      = "credit.limit.set"
	CreditAccountCharge = "credit.account.charge"
	CreditAccountRefund = "credit.account.refund"
	CreditChargedEvent  = "credit.charged"
	CreditRefusedEvent  = "credit.refused"
	AccountChanged      = "account.changed"

	InvoicingInvoiceIssue    = "invoicing.invoice.issue"
	InvoicingCreditNoteIssue = "invoicing.credit_note.issue"
	InvoiceIssuedEvent       = "invoice.issued"
	CreditNoteIssuedEvent    = "credit_note.issued"
	SeriesAdvanced           = "series.advanced"

	VoucherGrantedEvent = "voucher.granted"
	GrantsChanged       = "grants.changed"

	NotificationsEmailSend   = "notifications.email.send"
	NotificationsWebhookSend = "notifications.webhook.send"
	NotificationsResend      = "notifications.effect.resend" // a person's word: once more, whatever became of it
	NoticesChanged           = "notices.changed"
	EffectPending            = "effect.pending" // a written row of the effects' ledger, named after its state
	EffectSending            = "effect.sending"
	EffectSent               = "effect.sent"
	EffectFailed             = "effect.failed"

	OrderPlaced    = "order.placed"
	OrderApproved  = "order.approved"
	OrderInvoiced  = "order.invoiced"
	OrderDelivered = "order.delivered"
	OrderRejected  = "order.rejected"
	OrderCancelled = "order.cancelled"
	OrderExpired   = "order.expired"
	OrderRefused   = "order.command_refused" // a command that could not be obeyed

	RecordParked       = "record.parked" // an entry of the calendar
	RetriesPullForward = "retries.entry.pull_forward"
	RetriesCancel      = "retries.entry.cancel"
	RetriesPause       = "retries.cause.pause"
	RetriesResume      = "retries.cause.resume"
	ActionTaken        = "action.taken"
	GroupPaused        = "group.paused"
	GroupResumed       = "group.resumed"
)
