package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/why"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// why is an order's chain, each record as its topics from the top down to it.
func (s shop) why(order string) (ways map[string]why.Record) {
	s.t.Helper()
	ways = map[string]why.Record{}
	var above []string
	d := json.NewDecoder(strings.NewReader(s.run("", "why", order, "-o", "json")))
	for d.More() {
		var r why.Record
		if err := d.Decode(&r); err != nil {
			s.t.Fatal(err)
		}
		above = append(above[:r.Depth], fmt.Sprintf("%s %s", r.Topic, r.Type))
		ways[strings.Join(above, " > ")] = r
	}
	return ways
}

// soon waits until a record stands at that place of the order's tree.
func (s shop) soon(order, way string) why.Record {
	s.t.Helper()
	for up := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ways := s.why(order)
		if r, ok := ways[way]; ok {
			return r
		}
		if time.Now().After(up) {
			s.t.Fatalf("nothing came to be at %q, but\n%s", way, strings.Join(slices.Sorted(maps.Keys(ways)), "\n"))
		}
	}
}

// What comes back stands below what was put aside: by the calendar, and by a person.
func TestWhyComesBack(t *testing.T) {
	var mended atomic.Bool
	s, a := open(t, app.Config{Partitions: 2, BeforeDecide: func(m flow.Message) {
		if m.Type == schemas.OrdersOrderDeliver && !mended.Load() {
			panic("a bug in the rule")
		}
	}})
	s.run("", "produce", "--orders", "1", "--seed", "3")
	orders := s.states()
	for len(orders) == 0 { // until it is taken up
		orders = s.states()
	}
	order := slices.Collect(maps.Keys(orders))[0]
	s.soon(order, "order-commands orders.order.place > inventory-tasks inventory.stock.reserve > order-replies stock.reserved")
	s.run("", "order", "deliver", order)
	const parked = "order-commands orders.order.deliver > retry record.parked"
	if r := s.soon(order, parked); !strings.Contains(r.Says, "panic: a bug in the rule; attempts 1") || !strings.HasPrefix(r.Open, "it is in the calendar, due ") {
		t.Errorf("parked: %q, %q", r.Says, r.Open)
	}
	mended.Store(true)
	s.run("", "retries", "pull-forward", "--group", "order", "--reason", "it is mended", "--yes")
	r := s.soon(order, parked+" > order-loop orders.order.deliver > order-table order.delivered")
	if !strings.Contains(r.Says, ", delivered: order.delivered") {
		t.Errorf("delivered: %q", r.Says)
	}
	ways := s.why(order)
	if r := ways[parked]; r.Open != "" {
		t.Errorf("parked still, it seems: %q", r.Open)
	}
	if r := ways[parked+" > order-loop orders.order.deliver"]; r.Says != "back out of the calendar, attempts 1: it has reached its customer" {
		t.Errorf("back: %q", r.Says)
	}

	cl, err := kgo.NewClient(a.ClientOpts()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topics.OrderCommands, Key: []byte(order), Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if r := s.soon(order, "order-commands  > dead-letter "); r.Open != "nobody has dealt with it" {
		t.Errorf("dead: %q", r.Open)
	}
	s.run("", "dlq", "redrive", "--key", order, "--reason", "a test", "--yes", "--as", "ann", "--wait", "0")
	s.soon(order, "order-commands  > dead-letter  > order-loop  > dead-letter ")
	if r := s.soon(order, "order-commands  > dead-letter  > audit action.taken"); r.Says != "dlq.redrive by ann: a test" {
		t.Errorf("redriven: %q", r.Says)
	}
	if r := s.why(order)["order-commands  > dead-letter "]; r.Open != "" {
		t.Errorf("dealt with, and still open: %q", r.Open)
	}
}
