package order

import (
	"time"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// How long an order may wait in a state.
const (
	PlacedFor   = time.Hour
	ApprovedFor = time.Hour
)

// Deadline returns how long an order may wait as it is, and the message that
// expires it then; see flow.Processor. That message names the state and the
// version that entered it, so it may come late, twice or in vain. It is not ok
// for an order that waits for nobody, or only for its customer: invoiced,
// delivered, dead.
func Deadline(o schemas.Order) (wait time.Duration, m flow.Message, ok bool) {
	switch o.State {
	case schemas.Placed:
		wait = PlacedFor
	case schemas.Approved:
		wait = ApprovedFor
	default:
		return 0, flow.Message{}, false
	}
	return wait, flow.Message{
		Type:  schemas.OrdersOrderExpire,
		Topic: topics.OrderReplies,
		Key:   o.OrderID,
		At:    enteredAt(o) + wait.Milliseconds(),
		Body:  &schemas.ExpireOrder{OrderID: o.OrderID, State: o.State, Version: o.EnteredBy},
	}, true
}

// overtakes: a customer who cancels does not wait for what we cannot handle.
func overtakes(messageType string) bool { return messageType == schemas.OrdersOrderCancel }

func enteredAt(o schemas.Order) int64 {
	for _, e := range o.Timeline {
		if e.Type == "order."+o.State {
			return e.At
		}
	}
	return o.ChangedAt
}
