package hindsight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/group"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// command is one from outside, and where it stands.
type command struct {
	flow.Message
	rank      int // of its topic in inputs
	partition int32
	offset    int64 // -1: it is not on the log any more; what was ordered is before all that is, the rest behind it
}

// inputs are the topics of commands, by the group that reads them: at one time, what
// fills the shelves comes before the orders.
var inputs = []struct{ topic, group string }{
	{topics.InventoryCommands, "inventory"}, {topics.CreditCommands, "credit"}, {topics.OrderCommands, "order"},
}

type place struct {
	topic     string // as on the cluster
	partition int32
	offset    int64
}

// history is what the log says.
type history struct {
	orders     map[string]*schemas.Order      // as they are
	placements map[string]*schemas.PlaceOrder // what was ordered
	commands   []command

	open    map[string]bool // orders that are not where they will be
	unknown map[string]bool // orders that were placed by what cannot be told any more
	failed  map[string]bool // keys of which a command failed

	gone       map[string]bool // topics that have lost their beginning
	madeUp     int             // commands read off the order log
	unread     int             // commands that their group has not handled
	unreadable int             // and that nobody could
}

type reader struct {
	ctx  context.Context
	cfg  Config
	adm  *kadm.Client
	read map[string]kadm.OffsetResponses // by group
	dead map[place]bool                  // records that no rule was shown
	late map[string]bool                 // keys of commands that are not handled yet
	*history
}

func read(ctx context.Context, cfg Config) (*history, error) {
	adm, err := kadm.NewOptClient(cfg.Opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	defer adm.Close()
	r := &reader{ctx, cfg, adm, map[string]kadm.OffsetResponses{}, map[place]bool{}, map[string]bool{}, &history{
		orders: map[string]*schemas.Order{}, placements: map[string]*schemas.PlaceOrder{}, open: map[string]bool{}, unknown: map[string]bool{},
		failed: map[string]bool{}, gone: map[string]bool{},
	}}
	// What groups have handled is asked for first: all that came of it is then in what is
	// read after. Whatever an order did since, it has a record past that.
	for _, g := range []string{"order", "inventory", "credit", "voucher"} {
		if r.read[g], err = group.Offsets(ctx, adm, r.name(g)); err != nil {
			return nil, err
		}
	}
	for _, step := range []func() error{r.deadLetters, r.calendar, r.orderLog, r.answers, r.allCommands, r.missing} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return r.history, nil
}

func (r *reader) name(bare string) string { return topics.Prefixed(r.cfg.Namespace, bare) }

// each reads a topic.
func (r *reader) each(topic string, do func(*kgo.Record) error) (client.Span, error) {
	span, err := client.Whole(r.ctx, r.adm, r.name(topic))
	if err != nil {
		return span, err
	}
	return span, span.Read(r.ctx, r.cfg.Opts, func(rec *kgo.Record) (bool, error) { return true, do(rec) })
}

// handled tells whether a group has committed past a record.
func (r *reader) handled(group string, rec *kgo.Record) bool {
	o, ok := r.read[group].Lookup(rec.Topic, rec.Partition)
	return ok && rec.Offset < o.At
}

// deadLetters tells what no rule was shown from what a rule failed at. What a rule
// refused, it decided.
func (r *reader) deadLetters() error {
	_, err := r.each(topics.DeadLetter, func(rec *kgo.Record) error {
		switch l := letter.Parse(rec); {
		case l.Class == letter.Transient:
			r.failed[string(l.Key)] = true
		case l.Cause != "refused":
			r.dead[place{l.Topic, l.Partition, l.Offset}] = true
		}
		return nil
	})
	return err
}

// calendar finds the orders of which something waits there.
func (r *reader) calendar() error {
	waiting := map[string]string{}
	_, err := r.each(topics.RetryTable, func(rec *kgo.Record) error {
		delete(waiting, string(rec.Key))
		if len(rec.Value) == 0 {
			return nil
		}
		body, err := r.cfg.Serde.Decode(r.ctx, topics.RetryTable, rec.Value)
		if b, ok := body.(*schemas.Parked); ok && b.Topic != "" {
			waiting[string(rec.Key)] = string(b.Key)
		}
		return registry(err)
	})
	for _, key := range waiting {
		r.open[key] = true
	}
	return err
}

// registry is an error that says that it is away, and nothing about the record.
func registry(err error) error {
	if errors.Is(err, schemas.ErrRegistry) {
		return err
	}
	return nil
}

func (r *reader) orderLog() error {
	moves := map[string]bool{}
	_, err := r.each(topics.OrderTable, func(rec *kgo.Record) error {
		if len(rec.Value) == 0 {
			return nil
		}
		o := new(schemas.Order)
		if err := r.cfg.Serde.DecodeInto(r.ctx, topics.OrderTable, rec.Value, o); err != nil {
			return fmt.Errorf("order at %s/%d/%d: %w", rec.Topic, rec.Partition, rec.Offset, err)
		}
		if was := r.orders[o.OrderID]; was != nil && was.Version > o.Version {
			return nil // an old one that a broker shows again
		}
		r.orders[o.OrderID] = o
		moves[o.OrderID] = underWay(o) || o.State == schemas.Delivered && !r.handled("voucher", rec)
		return nil
	})
	for id, still := range moves {
		r.open[id] = r.open[id] || still
	}
	return err
}

// underWay tells whether an order waits for an answer.
func underWay(o *schemas.Order) bool {
	asked := func(l schemas.Line) bool { return l.Stock == schemas.Asked }
	return o.State == schemas.Placed || o.State == schemas.Approved || slices.ContainsFunc(o.Lines, asked) ||
		slices.Contains([]string{o.Credit.Ask, o.Invoice.Ask, o.CreditNote.Ask}, schemas.Asked)
}

// answers finds the orders that have one to read.
func (r *reader) answers() error {
	span, err := client.Whole(r.ctx, r.adm, r.name(topics.OrderReplies))
	if err != nil {
		return err
	}
	for p := range span.From {
		if o, ok := r.read["order"].Lookup(span.Topic, p); ok {
			span.From[p] = max(span.From[p], o.At)
		}
	}
	return span.Read(r.ctx, r.cfg.Opts, func(rec *kgo.Record) (bool, error) {
		r.open[string(rec.Key)] = true
		return true, nil
	})
}

func (r *reader) allCommands() error {
	for rank, in := range inputs {
		parts, err := client.Starts(r.ctx, r.adm, r.name(in.topic))
		if err != nil {
			return err
		}
		span, err := r.each(in.topic, func(rec *kgo.Record) error {
			if !r.handled(in.group, rec) {
				r.unread++
				r.open[string(rec.Key)], r.late[string(rec.Key)] = true, true
				return nil
			}
			m, err := r.message(in.topic, rec, len(parts))
			if err != nil {
				return err
			}
			if m.Body == nil {
				r.unreadable++
				return nil
			}
			r.commands = append(r.commands, command{m, rank, rec.Partition, rec.Offset})
			return nil
		})
		if err != nil {
			return err
		}
		for _, start := range span.From {
			r.gone[in.topic] = r.gone[in.topic] || start > 0
		}
	}
	return nil
}

// message reads a command as its group does; it has no body if that could not. An
// error says that the registry is away.
func (r *reader) message(topic string, rec *kgo.Record, partitions int) (flow.Message, error) {
	m := event.Parse(rec)
	m.Topic = topic
	if r.dead[place{rec.Topic, rec.Partition, rec.Offset}] || client.PartitionOf(m.Key, partitions) != rec.Partition {
		return m, nil
	}
	body, err := any(nil), error(nil)
	if event.IsJSON(rec) {
		body, err = schemas.DecodeJSON(m.Type, rec.Value)
	} else {
		body, err = r.cfg.Serde.Decode(r.ctx, topic, rec.Value)
	}
	if err != nil || schemas.Allowed(topic, body) != nil || schemas.KeyOf(body) != m.Key {
		return m, registry(err)
	}
	if m.Type = cmp.Or(m.Type, schemas.TypeOf(body)); schemas.Fits(m.Type, body) {
		m.Body = body
	}
	return m, nil
}

// missing reads off the orders what the topic of commands has lost.
func (r *reader) missing() error {
	type seen struct{ placed, delivered, cancelled bool }
	on := map[string]*seen{}
	for _, c := range r.commands {
		if on[c.Key] == nil {
			on[c.Key] = new(seen)
		}
		switch b := c.Body.(type) {
		case *schemas.PlaceOrder:
			h, err := schemas.Hash(b)
			if err != nil {
				return err
			}
			if o := r.orders[c.Key]; o != nil && o.BodyHash == h {
				on[c.Key].placed, r.placements[c.Key] = true, b
			}
		case *schemas.DeliverOrder:
			on[c.Key].delivered = true
		case *schemas.CancelOrder:
			on[c.Key].cancelled = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.orders)) {
		o, was := r.orders[id], on[id]
		if was == nil {
			was = new(seen)
		}
		if r.late[id] { // perhaps it is these that made it what it is
			continue
		}
		if !was.placed {
			b := placementOf(o)
			if h, err := schemas.Hash(b); err != nil || h != o.BodyHash {
				r.unknown[id] = true
				continue
			}
			r.placements[id] = b
			r.madeUpFor(o, o.PlacedAt, schemas.OrdersOrderPlace, b)
		}
		for _, e := range o.Timeline {
			switch {
			case e.Type == schemas.OrderDelivered && !was.delivered:
				r.madeUpFor(o, e.At, schemas.OrdersOrderDeliver, &schemas.DeliverOrder{OrderID: id})
			case e.Type == schemas.OrderCancelled && !was.cancelled:
				r.madeUpFor(o, e.At, schemas.OrdersOrderCancel, cancelOf(o))
			}
		}
	}
	return nil
}

func (r *reader) madeUpFor(o *schemas.Order, at int64, messageType string, body any) {
	r.madeUp++
	partition := int32(math.MaxInt32)
	if messageType == schemas.OrdersOrderPlace {
		partition = -1
	}
	r.commands = append(r.commands, command{flow.Message{
		ID: flow.NewID("evt", at, o.OrderID+"/"+messageType, 0), Type: messageType, Topic: topics.OrderCommands, Key: o.OrderID,
		At: at, Correlation: o.OrderID, Body: body,
	}, len(inputs) - 1, partition, -1})
}

// placementOf is what an order was placed by, if it was within limits: see BodyHash.
func placementOf(o *schemas.Order) *schemas.PlaceOrder {
	b := &schemas.PlaceOrder{OrderID: o.OrderID, CustomerID: o.CustomerID, Currency: o.Currency}
	for _, l := range o.Lines {
		b.Lines = append(b.Lines, schemas.PlaceLine{SKU: l.SKU, Quantity: l.Quantity, UnitPrice: l.QuotedPrice, DiscountBP: l.DiscountBP})
	}
	return b
}

func cancelOf(o *schemas.Order) *schemas.CancelOrder {
	b := &schemas.CancelOrder{OrderID: o.OrderID}
	for _, why := range o.Reasons {
		if code, text, ok := strings.Cut(why, ": "); ok && code == schemas.Cancelled {
			b.Reason = text
		}
	}
	return b
}

// timed sorts commands by event time; those of one key stay in the order in which they
// were handled.
func (h *history) timed() []flow.Message {
	slices.SortStableFunc(h.commands, func(a, b command) int {
		return cmp.Or(a.rank-b.rank, cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	type timed struct {
		command
		at int64
	}
	last := map[string]int64{} // keys begin with what they are of
	all := make([]timed, len(h.commands))
	for i, c := range h.commands {
		at := c.At
		if before, ok := last[c.Key]; ok && c.rank == len(inputs)-1 {
			at = max(at, before)
		}
		last[c.Key] = at
		all[i] = timed{c, at}
	}
	slices.SortStableFunc(all, func(a, b timed) int { return cmp.Compare(a.at, b.at) })
	ms := make([]flow.Message, len(all))
	for i, t := range all {
		ms[i] = t.Message
	}
	return ms
}

// ids are those of all orders, in history or in a world.
func (h *history) ids(world map[string]*schemas.Order) []string {
	all := maps.Clone(world)
	maps.Copy(all, h.orders)
	return slices.Sorted(maps.Keys(all))
}

func (h *history) within(cfg Config, id string, anew *schemas.Order) bool {
	at := placedAt(h.orders[id], anew)
	return (cfg.From.IsZero() || at >= cfg.From.UnixMilli()) && (cfg.To.IsZero() || at < cfg.To.UnixMilli())
}

func placedAt(o, anew *schemas.Order) int64 {
	if o == nil {
		o = anew
	}
	return o.PlacedAt
}

// notes say what the answer rests on.
func (h *history) notes() (all []string) {
	if h.madeUp > 0 {
		all = append(all, fmt.Sprintf("%d commands are not on %s any more, and were read off the order log; what was refused of them is missing", h.madeUp, topics.OrderCommands))
	}
	for _, in := range inputs {
		if h.gone[in.topic] && in.topic != topics.OrderCommands {
			all = append(all, fmt.Sprintf("%s has lost its beginning: resources decide without it", in.topic))
		}
	}
	if len(h.unknown) > 0 {
		all = append(all, fmt.Sprintf("%d orders were placed by more than their rows tell, and that is not on %s any more: they are left out, and what they took of others", len(h.unknown), topics.OrderCommands))
	}
	if h.unread > 0 {
		all = append(all, fmt.Sprintf("%d commands are not handled yet: they are left out, and their orders", h.unread))
	}
	if h.unreadable > 0 {
		all = append(all, fmt.Sprintf("%d records are no commands that a rule could be shown", h.unreadable))
	}
	return all
}
