// Package track follows orders from outside, as any read_committed consumer of
// the order log would, by the types of its records alone: how many are in which
// state, and how long each took from being sent to being seen invoiced.
package track

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Tracker follows orders until Stop.
type Tracker struct {
	cl   *kgo.Client
	done chan struct{}
	now  func() time.Time

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each batch
	orders  map[string]order
	states  map[string]int
	took    []time.Duration
	last    time.Time // when the last state change was seen
}

type order struct {
	sent  time.Time
	state string
}

// Start reads the order log of that namespace from its beginning.
func Start(opts []kgo.Opt, namespace string, now func() time.Time) (*Tracker, error) {
	cl, err := kgo.NewClient(append(slices.Clone(opts),
		kgo.ConsumeTopics(topics.Prefixed(namespace, topics.OrderTable)),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(time.Second))...)
	if err != nil {
		return nil, fmt.Errorf("tracking orders: %w", err)
	}
	t := &Tracker{cl: cl, done: make(chan struct{}), now: now, changed: make(chan struct{}),
		orders: map[string]order{}, states: map[string]int{}}
	go t.run()
	return t, nil
}

// Stop ends it.
func (t *Tracker) Stop() {
	t.cl.Close()
	<-t.done
}

// Sent notes when an order's command was handed to the producer.
func (t *Tracker) Sent(id string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.orders[id]
	o.sent = at
	t.orders[id] = o
}

func (t *Tracker) run() {
	defer close(t.done)
	for {
		fs := t.cl.PollFetches(context.Background())
		if fs.IsClientClosed() {
			return
		}
		now := t.now()
		t.mu.Lock()
		fs.EachRecord(func(r *kgo.Record) { t.see(r, now) })
		close(t.changed)
		t.changed = make(chan struct{})
		t.mu.Unlock()
	}
}

func (t *Tracker) see(r *kgo.Record, now time.Time) {
	state, ok := strings.CutPrefix(event.Header(r, event.Type), "order.")
	if !ok || "order."+state == schemas.OrderRefused {
		return
	}
	o := t.orders[string(r.Key)]
	if o.state == state {
		return
	}
	if o.state != "" {
		t.states[o.state]--
	}
	o.state = state
	t.states[state]++
	t.last = now
	if state == schemas.Invoiced && !o.sent.IsZero() {
		t.took = append(t.took, now.Sub(o.sent))
	}
	t.orders[string(r.Key)] = o
}

// States counts the orders seen, by state.
func (t *Tracker) States() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]int{}
	for s, n := range t.states {
		if n > 0 {
			out[s] = n
		}
	}
	return out
}

// Wait returns when enough says so of the states, or with ctx's error. It
// returns the time at which the last state change was seen.
func (t *Tracker) Wait(ctx context.Context, enough func(states map[string]int) bool) (time.Time, error) {
	for {
		t.mu.Lock()
		changed, last := t.changed, t.last
		t.mu.Unlock()
		if enough(t.States()) {
			return last, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return last, fmt.Errorf("waiting for orders to settle, now %v: %w", t.States(), context.Cause(ctx))
		}
	}
}

// Settled counts the orders that wait for nothing but a delivery or a person.
func Settled(states map[string]int) int {
	n := 0
	for s, c := range states {
		if s != schemas.Placed && s != schemas.Approved {
			n += c
		}
	}
	return n
}

// Latencies returns sent -> seen invoiced so far, sorted, and forgets them.
func (t *Tracker) Latencies() []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.took
	t.took = nil
	slices.Sort(l)
	return l
}

// Percentile of sorted durations, p in 0..100, nearest rank; 0 for none.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(float64(len(sorted))*p/100+0.9999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// In lists the orders that were last seen in that state, sorted.
func (t *Tracker) In(state string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ids []string
	for id, o := range t.orders {
		if o.state == state {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
