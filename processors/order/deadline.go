package order

import (
	"strconv"
	"time"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// How long an order may wait in a state, in event time.
const (
	PlacedFor   = time.Hour
	ApprovedFor = time.Hour
)

// Deadline returns when a waiting order expires (Unix ms) and the message that
// makes it so. That message names the state and the version that entered it, so
// it may come late, twice or in vain. It is not ok for an order that waits for
// nobody, or only for its customer: invoiced, delivered, dead.
func Deadline(o schemas.Order) (due int64, m flow.Message, ok bool) {
	var wait time.Duration
	switch o.State {
	case schemas.Placed:
		wait = PlacedFor
	case schemas.Approved:
		wait = ApprovedFor
	default:
		return 0, flow.Message{}, false
	}
	due = enteredAt(o) + wait.Milliseconds()
	return due, flow.Message{
		ID:          flow.NewID("evt", due, o.OrderID+"/expire/"+strconv.FormatInt(o.EnteredBy, 10), 0),
		Type:        schemas.OrdersOrderExpire,
		Topic:       topics.OrderReplies,
		Key:         o.OrderID,
		At:          due,
		Correlation: o.OrderID,
		Body:        &schemas.ExpireOrder{OrderID: o.OrderID, State: o.State, Version: o.EnteredBy},
	}, true
}

func enteredAt(o schemas.Order) int64 {
	for _, e := range o.Timeline {
		if e.Type == "order."+o.State {
			return e.At
		}
	}
	return o.ChangedAt
}
