package verify

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// world is all that was folded, a part per topic and partition: each part is
// filled by one goroutine at a time, and read by the checks when all are done.
type world struct {
	ctx   context.Context
	serde *schemas.Serde
	names func(topic string) string

	read       *reader // of the records
	partitions map[string]int
	sinks      map[string][]sink   // by topic and partition: who takes its records
	inboxes    map[string][]*inbox // likewise, of commands, tasks and replies

	orders         []*orderLog
	orderCommands  []*orderCommands
	stockCommands  []*stockCommands
	creditCommands []*creditCommands

	stock    []*rows[schemas.Stock]
	accounts []*rows[schemas.Account]
	series   []*rows[schemas.Series]
	grants   []*rows[schemas.Grants]
	invoices []*docs[invoice]
	vouchers []*docs[schemas.Voucher]
	notices  []*rows[schemas.Notices]
	effects  []ledger
	dead     *deadLetters
	calendar []*calendar
	parked   parked // as of the last cut

	// The last two cuts. What stands at or after the earlier one's ends moves:
	// the tables, cut before it, may or may not show it.
	cut    *cut
	before offsets
	still  bool // nothing moves: every bound is an equality

	past *past // nil: it is now

	telling bool // teller runs: it is waited for

	now, stuckAfter, opening int64
}

func newWorld(ctx context.Context, cfg Config, r *reader) *world {
	w := &world{ctx: ctx, serde: cfg.Serde, partitions: r.partitions, read: r, sinks: map[string][]sink{}, inboxes: map[string][]*inbox{}, dead: newDeadLetters()}
	w.names = func(topic string) string { return topics.Prefixed(cfg.Namespace, topic) }
	w.orders = parts(w, topics.OrderTable, newOrderLog)
	w.orderCommands = parts(w, topics.OrderCommands, newOrderCommands)
	w.stockCommands = parts(w, topics.InventoryCommands, newStockCommands)
	w.creditCommands = parts(w, topics.CreditCommands, newCreditCommands)
	for _, topic := range tails {
		parts(w, topic, func(w *world) tail { return tail{w.inbox(topic, nil)} })
	}
	w.stock = table[schemas.Stock](w, topics.InventoryTable)
	w.accounts = table[schemas.Account](w, topics.CreditTable)
	w.series = table[schemas.Series](w, topics.InvoicingTable)
	w.grants = table[schemas.Grants](w, topics.VoucherTable)
	w.notices = table[schemas.Notices](w, topics.NotificationTable)
	w.effects = parts(w, topics.EffectsTable, newLedger)
	w.invoices = parts(w, topics.Invoices, func(w *world) *docs[invoice] { return newDocs(w, topics.Invoices, newInvoices()) })
	w.vouchers = parts(w, topics.Vouchers, func(w *world) *docs[schemas.Voucher] { return newDocs(w, topics.Vouchers, newVouchers()) })
	parts(w, topics.DeadLetter, func(w *world) *deadLetters { return w.dead })
	parts(w, topics.Audit, func(w *world) actions { return actions{w} })
	w.calendar = parts(w, topics.RetryTable, newCalendar)
	return w
}

// parts makes one part per partition of a topic, which takes its records.
func parts[T sink](w *world, topic string, one func(*world) T) (all []T) {
	for range w.partitions[topic] {
		part := one(w)
		all = append(all, part)
		w.sinks[topic] = append(w.sinks[topic], part)
	}
	return all
}

func table[T any](w *world, topic string) []*rows[T] {
	return parts(w, topic, func(w *world) *rows[T] { return &rows[T]{w: w, topic: topic, rows: map[string]T{}} })
}

// advance takes note of a new cut, before what lies below it is read.
func (w *world) advance(c, before *cut) {
	w.cut = c
	w.before = offsets{}
	if before != nil {
		w.before = before.ends
	}
	for topic, ins := range w.inboxes {
		for p, in := range ins {
			in.committed = c.committed[topic][p]
		}
	}
}

// settle applies what was late, and is committed by now. It follows the reading
// of dead letters and all else.
func (w *world) settle() {
	for _, ins := range w.inboxes {
		for _, in := range ins {
			in.release()
		}
	}
}

// moves tells whether what stands there may be missing in a table of this cut.
func (w *world) moves(topic string, partition int32, offset int64) bool {
	ends := w.before[topic]
	return ends == nil || offset >= ends[partition]
}

func (w *world) moving(o *order) bool { return w.moves(topics.OrderTable, o.partition, o.offset) }

// followed tells whether the voucher processor has seen the order as it is.
func (w *world) followed(o *order) bool {
	return !w.parked.keys["voucher"][o.id] && o.offset < w.cut.committed[topics.OrderTable][o.partition]
}

// complete tells whether a topic's partition was read from its first record on.
func (w *world) complete(topic string, p int) bool { return w.read.from[topic][p] == 0 }

// noteBeginning says so where a topic that is to be kept for good was not.
func (w *world) noteBeginning(c *Check, topic string) {
	for p, start := range w.read.from[topic] {
		if start > 0 {
			c.note(fmt.Sprintf("%s/%d has lost the records before offset %d, and with them this check its ground", w.names(topic), p, start))
		}
	}
}

// deadComplete tells whether no dead letter has been forgotten.
func (w *world) deadComplete() bool {
	for p := range w.read.from[topics.DeadLetter] {
		if !w.complete(topics.DeadLetter, p) {
			return false
		}
	}
	return true
}

// find returns an order of the log, nil if there is none.
func (w *world) find(id string) *order {
	for _, l := range w.orders {
		if o, ok := l.orders[id]; ok {
			return o
		}
	}
	return nil
}

func (w *world) eachOrder(f func(*order)) {
	for _, l := range w.orders {
		for _, o := range l.orders {
			f(o)
		}
	}
}

// waiting counts the records that their group has not handled yet. Effects that are
// tried again later keep nobody waiting.
func (w *world) waiting() int64 { return w.unread() + int64(len(w.parked.at)-w.parked.effects) }

// unread counts the records that their group has not committed yet.
func (w *world) unread() (n int64) {
	for _, ins := range w.inboxes {
		for _, in := range ins {
			n += int64(len(in.late))
		}
	}
	for p, l := range w.orders {
		if l.end > w.cut.committed[topics.OrderTable][p] || w.telling && l.end > w.cut.told[p] {
			n++
		}
	}
	return n
}

// pos is where a record stands, and when it was written (Unix ms).
type pos struct {
	partition    int32
	offset, time int64
}

func at(r *kgo.Record) pos { return pos{r.Partition, r.Offset, r.Timestamp.UnixMilli()} }
