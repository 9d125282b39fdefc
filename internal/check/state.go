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

	// Only where a model duplicates records:
	next map[string]int // offset of the next record, by topic and key
	sent []record       // what may come once more
	dups int            // how often that happened
}

// cell is a row and how it counts in the state's identity.
type cell struct {
	value   any
	there   bool // false: only its vector is known
	text    string
	applied vector
}

type record struct {
	flow.Message
	text string
	here origin // where it stands
	from origin // the input that caused it; here, if it came from outside
}

// origin is a place on the log, and the place among what was written there.
type origin struct {
	queue         string
	offset, index int
}

// vector is the last origin that changed a row, by queue of origin, as in kgoka.
type vector map[string]origin

func (v vector) has(o origin) bool {
	last, ok := v[o.queue]
	return ok && (o.offset < last.offset || o.offset == last.offset && o.index <= last.index)
}

func (v vector) with(o origin) vector {
	w := maps.Clone(v)
	if w == nil {
		w = vector{}
	}
	w[o.queue] = o
	return w
}

func (s *state) clone() *state {
	return &state{
		rows:      maps.Clone(s.rows),
		queues:    maps.Clone(s.queues),
		done:      slices.Clone(s.done),
		deadlines: slices.Clip(s.deadlines),
		invoices:  slices.Clip(s.invoices),
		vouchers:  slices.Clip(s.vouchers),
		next:      maps.Clone(s.next),
		sent:      slices.Clone(s.sent),
		dups:      s.dups,
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

// outside gives a message from outside its place on the log.
func (s *state) outside(c *checker, m flow.Message) record {
	o := s.place(c, m)
	return record{Message: m, here: o, from: o}
}

// place is where the next record of m's topic and key stands. Offsets count
// only in models that duplicate records; elsewhere they would make every state
// a new one.
func (s *state) place(c *checker, m flow.Message) origin {
	o := origin{queue: m.Topic + "/" + m.Key}
	if c.model.Duplicates > 0 {
		o.offset = s.next[o.queue]
		s.next[o.queue]++
	}
	return o
}

// handle lets the rule that reads m's topic handle it, and says whether anything
// came of that.
func (s *state) handle(c *checker, m record) bool {
	r := c.rules[c.consumer[m.Topic]]
	name := r.Name + "/" + m.Key
	row := s.rows[name]
	if row.value == nil {
		row.value = r.Zero
	}
	if row.applied.has(m.from) {
		return false
	}
	next, outs, changed := r.Decide(row.value, m.Message)
	if !changed && len(outs) == 0 {
		return false
	}
	if c.model.Duplicates > 0 && !c.model.Unguarded {
		row.applied = row.applied.with(m.from)
	}
	if changed {
		row.value, row.there, row.text = next, true, text(next)
	}
	if row.there || row.applied != nil {
		s.rows[name] = row
	}
	if changed {
		typ, body := r.Written(next)
		s.push(c, flow.Message{Type: typ, Topic: r.Name + "-table", Key: m.Key, At: m.At, Body: body}, m.here)
		if o, ok := next.(schemas.Order); ok && c.model.Expire {
			s.deadline(o)
		}
	}
	for i, out := range outs {
		from := m.here
		from.index = i + 1
		s.push(c, out, from)
	}
	return true
}

// push queues a message for whoever reads its topic, or files a document.
func (s *state) push(c *checker, m flow.Message, from origin) {
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
	rec := record{Message: m, text: m.Type + text(m.Body), here: s.place(c, m), from: from}
	if c.model.Duplicates > 0 {
		if compacted(m.Topic) {
			s.sent = slices.DeleteFunc(s.sent, func(r record) bool { return r.here.queue == rec.here.queue })
		}
		s.sent = append(s.sent, rec)
	}
	s.enqueue(rec)
}

func (s *state) enqueue(rec record) {
	queue := s.queues[rec.here.queue]
	if compacted(rec.Topic) {
		queue = nil // its reader may find the last version only, and here always does
	}
	s.queues[rec.here.queue] = append(slices.Clip(queue), rec)
}

func compacted(topic string) bool {
	t, _ := topics.Find(topic)
	return t.Compact
}

// duplicate puts what was sent on its queue once more.
func (s *state) duplicate(c *checker, rec record) {
	rec.here = s.place(c, rec.Message)
	s.dups++
	s.enqueue(rec)
}

// deadline sets the deadline of a state that was just entered.
func (s *state) deadline(o schemas.Order) {
	if _, m, ok := order.Deadline(o); ok && o.EnteredBy == o.Version {
		m.ID = fmt.Sprintf("evt_deadline_%s_%d", o.OrderID, o.EnteredBy)
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
		if key, ok := strings.CutPrefix(name, group+"/"); ok && c.there {
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
		b = fmt.Appendf(b, "%s=%s%v\n", name, s.rows[name].text, s.rows[name].applied)
	}
	for _, name := range s.queueNames() {
		for _, m := range s.queues[name] {
			b = fmt.Appendf(b, "%s<%s\n", name, m.text)
			if s.next != nil {
				b = fmt.Append(b, m.here, m.from)
			}
		}
	}
	for _, m := range s.sent {
		b = fmt.Append(b, m.here, m.from, m.text)
	}
	b = fmt.Append(b, s.next, s.dups)
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
