package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/schemas"
)

// stall is how long nothing may happen while orders are waited for.
const stall = time.Minute

var errStalled = errors.New("nothing has happened")

// deliverAll delivers each order of the load once it is invoiced, and returns
// when every one is delivered or dead.
func (s *session) deliverAll(ctx context.Context, c *client.Client, l load, feed *feeder) error {
	open := map[string]bool{}
	for it := range l.commands {
		if isPlacement(it) {
			open[it.Key] = true
		}
	}
	if len(open) == 0 {
		return nil
	}
	total := int64(len(open))
	b := s.bar("deliveries", total)
	defer b.end()
	watch, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer timer.Stop()
	sent := map[string]bool{}
	var failed error
	err := c.WatchOrders(watch, func(o *schemas.Order) bool {
		if !open[o.OrderID] {
			return len(open) > 0
		}
		timer.Reset(stall)
		switch o.State {
		case schemas.Invoiced:
			if !sent[o.OrderID] {
				sent[o.OrderID] = true
				failed = feed.send(ctx, workload.Item{Message: l.delivery(o)})
			}
		case schemas.Delivered:
			delete(open, o.OrderID)
			feed.p.Delivered++
		case schemas.Rejected, schemas.Cancelled, schemas.Expired:
			delete(open, o.OrderID)
			feed.p.Undelivered++
		}
		b.at(total-int64(len(open)), total)
		return failed == nil && len(open) > 0
	})
	if failed == nil {
		failed = feed.batch.Err()
	}
	switch {
	case failed != nil:
		return failed
	case errors.Is(context.Cause(watch), errStalled):
		return hinted(fmt.Errorf("nothing has happened for %v, and %d of %d orders are neither delivered nor dead", stall, len(open), total),
			"do processors run? `orderlog lag` tells")
	}
	return err
}
