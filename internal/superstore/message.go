package superstore

import (
	"encoding/hex"
	"fmt"
	"iter"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// What Setup takes for 0: enough for any file.
const (
	AmpleStock  = int64(1e9)
	AmpleCredit = int64(1e15)
)

// Setups is how many messages Setup yields.
func (f *File) Setups() int { return 2*len(f.Products) + len(f.Customers) }

// Setup yields each product's price and stock units of it, then each customer's
// limit, in cents; 0 is ample. The time is that of the first order.
func (f *File) Setup(stock, credit int64) iter.Seq[flow.Message] {
	if stock == 0 {
		stock = AmpleStock
	}
	if credit == 0 {
		credit = AmpleCredit
	}
	return func(yield func(flow.Message) bool) {
		if len(f.orders) == 0 {
			return
		}
		at := f.orders[0].at
		for _, p := range f.Products {
			if !yield(message(at, topics.InventoryCommands, schemas.InventoryPriceSet,
				&schemas.SetPrice{SKU: p.SKU, Name: p.Name, Price: p.Price, Currency: currency})) ||
				!yield(message(at, topics.InventoryCommands, schemas.InventoryStockReceive,
					&schemas.ReceiveStock{SKU: p.SKU, Quantity: stock})) {
				return
			}
		}
		for _, c := range f.Customers {
			if !yield(message(at, topics.CreditCommands, schemas.CreditLimitSet,
				&schemas.SetLimit{CustomerID: c, Limit: credit, Currency: currency})) {
				return
			}
		}
	}
}

// Placements is how many messages Orders yields.
func (f *File) Placements() int { return len(f.orders) }

// Orders yields the placements, by Order Date and Order ID.
func (f *File) Orders() iter.Seq[flow.Message] {
	return func(yield func(flow.Message) bool) {
		for _, o := range f.orders {
			if !yield(message(o.at, topics.OrderCommands, schemas.OrdersOrderPlace, o.body)) {
				return
			}
		}
	}
}

// Delivery is the delivery of one of the placed orders ("ord_..."), for those
// who wait until it is invoiced. It is false for an order that is not in the file.
func (f *File) Delivery(orderID string) (flow.Message, bool) {
	i, ok := f.byID[orderID]
	if !ok {
		return flow.Message{}, false
	}
	return message(f.orders[i].shipped, topics.OrderCommands, schemas.OrdersOrderDeliver, &schemas.DeliverOrder{OrderID: orderID}), true
}

// message has an ID that depends on nothing but what it says: the same file
// imported twice sends the same messages.
func message(at int64, topic, messageType string, body any) flow.Message {
	h, err := schemas.Hash(body)
	if err != nil {
		panic(fmt.Errorf("hashing a %s: %w", messageType, err)) // our own bodies can be encoded
	}
	return flow.Message{
		ID:    flow.NewID("evt", at, messageType+" "+hex.EncodeToString(h[:]), 0),
		Topic: topic, Type: messageType, Key: schemas.KeyOf(body), At: at, Body: body,
	}
}
