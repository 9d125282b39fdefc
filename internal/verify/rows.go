package verify

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Rebuilt are the groups whose rows Rows knows.
func Rebuilt() []string { return []string{"inventory", "credit", "invoicing", teller} }

// Rows folds the log to what the rows of a group must be that nobody runs, by key:
// pointers to types of package schemas. The order log's verdicts are adopted. A verdict
// that the order has not applied, because it has not read it yet, or it is parked, or
// a dead letter, was given all the same; a release that the group has not handled was
// not. Where the log leaves several values open, as of a command that a person brought
// back, the row that is there decides.
func Rows(ctx context.Context, cfg Config, group string) (map[string]any, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(cfg.Client...)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer cl.Close()
	w, err := fold(ctx, cfg, cl)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	switch group {
	case "inventory":
		return w.stockRows()
	case "credit":
		return w.accountRows()
	case "invoicing":
		return w.seriesRows()
	case teller:
		return w.noticeRows()
	}
	return nil, fmt.Errorf("rows of %s do not follow from the log", group)
}

// fold reads up to one cut.
func fold(ctx context.Context, cfg Config, cl *kgo.Client) (*world, error) {
	r, err := newReader(ctx, cl, cfg.Namespace)
	if err != nil {
		return nil, err
	}
	w := newWorld(ctx, cfg, r)
	c, err := r.cut(ctx)
	if err != nil {
		return nil, err
	}
	w.advance(c, nil)
	if err := r.readTo(ctx, c, w, cfg.Progress); err != nil {
		return nil, err
	}
	w.settle()
	w.opening = cfg.OpeningLimit
	return w, nil
}

// waiting is a record that its group has not acted on.
type waiting[B any] struct {
	body   *B    // nil: there is none
	offset int64 // of one that was given up: behind all others
}

// undone are what stands on a topic, of body B, that its group has not acted on: not
// read, parked, or given up; of several of one key, the first.
func undone[B any, K comparable](w *world, topic string, key func(*B) K) (map[K]waiting[B], error) {
	all := map[K]waiting[B]{}
	add := func(body any, offset int64) {
		if b, ok := body.(*B); ok {
			if was, there := all[key(b)]; !there || offset < was.offset {
				all[key(b)] = waiting[B]{b, offset}
			}
		}
	}
	for _, in := range w.inboxes[topic] {
		for _, c := range in.open() {
			add(c.body, c.offset)
		}
	}
	for _, l := range w.dead.letters {
		if l.topic != w.names(topic) || !w.dead.stands[l.coordinates] {
			continue
		}
		body, _, err := w.inboxes[topic][0].body(l.record)
		if err != nil {
			return nil, err
		}
		add(body, math.MaxInt64)
	}
	return all, nil
}

// granted tells whether an order will be granted what it has asked for. The first answer
// counts: there are two where a group went back to a snapshot and decided otherwise.
func granted[G, R any](yes waiting[G], no waiting[R]) bool {
	return yes.body != nil && (no.body == nil || yes.offset < no.offset)
}

// keptWhole says of which topics dead letters are kept whole: tasks and replies.
func keptWhole(topic string) bool {
	return strings.HasSuffix(topic, "-tasks") || strings.HasSuffix(topic, topics.OrderReplies)
}

// given tells whether a resource has given, and not been given back, what an order asked for.
func given(ask string, granted, unreleased bool) bool {
	switch ask {
	case schemas.Granted:
		return true
	case schemas.Asked:
		return granted
	case schemas.Released:
		return unreleased
	}
	return false
}

func (w *world) stockRows() (map[string]any, error) {
	reserved, err := undone(w, topics.OrderReplies, func(b *schemas.StockReserved) lineKey { return lineKey{b.OrderID, b.Line} })
	if err != nil {
		return nil, err
	}
	refused, err := undone(w, topics.OrderReplies, func(b *schemas.StockRefused) lineKey { return lineKey{b.OrderID, b.Line} })
	if err != nil {
		return nil, err
	}
	unreleased, err := undone(w, topics.InventoryTasks, func(b *schemas.ReleaseStock) lineKey { return lineKey{b.OrderID, b.Line} })
	if err != nil {
		return nil, err
	}
	rows := map[string]any{}
	of := func(sku string) *schemas.Stock {
		if rows[sku] == nil {
			rows[sku] = &schemas.Stock{SKU: sku}
		}
		return rows[sku].(*schemas.Stock)
	}
	for p, in := range w.stockCommands {
		for sku, s := range in.bySKU {
			row := of(sku)
			row.OnHand += s.received.Int64()
			if b, ok := s.price(w.stock[p].rows[sku]); ok {
				row.Name, row.Priced, row.Price, row.Currency = b.Name, true, b.Price, b.Currency
			}
		}
	}
	w.eachOrder(func(o *order) {
		for i, l := range o.lines {
			k := lineKey{o.id, int64(i)}
			if given(l.stock, granted(reserved[k], refused[k]), unreleased[k].body != nil) {
				of(l.sku).OnHand -= l.quantity
			}
		}
	})
	return rows, nil
}

// price is what a product was last said to cost.
func (s *supply) price(is schemas.Stock) (schemas.SetPrice, bool) {
	shown := schemas.SetPrice{SKU: is.SKU, Name: is.Name, Price: is.Price, Currency: is.Currency}
	n := len(s.prices)
	switch {
	case is.Priced && slices.Contains(s.again, shown):
		return shown, true
	case n > 0:
		return s.prices[n-1], true
	case len(s.again) > 0:
		return s.again[len(s.again)-1], true
	}
	return schemas.SetPrice{}, false
}

func (w *world) accountRows() (map[string]any, error) {
	charged, err := undone(w, topics.OrderReplies, func(b *schemas.CreditCharged) string { return b.OrderID })
	if err != nil {
		return nil, err
	}
	refused, err := undone(w, topics.OrderReplies, func(b *schemas.CreditRefused) string { return b.OrderID })
	if err != nil {
		return nil, err
	}
	refund, err := undone(w, topics.CreditTasks, func(b *schemas.RefundCredit) string { return b.OrderID })
	if err != nil {
		return nil, err
	}
	c := begin("credit")
	customers := w.customers(c)
	charges, opened := map[string]int64{}, map[string]limit{}
	w.eachOrder(func(o *order) {
		if given(o.credit.Ask, granted(charged[o.id], refused[o.id]), refund[o.id].body != nil) {
			charges[o.customer] += o.credit.Amount
		}
		amount, answered := o.credit.Opened, o.credit.Ask != schemas.AskNone && o.credit.Ask != schemas.Asked
		if b := charged[o.id].body; b != nil && !answered {
			amount, answered = b.Opened, true
		}
		if b := refused[o.id].body; b != nil && !answered {
			amount, answered = b.Opened, true
		}
		if at, there := opened[o.customer]; answered && (!there || at.amount == 0 && amount != 0) {
			opened[o.customer] = limit{amount, o.currency}
		}
	})
	rows := map[string]any{}
	for id, a := range customers {
		is, there := w.account(id)
		at, open := opened[id]
		switch n := len(a.set); {
		case there && slices.Contains(a.limits(w), limit{is.Limit, is.Currency}) && (n == 0 || len(a.late) > 0 || !w.deadComplete()):
			at, open = limit{is.Limit, is.Currency}, true
		case n > 0:
			at, open = a.set[n-1], true
		case len(a.late) > 0 && !open && !a.unopened:
			at, open = a.late[len(a.late)-1], true
		}
		if open {
			rows[id] = &schemas.Account{CustomerID: id, Currency: at.currency, Limit: at.amount, Charged: charges[id]}
		}
	}
	return rows, nil
}

func (w *world) account(id string) (schemas.Account, bool) {
	for _, t := range w.accounts {
		if row, ok := t.rows[id]; ok {
			return row, true
		}
	}
	return schemas.Account{}, false
}

// seriesRows reads them off the documents, which were written with the rows.
func (w *world) seriesRows() (map[string]any, error) {
	rows := map[string]any{}
	for _, t := range w.invoices {
		if len(t.faults) > 0 {
			return nil, fmt.Errorf("a document cannot be read, and its number is not known: %s", t.faults[0].Detail)
		}
		for _, d := range t.docs {
			row, ok := rows[d.is.series].(*schemas.Series)
			if !ok {
				row = &schemas.Series{Series: d.is.series}
				rows[d.is.series] = row
			}
			row.Last = max(row.Last, d.is.seq)
		}
	}
	return rows, nil
}

// noticeRows says what was looked at and asked for: nothing is asked for anew, of
// whoever wants to be told by now.
func (w *world) noticeRows() (map[string]any, error) {
	asked := map[string]string{} // order by effect: one may be both in the ledger and unread
	for _, part := range w.effects {
		if len(part.docs.faults) > 0 {
			return nil, fmt.Errorf("an effect cannot be read, and its order is not known: %s", part.docs.faults[0].Detail)
		}
		for id, e := range part.docs.docs {
			asked[id] = e.is.order
		}
	}
	for _, in := range w.inboxes[topics.Effects] {
		for _, c := range in.late {
			if b, ok := c.body.(*schemas.Effect); ok {
				asked[b.EffectID] = b.OrderID
			}
		}
	}
	have := map[string]int64{}
	for _, order := range asked {
		have[order]++
	}
	rows := map[string]any{}
	w.eachOrder(func(o *order) {
		row := schemas.Notices{OrderID: o.id, Seen: o.heard, Asked: have[o.id]}
		if w.parked.keys[teller][o.id] { // handed over, and not looked at: without a row, all is asked for again, by the same IDs
			row = w.notices[o.partition].rows[o.id]
		}
		if row.Seen > 0 {
			rows[o.id] = &row
		}
	})
	return rows, nil
}
