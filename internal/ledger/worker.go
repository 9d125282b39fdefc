package ledger

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/lovoo/goka"

	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/trace"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
)

// Who shall end finishes what is being sent, if that takes no longer than drain; what
// is hung up on then has a little while to be written down.
const (
	drain     = 10 * time.Second
	afterword = 2 * time.Second
)

// rest is how long a lane waits, at least, after its endpoint was away.
const rest = time.Second

// worker is what sends, beside a processor.
type worker struct {
	*Ledger
	p       *kgoka.Processor
	run     context.Context // the processor's
	sending context.Context // of tries: it ends with run, or when there is no more time
	stop    context.CancelCauseFunc
}

// shift is the work of one assignment. Keys are queued, not bodies: as many may
// wait as an endpoint that is dead leaves behind.
type shift struct {
	ctx   context.Context // ends with it
	w     *worker
	lanes map[string]*lane
}

// lane is a queue and who works it off. It waits for its own endpoint only.
type lane struct {
	name  string
	queue []string
	busy  int              // who work it off
	open  map[string]int64 // what is neither sent nor failed, wherever it waits: when it was asked for
	away  bool             // the endpoint was, when last tried
	until time.Time        // nothing is begun before
}

// Run runs the group's processor and the worker until ctx ends; it returns nil
// then, or the error of the first that fails.
func (l *Ledger) Run(ctx context.Context, p *kgoka.Processor) error {
	run, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var working sync.WaitGroup
	var failed error
	working.Go(func() {
		defer end()
		failed = l.work(ctx, run, end, p)
	})
	err := p.Run(run)
	end()
	working.Wait()
	if err == nil {
		err = failed
	}
	return err
}

// errEnded is why a worker ends that nothing is wrong with.
var errEnded = errors.New("ended")

// work sends until ctx ends, and then what has been begun.
func (l *Ledger) work(ctx, run context.Context, end func(), p *kgoka.Processor) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer context.AfterFunc(run, func() { stop(errEnded) })()
	sending, hangUp := context.WithCancel(run)
	defer hangUp()
	w := &worker{l, p, run, sending, stop}
	for w.shift(ctx) {
	}
	idle := make(chan struct{})
	go func() {
		l.workers.Wait()
		close(idle)
	}()
	for _, next := range []struct {
		after time.Duration
		do    func()
	}{{drain, hangUp}, {afterword, end}} {
		select {
		case <-idle:
		case <-run.Done():
		case <-time.After(next.after):
			next.do()
		}
	}
	end()
	<-idle
	if err := context.Cause(ctx); !errors.Is(err, errEnded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// shift works for one assignment: what is on partitions that were taken away,
// others send. Tries that are under way go on. There is no next one if ctx has ended.
func (w *worker) shift(ctx context.Context) (next bool) {
	moved := w.p.Moved()
	if w.p.WaitReady(ctx) != nil {
		w.stop(errEnded) // the processor's, if ctx has not
		return false
	}
	on, over := context.WithCancel(ctx)
	defer over()
	w.begin(&shift{ctx: on, w: w, lanes: map[string]*lane{}})
	defer w.begin(nil)
	// What callbacks wrote before is committed when the visit begins: it waits for its turn.
	if _, err := w.p.Visit(ctx, look, "", "", nil); err != nil && !lost(err) {
		w.stop(err)
	}
	select {
	case <-moved:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// lost tells whether a visit ended with the assignment.
func lost(err error) bool {
	return errors.Is(err, goka.ErrVisitAborted) || errors.Is(err, kgoka.ErrNotHere) || errors.Is(err, context.Canceled)
}

func (l *Ledger) begin(s *shift) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shift = s
}

// saw is told of every row that is here, and whenever it changes.
func (l *Ledger) saw(row schemas.LedgerEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shift == nil {
		return
	}
	ln := l.shift.lane(effect.Lane(row.Effect()))
	if row.State == schemas.Sent || row.State == schemas.Failed {
		delete(ln.open, row.EffectID)
		return
	}
	key := strings.Clone(row.EffectID) // it would keep the payload
	ln.open[key] = row.AskedAt
	if row.Due != 0 {
		return // the calendar has it
	}
	ln.queue = append(ln.queue, key)
	if s := l.shift; ln.busy < l.to.Width(ln.name) {
		ln.busy++
		l.workers.Go(func() { s.w.serve(s, ln) })
	}
}

func (s *shift) lane(name string) *lane {
	ln := s.lanes[name]
	if ln == nil {
		ln = &lane{name: strings.Clone(name), open: map[string]int64{}}
		s.lanes[ln.name] = ln
	}
	return ln
}

// serve works off a lane until nothing is left, or the shift is over.
func (w *worker) serve(s *shift, ln *lane) {
	for {
		key, wait, ok := w.take(s, ln)
		switch {
		case !ok:
			return
		case wait > 0:
			select {
			case <-time.After(wait):
			case <-s.ctx.Done():
			}
		default:
			w.tell(s, ln, key)
		}
	}
}

// take returns the next key of a lane, or how long to wait for it.
func (w *worker) take(s *shift, ln *lane) (key string, wait time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.ctx.Err() != nil || len(ln.queue) == 0 {
		ln.busy--
		return "", 0, false
	}
	if wait = max(time.Until(ln.until), w.to.Closed(ln.name)); wait > 0 {
		return "", wait, true
	}
	if ln.away { // let one try, and the others see what comes of it
		ln.until = time.Now().Add(rest)
	}
	key, ln.queue[0] = ln.queue[0], ""
	ln.queue = ln.queue[1:]
	return key, 0, true
}

// tell sends one effect, if it is still to be sent.
func (w *worker) tell(s *shift, ln *lane, key string) {
	st, t, err := w.start(ln, key)
	if err != nil && !lost(err) {
		w.stop(err)
	}
	if t == (try{}) {
		return
	}
	o := effect.Outcome{Class: effect.Away} // not tried
	if err == nil && s.ctx.Err() == nil {   // else it may be another's by now
		o = w.send(ln, st)
		w.learn(s, ln, o)
	}
	w.finish(ln, key, t, o)
}

// send is a try, in the trace of who asked for it.
func (w *worker) send(ln *lane, st *step) effect.Outcome {
	e := st.was.row.Effect()
	ctx, ended := w.env.Trace.Try(w.sending, st.trace, trace.Effect{ID: e.EffectID, Order: e.OrderID, Event: e.Event, Endpoint: ln.name})
	o := w.to.Send(ctx, e)
	ended(string(o.Class), o.Code, o.Class != effect.Sent)
	return o
}

// start writes down that a try begins, and returns which; none if there is nothing
// to send. After an error that may have been committed or not.
func (w *worker) start(ln *lane, key string) (st *step, t try, err error) {
	unsure := false
	st = &step{key: key, do: func(row schemas.LedgerEntry) change {
		w.mu.Lock()
		defer w.mu.Unlock()
		ch := begun(row, w.flying[key], w.now())
		if ch.fate != stays {
			t, unsure = tryOf(ch.row), ch.row.Unsure > row.Unsure
			w.flying[key] = t
		}
		return ch
	}}
	err = w.write(st)
	if err == nil && unsure {
		w.count(ln.name, func(c *counts) { c.unsure++ })
	}
	return st, t, err
}

// finish writes down what came of a try, as soon as it can. If the row is another
// instance's by then, it does not touch it.
func (w *worker) finish(ln *lane, key string, t try, o effect.Outcome) {
	if o.Class == effect.Transient && w.sending.Err() != nil {
		return // it was hung up on: nobody knows
	}
	st := &step{key: key, do: func(row schemas.LedgerEntry) change { return ended(row, t, o, w.env.Schedule, w.now()) }}
	for {
		moved := w.p.Moved()
		err := w.write(st)
		if err == nil {
			break
		}
		if !lost(err) {
			w.stop(err)
			return
		}
		select {
		case <-moved:
		case <-w.run.Done():
			return
		}
	}
	w.land(key, t)
	if st.was.fate == stays {
		return
	}
	w.saw(st.was.row)
	w.count(ln.name, func(c *counts) {
		switch st.was.row.State {
		case schemas.Sent:
			c.sent++
		case schemas.Failed:
			c.failed++
		}
	})
}

func (w *worker) write(st *step) error { return w.writer.write(w.run, w.p, st) }

func (w *worker) land(key string, t try) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flying[key] == t {
		delete(w.flying, key)
	}
}

// learn sees to it that a lane waits while its endpoint is away.
func (w *worker) learn(s *shift, ln *lane, o effect.Outcome) {
	if s.ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	was := ln.away
	ln.away, ln.until = o.Class == effect.Away, time.Time{}
	if ln.away {
		ln.until = time.Now().Add(max(o.RetryAfter, rest))
	}
	switch {
	case ln.away && !was:
		w.env.Log.Warn("endpoint is away, its effects wait", "endpoint", ln.name, "error", o.Text)
	case was && !ln.away:
		w.env.Log.Info("endpoint is back", "endpoint", ln.name)
	}
}
