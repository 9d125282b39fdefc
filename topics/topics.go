// Package topics is the catalogue: every topic of orderlog, what its key is, how
// it is cleaned up and which records may stand on it. It creates nothing;
// internal/topicplan compares it with a cluster.
package topics

import "time"

// Topic names, without namespace.
const (
	OrderCommands     = "order-commands"
	OrderTable        = "order-table" // the order log
	OrderReplies      = "order-replies"
	InventoryTasks    = "inventory-tasks"
	InventoryCommands = "inventory-commands"
	InventoryTable    = "inventory-table"
	CreditTasks       = "credit-tasks"
	CreditCommands    = "credit-commands"
	CreditTable       = "credit-table"
	InvoicingTasks    = "invoicing-tasks"
	InvoicingTable    = "invoicing-table"
	Invoices          = "invoices"
	VoucherTable      = "voucher-table"
	Vouchers          = "vouchers"
	NotificationTable = "notification-table"
	NotificationLoop  = "notification-loop"
	Effects           = "effects" // what must happen outside Kafka
	EffectsTable      = "effects-table"
	EffectsLoop       = "effects-loop"
	Retry             = "retry"
	RetryTable        = "retry-table" // the calendar
	RetryCommands     = "retry-commands"
	OrderLoop         = "order-loop"
	InventoryLoop     = "inventory-loop"
	CreditLoop        = "credit-loop"
	InvoicingLoop     = "invoicing-loop"
	VoucherLoop       = "voucher-loop"
	DeadLetter        = "dead-letter"
	Audit             = "audit"
	Control           = "control" // which groups are paused
)

const day = 24 * time.Hour

// Forever keeps a topic's records for good (retention.ms = -1).
const Forever time.Duration = -1

// Topic is one entry of the catalogue.
type Topic struct {
	Name      string
	Key       string        // what the record key identifies
	Compact   bool          // cleanup.policy=compact, else delete
	Retention time.Duration // of a delete topic; Forever keeps all
	MinLag    time.Duration // min.compaction.lag.ms of a compacted topic, 0: broker default
	Records   []string      // schema record names (package schemas) that may stand on it; none: what other topics have, as it stood there
	WrittenBy string
	External  bool // written from outside: commands, also as plain JSON
}

// All returns the catalogue, in the order in which an order meets the topics.
func All() []Topic {
	return []Topic{
		{Name: OrderCommands, Key: "order", Retention: 7 * day, External: true, WrittenBy: "CLI, any Kafka client",
			Records: []string{"PlaceOrder", "DeliverOrder", "CancelOrder"}},
		{Name: OrderTable, Key: "order", Compact: true, MinLag: 7 * day, WrittenBy: "order", Records: []string{"Order"}},
		{Name: OrderReplies, Key: "order", Retention: 30 * day, WrittenBy: "inventory, credit, invoicing, voucher",
			Records: []string{"StockReserved", "StockRefused", "CreditCharged", "CreditRefused", "InvoiceIssued", "VoucherGranted", "ExpireOrder"}},
		{Name: InventoryTasks, Key: "sku", Retention: 30 * day, WrittenBy: "order", Records: []string{"ReserveStock", "ReleaseStock"}},
		{Name: InventoryCommands, Key: "sku", Retention: Forever, External: true, WrittenBy: "CLI, any Kafka client", Records: []string{"SetPrice", "ReceiveStock"}},
		{Name: InventoryTable, Key: "sku", Compact: true, WrittenBy: "inventory", Records: []string{"Stock"}},
		{Name: CreditTasks, Key: "customer", Retention: 30 * day, WrittenBy: "order", Records: []string{"ChargeCredit", "RefundCredit"}},
		{Name: CreditCommands, Key: "customer", Retention: Forever, External: true, WrittenBy: "CLI, any Kafka client", Records: []string{"SetLimit"}},
		{Name: CreditTable, Key: "customer", Compact: true, WrittenBy: "credit", Records: []string{"Account"}},
		{Name: InvoicingTasks, Key: "series", Retention: 30 * day, WrittenBy: "order", Records: []string{"IssueInvoice"}},
		{Name: InvoicingTable, Key: "series", Compact: true, WrittenBy: "invoicing", Records: []string{"Series"}},
		{Name: Invoices, Key: "invoice", Compact: true, WrittenBy: "invoicing", Records: []string{"Invoice"}},
		{Name: VoucherTable, Key: "order", Compact: true, WrittenBy: "voucher", Records: []string{"Grants"}},
		{Name: Vouchers, Key: "voucher", Compact: true, WrittenBy: "voucher", Records: []string{"Voucher"}},
		{Name: NotificationTable, Key: "order", Compact: true, WrittenBy: "notification", Records: []string{"Notices"}},
		{Name: NotificationLoop, Key: "original key", Retention: 7 * day, WrittenBy: "retry"},
		{Name: Effects, Key: "effect", Retention: 30 * day, WrittenBy: "notification", Records: []string{"Effect"}},
		{Name: EffectsTable, Key: "effect", Compact: true, WrittenBy: "effects", Records: []string{"LedgerEntry"}},
		{Name: EffectsLoop, Key: "original key", Retention: 7 * day, WrittenBy: "retry"},
		{Name: Retry, Key: "due", Retention: 7 * day, WrittenBy: "the runtime", Records: []string{"Parked"}},
		{Name: RetryTable, Key: "due", Compact: true, WrittenBy: "retry", Records: []string{"Parked", "RetryCommand"}},
		{Name: RetryCommands, Key: "due", Retention: 30 * day, External: true, WrittenBy: "CLI", Records: []string{"RetryCommand"}},
		{Name: OrderLoop, Key: "original key", Retention: 7 * day, WrittenBy: "retry"},
		{Name: InventoryLoop, Key: "original key", Retention: 7 * day, WrittenBy: "retry"},
		{Name: CreditLoop, Key: "original key", Retention: 7 * day, WrittenBy: "retry"},
		{Name: InvoicingLoop, Key: "original key", Retention: 7 * day, WrittenBy: "retry"},
		{Name: VoucherLoop, Key: "original key", Retention: 7 * day, WrittenBy: "retry"},
		{Name: DeadLetter, Key: "original key", Retention: 90 * day, WrittenBy: "the runtime"},
		{Name: Audit, Key: "who", Retention: Forever, WrittenBy: "CLI", Records: []string{"Audited"}},
		{Name: Control, Key: "group", Compact: true, WrittenBy: "CLI", Records: []string{"GroupControl"}},
	}
}

// Loop is the topic by which records that a group has parked come back to it.
func Loop(group string) string { return group + "-loop" }

// Find returns the entry of that name.
func Find(name string) (Topic, bool) {
	for _, t := range All() {
		if t.Name == name {
			return t, true
		}
	}
	return Topic{}, false
}

// Prefixed puts a namespace before a topic, group or transactional ID name.
func Prefixed(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "." + name
}
