// Package sim is a tiny world in memory that runs the real rules: logs of
// partitions, groups with offsets and rows, and a scheduler that takes every
// choice from one source of randomness, so that a seed is a whole history. It
// also models the origin guard of kgoka, with broken promises on request:
// records that appear twice, offsets that go back to the start. It knows no
// time, no transactions (each record is one) and no bytes.
package sim

import (
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/topics"
)

// Config is how a world behaves.
type Config struct {
	Rules      []Rule
	Partitions int             // of every topic
	Pick       func(n int) int // every choice: a number from 0 to n-1
	Guard      bool            // rows skip what their origin vector has applied
	Compact    bool            // readers may miss a version of a row if there is a later one
}

// World is the state of everything. It is for one goroutine.
type World struct {
	cfg    Config
	groups []*group
	logs   map[string][][]Record // by topic and partition

	Steps   int // records handled
	Skipped int // of these, skipped by the guard

	lose string         // group whose next transaction is lost
	Lost []flow.Message // what such transactions would have sent
}

// Record is a message on its partition.
type Record struct {
	flow.Message
	Origin *Origin // nil if it came from outside
}

type group struct {
	rule Rule
	next []cursor // in the order of inputs and partitions
	rows map[string]*row
}

type cursor struct {
	topic             string
	partition, offset int
}

type row struct {
	value   any
	there   bool // false: only its vector is known
	applied vector
}

// New returns an empty world.
func New(cfg Config) *World {
	w := &World{cfg: cfg, logs: map[string][][]Record{}}
	for _, t := range topics.All() {
		w.logs[t.Name] = make([][]Record, cfg.Partitions)
	}
	for _, r := range cfg.Rules {
		g := &group{rule: r, rows: map[string]*row{}}
		for _, t := range r.Inputs {
			for p := range cfg.Partitions {
				g.next = append(g.next, cursor{topic: t, partition: p})
			}
		}
		w.groups = append(w.groups, g)
	}
	return w
}

// Send appends a message from outside.
func (w *World) Send(m flow.Message) { w.append(m, nil) }

func (w *World) append(m flow.Message, from *Origin) {
	p := w.partition(m.Key)
	w.logs[m.Topic][p] = append(w.logs[m.Topic][p], Record{m, from})
}

func (w *World) partition(key string) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(w.cfg.Partitions))
}

// Step lets one group handle one record; false if there is none to handle.
func (w *World) Step() bool {
	type choice struct {
		g *group
		c *cursor
	}
	var ready []choice
	for _, g := range w.groups {
		for i := range g.next {
			if c := &g.next[i]; c.offset < len(w.logs[c.topic][c.partition]) {
				ready = append(ready, choice{g, c})
			}
		}
	}
	if len(ready) == 0 {
		return false
	}
	x := ready[w.cfg.Pick(len(ready))]
	if w.handle(x.g, *x.c) {
		x.c.offset++
	}
	w.Steps++
	return true
}

// Settle steps until nothing is left to handle.
func (w *World) Settle() {
	for w.Step() {
	}
}

// Forget drops all records, once nothing is left to handle: a long history would not
// fit into memory. Nothing may be rewound after it, and the guard must be off, since
// places are given anew.
func (w *World) Forget() {
	for _, log := range w.logs {
		clear(log)
	}
	for _, g := range w.groups {
		for i := range g.next {
			g.next[i].offset = 0
		}
	}
}

// handle is one transaction. It is false for one that was lost.
func (w *World) handle(g *group, at cursor) bool {
	rec := w.logs[at.topic][at.partition][at.offset]
	here := Origin{Topic: at.topic, Partition: at.partition, Offset: at.offset}
	if g.rule.Skip(rec.Type) || w.compacted(at, rec.Key) {
		return true
	}
	r := g.rows[rec.Key]
	if r == nil {
		r = &row{value: g.rule.Zero, applied: vector{}}
		g.rows[rec.Key] = r
	}
	from := here
	if rec.Origin != nil {
		from = *rec.Origin
	}
	if w.cfg.Guard && r.applied.applied(from) {
		w.Skipped++
		return true
	}
	next, outs, changed := g.rule.Decide(r.value, rec.Message)
	if !changed && len(outs) == 0 {
		return true // leaves no trace: a row's vector moves only with it, or with what it sends
	}
	if w.lose == g.rule.Name {
		w.lose, w.Lost = "", append(w.Lost, outs...)
		return false
	}
	r.value, r.there = next, r.there || changed
	r.applied.advance(from)
	w.write(g, rec, here, next, outs, changed)
	return true
}

func (w *World) write(g *group, in Record, here Origin, next any, outs []flow.Message, changed bool) {
	if changed {
		typ, body := g.rule.Written(next)
		o := here
		w.append(flow.Message{
			ID: flow.NewID("evt", in.At, in.ID, -1), Type: typ, Topic: g.rule.Name + "-table", Key: in.Key,
			At: in.At, Correlation: in.Correlation, Causation: in.ID, Body: body,
		}, &o)
	}
	for i, m := range outs {
		o := here
		o.Index = i + 1
		w.append(m, &o)
	}
}

// compacted chooses whether the record at a place is gone: a compacted topic
// need not keep a version that has a later one.
func (w *World) compacted(at cursor, key string) bool {
	return w.superseded(at, key) && w.cfg.Pick(2) == 0
}

// superseded tells whether compaction may take what stands at a place.
func (w *World) superseded(at cursor, key string) bool {
	t, _ := topics.Find(at.topic)
	if !w.cfg.Compact || !t.Compact {
		return false
	}
	later := w.logs[at.topic][at.partition][at.offset+1:]
	return slices.ContainsFunc(later, func(r Record) bool { return r.Key == key })
}

// Duplicate appends one record, that some rule has written, once more: same key,
// same body, same origin. It is false if there is none yet.
//
// An old version of a row is not put behind its last one if the log is compacted
// too: that would take the last one away for good, which no reader can notice.
func (w *World) Duplicate() bool {
	var all []Record
	for _, t := range topics.All() {
		for p, log := range w.logs[t.Name] {
			for i, r := range log {
				if r.Origin != nil && !w.superseded(cursor{t.Name, p, i}, r.Key) {
					all = append(all, r)
				}
			}
		}
	}
	if len(all) == 0 {
		return false
	}
	r := all[w.cfg.Pick(len(all))]
	w.append(r.Message, r.Origin)
	return true
}

// DuplicateAll appends every record that a rule has written once more.
func (w *World) DuplicateAll() {
	for _, t := range topics.All() {
		for _, log := range w.logs[t.Name] {
			for _, r := range slices.Clone(log) {
				if r.Origin != nil {
					w.append(r.Message, r.Origin)
				}
			}
		}
	}
}

// Lose has the next transaction by which a group would write something be lost:
// nothing of it stays, and the group handles the record again.
func (w *World) Lose(name string) { w.lose = name }

// Rewind sets a group's offsets back to the start, its rows kept; every group's
// if name is "".
func (w *World) Rewind(name string) {
	for _, g := range w.groups {
		if name != "" && g.rule.Name != name {
			continue
		}
		for i := range g.next {
			g.next[i].offset = 0
		}
	}
}

// Records returns what stands on a topic, partition by partition.
func (w *World) Records(topic string) []Record { return slices.Concat(w.logs[topic]...) }

// Rows returns a group's rows by key; those that are not there are left out.
func Rows[S any](w *World, name string) map[string]S {
	for _, g := range w.groups {
		if g.rule.Name != name {
			continue
		}
		rows := map[string]S{}
		for k, r := range g.rows {
			if r.there {
				rows[k] = r.value.(S)
			}
		}
		return rows
	}
	panic(fmt.Sprintf("no group %q", name))
}
