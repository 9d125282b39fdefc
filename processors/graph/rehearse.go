package graph

import (
	"context"
	"slices"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/topics"
)

// Rehearse returns what the group would write if the record came to it by its
// loop, beside that row and note; nothing is written. Topics are named as on the
// cluster; the row stands on that of the group's table. Its notes are left out. An
// error says that row or note cannot be read.
func (r rule[S]) Rehearse(ctx context.Context, env Env, rec *kgo.Record, row, note []byte) ([]*kgo.Record, error) {
	s := &rehearsal{ctx: ctx, group: goka.Group(r.Group(env)), rec: rec, row: row, note: note}
	s.table = topics.Prefixed(env.Namespace, r.p.Name+"-table")
	newHandler(r.p, env).comeBack(s)
	return s.written, s.err
}

// rehearsal is the context of one record, and keeps what is written.
type rehearsal struct {
	unused
	ctx       context.Context
	group     goka.Group
	rec       *kgo.Record
	table     string
	row, note []byte
	written   []*kgo.Record
	err       error
}

// unused is what else a context can do, and a handler does not ask for.
type unused = kgoka.Context

func (s *rehearsal) Context() context.Context { return s.ctx }
func (s *rehearsal) Group() goka.Group        { return s.group }
func (s *rehearsal) Record() *kgo.Record      { return s.rec }
func (s *rehearsal) Row() []byte              { return s.row }
func (s *rehearsal) Note() []byte             { return s.note }
func (s *rehearsal) SetNote([]byte)           {}

func (s *rehearsal) Fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *rehearsal) SetRow(row []byte, hs []kgo.RecordHeader) {
	s.EmitRecord(s.table, string(s.rec.Key), row, hs)
}

func (s *rehearsal) EmitRecord(topic, key string, value []byte, hs []kgo.RecordHeader) {
	s.written = append(s.written, &kgo.Record{Topic: topic, Key: []byte(key), Value: value, Headers: slices.Clone(hs)})
}
