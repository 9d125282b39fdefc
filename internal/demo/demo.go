// Package demo takes a running app through the main job: products and customers
// are set up, orders placed and delivered, and when nothing moves any more the
// log is asked to prove itself.
package demo

import (
	"context"
	"iter"
	"time"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/track"
	"github.com/orderlog/orderlog/internal/verify"
	"github.com/orderlog/orderlog/schemas"
)

// Input is what happens to the shop.
type Input struct {
	Source  string                 // where it comes from, for a person
	Setup   iter.Seq[flow.Message] // products, stock, credit
	Setups  int
	Orders  iter.Seq[flow.Message] // placements
	N       int
	Deliver func(orderID string) flow.Message // the delivery of an invoiced order
}

// Stage is one part of the work, for progress.
type Stage struct {
	Name  string
	Total int
}

// Progress is told how far the present stage is.
type Progress interface {
	Begin(Stage)
	At(done int)
	End()
}

// Summary is what came of it.
type Summary struct {
	Source          string        `json:"source"`
	Orders          int           `json:"orders"`
	Seconds         float64       `json:"seconds"` // first placement sent -> last order settled
	OrdersPerSecond float64       `json:"orders_per_second"`
	InFlight        int           `json:"in_flight"` // orders on their way at once
	P50             time.Duration `json:"placed_to_invoiced_p50_ns"`
	P99             time.Duration `json:"placed_to_invoiced_p99_ns"`
	Report          verify.Report `json:"verify"`
}

// Run does it. Progress may be a no-op, never nil.
func Run(ctx context.Context, a *app.App, namespace string, openingLimit int64, in Input, p Progress) (Summary, error) {
	s := Summary{Source: in.Source, Orders: in.N, InFlight: inFlight}
	out, err := client.New(client.Config{Opts: a.ClientOpts(), Serde: a.Serde(), Namespace: namespace, Trace: a.Trace()})
	if err != nil {
		return s, err
	}
	defer out.Close()
	tracker, err := track.Start(a.ClientOpts(), namespace, time.Now)
	if err != nil {
		return s, err
	}
	defer tracker.Stop()

	p.Begin(Stage{"products, stock and customers", in.Setups})
	if err := out.SendAll(ctx, in.Setup, counting(p)); err != nil {
		return s, err
	}
	if err := out.WaitRead(ctx, "inventory", "credit"); err != nil {
		return s, err
	}
	p.End()

	p.Begin(Stage{"orders", in.N})
	began := time.Now()
	if err := out.SendAll(ctx, windowed(ctx, in.Orders, tracker, p), func(m flow.Message) { tracker.Sent(m.Key, time.Now()) }); err != nil {
		return s, err
	}
	last, err := tracker.Wait(ctx, func(states map[string]int) bool {
		n := track.Settled(states)
		p.At(n)
		return n >= in.N
	})
	if err != nil {
		return s, err
	}
	p.End()
	s.Seconds = last.Sub(began).Seconds()
	s.OrdersPerSecond = float64(in.N) / s.Seconds
	took := tracker.Latencies()
	s.P50, s.P99 = track.Percentile(took, 50), track.Percentile(took, 99)

	invoiced := tracker.In(schemas.Invoiced)
	p.Begin(Stage{"deliveries", len(invoiced)})
	deliveries := func(yield func(flow.Message) bool) {
		for _, id := range invoiced {
			if !yield(in.Deliver(id)) {
				return
			}
		}
	}
	if err := out.SendAll(ctx, deliveries, nil); err != nil {
		return s, err
	}
	if _, err := tracker.Wait(ctx, func(states map[string]int) bool {
		p.At(len(invoiced) - states[schemas.Invoiced])
		return states[schemas.Invoiced] == 0 // delivered, or cancelled before
	}); err != nil {
		return s, err
	}
	p.End()

	p.Begin(Stage{"proof", 0})
	s.Report, err = verify.Run(ctx, verify.Config{Client: a.ClientOpts(), Serde: a.Serde(), Namespace: namespace,
		OpeningLimit: openingLimit, Wait: 20 * time.Second})
	p.End()
	return s, err
}

// inFlight is how many orders are on their way at once: enough to keep everybody
// busy, few enough that latency is not all queueing.
const inFlight = 400

// windowed yields orders as earlier ones are settled. It counts placements by
// their number: faults on top of them only make the window smaller.
func windowed(ctx context.Context, orders iter.Seq[flow.Message], t *track.Tracker, p Progress) iter.Seq[flow.Message] {
	return func(yield func(flow.Message) bool) {
		const step = inFlight / 8
		sent := map[string]bool{}
		for m := range orders {
			if sent[m.Key] = true; len(sent)%step == 0 {
				if _, err := t.Wait(ctx, func(states map[string]int) bool {
					n := track.Settled(states)
					p.At(n)
					return len(sent)-n < inFlight
				}); err != nil {
					return
				}
			}
			if !yield(m) {
				return
			}
		}
	}
}

func counting(p Progress) func(flow.Message) {
	n := 0
	return func(flow.Message) {
		n++
		p.At(n)
	}
}
