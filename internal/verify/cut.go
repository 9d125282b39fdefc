package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/topics"
)

// tables are cut before logs, so that whatever a table shows was asked for in
// the order log, and is documented, at the cut of those. So it is with the audit:
// what it says was brought back is on its loop.
var (
	tables = []string{topics.InventoryTable, topics.CreditTable, topics.InvoicingTable, topics.VoucherTable, topics.NotificationTable, topics.EffectsTable,
		topics.RetryTable, topics.Audit}
	logs = []string{
		topics.OrderCommands, topics.OrderTable, topics.OrderReplies,
		topics.InventoryTasks, topics.InventoryCommands, topics.CreditTasks, topics.CreditCommands,
		topics.InvoicingTasks, topics.Invoices, topics.Vouchers, topics.Effects, topics.DeadLetter,
		topics.Retry, topics.OrderLoop, topics.InventoryLoop, topics.CreditLoop, topics.InvoicingLoop, topics.VoucherLoop, topics.NotificationLoop, topics.EffectsLoop,
	}
)

// tails say nothing once they are handled.
var tails = []string{topics.OrderReplies, topics.InventoryTasks, topics.CreditTasks, topics.InvoicingTasks, topics.Effects,
	topics.Retry, topics.OrderLoop, topics.InventoryLoop, topics.CreditLoop, topics.InvoicingLoop, topics.VoucherLoop, topics.NotificationLoop, topics.EffectsLoop}

// first are read before the others, since they say what became of commands.
var first = []string{topics.DeadLetter, topics.Audit, topics.RetryTable,
	topics.Retry, topics.OrderLoop, topics.InventoryLoop, topics.CreditLoop, topics.InvoicingLoop, topics.VoucherLoop, topics.NotificationLoop, topics.EffectsLoop}

// reads says which group reads a topic; teller reads order-table, too.
var reads = map[string]string{
	topics.OrderCommands: "order", topics.OrderReplies: "order",
	topics.InventoryTasks: "inventory", topics.InventoryCommands: "inventory",
	topics.CreditTasks: "credit", topics.CreditCommands: "credit",
	topics.InvoicingTasks: "invoicing",
	topics.OrderTable:     "voucher",
	topics.Retry:          "retry",
	topics.OrderLoop:      "order", topics.InventoryLoop: "inventory", topics.CreditLoop: "credit",
	topics.InvoicingLoop: "invoicing", topics.VoucherLoop: "voucher",
	topics.Effects: "effects", topics.EffectsLoop: "effects", topics.NotificationLoop: teller,
}

// offsets are per catalogue topic and partition.
type offsets map[string][]int64

// cut is one look at where everything stands:
//
//	committed   before
//	ends        of tables, before those of logs
//
// with every transaction that had written anything before a look at committed or
// at the tables decided in the ends that follow. So what a group has committed is
// applied in the tables and logs of the same cut, and what a table shows is in
// the logs of the same cut.
type cut struct {
	committed offsets // by topic that a group reads: the first record it may not have handled
	told      []int64 // of order-table, likewise, by teller; nil: it has never run
	starts    offsets
	ends      offsets // read_committed
	highs     offsets // high watermarks just before ends: equal unless a transaction is open
}

// equal tells that nothing was committed or written between two cuts.
func (c *cut) equal(d *cut) bool {
	return equal(c.committed, d.committed) && equal(c.ends, d.ends) && equal(c.highs, d.highs)
}

// closed tells that no transaction was open.
func (c *cut) closed() bool { return equal(c.ends, c.highs) }

func equal(a, b offsets) bool { return maps.EqualFunc(a, b, slices.Equal) }

func (r *reader) cut(ctx context.Context) (*cut, error) {
	c := &cut{committed: offsets{}, starts: offsets{}, ends: offsets{}, highs: offsets{}}
	if err := r.list(ctx, r.adm.ListStartOffsets, c.starts, slices.Concat(tables, logs)); err != nil {
		return nil, err
	}
	if err := r.commits(ctx, c); err != nil {
		return nil, err
	}
	for _, names := range [][]string{tables, logs} {
		if err := r.decided(ctx, c, names); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// decided lists the ends of some topics, once every transaction that has written
// to any topic by now is decided.
func (r *reader) decided(ctx context.Context, c *cut, names []string) error {
	all := slices.Concat(tables, logs)
	highs := offsets{}
	if err := r.list(ctx, r.adm.ListEndOffsets, highs, all); err != nil {
		return err
	}
	const patience = 2 * time.Minute // more than any transaction timeout of ours
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ends := offsets{}
		if err := r.list(ctx, r.adm.ListCommittedOffsets, ends, all); err != nil {
			return err
		}
		topic, p, open := firstBelow(ends, highs)
		if !open {
			for _, n := range names {
				c.ends[n], c.highs[n] = ends[n], highs[n]
			}
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("a transaction on topic %q, partition %d, offset %d, stays open: %w", r.name(topic), p, ends[topic][p], ctx.Err())
		}
	}
}

func firstBelow(ends, highs offsets) (topic string, p int, found bool) {
	for topic, hs := range highs {
		for p := range hs {
			if ends[topic][p] < hs[p] {
				return topic, p, true
			}
		}
	}
	return "", 0, false
}

type lister func(context.Context, ...string) (kadm.ListedOffsets, error)

func (r *reader) list(ctx context.Context, f lister, into offsets, names []string) error {
	full := make([]string, len(names))
	for i, n := range names {
		full[i] = r.name(n)
	}
	listed, err := f(ctx, full...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return fmt.Errorf("listing offsets: %w", err)
	}
	for _, n := range names {
		os := make([]int64, r.partitions[n])
		for p := range os {
			o, ok := listed.Lookup(r.name(n), int32(p))
			if !ok {
				return fmt.Errorf("listing offsets: no answer for topic %q, partition %d", r.name(n), p)
			}
			os[p] = o.Offset
		}
		into[n] = os
	}
	return nil
}

// commits fills in what the groups have committed. A group that is not there has
// read nothing.
func (r *reader) commits(ctx context.Context, c *cut) error {
	groups := map[string]kadm.OffsetResponses{}
	for _, g := range reads {
		if _, ok := groups[g]; ok {
			continue
		}
		rs, err := group.Offsets(ctx, r.adm, topics.Prefixed(r.namespace, g))
		if err != nil {
			return err
		}
		groups[g] = rs
	}
	at := func(g, topic string) []int64 {
		os := make([]int64, r.partitions[topic])
		for p := range os {
			os[p] = c.starts[topic][p]
			if o, ok := groups[g].Lookup(r.name(topic), int32(p)); ok && o.Err == nil {
				os[p] = max(os[p], o.At)
			}
		}
		return os
	}
	for topic, g := range reads {
		c.committed[topic] = at(g, topic)
	}
	if r.telling || len(groups[teller]) > 0 {
		c.told = at(teller, topics.OrderTable)
	}
	return nil
}

// runs tells whether a group has members.
func (r *reader) runs(ctx context.Context, g string) (bool, error) {
	name := topics.Prefixed(r.namespace, g)
	ds, err := r.adm.DescribeGroups(ctx, name)
	if err != nil {
		return false, fmt.Errorf("describing group %q: %w", name, err)
	}
	return len(ds[name].Members) > 0, nil
}
