package client_test

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func TestBatchIsDoneAfterWait(t *testing.T) {
	w := start(t)
	r, err := w.Record(flow.Message{ID: "e", Topic: topics.OrderCommands, Key: "ord_1", Type: schemas.OrdersOrderDeliver,
		Body: &schemas.DeliverOrder{OrderID: "ord_1"}})
	w.ok(err)
	b := w.Batch()
	for range 100 {
		again := *r
		w.ok(b.Send(t.Context(), &again))
	}
	w.ok(b.Wait(t.Context()))
	ends, err := client.Ends(t.Context(), w.adm, r.Topic)
	w.ok(err)
	var done int64
	for _, end := range ends {
		done += end
	}
	if done != 100 {
		t.Errorf("%d of 100 are there after Wait", done)
	}
	lost := *r
	lost.Topic = "nowhere"
	w.ok(b.Send(t.Context(), &lost))
	if err := b.Wait(t.Context()); !errors.Is(err, client.ErrNoTopic) {
		t.Errorf("a record that nobody takes: %v", err)
	}
	if err := b.Send(t.Context(), r); !errors.Is(err, client.ErrNoTopic) {
		t.Errorf("sending on after an error: %v", err)
	}
}

func TestWaitReadWaitsForTheFirstCommit(t *testing.T) {
	w := start(t)
	w.ok(w.Command(t.Context(), flow.Message{ID: "e", Topic: topics.OrderCommands, Key: "ord_1", Type: schemas.OrdersOrderDeliver,
		Body: &schemas.DeliverOrder{OrderID: "ord_1"}}))
	done := make(chan error, 1)
	go func() { done <- w.WaitRead(t.Context(), "order") }()
	ends, err := client.Ends(t.Context(), w.adm, "ns.order-commands")
	w.ok(err)
	select {
	case err := <-done:
		t.Fatalf("returned before anything was committed: %v", err)
	default:
	}
	var at kadm.Offsets
	for p, end := range ends {
		at.AddOffset("ns.order-commands", p, end, -1)
	}
	w.ok(w.adm.CommitAllOffsets(t.Context(), "ns.order", at))
	w.ok(<-done)
}

// A broker that closes connections, or cannot be reached, may be back in a moment.
func TestBrokerThatIsAway(t *testing.T) {
	w := start(t)
	closing := 2
	w.c.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		if closing--; closing >= 0 {
			w.c.KeepControl()
			return nil, errors.New("away"), true
		}
		return nil, nil, false
	})
	unmanned, err := w.Unmanned(t.Context(), "inventory", "credit")
	if err != nil || unmanned != "inventory" || closing >= 0 {
		t.Errorf("%q, %v, %d times away", unmanned, err, closing+1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Unmanned(ctx, "credit"); !errors.Is(err, context.Canceled) {
		t.Errorf("who has given up waits for nobody: %v", err)
	}
}

func TestSendAll(t *testing.T) {
	w := start(t)
	bad := &schemas.SetLimit{CustomerID: "cus_1"}
	send := func(bodies ...any) error {
		return w.SendAll(t.Context(), func(yield func(flow.Message) bool) {
			for _, b := range bodies {
				if !yield(flow.Message{ID: "e", Topic: topics.OrderCommands, Key: schemas.KeyOf(b), Type: schemas.TypeOf(b), Body: b}) {
					return
				}
			}
		}, nil)
	}
	w.ok(send(&schemas.DeliverOrder{OrderID: "ord_1"}, &schemas.DeliverOrder{OrderID: "ord_2"}))
	if err := send(&schemas.DeliverOrder{OrderID: "ord_1"}, bad, &schemas.DeliverOrder{OrderID: "ord_2"}); !errors.Is(err, schemas.ErrNotAllowed) {
		t.Errorf("a message that cannot be sent: %v", err)
	}
}
