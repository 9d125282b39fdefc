package verify

import (
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// command is a record from outside.
type command struct {
	pos
	key   string
	body  any
	fault string // why nobody can act on it: its processor must have parked it
	again bool   // a person brought it back: it was handled later than others
}

// inbox is one partition of commands. What the group has committed is applied in
// order, except what it put into dead-letter; the rest is late, and kept, and so is
// what it has set aside.
type inbox struct {
	w         *world
	topic     string
	partition int32
	apply     func(command) // nil: what is handled says nothing
	committed int64
	late      []command
	aside     []command   // committed, but in the calendar, or a dead letter that was or may be brought back
	lost      []Violation // neither applied nor dead
}

// inbox makes that of a topic's next partition.
func (w *world) inbox(topic string, apply func(command)) *inbox {
	in := &inbox{w: w, topic: topic, partition: int32(len(w.inboxes[topic])), apply: apply}
	w.inboxes[topic] = append(w.inboxes[topic], in)
	return in
}

func (in *inbox) add(r *kgo.Record) error {
	c := command{pos: at(r), key: string(r.Key)}
	var err error
	if c.body, c.fault, err = in.body(r); err != nil {
		return err
	}
	if c.offset >= in.committed || len(in.late) > 0 {
		in.late = append(in.late, c)
		return nil
	}
	in.handle(c)
	return nil
}

// body reads a command as a processor must: what it cannot is a fault. An error
// says that the registry is away.
func (in *inbox) body(r *kgo.Record) (body any, fault string, err error) {
	typ := event.Header(r, event.Type)
	if event.IsJSON(r) {
		body, err = schemas.DecodeJSON(typ, r.Value)
	} else {
		body, err = in.w.serde.Decode(in.w.ctx, in.topic, r.Value)
	}
	switch {
	case errors.Is(err, schemas.ErrRegistry):
		return nil, "", err
	case err != nil:
		return nil, err.Error(), nil
	case typ != "" && !schemas.Fits(typ, body):
		return nil, fmt.Sprintf("type %q does not go with a %s", typ, schemas.RecordOf(body)), nil
	case schemas.Allowed(in.topic, body) != nil:
		return nil, schemas.RecordOf(body) + " does not belong here", nil
	case schemas.KeyOf(body) != string(r.Key):
		return nil, fmt.Sprintf("the body belongs to %q", schemas.KeyOf(body)), nil
	}
	return body, "", nil
}

func (in *inbox) handle(c command) {
	at := in.at(c)
	switch {
	case in.apply == nil:
		return
	case in.w.dead.stands[at] || in.w.parked.at[at] || in.w.dead.again[at] != nil:
		in.aside = append(in.aside, c)
		return
	}
	if c.fault != "" {
		in.lose(c, c.fault)
		return
	}
	in.apply(c)
}

func (in *inbox) at(c command) coordinates {
	return coordinates{in.w.names(in.topic), in.partition, c.offset}
}

// redo applies what a person has brought back, as that was edited, where its row is.
func (in *inbox) redo(c command, a *again) {
	if a.body != nil {
		c.key, c.body, c.fault = a.key, a.body, ""
	}
	c.again = true
	if c.fault != "" {
		in.lose(c, c.fault)
		return
	}
	ins := in.w.inboxes[in.topic]
	ins[client.PartitionOf(c.key, len(ins))].apply(c)
}

// lose notes a command that its processor has passed, and that left no trace.
func (in *inbox) lose(c command, why string) {
	if len(in.lost) >= keepViolations || !in.w.deadComplete() {
		return
	}
	in.lost = append(in.lost, violation(in.topic, "neither obeyed nor in "+topics.DeadLetter, c.key, in.where(c.pos)+": "+why))
}

func (in *inbox) where(p pos) string {
	return fmt.Sprintf("%s/%d@%d", in.w.names(in.topic), p.partition, p.offset)
}

// release applies what has been committed, or has come back, meanwhile, and last
// what a person has brought back.
func (in *inbox) release() {
	in.eachAside(in.handle)
	n := 0
	for n < len(in.late) && in.late[n].offset < in.committed {
		in.handle(in.late[n])
		n++
	}
	in.late = append([]command(nil), in.late[n:]...)
	in.eachAside(func(c command) {
		if a := in.w.dead.again[in.at(c)]; a != nil && !in.w.parked.at[in.at(c)] {
			in.redo(c, a)
		} else {
			in.aside = append(in.aside, c)
		}
	})
}

func (in *inbox) eachAside(f func(command)) {
	aside := in.aside
	in.aside = nil
	for _, c := range aside {
		f(c)
	}
}

// open is what is not handled yet, or not for sure.
func (in *inbox) open() []command {
	return slices.Concat(in.late, in.w.parked.on[slot{in.topic, in.partition}])
}

// tail is one partition of tasks, replies, or what goes to the calendar and comes
// back: only what is not handled yet.
type tail struct{ *inbox }

func (t tail) add(r *kgo.Record) error {
	if isLoop(t.topic) {
		l := letter.Parse(r)
		t.late = append(t.late, command{pos: at(r), key: string(r.Key), body: &l})
		return nil
	}
	body, err := t.w.serde.Decode(t.w.ctx, t.topic, r.Value)
	if errors.Is(err, schemas.ErrRegistry) {
		return err
	}
	c := command{pos: at(r), key: string(r.Key), body: body}
	if err != nil {
		c.fault = err.Error()
	}
	t.late = append(t.late, c)
	return nil
}

// unread are the keys of what stands on a topic, of body B, and is not handled yet.
func unread[B any, K comparable](w *world, topic string, key func(*B) K) map[K]bool {
	keys := map[K]bool{}
	for _, in := range w.inboxes[topic] {
		for _, c := range in.open() {
			if b, ok := c.body.(*B); ok {
				keys[key(b)] = true
			}
		}
	}
	return keys
}

// orderCommands is one partition of order-commands.
type orderCommands struct {
	*inbox
	byOrder map[string]*wishes
	bodies  int64 // placements handled
	again   int64 // of them, the same body again
	other   int64 // of them, another body under the same ID
}

// wishes is what was asked for one order, and handled.
type wishes struct {
	placed   bool
	hash     [16]byte // of the first placement
	first    pos      // where that stands, or the first command if there is none
	others   int64    // placements with another body
	again    bool     // a placement was brought back: which was first, is not known
	delivers int64
	cancels  int64
}

func newOrderCommands(w *world) *orderCommands {
	oc := &orderCommands{byOrder: map[string]*wishes{}}
	oc.inbox = w.inbox(topics.OrderCommands, oc.obey)
	return oc
}

func (oc *orderCommands) obey(c command) {
	v, ok := oc.byOrder[c.key]
	if !ok {
		v = &wishes{first: c.pos}
		oc.byOrder[c.key] = v
	}
	switch b := c.body.(type) {
	case *schemas.DeliverOrder:
		v.delivers++
	case *schemas.CancelOrder:
		v.cancels++
	case *schemas.PlaceOrder:
		oc.place(v, c, b)
	}
}

func (oc *orderCommands) place(v *wishes, c command, b *schemas.PlaceOrder) {
	h, err := schemas.Hash(b)
	if err != nil {
		oc.lose(c, err.Error())
		return
	}
	oc.bodies++
	v.again = v.again || c.again
	switch {
	case !v.placed:
		v.placed, v.hash, v.first = true, h, c.pos
	case v.hash == h:
		oc.again++
	default:
		v.others++
		oc.other++
	}
}
