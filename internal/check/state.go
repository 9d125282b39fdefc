package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/sim"
	"github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// state is one moment of the world. What it holds is shared with other states
// and never changed in place, except for what clone copies.
type state struct {
	rows      map[string]cell     // by group and key
	queues    map[string][]record // by topic and key; none is empty
	done      []bool              // actions that do not come again
	deadlines []flow.Message      // of every state that an order has waited in
	invoices  []schemas.Invoice
	vouchers  []schemas.Voucher
}

// cell is a row and how it counts in the state's identity.
type cell struct {
	value any
	text  string
}

type record struct {
	flow.Message
	text string
}

func (s *state) clone() *state {
	return &state{
		rows:      maps.Clone(s.rows),
		queues:    maps.Clone(s.queues),
		done:      slices.Clone(s.done),
		deadlines: slices.Clip(s.deadlines),
		invoices:  slices.Clip(s.invoices),
		vouchers:  slices.Clip(s.vouchers),
	}
}

func (s *state) quiet() bool { return len(s.queues) == 0 }

func (s *state) queueNames() []string { return slices.Sorted(maps.Keys(s.queues)) }

func (s *state) pop(name string) {
	if q := s.queues[name]; len(q) > 1 {
		s.queues[name] = q[1:]
	} else {
		delete(s.queues, name)
	}
}

// handle lets the rule that reads m's topic handle it, and says whether anything
// came of that.
func (s *state) handle(c *checker, m flow.Message) bool {
	r := c.rules[c.consumer[m.Topic]]
	name := r.Name + "/" + m.Key
	row, there := s.rows[name]
	if !there {
		row.value = r.Zero
	}
	next, outs, changed := r.Decide(row.value, m)
	if changed {
		s.rows[name] = cell{next, text(next)}
		typ, body := r.Written(next)
		s.push(c, flow.Message{Type: typ, Topic: r.Name + "-table", Key: m.Key, At: m.At, Body: body})
		if o, ok := next.(schemas.Order); ok && c.model.Expire {
			s.deadline(o)
		}
	}
	for _, out := range outs {
		s.push(c, out)
	}
	return changed || len(outs) > 0
}

// push queues a message for whoever reads its topic, or files a document.
func (s *state) push(c *checker, m flow.Message) {
	switch b := m.Body.(type) {
	case *schemas.Invoice:
		s.invoices = append(slices.Clip(s.invoices), *b)
		return
	case *schemas.Voucher:
		s.vouchers = append(slices.Clip(s.vouchers), *b)
		return
	}
	reader, ok := c.consumer[m.Topic]
	if !ok || c.rules[reader].Skip(m.Type) {
		return
	}
	name := m.Topic + "/" + m.Key
	queue := s.queues[name]
	if t, _ := topics.Find(m.Topic); t.Compact {
		queue = nil // its reader may find the last version only, and here always does
	}
	s.queues[name] = append(slices.Clip(queue), record{m, m.Type + text(m.Body)})
}

// deadline sets the deadline of a state that was just entered.
func (s *state) deadline(o schemas.Order) {
	if _, m, ok := order.Deadline(o); ok && o.EnteredBy == o.Version {
		m.At = o.ChangedAt // time stands still, so that it makes no states differ
		s.deadlines = append(slices.Clip(s.deadlines), m)
	}
}

// outcome is the orders' states, for the report.
func (s *state) outcome() string {
	var all []string
	for _, o := range rows[schemas.Order](s, "order") {
		all = append(all, o.OrderID+" "+o.State)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func rows[S any](s *state, group string) map[string]S {
	found := map[string]S{}
	for name, c := range s.rows {
		if key, ok := strings.CutPrefix(name, group+"/"); ok {
			found[key] = c.value.(S)
		}
	}
	return found
}

// canonical is a text that is equal for states with the same future. Deadlines
// follow from rows: that of placed is set with the order, that of approved with
// the invoice ask, and either is in force just while its state lasts.
func (s *state) canonical() []byte {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(s.rows)) {
		b = fmt.Appendf(b, "%s=%s\n", name, s.rows[name].text)
	}
	for _, name := range s.queueNames() {
		for _, m := range s.queues[name] {
			b = fmt.Appendf(b, "%s<%s\n", name, m.text)
		}
	}
	return fmt.Append(b, s.done, len(s.invoices), len(s.vouchers))
}

// text renders a row or a body for comparison, without what no rule looks at: an
// order's way to where it is. Documents follow from rows and are left out.
func text(v any) string {
	switch o := v.(type) {
	case schemas.Order:
		return sim.Text(bare(o))
	case *schemas.Order:
		return sim.Text(bare(*o))
	}
	return sim.Text(v)
}

func bare(o schemas.Order) schemas.Order {
	o.Version, o.EnteredBy, o.ChangedAt, o.Refusals = 0, 0, 0, 0
	o.Timeline, o.Reasons = nil, nil
	return o
}
