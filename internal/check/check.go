// Package check is a small exhaustive model checker: it runs the real rules
// through every interleaving of a few commands and of all that follows from
// them, and holds the invariants of package sim against every state. Records
// of one topic and key keep their order; nothing else is ordered.
package check

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/sim"
	"github.com/orderlog/orderlog/schemas"
)

// Model is a small world with few things to happen in it.
type Model struct {
	Rules   []sim.Rule     // nil: orderlog's, with OpeningLimit
	Setup   []flow.Message // handled first, one after the other
	Actions []Action       // in any order, at any time
	Expire  bool           // every deadline may pass once it is set, at any time, how late and how often ever

	// Duplicates is how often a record that a rule sent may come once more, any
	// of them at any time, and rows have an origin guard against it. The actions
	// must come only once then: positions on the log make no two histories alike.
	Duplicates int
	Unguarded  bool // without the guard, to see what it is for

	OpeningLimit int64
	TopLimit     int64 // the highest limit that a customer may get; 0: OpeningLimit
	MaxStates    int   // give up beyond; 0: never
}

// Action is a message from outside. It may come as often as it likes, or at most
// Once: what adds up would never end otherwise.
type Action struct {
	flow.Message
	Once bool
}

// Report is what a run found.
type Report struct {
	States, Transitions int
	Quiet               map[string]int // states in which nothing is under way, by the orders' states
	Trace               []string       // how the violation comes about, shortest first; empty: none
	Violations          []string
	Complete            bool // false: gave up at MaxStates or at a violation
}

// Run visits every state, nearest first, until one breaks an invariant.
func (m Model) Run() Report {
	c := m.newChecker()
	first := c.start()
	c.seen[c.key(first)] = visit{}
	c.report.States = 1
	frontier := []*state{first}
	for len(frontier) > 0 {
		var next []*state
		for _, s := range frontier {
			found, ok := c.expand(s)
			if !ok {
				return c.report
			}
			next = append(next, found...)
		}
		frontier = next
	}
	c.report.Complete = true
	return c.report
}

type hash [16]byte

// visit remembers the first way into a state.
type visit struct {
	from hash
	move *flow.Message // nil: the start
}

type checker struct {
	model    Model
	rules    []sim.Rule
	consumer map[string]int // topic -> rule that reads it
	seen     map[hash]visit
	report   Report
}

func (m Model) newChecker() *checker {
	if m.Rules == nil {
		m.Rules = sim.Rules(m.OpeningLimit)
	}
	c := &checker{model: m, rules: m.Rules, consumer: map[string]int{}, seen: map[hash]visit{}}
	c.report.Quiet = map[string]int{}
	for i, r := range c.rules {
		for _, t := range r.Inputs {
			c.consumer[t] = i
		}
	}
	return c
}

func (c *checker) start() *state {
	s := &state{rows: map[string]cell{}, queues: map[string][]record{}, done: make([]bool, len(c.model.Actions))}
	if c.model.Duplicates > 0 {
		s.next = map[string]int{}
	}
	for _, m := range c.model.Setup {
		s.handle(c, s.outside(c, m))
	}
	return s
}

// expand returns the states one move away that were not seen before. It is not
// ok if the search is over.
func (c *checker) expand(s *state) (found []*state, ok bool) {
	here := c.key(s)
	if s.quiet() {
		c.report.Quiet[s.outcome()]++
	}
	for _, mv := range c.moves(s) {
		next := s.clone()
		c.report.Transitions++
		if !mv.do(next) {
			continue // nothing came of it
		}
		k := c.key(next)
		if _, known := c.seen[k]; known {
			continue
		}
		c.seen[k] = visit{here, mv.message}
		c.report.States++
		if c.broken(next); len(c.report.Violations) > 0 {
			c.report.Trace = c.trace(k)
			return nil, false
		}
		if c.model.MaxStates > 0 && c.report.States >= c.model.MaxStates {
			return nil, false
		}
		found = append(found, next)
	}
	return found, true
}

func (c *checker) broken(s *state) {
	f := c.facts(s)
	if s.quiet() {
		c.report.Violations = f.Unsettled()
		return
	}
	c.report.Violations = f.Broken()
}

func (c *checker) trace(k hash) (moves []string) {
	for {
		v := c.seen[k]
		if v.move == nil {
			slices.Reverse(moves)
			return moves
		}
		moves = append(moves, fmt.Sprintf("%s %s %s", v.move.Type, v.move.Key, sim.Text(v.move.Body)))
		k = v.from
	}
}

// move is a message and what becomes of the state when it is handled.
type move struct {
	message *flow.Message
	do      func(*state) bool // false if that left the state as it was
}

// moves lists all that can happen next.
func (c *checker) moves(s *state) (all []move) {
	for i := range c.model.Actions {
		if a := &c.model.Actions[i]; !s.done[i] {
			all = append(all, move{&a.Message, func(n *state) bool {
				n.done[i] = a.Once
				return n.handle(c, n.outside(c, a.Message)) || a.Once
			}})
		}
	}
	for i := range s.deadlines {
		d := &s.deadlines[i]
		all = append(all, move{d, func(n *state) bool { return n.handle(c, n.outside(c, *d)) }})
	}
	for _, name := range s.queueNames() {
		m := &s.queues[name][0]
		all = append(all, move{&m.Message, func(n *state) bool {
			n.pop(name)
			n.handle(c, *m)
			return true
		}})
	}
	if s.dups < c.model.Duplicates {
		for i := range s.sent {
			m := &s.sent[i]
			all = append(all, move{&m.Message, func(n *state) bool {
				n.duplicate(c, *m)
				return true
			}})
		}
	}
	return all
}

func (c *checker) key(s *state) hash {
	h := sha256.Sum256(s.canonical())
	return hash(h[:16])
}

func (c *checker) facts(s *state) sim.Facts {
	f := sim.Facts{
		Orders:   rows[schemas.Order](s, "order"),
		Stock:    rows[schemas.Stock](s, "inventory"),
		Accounts: rows[schemas.Account](s, "credit"),
		Series:   rows[schemas.Series](s, "invoicing"),
		Grants:   rows[schemas.Grants](s, "voucher"),
		Invoices: s.invoices,
		Vouchers: s.vouchers,
		Received: map[string]int64{},
		TopLimit: map[string]int64{},
	}
	for _, m := range slices.Concat(c.model.Setup, c.happened(s)) {
		if b, ok := m.Body.(*schemas.ReceiveStock); ok {
			f.Received[b.SKU] += b.Quantity
		}
	}
	for cus := range f.Accounts {
		f.TopLimit[cus] = max(c.model.OpeningLimit, c.model.TopLimit)
	}
	return f
}

// happened lists the actions that come only once, and came.
func (c *checker) happened(s *state) (ms []flow.Message) {
	for i, a := range c.model.Actions {
		if s.done[i] {
			ms = append(ms, a.Message)
		}
	}
	return ms
}
