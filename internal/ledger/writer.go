package ledger

import (
	"bytes"
	"context"
	"sync"

	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
)

// step is one change that the worker wants of a row.
type step struct {
	key string
	do  func(row schemas.LedgerEntry) change // within the transaction, and again if that is repeated

	was   change       // what became of it
	trace trace.Parent // that the row goes on in
}

// writer makes steps, in transactions of all those that have come while the one
// before was under way.
type writer struct {
	turn chan struct{} // full while somebody writes, for all others of his bundle

	mu   sync.Mutex
	next *bundle
}

func newWriter() *writer { return &writer{turn: make(chan struct{}, 1)} }

type bundle struct {
	keys  []string
	steps map[string][]*step
	begun bool
	err   error
}

// write returns when the step is committed. If the row is not here, or the step
// changes nothing, its fate is stays. After an error it may be committed or not.
func (w *writer) write(ctx context.Context, p *kgoka.Processor, s *step) error {
	s.was = change{} // of an attempt that was aborted: the row may be another instance's by now
	b := w.join(s)
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	if !b.begun {
		w.close(b)
		_, b.err = p.VisitKeys(ctx, write, b.keys, b.steps)
	}
	return b.err
}

func (w *writer) join(s *step) *bundle {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next == nil {
		w.next = &bundle{steps: map[string][]*step{}}
	}
	b := w.next
	if b.steps[s.key] == nil {
		b.keys = append(b.keys, s.key)
	}
	b.steps[s.key] = append(b.steps[s.key], s)
	return b
}

func (w *writer) close(b *bundle) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.begun, w.next = true, nil
}

// step is called within the transaction, with the row that some steps are for.
func (l *Ledger) step(c kgoka.Context, steps map[string][]*step) {
	for _, s := range steps[c.Key()] {
		s.was, s.trace = s.do(l.row(c)), trace.Decode(bytes.Clone(c.Note())) // the worker keeps it
		l.write(c, s.was, s.trace)
	}
}
