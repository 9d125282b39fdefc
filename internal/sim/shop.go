package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Plan is what happens to a world from outside.
type Plan struct {
	Orders, Products, Customers int

	// Actions is how many outside messages there are, placements among them.
	Actions int

	OpeningLimit int64

	// Duplicates and Rewinds are how often the log breaks its promise.
	Duplicates, Rewinds int
}

// Seeded returns choices that depend on seed alone.
func Seeded(seed uint64) func(n int) int { return rand.New(rand.NewPCG(seed, 0)).IntN }

// start is the time of the first message; each later one comes 10 minutes after.
const (
	start = int64(1_767_600_000_000)
	tick  = int64(10 * 60_000)
)

// shop is the outside of a world: customers, staff, and the calendar.
type shop struct {
	plan  Plan
	w     *World
	pick  func(n int) int
	facts Facts // only what comes from outside

	sent      int
	bodies    []*schemas.PlaceOrder
	deadlines []flow.Message // every deadline seen, fired or not
	dups      int
	rewinds   int
}

// Play runs a plan in a new world: outside messages, the handling of records
// and broken promises in random order, then whatever is left. It returns the
// facts at the end and the world. The rules in cfg may be nil: then they are
// orderlog's.
func Play(cfg Config, plan Plan) (Facts, *World) {
	if cfg.Rules == nil {
		cfg.Rules = Rules(plan.OpeningLimit)
	}
	s := &shop{plan: plan, w: New(cfg), pick: cfg.Pick, dups: plan.Duplicates, rewinds: plan.Rewinds}
	s.facts.Received, s.facts.TopLimit = map[string]int64{}, map[string]int64{}
	s.open()
	for s.sent < plan.Actions || s.dups > 0 || s.rewinds > 0 {
		s.move()
	}
	s.w.Settle()
	f := Look(s.w)
	f.Received, f.TopLimit, f.Placed = s.facts.Received, s.facts.TopLimit, s.facts.Placed
	return f, s.w
}

// open fills the shelves, so that orders have a chance.
func (s *shop) open() {
	for i := range s.plan.Products {
		s.price(name("sku", i))
		s.receive(name("sku", i))
	}
	for i := range s.plan.Customers {
		s.facts.TopLimit[name("cus", i)] = s.plan.OpeningLimit
	}
}

func name(kind string, i int) string { return fmt.Sprintf("%s_%d", kind, i) }

// move does one thing: mostly, a group handles a record.
func (s *shop) move() {
	switch n := s.pick(30); {
	case n == 0 && s.dups > 0:
		s.dups--
		s.w.Duplicate()
	case n == 1 && s.rewinds > 0:
		s.rewinds--
		s.w.Rewind(s.w.groups[s.pick(len(s.w.groups))].rule.Name)
	case n < 6 && s.sent < s.plan.Actions:
		s.act()
	default:
		s.w.Step()
		s.watch()
	}
}

func (s *shop) act() {
	if len(s.bodies) < s.plan.Orders && s.pick(2) == 0 {
		s.place()
		return
	}
	id := name("ord", s.pick(s.plan.Orders)) // perhaps not placed yet
	switch s.pick(10) {
	case 0, 1, 2, 9:
		s.send(topics.OrderCommands, schemas.OrdersOrderDeliver, id, &schemas.DeliverOrder{OrderID: id})
	case 3:
		s.send(topics.OrderCommands, schemas.OrdersOrderCancel, id, &schemas.CancelOrder{OrderID: id})
	case 4, 5:
		s.placeAgain()
	case 6:
		s.expire()
	case 7:
		if sku := name("sku", s.pick(s.plan.Products)); s.pick(2) == 0 {
			s.price(sku)
		} else {
			s.receive(sku)
		}
	case 8:
		s.limit(name("cus", s.pick(s.plan.Customers)))
	}
}

func (s *shop) send(topic, messageType, key string, body any) {
	s.sent++
	s.w.Send(flow.Message{
		ID: fmt.Sprintf("evt_%d", s.sent), Type: messageType, Topic: topic, Key: key,
		At: start + int64(s.sent)*tick, Body: body,
	})
}

// prices in cents, the usual one more often.
var prices = []int64{5000, 5000, 5000, 5000, 999, 0}

func (s *shop) place() {
	id := name("ord", len(s.bodies))
	b := &schemas.PlaceOrder{OrderID: id, CustomerID: name("cus", s.pick(s.plan.Customers)), Currency: "EUR"}
	if s.pick(20) == 0 {
		b.Currency = "USD"
	}
	quoted := s.pick(2) == 0
	for range 1 + s.pick(3) {
		l := schemas.PlaceLine{SKU: name("sku", s.pick(s.plan.Products)), Quantity: int64(s.pick(4)), DiscountBP: []int64{0, 0, 0, 1234, 10_000}[s.pick(5)]}
		if s.pick(12) == 0 {
			l.SKU = "sku_unheard_of"
		}
		if l.Quantity == 0 && s.pick(4) > 0 { // few invalid ones
			l.Quantity = 1
		}
		if quoted {
			l.UnitPrice = prices[s.pick(len(prices))]
		}
		b.Lines = append(b.Lines, l)
	}
	s.bodies = append(s.bodies, b)
	s.facts.Placed = append(s.facts.Placed, id)
	s.send(topics.OrderCommands, schemas.OrdersOrderPlace, id, b)
}

// placeAgain sends an order once more, or another under its ID.
func (s *shop) placeAgain() {
	if len(s.bodies) == 0 {
		return
	}
	b := *s.bodies[s.pick(len(s.bodies))]
	if s.pick(2) == 0 {
		b.Lines = slices.Clone(b.Lines)
		b.Lines[0].Quantity += 10
	}
	s.send(topics.OrderCommands, schemas.OrdersOrderPlace, b.OrderID, &b)
}

// watch is the calendar: it notes the deadline of every order that waits.
func (s *shop) watch() {
	orders := Rows[schemas.Order](s.w, "order")
	for _, id := range keys(orders) {
		_, m, ok := order.Deadline(orders[id])
		m.ID = fmt.Sprintf("evt_deadline_%s_%d", id, orders[id].EnteredBy)
		if ok && !slices.ContainsFunc(s.deadlines, func(d flow.Message) bool { return d.ID == m.ID }) {
			s.deadlines = append(s.deadlines, m)
		}
	}
}

// expire lets a deadline pass: one of the last, or one long gone.
func (s *shop) expire() {
	if n := len(s.deadlines); n > 0 {
		s.sent++
		s.w.Send(s.deadlines[n-1-s.pick(min(n, 4))])
	}
}

func (s *shop) price(sku string) {
	currency := "EUR"
	if s.pick(20) == 0 {
		currency = "USD"
	}
	s.send(topics.InventoryCommands, schemas.InventoryPriceSet, sku,
		&schemas.SetPrice{SKU: sku, Price: prices[s.pick(len(prices))], Currency: currency})
}

func (s *shop) receive(sku string) {
	n := int64(1 + s.pick(20))
	s.facts.Received[sku] += n
	s.send(topics.InventoryCommands, schemas.InventoryStockReceive, sku, &schemas.ReceiveStock{SKU: sku, Quantity: n})
}

func (s *shop) limit(cus string) {
	n := int64(s.pick(4)) * 10_000
	s.facts.TopLimit[cus] = max(s.facts.TopLimit[cus], n)
	s.send(topics.CreditCommands, schemas.CreditLimitSet, cus, &schemas.SetLimit{CustomerID: cus, Limit: n, Currency: "EUR"})
}
