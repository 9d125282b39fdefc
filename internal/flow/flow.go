// Package flow says what a business rule is: a pure function from a row and a
// message to the next row and the messages that follow. It knows neither Kafka
// nor goka; processors/graph runs rules on a log, internal/sim runs them in memory.
package flow

import (
	"time"

	"github.com/orderlog/orderlog/topics"
)

// Message is one record as a rule sees it: what came in, or what shall go out.
//
// A rule fills Topic, Key, Type and Body of what it returns, and nothing else
// unless it must differ from what Derive takes over from the input.
type Message struct {
	ID          string // CloudEvents ce_id, "evt_" and a KSUID
	Type        string // ce_type: "order.placed", "orders.order.place"
	Topic       string // catalogue name (package topics), without namespace
	Key         string // record key: the ID of the row or entity
	At          int64  // event time, Unix milliseconds (ce_time); never the clock
	Correlation string // the order this belongs to, or ""
	Causation   string // ID of the message that caused this one
	Body        any    // pointer to a type of package schemas; read-only
}

// Processor is a rule with the topics around it. S is the row: a value without
// pointers, whose zero value means "no row". Slices inside S belong to whoever
// made them: Decide copies a slice before it changes it.
type Processor[S any] struct {
	Name    string   // consumer group; its table is the topic Name + "-table"
	Inputs  []string // catalogue topics it consumes
	Outputs []string // catalogue topics it may write, its own table and dead-letter aside

	// Decide applies one message to a row. It is pure: the same arguments give
	// the same result, whoever calls it, however often. A message that changes
	// nothing returns the row as it came and no messages.
	Decide func(row S, m Message) (S, []Message)

	// RowType names the event that a written row stands for (its ce_type).
	RowType func(row S) string

	// Skip, where set, tells by its type alone that a message changes no row and
	// causes nothing, whatever the row: the runtime need not decode such a
	// record. Nil skips nothing; a type that Skip does not know is not skipped.
	Skip func(messageType string) bool

	// Overtakes, where set, tells by its type that a message does not wait while
	// others of its row are parked: the row, if there is one, is shown it at once; if
	// there is none yet, what is parked of it is not tried again. Nil: all wait.
	Overtakes func(messageType string) bool

	// Deadline, where set, tells how long a row may wait as it is, in real time, and
	// the message that tells it when that has passed: Topic (one of Inputs), Key,
	// Type, At and Body. It is not ok for a row that waits for nobody. A row has one
	// deadline at a time: it is kept while the row waits, whatever for, and where it
	// comes too late for what it was set, another one is set.
	Deadline func(row S) (wait time.Duration, m Message, ok bool)

	// State, where set, names the state that a row is in, and tells whether it stays
	// there for good. Until then the runtime keeps beside the row since when it is in
	// that state, in real time, and since when it is there at all.
	State func(row S) (name string, last bool)
}

// Refusal is the body of a message to dead-letter: the input cannot be acted on
// and there is no row that could say so. The runtime writes the original record
// (bytes, key, headers, coordinates) and this reason there.
type Refusal struct{ Reason string }

// RefusalType is the Type of a message whose body is a *Refusal.
const RefusalType = "dead-letter"

// Refuse returns the one message that refuses in for that reason.
func Refuse(in Message, reason string) []Message {
	return []Message{{Topic: topics.DeadLetter, Type: RefusalType, Key: in.Key, Body: &Refusal{Reason: reason}}}
}
