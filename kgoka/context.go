package kgoka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Context is what a callback of a Processor gets. It is good until the callback
// returns. Values given to it belong to it from then on; headers are copied.
type Context interface {
	goka.Context

	// Record is the input as it came. It must not be kept or changed.
	Record() *kgo.Record

	// Row is the row of the input's key, nil if there is none.
	Row() []byte

	// SetRow writes the row of the input's key: to the table, and with headers to
	// the changelog. With Origins on, or beside a note, an empty value is no row.
	SetRow(value []byte, headers []kgo.RecordHeader)

	// Note is what stands beside the row, and beside a row that is not there: nil
	// if nothing does. It must not be changed. Nobody but the group sees it.
	Note() []byte

	// SetNote puts another note beside the row; an empty one is none. It is written
	// with the row, by a SetRow or Delete that follows; without one the row is
	// written again as it is, when the callback returns, without headers.
	SetNote(note []byte)

	// RowOf is the row of another key that stands on the input's partition, nil if
	// there is none. It must not be changed.
	RowOf(key string) []byte

	// EmitRecord writes a record to one of the graph's outputs.
	EmitRecord(topic, key string, value []byte, headers []kgo.RecordHeader)

	// OnCommit has f called once what the callback does is committed: by the loop,
	// which waits for it, in the order of a partition's records. It is forgotten if
	// that is aborted, and if nobody can tell whether it is: what f counts is never
	// counted twice, and may be missed once after a broker's failure.
	OnCommit(f func())

	// Transaction stands for the transaction that the callback is part of: it equals
	// that of others in it, and no other one. Who counts much registers one OnCommit for
	// each partition's part of it.
	Transaction() any
}

// From returns the Context that a callback was called with. It panics if the
// callback is not run by a Processor of this package.
func From(ctx goka.Context) Context { return ctx.(Context) }

// call is the Context of one partition. It is pointed at one record, or visited
// row, after the other.
type call struct {
	*part
	in      *input
	rec     *kgo.Record
	direct  Origin // the input's own coordinates, with the index of the next output
	id      Origin // what the input is known by: its origin header, or its coordinates
	key     string
	hasKey  bool
	row     row
	loaded  bool
	next    vector // row.vec with id applied, once it is needed
	written bool
	noted   bool // a note is not written yet
	visit   bool // of a row: there is no input
	headers goka.Headers
}

var _ Context = (*call)(nil)

func (c *call) aim(in *input, id [16]byte, rec *kgo.Record) {
	*c = call{part: c.part, in: in, rec: rec}
	c.direct = Origin{TopicID: id, Partition: rec.Partition, Offset: rec.Offset}
	c.id = c.direct
	for i := range rec.Headers {
		if rec.Headers[i].Key == OriginHeader {
			if o, err := ParseOrigin(rec.Headers[i].Value); err == nil {
				c.id = o
			}
			break
		}
	}
}

func (c *call) load() *row {
	if !c.loaded {
		if c.table == nil {
			c.Fail(errNoTable)
		}
		r, err := c.table.get(c.rec.Key)
		if err != nil {
			c.Fail(err)
		}
		c.row, c.loaded = r, true
	}
	return &c.row
}

// maxKey is the largest key, in bytes, that a row is made for only to remember: with
// a vector, one of an input that was barely accepted would be refused.
const maxKey = 512 << 10

// finish writes the row again for a note, and to leave the input's origin in it if
// the callback wrote anything.
func (c *call) finish() {
	if c.noted || c.guard && !c.visit && c.direct.Index > 0 && !c.written && len(c.rec.Key) <= maxKey {
		c.put(c.load().val, nil)
	}
}

var (
	errNoTable = errors.New("the group has no table")
	errDefer   = errors.New("DeferCommit cannot be part of a transaction")
	errNilRow  = errors.New("a row cannot be set to nil: delete it")
)

func (c *call) Record() *kgo.Record {
	if c.visit {
		return nil
	}
	return c.rec
}

func (c *call) Row() []byte {
	return c.visible(*c.load())
}

func (c *call) SetRow(value []byte, headers []kgo.RecordHeader) {
	if value == nil {
		c.Fail(errNilRow)
	}
	c.put(value, headers)
}

func (c *call) RowOf(key string) []byte {
	if c.table == nil {
		c.Fail(errNoTable)
	}
	r, err := c.table.get([]byte(key))
	if err != nil {
		c.Fail(err)
	}
	return c.visible(r)
}

// put writes a row; a nil value deletes it. What has nothing but something to
// remember stays, as an empty one.
func (c *call) put(value []byte, headers []kgo.RecordHeader) {
	if c.table == nil {
		c.Fail(errNoTable)
	}
	r := row{note: c.load().note, val: value}
	hs := c.stamp(headers)
	if c.guard {
		r.vec = c.vector()
	}
	if len(r.vec) > 0 {
		hs = append(hs, kgo.RecordHeader{Key: AppliedHeader, Value: r.vec})
	}
	if len(r.note) > 0 {
		hs = append(hs, kgo.RecordHeader{Key: NoteHeader, Value: r.note})
	}
	if r.val == nil && len(r.vec)+len(r.note) > 0 {
		r.val = []byte{}
	}
	c.row, c.loaded, c.written, c.noted = r, true, true, false
	c.table.set(c.Key(), r)
	raw := c.rec.Key
	if raw == nil {
		raw = []byte{} // a compacted topic takes no record without a key
	}
	c.log(c.Key(), raw, r.val, hs)
}

func (c *call) Note() []byte {
	if n := c.load().note; len(n) > 0 {
		return n
	}
	return nil
}

func (c *call) SetNote(note []byte) {
	r := c.load()
	r.note, r.val, c.noted = note, c.visible(*r), true
}

// vector is what the row shall remember.
func (c *call) vector() vector {
	if c.next == nil {
		if c.next = c.load().vec; c.visit {
			c.next = c.next.visited(c.num)
		} else {
			c.next = c.next.advance(make(vector, 0, len(c.next)+32), c.id)
		}
	}
	return c.next
}

func (c *call) EmitRecord(topic, key string, value []byte, headers []kgo.RecordHeader) {
	if _, ok := c.p.outputs[topic]; !ok {
		c.Fail(fmt.Errorf("topic %q is not an output of the graph", topic))
	}
	r := c.record(topic, []byte(key), value, c.stamp(headers))
	r.Partition = c.num // for SamePartition
	c.send(r)
}

// stamp copies headers and adds the origin, with room for two more. What a visit
// writes is its own origin.
func (c *call) stamp(headers []kgo.RecordHeader) []kgo.RecordHeader {
	hs := c.arena.headers(len(headers) + 3)
	hs = append(hs, headers...)
	if c.p.cfg.Origins && !c.visit {
		hs = append(hs, kgo.RecordHeader{Key: OriginHeader, Value: c.arena.origin(c.direct)})
	}
	c.direct.Index++
	return hs
}

func (c *call) OnCommit(f func()) { c.after = append(c.after, f) }
func (c *call) Transaction() any  { return c.batch }

func (c *call) Group() goka.Group    { return goka.Group(c.p.group) }
func (c *call) Topic() goka.Stream   { return goka.Stream(c.rec.Topic) }
func (c *call) Partition() int32     { return c.rec.Partition }
func (c *call) Offset() int64        { return c.rec.Offset }
func (c *call) Timestamp() time.Time { return c.rec.Timestamp }

func (c *call) Key() string {
	if !c.hasKey {
		c.key, c.hasKey = string(c.rec.Key), true
	}
	return c.key
}

func (c *call) Headers() goka.Headers {
	if c.headers == nil {
		c.headers = make(goka.Headers, len(c.rec.Headers))
		for _, h := range c.rec.Headers {
			c.headers[h.Key] = h.Value
		}
	}
	return c.headers
}

func (c *call) Value() any { return c.decode(c.p.tableCodec, c.Row()) }

func (c *call) Join(t goka.Table) any {
	table := c.joins[string(t)]
	if table == nil {
		c.Fail(fmt.Errorf("table %q is not joined", t))
	}
	return c.lookUp(table, c.p.joins[string(t)], c.rec.Key)
}

func (c *call) Lookup(t goka.Table, key string) any {
	l := c.p.lookups[string(t)]
	if l == nil {
		c.Fail(fmt.Errorf("table %q is not looked up", t))
	}
	return c.lookUp(l.tables[Partition(key, len(l.tables))], l.codec, []byte(key))
}

func (c *call) lookUp(t *table, codec goka.Codec, key []byte) any {
	r, err := t.committed(key)
	if err != nil {
		c.Fail(err)
	}
	return c.decode(codec, r.value())
}

func (c *call) decode(codec goka.Codec, b []byte) any {
	if b == nil {
		return nil
	}
	v, err := codec.Decode(b)
	if err != nil {
		c.Fail(fmt.Errorf("decoding row %q: %w", c.Key(), err))
	}
	return v
}

func (c *call) encode(what string, codec goka.Codec, v any) []byte {
	b, err := codec.Encode(v)
	if err != nil {
		c.Fail(fmt.Errorf("encoding for %s: %w", what, err))
	}
	return b
}

func (c *call) SetValue(v any, opts ...goka.ContextOption) {
	if c.table == nil {
		c.Fail(errNoTable)
	}
	c.SetRow(c.encode("the table", c.p.tableCodec, v), optionHeaders(opts))
}

// Delete removes the row. Its note stays, and with Origins on its vector: the
// row becomes an empty one then.
func (c *call) Delete(opts ...goka.ContextOption) { c.put(nil, optionHeaders(opts)) }

func (c *call) Emit(topic goka.Stream, key string, v any, opts ...goka.ContextOption) {
	codec, ok := c.p.outputs[string(topic)]
	if !ok {
		c.Fail(fmt.Errorf("topic %q is not an output of the graph", topic))
	}
	var b []byte
	if v != nil {
		b = c.encode(string(topic), codec, v)
	}
	c.EmitRecord(string(topic), key, b, optionHeaders(opts))
}

// Loopback writes to the group's loop. The record is its own origin: its row may
// have seen later inputs by the time it comes.
func (c *call) Loopback(key string, v any, opts ...goka.ContextOption) {
	loop := c.p.graph.LoopStream()
	if loop == nil {
		c.Fail(errors.New("the graph has no loop"))
	}
	b := c.encode(loop.Topic(), loop.Codec(), v)
	c.direct.Index++ // an output like any other to finish
	c.send(c.record(loop.Topic(), []byte(key), b, optionHeaders(opts)))
}

// failed is what Fail panics with.
type failed struct{ error }

// Fail ends the callback and the processor; nothing of the batch stays.
func (c *call) Fail(err error) { panic(failed{err}) }

func (c *call) DeferCommit() func(error) { c.Fail(errDefer); return nil }

// Context ends when the partition is given up, and when Run shall end: a callback
// that waits for something gives up then, with Fail.
func (c *call) Context() context.Context { return c.s.work }
