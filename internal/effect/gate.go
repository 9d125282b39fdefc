package effect

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/orderlog/orderlog/internal/report"
	"github.com/orderlog/orderlog/schemas"
)

// How a gate closes: after so many troubles in a row, for pauses that double.
const (
	maxTroubles = 5
	firstPause  = time.Second
	lastPause   = 5 * time.Minute
	maxHint     = time.Hour // how long an endpoint can have itself left alone
)

// gate stands before one endpoint. It bounds how many tries are under way, and
// closes when the endpoint is in trouble: then only one try is let through after
// each pause, and all others come back at once. The first good end opens it.
type gate struct {
	to     Sender
	slots  chan struct{}
	report report.Reporter

	mu       sync.Mutex
	troubles int           // in a row
	pause    time.Duration // that it is closed for; 0: it is open
	until    time.Time     // end of the pause
	probing  bool          // one try is under way to see whether it is over
}

func newGate(to Sender, concurrency int) *gate {
	return &gate{to: to, slots: make(chan struct{}, max(1, concurrency)), report: report.None{}}
}

func (g *gate) Send(ctx context.Context, e schemas.Effect) Outcome {
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-ctx.Done():
		return outcome(Away, 0, "stopped while it waited for its turn")
	}
	probe, wait := g.enter()
	if wait > 0 {
		o := outcome(Away, 0, "not tried: the endpoint is in trouble, it is looked at again in %v", wait.Round(time.Second))
		o.RetryAfter = wait
		return o
	}
	o, panicked := g.try(ctx, e)
	g.leave(probe, panicked || ctx.Err() != nil, o)
	return o
}

// try survives a panic, of a template for instance: that is one effect's trouble.
func (g *gate) try(ctx context.Context, e schemas.Effect) (o Outcome, panicked bool) {
	defer func() {
		if v := recover(); v != nil {
			o, panicked = outcome(Transient, 0, "panic: %v", v), true
			f := report.Failure{Kind: report.Panic, Processor: "effects", Cause: "sending", Type: fmt.Sprintf("%T", v), Stack: string(debug.Stack()), Order: e.OrderID}
			if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
				f.TraceID = sc.TraceID().String()
			}
			g.report.Report(f)
		}
	}()
	return g.to.Send(ctx, e), false
}

// closed is for how long nothing is let through.
func (g *gate) closed() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pause == 0 {
		return 0
	}
	return time.Until(g.until)
}

// enter returns how long to stay away, 0 for not at all, and whether the try
// probes a closed gate.
func (g *gate) enter() (probe bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pause == 0 {
		return false, 0
	}
	if wait := time.Until(g.until); wait > 0 {
		return false, wait
	}
	if g.probing {
		return false, firstPause
	}
	g.probing = true
	return true, 0
}

// leave learns from a try. One that was interrupted teaches nothing, and one that
// began before the gate was closed and ends in trouble nothing new.
func (g *gate) leave(probe, interrupted bool, o Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if probe {
		g.probing = false
	}
	switch {
	case interrupted:
	case !o.Sick:
		g.troubles, g.pause = 0, 0
	case g.pause > 0 && !probe:
	default:
		g.troubles++
		if probe || g.troubles >= maxTroubles || o.RetryAfter > 0 {
			g.pause = min(max(2*g.pause, firstPause), lastPause)
			g.until = time.Now().Add(max(g.pause, min(o.RetryAfter, maxHint)))
		}
	}
}
