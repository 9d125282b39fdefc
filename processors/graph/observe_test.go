package graph

import (
	"slices"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// How long an order is there, and in its state, is told in real time: a command that
// was parked, or comes from 2014, is as old as its record.
func TestObserver(t *testing.T) {
	for name, c := range map[string]struct {
		play func(s *stage)
		want []string
	}{
		"delivered": {func(s *stage) {
			s.place("ord_1")
			s.now = s.now.Add(time.Second)
			s.grant("ord_1")
			s.now = s.now.Add(2 * time.Second)
			s.invoice("ord_1")
			s.now = s.now.Add(time.Minute)
			s.send(topics.OrderCommands, schemas.OrdersOrderDeliver, &schemas.DeliverOrder{OrderID: "ord_1"})
			s.send(topics.OrderCommands, schemas.OrdersOrderDeliver, &schemas.DeliverOrder{OrderID: "ord_1"})
		}, []string{
			"order.placed:  > placed inventory.stock.reserve credit.account.charge, made 0s ago",
			"stock.reserved: placed > placed, made 1s ago, entered 1s ago",
			"order.approved: placed > approved invoicing.invoice.issue, made 1s ago, entered 1s ago",
			"order.invoiced: approved > invoiced, made 3s ago, entered 2s ago",
			"order.delivered: invoiced > delivered, made 1m3s ago, entered 1m0s ago",
			": delivered > delivered",
		}},
		"parked at first": {func(s *stage) {
			s.faulty["ord_1"] = 1
			s.place("ord_1")
			s.pass(10 * time.Minute)
			s.cancel("ord_1")
		}, []string{
			"order.placed:  > placed inventory.stock.reserve credit.account.charge, made 5m0s ago",
			"order.cancelled: placed > cancelled, made 10m0s ago, entered 4m0s ago",
		}},
		"the clock of who placed it is fast": {func(s *stage) {
			s.now = s.now.Add(time.Hour)
			hold := s.handle
			s.handle = func(c kgoka.Context, in topics.Topic) { s.now = s.now.Add(-time.Hour); hold(c, in) }
			s.place("ord_1")
			s.handle = hold
			s.grant("ord_1")
		}, []string{
			"order.placed:  > placed inventory.stock.reserve credit.account.charge, made -1h0m0s ago",
			"stock.reserved: placed > placed, made -1h0m0s ago, entered -1h0m0s ago",
			"order.approved: placed > approved invoicing.invoice.issue, made -1h0m0s ago, entered -1h0m0s ago",
		}},
		"rejected at once": {func(s *stage) {
			s.send(topics.OrderCommands, schemas.OrdersOrderPlace, &schemas.PlaceOrder{OrderID: "ord_1", CustomerID: "cus_1", Currency: "EUR"})
		}, []string{"order.rejected:  > rejected, made 0s ago"}},
		"an answer to an order that never was": {func(s *stage) { s.invoice("ord_1") }, []string{":  > "}},
		"refused":                              {func(s *stage) { s.cancel("ord_1") }, []string{":  >  " + flow.RefusalType}},
		"of a build that noted nothing": {func(s *stage) {
			s.place("ord_1")
			s.notes["ord_1"] = note{deadline: s.now.Add(time.Hour).UnixMilli()}.encode()
			s.grant("ord_1")
			s.now = s.now.Add(time.Second)
			s.invoice("ord_1")
		}, []string{
			"order.placed:  > placed inventory.stock.reserve credit.account.charge, made 0s ago",
			"stock.reserved: placed > placed",
			"order.approved: placed > approved invoicing.invoice.issue",
			"order.invoiced: approved > invoiced, entered 1s ago",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := onStage(t, order.New(order.Config{}))
			c.play(s)
			if !slices.Equal(s.observed, c.want) {
				t.Errorf("got  %q\nwant %q", s.observed, c.want)
			}
			n, err := parseNote(s.notes["ord_1"])
			_, last := order.New(order.Config{}).State(s.order("ord_1"))
			if at, e := MadeAt(s.notes["ord_1"]); err != nil || e != nil || at != n.made || (n.since == 0) != last {
				t.Errorf("note %+v, %v of an order that is %s", n, err, s.order("ord_1").State)
			}
		})
	}
}

// Of many decisions some are timed, the first among them.
func TestSomeAreTimed(t *testing.T) {
	s := onStage(t, order.New(order.Config{}))
	if s.place("ord_1"); s.timed != 1 {
		t.Errorf("timed %d of 1", s.timed)
	}
	const more = 100 * timedOf
	for range more {
		s.place("ord_1")
	}
	if s.timed < more/timedOf/2 || s.timed > more/2 { // a pool forgets how far it had counted
		t.Errorf("timed %d of %d", s.timed, more)
	}
}
