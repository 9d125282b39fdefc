package census

import (
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// send sends commands, as of 2014.
func (w *world) send(serde *schemas.Serde, topic string, bodies ...any) {
	w.t.Helper()
	for i, b := range bodies {
		at := time.Date(2014, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
		m := flow.Message{ID: flow.NewID("evt", at, fmt.Sprint(topic, time.Now(), i), 0), Topic: topic, Key: schemas.KeyOf(b), Type: schemas.TypeOf(b), At: at, Body: b}
		v, err := serde.Encode(nil, topic, b)
		must(w.t, err)
		w.produce(&kgo.Record{Topic: topic, Key: []byte(m.Key), Value: v, Headers: event.Append(nil, event.DefaultSource, event.Avro, m)})
	}
}

// Orders stand where the rule has put them, the oldest open one is as old as the record that
// placed it; products are told apart by what is on hand.
func TestShop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		env := graph.Env{Partitions: nparts, Serde: schemas.NewLocalSerde(), Log: slog.New(slog.DiscardHandler)}
		orders, products := NewOrders(env), NewProducts(env)
		w.run(graph.Of(order.New(order.Config{})).Graph(env), "1", orders.Follow)
		w.run(graph.Of(inventory.New()).Graph(env), "1", products.Follow)
		place := func(id string, lines ...schemas.PlaceLine) any {
			return &schemas.PlaceOrder{OrderID: id, CustomerID: "cus_1", Currency: "EUR", Lines: lines}
		}
		line := schemas.PlaceLine{SKU: "sku_4", Quantity: 1}
		check := func(what string, want map[string]int) {
			t.Helper()
			got := told(t, orders, products)
			for _, of := range []string{"orders", "products"} {
				if age := got["counted "+of+" ago"]; age > 10 {
					t.Errorf("%s: %s as of %d s ago", what, of, age)
				}
				delete(got, "counted "+of+" ago")
			}
			for _, s := range schemas.OrderStates() {
				if n, there := got["orders "+s]; there && n == 0 {
					delete(got, "orders "+s)
				} else if !there {
					t.Errorf("%s: nothing is said of orders that are %s", what, s)
				}
			}
			same(t, what, got, want)
		}
		time.Sleep(time.Minute)
		check("nothing yet", map[string]int{"products ok": 0, "products low": 0, "products out": 0})

		for i, n := range []int64{0, 1, lowStock - 1, lowStock, 1000} {
			sku := fmt.Sprint("sku_", i)
			w.send(env.Serde, topics.InventoryCommands, &schemas.SetPrice{SKU: sku, Name: sku, Price: 100, Currency: "EUR"})
			if n > 0 {
				w.send(env.Serde, topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: n})
			}
		}
		time.Sleep(time.Minute)
		stock := map[string]int{"products ok": 2, "products low": 2, "products out": 1}
		check("products", stock)
		w.send(env.Serde, topics.OrderCommands, place("ord_1", line), place("ord_none"))
		time.Sleep(time.Minute)
		w.send(env.Serde, topics.OrderCommands, place("ord_2", line))
		time.Sleep(time.Minute)
		with := func(more map[string]int) map[string]int {
			maps.Copy(more, stock)
			return more
		}
		check("two are open", with(map[string]int{"orders placed": 2, "orders rejected": 1, "oldest_open_order ago": 120}))
		w.send(env.Serde, topics.OrderCommands, &schemas.CancelOrder{OrderID: "ord_1", Reason: "a test"})
		time.Sleep(time.Minute)
		check("the younger one is", with(map[string]int{"orders placed": 1, "orders cancelled": 1, "orders rejected": 1, "oldest_open_order ago": 120}))
		w.send(env.Serde, topics.OrderCommands, &schemas.CancelOrder{OrderID: "ord_2", Reason: "a test"})
		time.Sleep(time.Minute)
		check("none is", with(map[string]int{"orders cancelled": 2, "orders rejected": 1}))
	})
}
