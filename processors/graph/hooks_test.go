package graph

import (
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Whatever of a rule panics, the group goes on: what the rule decides is parked as
// a whole, and a message of which it cannot say that it is special is one like others.
func TestAnyPanicOfARule(t *testing.T) {
	type rule = flow.Processor[schemas.Order]
	for name, c := range map[string]struct {
		wrap func(r *rule, faulty *bool)
		want []string // parked while it is faulty
	}{
		"decide": {func(r *rule, faulty *bool) {
			decide := r.Decide
			r.Decide = func(o schemas.Order, m flow.Message) (schemas.Order, []flow.Message) {
				bug(faulty)
				return decide(o, m)
			}
		}, []string{"order-loop panic 0"}},
		"row type": {func(r *rule, faulty *bool) {
			of := r.RowType
			r.RowType = func(o schemas.Order) string { bug(faulty); return of(o) }
		}, []string{"order-loop panic 0"}},
		"deadline": {func(r *rule, faulty *bool) {
			of := r.Deadline
			r.Deadline = func(o schemas.Order) (time.Duration, flow.Message, bool) { bug(faulty); return of(o) }
		}, []string{"order-loop panic 0"}},
		"skip": {func(r *rule, faulty *bool) {
			r.Skip = func(string) bool { bug(faulty); return false }
		}, []string{"order-replies deadline 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, faulty := order.New(order.Config{}), true
			c.wrap(&r, &faulty)
			s := onStage(t, r)
			s.place("ord_1")
			s.parks(c.want...)
			if name != "skip" && (len(s.rows) > 0 || len(s.sent[topics.InventoryTasks]) > 0) {
				t.Errorf("%d rows, %d tasks of what is parked", len(s.rows), len(s.sent[topics.InventoryTasks]))
			}
			faulty = false
			s.pass(10 * time.Minute)
			if o := s.order("ord_1"); o.State != schemas.Placed || len(s.sent[topics.InventoryTasks]) != 1 {
				t.Errorf("in the end it is %q, with %d tasks", o.State, len(s.sent[topics.InventoryTasks]))
			}
			s.parks("order-replies deadline 0")
			s.buries()
		})
	}
}

func bug(faulty *bool) {
	if *faulty {
		panic("a bug in the rule")
	}
}

// A rule that cannot say whether a message overtakes has it wait.
func TestPanicOfOvertakes(t *testing.T) {
	r, faulty := order.New(order.Config{}), true
	of := r.Overtakes
	r.Overtakes = func(messageType string) bool { bug(&faulty); return of(messageType) }
	s := onStage(t, r)
	s.faulty["ord_1"] = 1
	s.place("ord_1")
	s.cancel("ord_1")
	s.parks("order-loop panic 0", "order-loop behind 1")
	s.pass(10 * time.Minute)
	if o := s.order("ord_1"); o.State != schemas.Cancelled {
		t.Errorf("it is %q", o.State)
	}
	s.buries()
}
