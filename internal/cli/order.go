package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func newOrder(s *session) *cobra.Command {
	cmd := needsVerb(&cobra.Command{
		Use:   "order",
		Short: "Place, deliver, cancel and look at orders",
		Example: example("orderlog order place --customer cus_1 --line sku_1:2 --wait",
			"orderlog order get ord_CA-2014-100006"),
	})
	cmd.AddCommand(newOrderPlace(s), newOrderDeliver(s), newOrderCancel(s), newOrderGet(s), newOrderList(s), newOrderHistory(s))
	return cmd
}

// client connects what sends commands and reads orders. The caller closes it.
func (s *session) client(ctx context.Context, linger time.Duration) (*client.Client, error) {
	serde, err := s.online(ctx)
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{Opts: s.kafka(), Serde: serde, Namespace: s.set.namespace, Source: commandSource, Linger: linger, Trace: s.trace})
}

// commandSource is the ce_source of what people send from here.
const commandSource = "/orderlog/cli"

// newID makes an ID that nobody had before.
func (s *session) newID(prefix string) (string, error) {
	var seed [16]byte
	if _, err := io.ReadFull(s.env.Rand, seed[:]); err != nil {
		return "", fmt.Errorf("making an ID: %w", err)
	}
	return flow.NewID(prefix, s.env.Now().UnixMilli(), hex.EncodeToString(seed[:]), 0), nil
}

// orderCommand is a command for one order, as of now.
func (s *session) orderCommand(orderID, typ string, body any) (flow.Message, error) {
	id, err := s.newID("evt")
	return flow.Message{ID: id, Type: typ, Topic: topics.OrderCommands, Key: orderID, At: s.env.Now().UnixMilli(),
		Correlation: orderID, Body: body}, err
}

// checkID wants an ID with its type's prefix.
func checkID(prefix, id string) error {
	if rest, ok := strings.CutPrefix(id, prefix); ok && rest != "" {
		return nil
	}
	err := usagef("%q is no ID that starts with %s", id, prefix)
	if id == "" || id == prefix {
		return err
	}
	return hinted(err, "did you mean %s%s?", prefix, id)
}

func newOrderGet(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "get ORDER",
		Short:   "Show an order with every verdict on it",
		Args:    exactly("ORDER"),
		Example: example("orderlog order get ord_CA-2014-100006 -o json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkID("ord_", args[0]); err != nil {
				return err
			}
			c, err := s.client(cmd.Context(), 0)
			if err != nil {
				return err
			}
			defer c.Close()
			o, err := c.GetOrder(cmd.Context(), args[0])
			if err != nil {
				return s.explainOrder(err)
			}
			return s.showOrder(o)
		},
	}
}

func (s *session) explainOrder(err error) error {
	if errors.Is(err, client.ErrNoOrder) {
		return hinted(err, "`orderlog order list` shows which there are; one just placed needs a running order processor")
	}
	return s.explain(err)
}

func newOrderList(s *session) *cobra.Command {
	var f client.Filter
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List orders, the last placed first",
		Args:    nothing(),
		Example: example("orderlog order list --state rejected --limit 5"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.Limit < 0 {
				return usagef("--limit %d: at least 1, or 0 for all", f.Limit)
			}
			c, err := s.client(cmd.Context(), 0)
			if err != nil {
				return err
			}
			defer c.Close()
			orders, err := c.ListOrders(cmd.Context(), f)
			if err != nil {
				return s.explain(err)
			}
			return s.show(orders, func(w io.Writer) error { return orderTable(w, orders) })
		},
	}
	cmd.Flags().Var(newChoice(&f.State, "", schemas.OrderStates()...), "state", "only orders in this state")
	cmd.Flags().StringVar(&f.Customer, "customer", "", "only orders of this `CUSTOMER`")
	cmd.Flags().IntVar(&f.Limit, "limit", 20, "at most so many, 0 for all")
	return cmd
}
