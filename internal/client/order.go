package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// ErrNoOrder says that the order log has no such order.
var ErrNoOrder = errors.New("no such order")

func (c *Client) orderLog() string { return topics.Prefixed(c.cfg.Namespace, topics.OrderTable) }

// GetOrder reads the order as of now from its partition of the order log, from
// start to end: for people and tests, not for traffic. The highest version counts,
// wherever it stands.
func (c *Client) GetOrder(ctx context.Context, id string) (*schemas.Order, error) {
	span, err := c.partitionOf(ctx, id)
	if err != nil {
		return nil, err
	}
	orders, err := c.newest(ctx, span, func(key string) bool { return key == id })
	if err != nil {
		return nil, err
	}
	n, ok := orders[id]
	if !ok {
		return nil, fmt.Errorf("order %q: %w", id, ErrNoOrder)
	}
	return n.order, n.err
}

// newest is an order's row of the highest version, the later of equal ones. err
// is that of a row which cannot be decoded and which no other has followed.
type newest struct {
	order *schemas.Order
	err   error
}

func (c *Client) newest(ctx context.Context, span Span, wanted func(key string) bool) (map[string]newest, error) {
	orders := map[string]newest{}
	err := span.Read(ctx, c.cfg.Opts, func(r *kgo.Record) (bool, error) {
		key := string(r.Key)
		if !wanted(key) {
			return true, nil
		}
		if !hasRow(r) {
			delete(orders, key)
			return true, nil
		}
		o, err := c.order(ctx, r)
		if before := orders[key].order; err != nil || before != nil && before.Version > o.Version {
			o = before
		}
		orders[key] = newest{o, err}
		return true, nil
	})
	return orders, err
}

// partitionOf is the whole partition of the order log that id belongs to.
func (c *Client) partitionOf(ctx context.Context, id string) (Span, error) {
	span, err := Whole(ctx, c.adm, c.orderLog())
	if err != nil {
		return Span{}, err
	}
	return span.Only(PartitionOf(id, len(span.From))), nil
}

func (c *Client) order(ctx context.Context, r *kgo.Record) (*schemas.Order, error) {
	o := new(schemas.Order)
	if err := c.cfg.Serde.DecodeInto(ctx, topics.OrderTable, r.Value, o); err != nil {
		return nil, fmt.Errorf("order %q at %s/%d/%d: %w", r.Key, r.Topic, r.Partition, r.Offset, err)
	}
	return o, nil
}

// Filter chooses orders; what is empty does not matter.
type Filter struct {
	State    string
	Customer string
	Limit    int // 0: all
}

func (f Filter) fits(o *schemas.Order) bool {
	return (f.State == "" || o.State == f.State) && (f.Customer == "" || o.CustomerID == f.Customer)
}

// ListOrders returns the orders that fit, the last placed first. It reads the
// whole order log.
func (c *Client) ListOrders(ctx context.Context, f Filter) ([]*schemas.Order, error) {
	span, err := Whole(ctx, c.adm, c.orderLog())
	if err != nil {
		return nil, err
	}
	all, err := c.newest(ctx, span, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	orders := []*schemas.Order{}
	for _, n := range all {
		if n.err != nil {
			return nil, n.err
		}
		if f.fits(n.order) {
			orders = append(orders, n.order)
		}
	}
	slices.SortFunc(orders, func(a, b *schemas.Order) int {
		return cmp.Or(cmp.Compare(b.PlacedAt, a.PlacedAt), strings.Compare(a.OrderID, b.OrderID))
	})
	if f.Limit > 0 && len(orders) > f.Limit {
		orders = orders[:f.Limit]
	}
	return orders, nil
}

// hasRow tells rows from tombstones and from empty values, which only say that a
// message about an order that is not there was handled.
func hasRow(r *kgo.Record) bool { return len(r.Value) > 0 }

// WatchOrder calls each with every version of the order, those of the past
// first, until it answers false or ctx ends. Compaction may have taken older
// versions away.
func (c *Client) WatchOrder(ctx context.Context, id string, each func(*schemas.Order) (more bool)) error {
	span, err := c.partitionOf(ctx, id)
	if err != nil {
		return err
	}
	return c.watch(ctx, span, func(key string) bool { return key == id }, each)
}

// WatchOrders is WatchOrder for all orders.
func (c *Client) WatchOrders(ctx context.Context, each func(*schemas.Order) (more bool)) error {
	span, err := Whole(ctx, c.adm, c.orderLog())
	if err != nil {
		return err
	}
	return c.watch(ctx, span, func(string) bool { return true }, each)
}

func (c *Client) watch(ctx context.Context, span Span, wanted func(key string) bool, each func(*schemas.Order) bool) error {
	span.To = nil
	return span.Read(ctx, c.cfg.Opts, func(r *kgo.Record) (bool, error) {
		if !hasRow(r) || !wanted(string(r.Key)) {
			return true, nil
		}
		o, err := c.order(ctx, r)
		return err != nil || each(o), err
	})
}
