package workload

import (
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// window is how many placements a consequence may come after its order.
const window = 1024

// Commands yields the orders and what the faults add. An order and all that is
// about it have one key, and nothing but an early delivery comes before its
// placement. What is still to come after the last placement follows at its end.
// However many orders there are, it remembers only the last 1,024.
func (w *Workload) Commands() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		s := &stream{
			w: w, yield: yield, at: w.cfg.Start, faults: newFaultRates(w.cfg.Faults),
			r: newRand(w.cfg.Seed, orderStream), fr: newRand(w.cfg.Seed, faultStream),
		}
		for s.step = range w.cfg.Orders {
			if !s.release() || !s.order() {
				return
			}
		}
		for range window {
			s.step++
			if !s.release() {
				return
			}
		}
	}
}

// stream is one iteration over the commands.
type stream struct {
	w      *Workload
	yield  func(Item) bool
	r, fr  *rand.Rand // for orders, for faults
	faults faultRates

	step  int // placements so far
	at    int64
	later [window][]due // by step
}

// due is an item for later. One without an ID gets that and its time when sent.
type due struct {
	item Item
	role int
}

// Roles of an order's messages: the index that their IDs derive from.
const (
	placement = iota
	conflict
	cancel
	earlyDelivery
	delivery
	undecodable
)

// release starts a step: time advances, 200 ms on average, and what is due is sent.
func (s *stream) release() bool {
	s.at += 1 + s.r.Int64N(399)
	slot := &s.later[s.step%window]
	for _, d := range *slot {
		if !s.send(d.item, d.role) {
			return false
		}
	}
	clear(*slot)
	*slot = (*slot)[:0]
	return true
}

func (s *stream) send(it Item, role int) bool {
	if it.ID == "" {
		it.At = s.at
		it.ID = flow.NewID("evt", s.at, it.Key, role)
	}
	return s.yield(it)
}

func (s *stream) after(steps int, it Item, role int) {
	slot := &s.later[(s.step+steps)%window]
	*slot = append(*slot, due{it, role})
}

// order sends one placement and sees to what goes wrong with it.
func (s *stream) order() bool {
	id := flow.NewID("ord", s.at, s.w.name, s.step)
	b := s.body(id)
	if s.faults.unknown.hit(s.fr) {
		b.Lines[s.fr.IntN(len(b.Lines))].SKU = unknownSKUs[s.fr.IntN(len(unknownSKUs))]
	}
	early := s.faults.early.hit(s.fr)
	before := early && s.fr.IntN(2) == 0
	if before && !s.send(deliver(id), earlyDelivery) {
		return false
	}
	it := command(schemas.OrdersOrderPlace, id, b)
	it.At, it.ID = s.at, flow.NewID("evt", s.at, id, placement)
	if !s.yield(it) {
		return false
	}
	if early && !before && !s.send(deliver(id), earlyDelivery) {
		return false
	}
	return s.consequences(it, b)
}

// body makes up an order: 80 % are fully quoted, the others not at all. Two
// lines may be of one product.
func (s *stream) body(id string) *schemas.PlaceOrder {
	w, r := s.w, s.r
	b := &schemas.PlaceOrder{
		OrderID: id, CustomerID: w.customers[w.customerShare.draw(r)], Currency: currency,
		Lines: make([]schemas.PlaceLine, w.lineCounts.draw(r)),
	}
	quoted := r.IntN(5) > 0
	for i := range b.Lines {
		p := &w.products[w.productShare.draw(r)]
		b.Lines[i] = schemas.PlaceLine{SKU: p.sku, Quantity: w.quantities.draw(r), DiscountBP: w.discounts.draw(r)}
		if quoted {
			b.Lines[i].UnitPrice = p.price
		}
	}
	return b
}

// consequences of a placement; it is false if nobody wants more.
func (s *stream) consequences(placed Item, b *schemas.PlaceOrder) bool {
	f, r := s.faults, s.fr
	if f.undecodable.hit(r) && !s.send(garbage(r, placed), undecodable) {
		return false
	}
	if f.duplicates.hit(r) {
		s.after(soon(r), placed, placement)
	}
	if f.conflicts.hit(r) {
		other := *b
		other.Lines = slices.Clone(b.Lines)
		other.Lines[r.IntN(len(other.Lines))].Quantity++
		s.after(soon(r), command(schemas.OrdersOrderPlace, b.OrderID, &other), conflict)
	}
	if f.cancels.hit(r) {
		why := cancelReasons[r.IntN(len(cancelReasons))]
		s.after(soon(r), command(schemas.OrdersOrderCancel, b.OrderID, &schemas.CancelOrder{OrderID: b.OrderID, Reason: why}), cancel)
	}
	if f.deliveries.hit(r) {
		s.after(window/2+1+r.IntN(window/2), deliver(b.OrderID), delivery)
	}
	return true
}

// soon is 1 to window steps, mostly few: a consequence may meet its order in
// any state.
func soon(r *rand.Rand) int { return 1 + r.IntN(1<<r.IntN(11)) }

func command(messageType, orderID string, body any) Item {
	return Item{Message: flow.Message{Topic: topics.OrderCommands, Type: messageType, Key: orderID, Body: body}}
}

func deliver(orderID string) Item {
	return command(schemas.OrdersOrderDeliver, orderID, &schemas.DeliverOrder{OrderID: orderID})
}

// Delivery is the delivery of an order at that time, for those who wait until
// the order is invoiced.
func Delivery(orderID string, at int64) flow.Message {
	m := deliver(orderID).Message
	m.At, m.ID = at, flow.NewID("evt", at, orderID, delivery)
	return m
}

// garbage is a value under the order's key that is not in the wire format, or
// names a schema that no registry has.
func garbage(r *rand.Rand, placed Item) Item {
	raw := make([]byte, 1+r.IntN(64))
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	if r.IntN(2) == 0 {
		raw = append([]byte{0, 0x7f, 0xff, 0xff, 0xff}, raw...)
	} else {
		raw[0] |= 1 // a magic byte is zero
	}
	it := command(schemas.OrdersOrderPlace, placed.Key, nil)
	it.Raw = raw
	return it
}

// faultRates are those that are decided order by order.
type faultRates struct {
	duplicates, conflicts, unknown, cancels, undecodable, early, deliveries rate
}

func newFaultRates(f Faults) faultRates {
	return faultRates{
		duplicates: newRate(f.Duplicates), conflicts: newRate(f.Conflicts), unknown: newRate(f.UnknownProducts),
		cancels: newRate(f.Cancels), undecodable: newRate(f.Undecodable), early: newRate(f.EarlyDeliveries),
		deliveries: newRate(f.Deliveries),
	}
}

var (
	unknownSKUs   = []string{"sku_unheard-of", "sku_discontinued", "sku_misspelt"}
	cancelReasons = []string{"changed my mind", "ordered twice", "found it cheaper", ""}
)
