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

	orders         []*orderLog
	orderCommands  []*orderCommands
	stockCommands  []*stockCommands
	creditCommands []*creditCommands
	tails          map[string][]*tail // tasks and replies that no group has committed yet

	stock    []*rows[schemas.Stock]
	accounts []*rows[schemas.Account]
	series   []*rows[schemas.Series]
	grants   []*rows[schemas.Grants]
	invoices []*docs[invoice]
	vouchers []*docs[schemas.Voucher]
	dead     *deadLetters

	// The last two cuts. What stands at or after the earlier one's ends moves:
	// the tables, cut before it, may or may not show it.
	cut    *cut
	before offsets
	still  bool // nothing moves: every bound is an equality

	now, stuckAfter, opening int64
}

func newWorld(ctx context.Context, cfg Config, partitions map[string]int) *world {
	w := &world{ctx: ctx, serde: cfg.Serde, tails: map[string][]*tail{}, dead: newDeadLetters()}
	w.names = func(topic string) string { return topics.Prefixed(cfg.Namespace, topic) }
	fill(&w.orders, partitions[topics.OrderTable], func(int) *orderLog { return newOrderLog(w) })
	fill(&w.orderCommands, partitions[topics.OrderCommands], func(p int) *orderCommands {
		return &orderCommands{inbox: newInbox(w, topics.OrderCommands), byOrder: map[string]*wishes{}}
	})
	fill(&w.stockCommands, partitions[topics.InventoryCommands], func(int) *stockCommands {
		return &stockCommands{inbox: newInbox(w, topics.InventoryCommands), bySKU: map[string]*supply{}}
	})
	fill(&w.creditCommands, partitions[topics.CreditCommands], func(int) *creditCommands {
		return &creditCommands{inbox: newInbox(w, topics.CreditCommands), byCustomer: map[string]*limits{}}
	})
	for topic := range reads {
		if w.tailOnly(topic) {
			var ts []*tail
			fill(&ts, partitions[topic], func(int) *tail { return &tail{w: w, topic: topic} })
			w.tails[topic] = ts
		}
	}
	fill(&w.stock, partitions[topics.InventoryTable], func(int) *rows[schemas.Stock] { return newRows[schemas.Stock](w, topics.InventoryTable) })
	fill(&w.accounts, partitions[topics.CreditTable], func(int) *rows[schemas.Account] { return newRows[schemas.Account](w, topics.CreditTable) })
	fill(&w.series, partitions[topics.InvoicingTable], func(int) *rows[schemas.Series] { return newRows[schemas.Series](w, topics.InvoicingTable) })
	fill(&w.grants, partitions[topics.VoucherTable], func(int) *rows[schemas.Grants] { return newRows[schemas.Grants](w, topics.VoucherTable) })
	fill(&w.invoices, partitions[topics.Invoices], func(int) *docs[invoice] {
		return newDocs(w, topics.Invoices, newInvoices())
	})
	fill(&w.vouchers, partitions[topics.Vouchers], func(int) *docs[schemas.Voucher] {
		return newDocs(w, topics.Vouchers, newVouchers())
	})
	return w
}

func fill[T any](to *[]T, n int, one func(p int) T) {
	for p := range n {
		*to = append(*to, one(p))
	}
}

// tailOnly tells of the topics that say nothing once they are handled.
func (w *world) tailOnly(topic string) bool {
	switch topic {
	case topics.OrderReplies, topics.InventoryTasks, topics.CreditTasks, topics.InvoicingTasks:
		return true
	}
	return false
}

func (w *world) sink(topic string, p int) sink {
	switch topic {
	case topics.OrderTable:
		return w.orders[p]
	case topics.OrderCommands:
		return w.orderCommands[p]
	case topics.InventoryCommands:
		return w.stockCommands[p]
	case topics.CreditCommands:
		return w.creditCommands[p]
	case topics.InventoryTable:
		return w.stock[p]
	case topics.CreditTable:
		return w.accounts[p]
	case topics.InvoicingTable:
		return w.series[p]
	case topics.VoucherTable:
		return w.grants[p]
	case topics.Invoices:
		return w.invoices[p]
	case topics.Vouchers:
		return w.vouchers[p]
	case topics.DeadLetter:
		return deadLetterSink{w.dead}
	}
	return w.tails[topic][p]
}

// advance takes note of a new cut, before what lies below it is read.
func (w *world) advance(c, before *cut) {
	w.cut = c
	w.before = offsets{}
	if before != nil {
		w.before = before.ends
	}
	for p, in := range w.orderCommands {
		in.committed = c.committed[topics.OrderCommands][p]
	}
	for p, in := range w.stockCommands {
		in.committed = c.committed[topics.InventoryCommands][p]
	}
	for p, in := range w.creditCommands {
		in.committed = c.committed[topics.CreditCommands][p]
	}
}

// settle applies what was late, and is committed by now. It follows the reading
// of dead letters and all else.
func (w *world) settle() {
	for _, in := range w.orderCommands {
		in.release(in.apply)
	}
	for _, in := range w.stockCommands {
		in.release(in.apply)
	}
	for _, in := range w.creditCommands {
		in.release(in.apply)
	}
	for topic, ts := range w.tails {
		for p, t := range ts {
			t.drop(w.cut.committed[topic][p])
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
	return o.offset < w.cut.committed[topics.OrderTable][o.partition]
}

// complete tells whether a topic's partition still has its first record.
func (w *world) complete(topic string, p int) bool { return w.cut.starts[topic][p] == 0 }

// noteBeginning says so where a topic that is to be kept for good was not.
func (w *world) noteBeginning(c *Check, topic string) {
	for p, start := range w.cut.starts[topic] {
		if start > 0 {
			c.note(fmt.Sprintf("%s/%d has lost the records before offset %d, and with them this check its ground", w.names(topic), p, start))
		}
	}
}

// parkedComplete tells whether no dead letter has been forgotten.
func (w *world) parkedComplete() bool {
	for p := range w.cut.starts[topics.DeadLetter] {
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

// waiting counts the records that their group has not committed yet.
func (w *world) waiting() (n int64) {
	for _, in := range w.orderCommands {
		n += int64(len(in.late))
	}
	for _, in := range w.stockCommands {
		n += int64(len(in.late))
	}
	for _, in := range w.creditCommands {
		n += int64(len(in.late))
	}
	for _, ts := range w.tails {
		for _, t := range ts {
			n += int64(len(t.late))
		}
	}
	for p, l := range w.orders {
		if l.end > w.cut.committed[topics.OrderTable][p] {
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
