package kgoka

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// VisitAll is Visit of every row.
func (p *Processor) VisitAll(ctx context.Context, name string, meta any) (int64, error) {
	return p.Visit(ctx, name, "", "", meta)
}

// Visit calls the graph's visitor called name with the rows of the partitions that
// are assigned here, from key from and before to, and with meta; "" is no limit.
// Within a partition they come in the order of their keys. It returns how many
// there were. It costs what is in the range, not what is beside it, and happens in transactions of at most MaxPoll rows, in turn with those of
// records; one that is aborted is repeated. Rows that come meanwhile may be
// visited or not. In the callback there is no Record, and the topic is the
// visitor's name; what it emits has no origin.
//
// It ends with goka.ErrVisitAborted if the partitions are taken away or Run ends:
// what was committed stays, and who calls it again begins anew. An error of the
// callback ends Run, too. It must not be called from a callback: each would wait
// for the other.
func (p *Processor) Visit(ctx context.Context, name, from, to string, meta any) (int64, error) {
	return p.visit(&visit{name: name, rows: func(t *table) iter.Seq2[keyed, error] { return t.rows(from, to) }, meta: meta, ctx: ctx})
}

// VisitKeys is Visit of the rows that have these keys, in this order: of those
// that are on partitions assigned here, whichever that is.
func (p *Processor) VisitKeys(ctx context.Context, name string, keys []string, meta any) (int64, error) {
	rows := func(yield func(keyed, error) bool) {
		for _, k := range keys {
			if !yield(keyed{key: k}, nil) {
				return
			}
		}
	}
	return p.visit(&visit{name: name, rows: func(*table) iter.Seq2[keyed, error] { return rows }, meta: meta, ctx: ctx})
}

func (p *Processor) visit(v *visit) (int64, error) {
	if v.cb = p.visitors[v.name]; v.cb == nil {
		return 0, fmt.Errorf("group %q has no visitor %q", p.group, v.name)
	}
	p.mu.Lock()
	s := p.sess
	p.mu.Unlock()
	v.done = make(chan error, 1)
	if s == nil || !s.visits.add(v) {
		return 0, goka.ErrVisitAborted
	}
	err := <-v.done // never long in coming: the loop attends to it, or ends
	return v.n, err
}

// visit is a call of Visit or VisitKeys. The loop owns it until it is done.
type visit struct {
	name string
	rows func(*table) iter.Seq2[keyed, error] // those to visit, by their keys
	cb   goka.ProcessCallback
	meta any
	ctx  context.Context
	n    int64 // rows in committed transactions
	left []*visiting
	done chan error
}

// visiting is what a visit has left to do in one partition.
type visiting struct {
	pt   *part
	next func() (keyed, error, bool)
	stop func()
	keys []string // of the next transactions
	now  int      // how many in the one at hand
	n    int64    // and how many of them have a row
}

// visits are those of a session.
type visits struct {
	mu     sync.Mutex
	queue  []*visit
	closed bool
	wake   context.CancelFunc // ends the poll at hand
}

func (q *visits) add(v *visit) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.queue = append(q.queue, v)
	if q.wake != nil {
		q.wake()
	}
	return true
}

// waiting is a context for the next poll. It ends when there is a visit; it is
// nil, for a poll that does not wait, if there is one already.
func (q *visits) waiting(ctx context.Context) context.Context {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.wake != nil {
		q.wake()
	}
	if len(q.queue) > 0 {
		return nil
	}
	ctx, q.wake = context.WithCancel(ctx)
	return ctx
}

func (q *visits) first() *visit {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return nil
	}
	return q.queue[0]
}

// finish ends the first visit.
func (q *visits) finish(err error) {
	q.mu.Lock()
	v := q.queue[0]
	q.queue = q.queue[1:]
	q.mu.Unlock()
	for _, w := range v.left {
		w.stop()
	}
	v.done <- err
}

// close ends all visits.
func (q *visits) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	for q.first() != nil {
		q.finish(goka.ErrVisitAborted)
	}
	if q.wake != nil {
		q.wake()
	}
}

// visit handles the next rows of a visit, in one transaction.
func (c *clients) visit(s *session, v *visit) error {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	c.cl.PollRecords(over, 1) // brings nothing, but from here on rebalances are held back
	if s.ended() {
		return nil
	}
	due, err := v.fill(s, c.limit)
	if err == nil {
		err = v.ctx.Err()
	}
	if err != nil || len(due) == 0 {
		s.visits.finish(err)
		return nil
	}
	at := offsets{} // committed once more, so that the transaction is fenced like any other
	var parts []*part
	for num, w := range due {
		parts = append(parts, w.pt)
		for topic := range s.at {
			if o, ok := s.at[topic][num]; ok {
				if at[topic] == nil {
					at[topic] = map[int32]kgo.EpochOffset{}
				}
				at[topic][num] = o
			}
		}
	}
	committed, err := c.transact(s, nil, at, func(b *batch) {
		s.inParallel(b, parts, func(pt *part) { pt.visit(v, due[pt.num]) })
	})
	if committed {
		for _, w := range due {
			v.n, w.keys = v.n+w.n, w.keys[w.now:]
		}
	}
	if err != nil && lasting(err) {
		s.visits.finish(err)
	}
	return err
}

// fill returns what to do in the next transaction of limit rows, by partition.
func (v *visit) fill(s *session, limit int) (map[int32]*visiting, error) {
	if v.left == nil {
		for _, pt := range s.parts {
			next, stop := iter.Pull2(v.rows(pt.table))
			v.left = append(v.left, &visiting{pt: pt, next: next, stop: stop})
		}
	}
	limit = max(1, limit/max(1, len(v.left)))
	due := map[int32]*visiting{}
	for _, w := range v.left {
		for len(w.keys) < limit {
			r, err, ok := w.next()
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			w.keys = append(w.keys, r.key)
		}
		if w.now, w.n = min(limit, len(w.keys)), 0; w.now > 0 {
			due[w.pt.num] = w
		}
	}
	return due, nil
}

// visit calls a visitor with rows of the partition.
func (pt *part) visit(v *visit, w *visiting) {
	c := &pt.call
	for _, key := range w.keys[:w.now] {
		if pt.batch.failed() != nil {
			return
		}
		rec := &kgo.Record{Topic: v.name, Key: []byte(key), Partition: pt.num, Timestamp: time.Now()}
		pt.now.Store(rec)
		c.aim(nil, [16]byte{}, rec)
		c.visit = true
		if c.Row() == nil {
			continue // gone meanwhile
		}
		v.cb(c, v.meta)
		c.finish()
		w.n++
	}
	pt.nVisited += w.n
	pt.sendRows()
}
