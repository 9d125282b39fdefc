package check

import (
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/sim"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

var deep = flag.Bool("deep", false, "larger models: minutes instead of seconds")

const at = int64(1_767_600_000_000)

func message(topic, messageType string, body any) flow.Message {
	return flow.Message{ID: "evt_" + messageType, Type: messageType, Topic: topic, Key: schemas.KeyOf(body), At: at, Body: body}
}

func price(amount int64) flow.Message {
	return message(topics.InventoryCommands, schemas.InventoryPriceSet, &schemas.SetPrice{SKU: "sku_a", Price: amount, Currency: "EUR"})
}

func receive(n int64) flow.Message {
	return message(topics.InventoryCommands, schemas.InventoryStockReceive, &schemas.ReceiveStock{SKU: "sku_a", Quantity: n})
}

func limit(amount int64) flow.Message {
	return message(topics.CreditCommands, schemas.CreditLimitSet, &schemas.SetLimit{CustomerID: "cus_1", Limit: amount, Currency: "EUR"})
}

// place orders one piece per line, at a quoted price or, if that is 0, without.
func place(id string, quotes ...int64) flow.Message {
	b := &schemas.PlaceOrder{OrderID: id, CustomerID: "cus_1", Currency: "EUR"}
	for _, q := range quotes {
		b.Lines = append(b.Lines, schemas.PlaceLine{SKU: "sku_a", Quantity: 1, UnitPrice: q})
	}
	return message(topics.OrderCommands, schemas.OrdersOrderPlace, b)
}

func cancel(id string) flow.Message {
	return message(topics.OrderCommands, schemas.OrdersOrderCancel, &schemas.CancelOrder{OrderID: id})
}

func deliver(id string) flow.Message {
	return message(topics.OrderCommands, schemas.OrdersOrderDeliver, &schemas.DeliverOrder{OrderID: id})
}

func often(ms ...flow.Message) (as []Action) {
	for _, m := range ms {
		as = append(as, Action{Message: m})
	}
	return as
}

func once(ms ...flow.Message) (as []Action) {
	for _, m := range ms {
		as = append(as, Action{m, true})
	}
	return as
}

func models() map[string]Model {
	shelf := func(n int64) []flow.Message { return []flow.Message{price(10_000), receive(n)} }
	twice := once(place("ord_1", 10_000), cancel("ord_1"))
	if *deep {
		twice = append(twice, once(deliver("ord_1"))...)
	}
	return map[string]Model{
		"one quoted order": {
			Setup: shelf(1), OpeningLimit: 20_000, Expire: true,
			Actions: often(place("ord_1", 10_000), place("ord_1", 0), cancel("ord_1"), deliver("ord_1")),
		},
		"two lines of one product, one piece there": {
			Setup: shelf(1), OpeningLimit: 100_000, Expire: true,
			Actions: append(often(place("ord_1", 0, 0), cancel("ord_1"), deliver("ord_1")), Action{receive(1), true}),
		},
		"two quoted lines, the price and the limit change": {
			Setup: shelf(2), OpeningLimit: 100_000, Expire: true,
			Actions: often(place("ord_1", 10_000, 10_000), price(9_000), price(10_000), limit(1), limit(100_000), cancel("ord_1"), deliver("ord_1")),
		},
		"one order, any record twice": {
			Setup: shelf(1), OpeningLimit: 20_000, Duplicates: 1,
			Actions: twice,
		},
		"two orders for one piece": {
			Setup: shelf(1), OpeningLimit: 100_000, Expire: *deep,
			Actions: often(place("ord_1", 10_000), place("ord_2", 0), cancel("ord_1"), deliver("ord_1"), deliver("ord_2")),
		},
		"two orders, credit for one": {
			Setup: shelf(2), OpeningLimit: 12_000, Expire: *deep,
			Actions: often(place("ord_1", 10_000), place("ord_2", 10_000), cancel("ord_1"), cancel("ord_2"), deliver("ord_1")),
		},
	}
}

func TestEveryInterleaving(t *testing.T) {
	reached := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(models())) {
		t.Run(name, func(t *testing.T) {
			r := models()[name].Run()
			t.Logf("%d states, %d transitions, quiet %v", r.States, r.Transitions, r.Quiet)
			if len(r.Violations) > 0 {
				t.Fatalf("%s\nafter\n  %s", strings.Join(r.Violations, "\n"), strings.Join(r.Trace, "\n  "))
			}
			if !r.Complete {
				t.Error("not complete")
			}
			for outcome := range r.Quiet {
				for word := range strings.FieldsSeq(outcome) {
					reached[strings.Trim(word, ",")] = true
				}
			}
		})
	}
	for _, s := range []string{"delivered", "invoiced", "rejected", "cancelled", "expired"} {
		if !reached[s] {
			t.Errorf("no model ends with an order %s", s)
		}
	}
}

// A rule that is deaf to one message of one state: the checker finds the way there.
func TestFaultsAreFound(t *testing.T) {
	for _, c := range []struct {
		messageType, state string
	}{
		{schemas.StockReservedEvent, schemas.Cancelled},
		{schemas.CreditChargedEvent, schemas.Rejected},
		{schemas.CreditChargedEvent, schemas.Expired},
		{schemas.InvoiceIssuedEvent, schemas.Cancelled},
		{schemas.InvoiceIssuedEvent, schemas.Expired},
		{schemas.CreditNoteIssuedEvent, schemas.Cancelled},
		{schemas.VoucherGrantedEvent, schemas.Delivered},
	} {
		found := false
		for _, name := range slices.Sorted(maps.Keys(models())) {
			m := models()[name]
			if m.Duplicates > 0 {
				continue // large, and about something else
			}
			m.Rules = sim.Rules(m.OpeningLimit)
			decide := m.Rules[0].Decide
			m.Rules[0].Decide = func(row any, in flow.Message) (any, []flow.Message, bool) {
				if row.(schemas.Order).State == c.state && in.Type == c.messageType {
					return row, nil, false
				}
				return decide(row, in)
			}
			if r := m.Run(); len(r.Violations) > 0 && len(r.Trace) > 0 {
				found = true
				break
			}
		}
		if !found {
			t.Errorf("nobody misses %s when %s", c.messageType, c.state)
		}
	}
}

func TestWithoutGuardADuplicateDoesHarm(t *testing.T) {
	m := models()["one order, any record twice"]
	m.Unguarded = true
	if r := m.Run(); len(r.Violations) == 0 {
		t.Errorf("none in %d states", r.States)
	} else {
		t.Log(r.Violations, r.Trace)
	}
}

func TestGivesUpAtMaxStates(t *testing.T) {
	m := models()["two orders, credit for one"]
	m.MaxStates = 10
	if r := m.Run(); r.Complete || r.States != 10 {
		t.Errorf("got %+v", r)
	}
}
