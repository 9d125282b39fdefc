package hindsight

import (
	"slices"
	"testing"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Whatever of an order's commands is on the log still, they come in their order.
func TestCommandsThatAreMadeUp(t *testing.T) {
	o := &schemas.Order{OrderID: "ord_1"}
	kinds := []string{schemas.OrdersOrderPlace, schemas.OrdersOrderDeliver}
	for gone := range 4 { // one bit for each of them
		r := &reader{history: new(history)}
		for i, kind := range kinds {
			if at := int64(10 * i); gone&(1<<i) == 0 {
				r.commands = append(r.commands, command{flow.Message{Type: kind, Topic: topics.OrderCommands, Key: o.OrderID, At: at}, len(inputs) - 1, 2, int64(5 + i)})
			}
		}
		for i, kind := range kinds {
			if at := int64(10 * i); gone&(1<<i) != 0 {
				r.madeUpFor(o, at, kind, nil)
			}
		}
		var got []string
		for _, m := range r.timed() {
			got = append(got, m.Type)
		}
		if !slices.Equal(got, kinds) {
			t.Errorf("%02b gone: %v", gone, got)
		}
	}
}
