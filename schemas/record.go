// Package schemas is what stands in the records: a Go type and an Avro schema
// per record, the codecs between them, and the wire format with a schema
// registry. Which record may stand on which topic is said by package topics;
// what a record means, by the rules.
package schemas

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/twmb/avro"

	"github.com/orderlog/orderlog/topics"
)

// Namespace is the Avro namespace of every record.
const Namespace = "orderlog"

//go:embed avsc/*.avsc
var avsc embed.FS

// Record is one entry of the catalogue.
type Record struct {
	Name   string       // "PlaceOrder": the Go type, the .avsc file and the Avro name
	Avsc   string       // schema text
	Schema *avro.Schema // what other versions are read as, and JSON is
	Types  []string     // message types that mean this record, the default first
	Also   []string     // types it takes over from the message that caused it, where it is a row or a document
	New    func() any   // pointer to a zero value

	pointer reflect.Type             // of what New returns
	tree    *avro.SchemaNode         // Schema, to walk along
	dynamic func() (*dynamic, error) // made at first use
}

// FullName is the Avro name.
func (r *Record) FullName() string { return Namespace + "." + r.Name }

// define describes T. A schema that does not parse is a fault of the build.
func define[T any](types ...string) *Record {
	name := reflect.TypeFor[T]().Name()
	text, err := avsc.ReadFile("avsc/" + name + ".avsc")
	if err != nil {
		panic(err)
	}
	schema := avro.MustParse(string(text))
	return &Record{
		Name: name, Avsc: string(text), Schema: schema, Types: types, tree: schema.Root().ExpandReferences(),
		New:     func() any { return new(T) },
		pointer: reflect.TypeFor[*T](),
		dynamic: sync.OnceValues(func() (*dynamic, error) { return newDynamic(string(text)) }),
	}
}

func (r *Record) also(types ...string) *Record {
	r.Also = types
	return r
}

func records() []*Record {
	return []*Record{
		define[PlaceOrder](OrdersOrderPlace),
		define[DeliverOrder](OrdersOrderDeliver),
		define[CancelOrder](OrdersOrderCancel),
		define[ExpireOrder](OrdersOrderExpire),
		define[Order](OrderPlaced, OrderApproved, OrderInvoiced, OrderDelivered, OrderRejected, OrderCancelled, OrderExpired, OrderRefused).
			also(StockReservedEvent, StockRefusedEvent, CreditChargedEvent, CreditRefusedEvent, InvoiceIssuedEvent, CreditNoteIssuedEvent, VoucherGrantedEvent),
		define[SetPrice](InventoryPriceSet),
		define[ReceiveStock](InventoryStockReceive),
		define[ReserveStock](InventoryStockReserve),
		define[ReleaseStock](InventoryStockRelease),
		define[StockReserved](StockReservedEvent),
		define[StockRefused](StockRefusedEvent),
		define[Stock](StockChanged),
		define[SetLimit](CreditLimitSet),
		define[ChargeCredit](CreditAccountCharge),
		define[RefundCredit](CreditAccountRefund),
		define[CreditCharged](CreditChargedEvent),
		define[CreditRefused](CreditRefusedEvent),
		define[Account](AccountChanged),
		define[IssueInvoice](InvoicingInvoiceIssue, InvoicingCreditNoteIssue),
		define[InvoiceIssued](InvoiceIssuedEvent, CreditNoteIssuedEvent),
		define[Series](SeriesAdvanced),
		define[Invoice]().also(InvoiceIssuedEvent, CreditNoteIssuedEvent),
		define[VoucherGranted](VoucherGrantedEvent),
		define[Grants](GrantsChanged),
		define[Voucher]().also(VoucherGrantedEvent),
		define[Parked](RecordParked),
		define[RetryCommand](RetriesPullForward, RetriesCancel, RetriesPause, RetriesResume),
		define[Audited](ActionTaken),
		define[GroupControl](GroupPaused, GroupResumed),
		define[Notices](NoticesChanged),
		define[Effect](NotificationsEmailSend, NotificationsWebhookSend, NotificationsResend),
		define[LedgerEntry](EffectPending, EffectSending, EffectSent, EffectFailed),
	}
}

// index is the catalogue and the ways into it. It never changes.
type index struct {
	all    []*Record
	byName map[string]*Record
	byType map[string]*Record       // by message type
	byGo   map[reflect.Type]*Record // by type of the pointer that New returns
}

var catalogue = sync.OnceValue(func() index {
	ix := index{all: records(), byName: map[string]*Record{}, byType: map[string]*Record{}, byGo: map[reflect.Type]*Record{}}
	for _, r := range ix.all {
		ix.byName[r.Name] = r
		ix.byGo[r.pointer] = r
		for _, t := range r.Types {
			ix.byType[t] = r
		}
	}
	return ix
})

// Records returns the catalogue. It is read-only.
func Records() []*Record { return catalogue().all }

// Find returns the record of that name.
func Find(name string) (*Record, bool) {
	r, ok := catalogue().byName[name]
	return r, ok
}

// ForType returns the record that a message of this type has as its body.
func ForType(msgType string) (*Record, bool) {
	r, ok := catalogue().byType[msgType]
	return r, ok
}

// Of returns the record that body points to, e.g. for a *PlaceOrder.
func Of(body any) (*Record, bool) {
	r, ok := catalogue().byGo[reflect.TypeOf(body)]
	return r, ok
}

// RecordOf names the record that body points to, "" for anything else.
func RecordOf(body any) string {
	if r, ok := Of(body); ok {
		return r.Name
	}
	return ""
}

// TypeOf returns the message type that body has where no header says it.
func TypeOf(body any) string {
	r, ok := Of(body)
	switch {
	case !ok:
		return ""
	case len(r.Types) > 0:
		return r.Types[0]
	}
	return r.Also[0]
}

// Fits says whether a message of this type may carry this body.
func Fits(msgType string, body any) bool {
	r, ok := Of(body)
	return ok && (slices.Contains(r.Types, msgType) || slices.Contains(r.Also, msgType))
}

// Allowed returns ErrNotAllowed unless body may stand on the catalogue topic.
func Allowed(topic string, body any) error {
	t, ok := topics.Find(topic)
	if !ok {
		return fmt.Errorf("topic %q: %w", topic, ErrNotAllowed)
	}
	if name := RecordOf(body); name == "" || !slices.Contains(t.Records, name) {
		return fmt.Errorf("%T on topic %q: %w", body, topic, ErrNotAllowed)
	}
	return nil
}

// Hash is the head of SHA-256 over the Avro encoding of body: what tells two
// commands of one ID apart. A field added to a command's schema changes it: the
// same command sent again across such a change counts as another one.
func Hash(of any) (h [16]byte, err error) {
	if _, ok := Of(of); !ok {
		return h, fmt.Errorf("hashing a %T: %w", of, ErrNotAllowed)
	}
	sum := sha256.Sum256(new(walker).append(nil, of.(body)))
	return [16]byte(sum[:16]), nil
}
