package effect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/processors/notification"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
)

// network is in memory, so that it stands still with a virtual clock. Nobody
// listens at an address until a test says so.
type network struct {
	mu        sync.Mutex
	listeners map[string]*listener
}

type listener struct {
	net     *network
	address string
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (n *network) listen(address string) *listener {
	l := &listener{net: n, address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[string]*listener{}
	}
	n.listeners[address] = l
	return l
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		delete(l.net.listeners, l.address)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// effects asks the rule for what follows from one order that is delivered and
// earns a voucher, and one that is rejected.
func effects(t *testing.T, c notification.Config, orderID string) (all []schemas.Effect) {
	t.Helper()
	rule, saga := notification.New(c), order.New(order.Config{})
	follow := func(id string, bodies ...any) {
		var o schemas.Order
		for i, b := range bodies {
			o, _ = saga.Decide(o, flow.Message{ID: fmt.Sprint("evt_", i), Type: schemas.TypeOf(b), Key: id, At: 1_767_607_200_000 + int64(i)*60_000, Body: b})
		}
		_, outs := rule.Decide(schemas.Notices{}, flow.Message{Body: &o})
		for _, m := range outs {
			all = append(all, *m.Body.(*schemas.Effect))
		}
	}
	place := func(id string) *schemas.PlaceOrder {
		return &schemas.PlaceOrder{OrderID: id, CustomerID: "cus_1", Currency: "EUR", Lines: []schemas.PlaceLine{
			{SKU: "sku_Bücherregal <b>", Quantity: 2}, {SKU: "sku_b", Quantity: 1, DiscountBP: 1000}}}
	}
	follow(orderID, place(orderID),
		&schemas.StockReserved{OrderID: orderID, SKU: "sku_Bücherregal <b>", UnitPrice: 5000},
		&schemas.StockReserved{OrderID: orderID, Line: 1, SKU: "sku_b", UnitPrice: 1999},
		&schemas.CreditCharged{OrderID: orderID, Amount: 14041},
		&schemas.InvoiceIssued{OrderID: orderID, Kind: schemas.KindInvoice, InvoiceID: "inv_1", Number: "A-2026-000001", IssuedAt: 1_767_607_380_000},
		&schemas.DeliverOrder{OrderID: orderID},
		&schemas.VoucherGranted{OrderID: orderID, Strategy: "order-over-100", VoucherID: "vch_1", Amount: 500})
	follow(orderID+"x", place(orderID+"x"), &schemas.StockRefused{OrderID: orderID + "x", SKU: "sku_Bücherregal <b>", Reason: "out_of_stock", Detail: "wanted 2, on hand 0"})
	return all
}

// about returns the one effect of this event.
func about(t *testing.T, all []schemas.Effect, event string) schemas.Effect {
	t.Helper()
	for _, e := range all {
		if e.Event == event {
			return e
		}
	}
	t.Fatalf("no effect about %s in %v", event, all)
	return schemas.Effect{}
}
