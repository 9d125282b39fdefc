package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/schemas"
)

const defaultWait = 30 * time.Second

func addWait(fs *pflag.FlagSet, wait *time.Duration) {
	fs.DurationVar(wait, "wait", 0, fmt.Sprintf("wait for what becomes of it, show the order, and fail if it is refused (--wait is --wait=%s)", defaultWait))
	fs.Lookup("wait").NoOptDefVal = defaultWait.String()
}

// sent is what a command prints that does not wait.
type sent struct {
	OrderID   string `json:"order_id"`
	Command   string `json:"command"`
	CommandID string `json:"command_id"`
}

func (s *session) place(ctx context.Context, body *schemas.PlaceOrder, wait time.Duration) error {
	c, err := s.client(ctx, 0)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := s.send(ctx, c, body.OrderID, schemas.OrdersOrderPlace, body, wait); err != nil || wait == 0 {
		return err
	}
	hash, err := schemas.Hash(body)
	if err != nil {
		return err
	}
	o, err := s.await(ctx, c, body.OrderID, wait, func(o *schemas.Order) bool { return o.BodyHash != hash || settled(o) })
	if err != nil {
		return err
	}
	if o.BodyHash != hash {
		return hinted(fmt.Errorf("%s is another order already: this one was refused", o.OrderID), "leave --id away to have one made up")
	}
	if err := s.showOrder(o); err != nil {
		return err
	}
	if o.State == schemas.Rejected {
		return fmt.Errorf("%s was rejected: %s", o.OrderID, strings.Join(o.Reasons, "; "))
	}
	return nil
}

// settled says that an order waits for nothing but a delivery or a person.
func settled(o *schemas.Order) bool { return o.State != schemas.Placed && o.State != schemas.Approved }

// change sends a command for an order that should be there, and waits until it
// is in the state that the command leads to, or is refused.
func (s *session) change(ctx context.Context, id, typ string, body any, target string, wait time.Duration) error {
	if err := checkID("ord_", id); err != nil {
		return err
	}
	c, err := s.client(ctx, 0)
	if err != nil {
		return err
	}
	defer c.Close()
	before := new(schemas.Order)
	if wait > 0 {
		if before, err = c.GetOrder(ctx, id); err != nil {
			return s.explainOrder(err)
		}
	}
	if err := s.send(ctx, c, id, typ, body, wait); err != nil || wait == 0 {
		return err
	}
	o, err := s.await(ctx, c, id, wait, func(o *schemas.Order) bool {
		return o.State == target || o.Refusals > before.Refusals
	})
	if err != nil {
		return err
	}
	if err := s.showOrder(o); err != nil {
		return err
	}
	if o.State != target {
		return fmt.Errorf("%s was refused: %s", typ, strings.TrimPrefix(lastRefusal(o), typ+": "))
	}
	return nil
}

func lastRefusal(o *schemas.Order) string {
	for i := len(o.Timeline) - 1; i >= 0; i-- {
		if o.Timeline[i].Type == schemas.OrderRefused {
			return o.Timeline[i].Detail
		}
	}
	return "the order is " + o.State
}

// send hands a command to the log and, where nobody waits, says so.
func (s *session) send(ctx context.Context, c *client.Client, id, typ string, body any, wait time.Duration) error {
	if wait < 0 {
		return usagef("--wait %v: a time to come is wanted", wait)
	}
	m, err := s.orderCommand(id, typ, body)
	if err != nil {
		return err
	}
	if err := c.Command(ctx, m); err != nil {
		return s.explain(err)
	}
	if wait > 0 {
		return nil
	}
	return s.show(sent{id, typ, m.ID}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "sent %s for %s\n", typ, id)
		return err
	})
}

// await returns the order as of now, if that is enough, else the first version
// to come that is.
func (s *session) await(ctx context.Context, c *client.Client, id string, wait time.Duration, enough func(*schemas.Order) bool) (*schemas.Order, error) {
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	last, err := c.GetOrder(limited, id)
	if err == nil && enough(last) {
		return last, nil
	}
	if err == nil || errors.Is(err, client.ErrNoOrder) {
		err = c.WatchOrder(limited, id, func(o *schemas.Order) bool {
			if last != nil && o.Version <= last.Version {
				return true
			}
			last = o
			return !enough(o)
		})
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return last, err
	case !errors.Is(err, context.DeadlineExceeded):
		return nil, s.explain(err)
	case last == nil:
		err = fmt.Errorf("%s was not taken up within %v", id, wait)
	default:
		err = fmt.Errorf("%s is still %s after %v", id, last.State, wait)
	}
	return nil, hinted(err, "the command is on the log and will be obeyed; do processors run? `orderlog lag` tells")
}
