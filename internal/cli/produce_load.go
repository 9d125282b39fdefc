package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/superstore"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/schemas"
)

// load is what produce sends, wherever it comes from.
type load struct {
	source   string
	seed     uint64
	setup    iter.Seq[workload.Item]
	setups   int
	commands iter.Seq[workload.Item]
	orders   int

	// delivery is that of an order that is invoiced.
	delivery func(o *schemas.Order) flow.Message

	badRows []superstore.RowError // of an import
}

// produced is what was sent.
type produced struct {
	Source      string           `json:"source"`
	Seed        uint64           `json:"seed,omitempty"`
	DryRun      bool             `json:"dry_run,omitempty"`
	Sent        map[string]int64 `json:"sent"` // by message type
	Undecodable int64            `json:"undecodable"`
	Orders      int64            `json:"orders"` // placements, repeated ones too
	Bytes       int64            `json:"bytes"`  // of the values
	Seconds     float64          `json:"seconds"`
	PerSecond   float64          `json:"orders_per_second"`
	Delivered   int64            `json:"delivered,omitempty"`
	Undelivered int64            `json:"undelivered,omitempty"` // orders that were not invoiced
	Digest      string           `json:"digest,omitempty"`      // of a dry run: equal digests, equal bytes

	BadRows []superstore.RowError `json:"bad_rows,omitempty"` // left out of an import
}

func (s *session) produce(ctx context.Context, l load, f produceFlags) error {
	p := &produced{Source: l.source, Seed: l.seed, Sent: map[string]int64{}, BadRows: l.badRows}
	var err error
	if f.dryRun {
		err = rehearse(l, f, p)
	} else {
		err = s.perform(ctx, l, f, p)
	}
	if err != nil {
		return s.explain(err)
	}
	return s.show(p, func(w io.Writer) error { return p.text(w) })
}

// rehearse counts what would be sent, in the bytes of a registry that knows
// nothing yet.
func rehearse(l load, f produceFlags, p *produced) error {
	serde, sum := schemas.NewLocalSerde(), sha256.New()
	p.DryRun = true
	var failed error
	see := func(it workload.Item) bool {
		value := it.Raw
		if value == nil {
			if value, failed = serde.Encode(nil, it.Topic, it.Body); failed != nil {
				return false
			}
		}
		p.count(it, len(value))
		fmt.Fprintf(sum, "%q %q %q %q %d %x\n", it.Topic, it.Key, it.Type, it.ID, it.At, value)
		return true
	}
	if !f.noSetup {
		l.setup(see)
	}
	if failed == nil {
		l.commands(see)
	}
	p.Digest = hex.EncodeToString(sum.Sum(nil)[:16])
	return failed
}

func (p *produced) count(it workload.Item, bytes int) {
	p.Bytes += int64(bytes)
	if it.Raw != nil {
		p.Undecodable++
		return
	}
	p.Sent[it.Type]++
	if it.Type == schemas.OrdersOrderPlace {
		p.Orders++
	}
}

func (s *session) perform(ctx context.Context, l load, f produceFlags, p *produced) error {
	c, err := s.client(ctx, 5*time.Millisecond)
	if err != nil {
		return err
	}
	defer c.Close()
	feed := &feeder{s: s, c: c, batch: c.Batch(), p: p}
	if !f.noSetup {
		if err := feed.all(ctx, "products and customers", l.setup, l.setups, 0, func(workload.Item) bool { return true }); err != nil {
			return err
		}
		if err := s.settleSetup(ctx, c); err != nil {
			return err
		}
	}
	began := s.env.Now()
	if err := feed.all(ctx, "orders", l.commands, l.orders, f.rate, isPlacement); err != nil {
		return err
	}
	p.Seconds = s.env.Now().Sub(began).Seconds()
	if p.Seconds > 0 {
		p.PerSecond = float64(p.Orders) / p.Seconds
	}
	if f.deliver {
		return s.deliverAll(ctx, c, l, feed)
	}
	return nil
}

// settleSetup waits until prices, stock and limits are known, so that no order
// overtakes them. Where nobody reads them there is nothing to wait for.
func (s *session) settleSetup(ctx context.Context, c *client.Client) error {
	groups := []string{"inventory", "credit"}
	unmanned, err := c.Unmanned(ctx, groups...)
	if err != nil {
		return err
	}
	if unmanned != "" {
		s.log.Warn("nobody runs this processor: orders may be decided before what was just set up is known", "group", s.name(unmanned))
		return nil
	}
	return c.WaitRead(ctx, groups...)
}

// feeder sends items and counts them.
type feeder struct {
	s     *session
	c     *client.Client
	batch *client.Batch
	p     *produced
}

// all sends every item and returns when the broker has them, or at the first
// error. Of those that count, total are expected and rate a second are sent, as
// fast as possible if that is 0.
func (f *feeder) all(ctx context.Context, name string, items iter.Seq[workload.Item], total int, rate float64, counts func(workload.Item) bool) error {
	b := f.s.bar(name, int64(total))
	defer b.end()
	began, n := f.s.env.Now(), 0
	for it := range items {
		if counts(it) {
			if rate > 0 {
				due := began.Add(time.Duration(float64(n) / rate * float64(time.Second)))
				if err := sleep(ctx, due.Sub(f.s.env.Now())); err != nil {
					return err
				}
			}
			n++
			b.at(int64(min(n, total)), int64(total))
		}
		if err := f.send(ctx, it); err != nil {
			return err
		}
	}
	return f.batch.Wait(ctx)
}

func isPlacement(it workload.Item) bool { return it.Type == schemas.OrdersOrderPlace && it.Raw == nil }

func (f *feeder) send(ctx context.Context, it workload.Item) error {
	r, err := f.record(it)
	if err != nil {
		return err
	}
	if err := f.batch.Send(ctx, r); err != nil {
		return err
	}
	f.p.count(it, len(r.Value))
	return nil
}

func (f *feeder) record(it workload.Item) (*kgo.Record, error) {
	if it.Raw == nil {
		return f.c.Record(it.Message)
	}
	return &kgo.Record{Topic: f.s.name(it.Topic), Key: []byte(it.Key), Value: it.Raw,
		Headers: event.Append(nil, commandSource, event.Avro, it.Message)}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *produced) text(w io.Writer) error {
	verb := "sent"
	if p.DryRun {
		verb = "would send"
	}
	orders := "orders"
	if p.Orders == 1 {
		orders = "order"
	}
	fmt.Fprintf(w, "%s %d %s from %s\n\n", verb, p.Orders, orders, p.Source)
	var rows [][]string
	for _, typ := range sorted(p.Sent) {
		rows = append(rows, []string{typ, fmt.Sprint(p.Sent[typ])})
	}
	if p.Undecodable > 0 {
		rows = append(rows, []string{"undecodable", fmt.Sprint(p.Undecodable)})
	}
	if len(p.BadRows) > 0 {
		rows = append(rows, []string{"bad rows left out", fmt.Sprint(len(p.BadRows))})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	switch {
	case p.DryRun:
		_, err := fmt.Fprintf(w, "\n%d bytes, digest %s\n", p.Bytes, p.Digest)
		return err
	case p.Delivered+p.Undelivered > 0:
		fmt.Fprintf(w, "\n%d delivered, %d not invoiced\n", p.Delivered, p.Undelivered)
	}
	_, err := fmt.Fprintf(w, "\n%d bytes; orders in %.2f s: %.0f/s\n", p.Bytes, p.Seconds, p.PerSecond)
	return err
}
