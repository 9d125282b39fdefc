package why

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/lag"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// search is one topic, and the partitions where the order's records can stand.
type search struct {
	topic      string
	partitions []int32 // none: all
}

// orders finds the order's versions and commands, which say where to look for others.
func (p *past) orders(ctx context.Context) error {
	at := p.r.partitionsOf(p.order)
	if err := p.find(ctx, search{topics.OrderTable, at}, search{topics.OrderCommands, at}); err != nil {
		return err
	}
	from := func(t time.Time) {
		if t = t.Add(-margin); p.since.IsZero() || t.Before(p.since) {
			p.since = t
		}
	}
	for _, r := range p.records {
		from(r.rec.Timestamp)
		if o, ok := r.body.(*schemas.Order); ok && (p.now == nil || o.Version >= p.now.Version) {
			p.now = o
		}
	}
	if p.now != nil && len(p.gaps()) > 0 { // the first record is gone, what it caused need not be
		from(time.UnixMilli(p.now.PlacedAt))
	}
	return nil
}

// keys are those of the rows that the order has asked, or will. What is asked of a
// row whose key is not known can stand anywhere.
type keys struct {
	skus, customers, series, invoices, vouchers []string
	anySeries, anyVoucher                       bool
}

func keysOf(o *schemas.Order) (k keys) {
	for _, l := range o.Lines {
		k.skus = append(k.skus, l.SKU)
	}
	k.customers = []string{o.CustomerID}
	for _, ask := range []schemas.InvoiceAsk{o.Invoice, o.CreditNote} {
		switch last := strings.LastIndexByte(ask.Number, '-'); { // <series>-<number>
		case !asked(ask.Ask):
		case last < 0:
			k.anySeries = true
		default:
			k.series = append(k.series, ask.Number[:last])
			k.invoices = append(k.invoices, ask.InvoiceID)
		}
	}
	for _, v := range o.Vouchers {
		k.vouchers = append(k.vouchers, v.VoucherID)
	}
	k.anyVoucher = o.State == schemas.Delivered && len(o.Vouchers) == 0 // it may be granted, and not yet have come
	return k
}

func asked(ask string) bool { return ask != "" && ask != schemas.AskNone }

// asks finds what was asked of others and what they answered, documents and effects.
func (p *past) asks(ctx context.Context) error {
	own := p.r.partitionsOf(p.order)
	searches := []search{{topics.OrderReplies, own}, {topics.OrderLoop, own}, {topics.VoucherLoop, own}, {topics.NotificationLoop, own}}
	add := func(keys []string, anywhere bool, names ...string) {
		at := p.r.partitionsOf(keys...)
		if anywhere {
			at = nil
		} else if len(at) == 0 {
			return
		}
		for _, n := range names {
			searches = append(searches, search{n, at})
		}
	}
	if p.now != nil {
		k := keysOf(p.now)
		add(k.skus, false, topics.InventoryTasks, topics.InventoryLoop)
		add(k.customers, false, topics.CreditTasks, topics.CreditLoop)
		add(k.series, k.anySeries, topics.InvoicingTasks, topics.InvoicingLoop)
		add(k.invoices, k.anySeries, topics.Invoices)
		add(k.vouchers, k.anyVoucher, topics.Vouchers)
		add(nil, true, topics.Effects, topics.EffectsTable)
	}
	if err := p.find(ctx, searches...); err != nil {
		return err
	}
	for _, r := range p.records {
		if t := p.r.catalogued(r.Topic); t.Key == "effect" && !slices.Contains(p.effects, r.Key) {
			p.effects = append(p.effects, r.Key)
		}
	}
	return nil
}

// failures finds what could not be handled at once: on the partitions of the rows that
// are known by now.
func (p *past) failures(ctx context.Context) error {
	at := p.r.partitionsOf(p.order)
	if len(p.records) == 0 { // a command that was parked would have left a row
		return p.find(ctx, search{topics.DeadLetter, at})
	}
	for _, r := range p.records {
		if k := p.r.catalogued(r.Topic).Key; k != "invoice" && k != "voucher" { // documents, of which there are no rows
			at = append(at, p.r.partitionsOf(r.Key)...)
		}
	}
	slices.Sort(at)
	at = slices.Compact(at)
	searches := []search{{topics.Retry, at}, {topics.DeadLetter, at}}
	if len(p.effects) > 0 {
		searches = append(searches, search{topics.EffectsLoop, p.r.partitionsOf(p.effects...)})
	}
	if err := p.find(ctx, searches...); err != nil {
		return err
	}
	if err := p.calendar(ctx, at); err != nil {
		return err
	}
	return p.actions(ctx)
}

// find reads topics, all at once, and keeps what belongs to the order.
func (p *past) find(ctx context.Context, searches ...search) error {
	found := make([][]*Record, len(searches))
	errs := make([]error, len(searches))
	var wg sync.WaitGroup
	for i, s := range searches {
		wg.Go(func() {
			errs[i] = p.r.read(ctx, s.topic, s.partitions, p.since, func(rec *kgo.Record) error {
				if !p.mine(rec) || s.topic == topics.Retry && len(rec.Value) == 0 { // what is taken out, the calendar tells
					return nil
				}
				r, err := p.record(ctx, s.topic, rec)
				found[i] = append(found[i], r)
				return err
			})
		})
	}
	wg.Wait()
	p.records = append(p.records, slices.Concat(found...)...)
	return errors.Join(errs...)
}

func (p *past) mine(rec *kgo.Record) bool {
	key := string(rec.Key)
	return key == p.order || event.Header(rec, event.Correlation) == p.order || slices.Contains(p.effects, key)
}

// record is a record of a catalogue topic with what it holds.
func (p *past) record(ctx context.Context, topic string, rec *kgo.Record) (*Record, error) {
	m := event.Parse(rec)
	r := &Record{Place: placeOf(rec), Time: rec.Timestamp.UnixMilli(), At: m.At, Type: m.Type, ID: event.Header(rec, event.ID), Key: m.Key,
		rec: rec, letter: letter.Parse(rec)}
	if len(rec.Value) == 0 {
		return r, nil
	}
	if t := p.r.catalogued(r.letter.Topic); t.Name != "" { // it stood there first
		topic = t.Name
	} else if topic == topics.EffectsLoop {
		topic = topics.Effects
	}
	var err error
	if r.body, err = p.r.decode(ctx, topic, rec); err != nil {
		if errors.Is(err, schemas.ErrRegistry) || ctx.Err() != nil {
			return nil, fmt.Errorf("record at %s: %w", r.Place, err)
		}
		r.body, r.fault = nil, err
	}
	if parked, ok := r.body.(*schemas.Parked); ok {
		r.letter = letter.Unpark(parked)
	}
	return r, nil
}

// calendar finds the entries that stand in it now. Its rows do not say whose they are
// but in what is parked.
func (p *past) calendar(ctx context.Context, partitions []int32) error {
	type row struct {
		partition int32
		key       string
	}
	rows := map[row]*Record{}
	err := p.r.read(ctx, topics.RetryTable, partitions, p.since, func(rec *kgo.Record) error {
		at := row{rec.Partition, string(rec.Key)}
		delete(rows, at)
		if len(rec.Value) == 0 {
			return nil
		}
		r, err := p.record(ctx, topics.RetryTable, rec)
		if err == nil && r.parked() && p.mine(r.letter.Original()) {
			rows[at] = r
		}
		return err
	})
	for _, r := range rows {
		if id, ok := r.entry(); ok {
			p.standing[id] = r
		}
	}
	return err
}

// actions finds what persons did about the records that are known by now.
func (p *past) actions(ctx context.Context) error {
	known := map[Place]bool{}
	for _, r := range p.records {
		known[r.Place] = true
	}
	return p.r.read(ctx, topics.Audit, nil, p.since, func(rec *kgo.Record) error {
		r, err := p.record(ctx, topics.Audit, rec)
		if err != nil {
			return err
		}
		if a, ok := r.body.(*schemas.Audited); ok && (a.Key == p.order || known[p.target(a)]) {
			p.records = append(p.records, r)
		}
		return nil
	})
}

// target is the record that an action was on; the zero place if it was on none.
func (p *past) target(a *schemas.Audited) Place {
	topic, partition, offset, _, ok := letter.ParseTarget(a.Target)
	if !ok {
		return Place{}
	}
	return Place{p.r.name(topic), partition, offset}
}

// progress asks how far the groups are.
func (p *past) progress(ctx context.Context) error {
	p.read = map[string]progress{}
	for _, g := range lag.Pipeline(p.r.cfg.Namespace) {
		at, err := client.Committed(ctx, p.r.adm, g.Name)
		if err != nil {
			return err
		}
		for _, t := range g.Topics {
			if t != p.r.name(topics.OrderTable) { // several follow it
				p.read[t] = progress{g.Name, at[t]}
			}
		}
	}
	return nil
}
