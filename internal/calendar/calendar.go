// Package calendar runs the group "retry": what its topic brings stands in a table
// whose keys are times, until it is due; then it goes to the topic that it names,
// in one transaction with its deletion. A driver beside the group looks at what is
// due when it is, and at nothing before.
//
// What an entry means, the group that it goes to knows; its encoding is internal/letter's.
package calendar

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lovoo/goka"

	"github.com/orderlog/orderlog/internal/census"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Name is that of the group, without namespace.
const Name = "retry"

// due is the name of the visitor.
const due = "due"

// maxCommand is the largest command, in bytes, that is obeyed: what it says is
// added to an entry, which the broker must still take.
const maxCommand = 16 << 10

// Calendar is the group's graph and its driver, in one process.
type Calendar struct {
	env     graph.Env
	targets []string // catalogue topics that entries can be for

	mu     sync.Mutex
	next   string        // the least key that may be of an entry that is due and has not been looked at
	sooner chan struct{} // next has become less

	figures
}

// New returns a calendar. What is due is due by the clock env.Now; nil is time.Now.
func New(env graph.Env) *Calendar {
	if env.Now == nil {
		env.Now = time.Now
	}
	c := &Calendar{env: env, targets: targets(), next: none, sooner: make(chan struct{}, 1), figures: newFigures()}
	c.standing = census.Census[map[kind]sum]{Of: "calendar", Now: env.Now, Log: env.Log, Take: c.count}
	return c
}

// Inputs are the catalogue topics that it reads.
func Inputs() []string { return []string{topics.Retry, topics.RetryCommands} }

func targets() (ts []string) {
	for _, t := range topics.All() {
		if t.Name == topics.OrderReplies || strings.HasSuffix(t.Name, "-loop") {
			ts = append(ts, t.Name)
		}
	}
	return ts
}

func (c *Calendar) name(topic string) string { return topics.Prefixed(c.env.Namespace, topic) }

// Runtime is cfg as the group needs it. What goes in and out stays on the partition
// of the row that it is for, whatever its key is. There are no origins: a deleted
// row must leave nothing behind, and what is dispatched begins a way of its own.
func (c *Calendar) Runtime(cfg kgoka.Config) kgoka.Config {
	cfg.Origins, cfg.Coalesce, cfg.NilHandling = false, true, goka.NilProcess
	cfg.SamePartition = nil
	for _, t := range append(slices.Clone(c.targets), topics.Retry) {
		cfg.SamePartition = append(cfg.SamePartition, c.name(t))
	}
	return cfg
}

// Graph is that of the group.
func (c *Calendar) Graph() *goka.GroupGraph {
	in := func(topic string, handle func(kgoka.Context)) goka.Edge {
		return goka.Input(goka.Stream(c.name(topic)), kgoka.Bytes{}, func(ctx goka.Context, _ any) { handle(kgoka.From(ctx)) })
	}
	edges := goka.Edges{
		goka.Persist(kgoka.Bytes{}), in(topics.Retry, c.enter), in(topics.RetryCommands, c.command),
		goka.Visitor(due, func(ctx goka.Context, _ any) { c.visit(kgoka.From(ctx)) }),
	}
	for _, t := range append(slices.Clone(c.targets), topics.Retry, topics.DeadLetter) {
		edges = append(edges, goka.Output(goka.Stream(c.name(t)), kgoka.Bytes{}))
	}
	return goka.DefineGroup(goka.Group(c.name(Name)), edges...)
}

// enter writes an entry, or takes it out.
func (c *Calendar) enter(ctx kgoka.Context) {
	rec := ctx.Record()
	if len(rec.Value) == 0 {
		if ctx.Row() != nil {
			ctx.Delete()
		}
		return
	}
	var p schemas.Parked
	err := c.decode(ctx, topics.Retry, rec.Value, &p)
	_, _, timed := retry.ParseKey(ctx.Key())
	switch {
	case err != nil:
		c.refuse(ctx, "undecodable", err.Error())
	case !timed:
		c.refuse(ctx, "key mismatch", fmt.Sprintf("record key %q is not a time and an id", ctx.Key()))
	case !slices.Contains(c.targets, p.To):
		c.refuse(ctx, "unknown target", fmt.Sprintf("topic %q is not one that entries are dispatched to", p.To))
	default:
		ctx.SetRow(slices.Clone(rec.Value), nil) // it would keep all that was fetched with it
		c.look(ctx.Key())
	}
}

// visit dispatches an entry that is due, unless it shall wait. Who lifts a pause
// has all that waits looked at.
func (c *Calendar) visit(ctx kgoka.Context) {
	p := c.own(ctx)
	if paused(p, func(key string) bool { return ctx.RowOf(key) != nil }) {
		return
	}
	c.dispatch(ctx, p)
	key := ctx.Key()
	ctx.OnCommit(func() { c.saw(key, p) })
}

// paused tells whether a person wants an entry to wait. there tells whether there
// is a row of that key.
func paused(p *schemas.Parked, there func(key string) bool) bool {
	for _, group := range []string{p.Group, ""} {
		for _, cause := range []string{p.Cause, ""} {
			if there(retry.PauseKey(group, cause)) {
				return true
			}
		}
	}
	return false
}

// dispatch writes what an entry holds to where it is to go.
func (c *Calendar) dispatch(ctx kgoka.Context, p *schemas.Parked) {
	key, value, hs := letter.Dispatch(p)
	ctx.EmitRecord(c.name(p.To), string(key), value, hs)
	ctx.Delete()
}

// command obeys a person. What is not there any more, or not yet, cannot be helped.
func (c *Calendar) command(ctx kgoka.Context) {
	rec := ctx.Record()
	if len(rec.Value) > maxCommand {
		c.refuse(ctx, "oversized", fmt.Sprintf("value of %d bytes, at most %d are read", len(rec.Value), maxCommand))
		return
	}
	kind := event.Header(rec, event.Type)
	cmd, err := c.parse(ctx, kind)
	_, id, timed := retry.ParseKey(ctx.Key())
	switch {
	case err != nil:
		c.refuse(ctx, "undecodable", err.Error())
	case !schemas.Fits(kind, cmd):
		c.refuse(ctx, "unknown type", fmt.Sprintf("message type %q does not go with a RetryCommand", kind))
	case cmd.Entry != ctx.Key():
		c.refuse(ctx, "key mismatch", fmt.Sprintf("record key %q, but its body belongs to %q", ctx.Key(), cmd.Entry))
	case kind == schemas.RetriesPause || kind == schemas.RetriesResume:
		c.pause(ctx, cmd, kind == schemas.RetriesPause)
	case !timed:
		c.refuse(ctx, "key mismatch", fmt.Sprintf("record key %q is not that of an entry", ctx.Key()))
	case ctx.Row() == nil:
	case kind == schemas.RetriesPullForward:
		ctx.EmitRecord(c.name(topics.Retry), retry.Key(cmd.Due, id), ctx.Row(), nil)
		ctx.Delete()
	case kind == schemas.RetriesCancel:
		p := c.own(ctx)
		p.Cancel = cmp.Or(cmd.Reason, "cancelled by "+cmd.Who)
		c.dispatch(ctx, p)
	}
}

func (c *Calendar) pause(ctx kgoka.Context, cmd *schemas.RetryCommand, wait bool) {
	switch {
	case ctx.Key() != retry.PauseKey(cmd.Group, cmd.Cause):
		c.refuse(ctx, "key mismatch", fmt.Sprintf("record key %q, want %q", ctx.Key(), retry.PauseKey(cmd.Group, cmd.Cause)))
	case wait:
		row, err := c.env.Serde.Encode(nil, topics.RetryTable, cmd)
		if err != nil {
			ctx.Fail(err)
		}
		ctx.SetRow(row, nil)
	case ctx.Row() != nil:
		ctx.Delete()
		c.look("")
	}
}

func (c *Calendar) parse(ctx kgoka.Context, kind string) (*schemas.RetryCommand, error) {
	rec, cmd := ctx.Record(), new(schemas.RetryCommand)
	if !event.IsJSON(rec) {
		return cmd, c.decode(ctx, topics.RetryCommands, rec.Value, cmd)
	}
	body, err := schemas.DecodeJSON(kind, rec.Value)
	if cmd, ok := body.(*schemas.RetryCommand); ok {
		return cmd, nil
	}
	return nil, cmp.Or(err, fmt.Errorf("message type %q is no command to the calendar", kind))
}

// own is the entry that the row at hand holds.
func (c *Calendar) own(ctx kgoka.Context) *schemas.Parked {
	p := new(schemas.Parked)
	if err := c.decode(ctx, topics.RetryTable, ctx.Row(), p); err != nil {
		ctx.Fail(fmt.Errorf("row %q of %s: %w", ctx.Key(), topics.RetryTable, err)) // our own table: not for a dead letter
	}
	return p
}

func (c *Calendar) decode(ctx kgoka.Context, topic string, value []byte, into any) error {
	return c.env.Waiting(ctx, topic, func(wait context.Context) error { return c.env.Serde.DecodeInto(wait, topic, value, into) })
}

func (c *Calendar) refuse(ctx kgoka.Context, cause, detail string) {
	c.env.Refuse(ctx, Name, cause, detail)
}
