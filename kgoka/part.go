package kgoka

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// batch is one transaction's work, shared by the partitions.
type batch struct {
	prod *producer
	err  atomic.Pointer[error]
	ends []atomic.Int64 // per partition: end of its table, from the acknowledgements
}

// fail keeps the first error; the transaction will abort.
func (b *batch) fail(err error) { b.err.CompareAndSwap(nil, &err) }
func (b *batch) failed() error {
	if e := b.err.Load(); e != nil {
		return *e
	}
	return nil
}

// failure marks an error that repeating the batch would not mend.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// chunk is what a batch holds of one topic for one partition.
type chunk struct {
	in      *input
	topic   string
	id      [16]byte
	records []*kgo.Record
}

// part handles one assigned partition: all inputs of it, and its table. A batch
// is handled by one goroutine; between batches the loop owns it.
type part struct {
	p     *Processor
	s     *session
	num   int32
	guard bool // compare origins with the row's vector
	table *table
	joins map[string]*table

	batch  *batch
	chunks []chunk
	call   call
	now    atomic.Pointer[kgo.Record] // being handled
	arena  arena

	rows  []*kgo.Record  // changelog records held back until the end of the batch
	rowAt map[string]int // key -> place in rows
	after []func()       // to be called when the batch is committed

	nIn, nOut, nSkipped, nVisited int64 // of this batch
}

// handle gives a batch to the partitions and waits until they are done with it.
func (s *session) handle(b *batch, fs kgo.Fetches) {
	var due []*part
	for i := range fs {
		for _, t := range fs[i].Topics {
			for _, fp := range t.Partitions {
				if len(fp.Records) == 0 {
					continue
				}
				pt := s.parts[fp.Partition]
				if len(pt.chunks) == 0 {
					due = append(due, pt)
				}
				pt.chunks = append(pt.chunks, chunk{s.p.inputs[t.Topic], t.Topic, t.TopicID, fp.Records})
			}
		}
	}
	s.inParallel(b, due, (*part).run)
}

// inParallel calls fn for every partition of a batch.
func (s *session) inParallel(b *batch, parts []*part, fn func(*part)) {
	s.p.pulse.begin(func() string { return hanging(parts) })
	defer s.p.pulse.end()
	var running sync.WaitGroup
	for _, pt := range parts {
		pt.batch, pt.call.part = b, pt
		running.Go(func() { pt.try(fn) })
	}
	running.Wait()
}

// hanging names what the partitions of a batch are at.
func hanging(parts []*part) string {
	var at []string
	for _, pt := range parts {
		if r := pt.now.Load(); r != nil {
			at = append(at, fmt.Sprintf("%s/%d at offset %d, key %q", r.Topic, r.Partition, r.Offset, r.Key))
		}
	}
	return "the callback of " + strings.Join(at, ", and that of ")
}

// try calls fn. A panic there, Fail's or any other, is a failure of the batch, and
// tells callbacks of other partitions that wait for something to give up.
func (pt *part) try(fn func(*part)) {
	ended := false
	defer func() {
		r := recover()
		rec := pt.now.Swap(nil)
		if r == nil && ended {
			return
		}
		var err error
		switch r := r.(type) {
		case failed:
			err = r.error
		case nil:
			err = errors.New("it ended its goroutine")
		default:
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		if rec != nil {
			err = fmt.Errorf("callback of %s/%d at offset %d, key %q: %w", rec.Topic, rec.Partition, rec.Offset, rec.Key, err)
		}
		pt.batch.fail(failure{err})
		pt.s.cancel()
	}()
	fn(pt)
	ended = true
}

// run handles the chunks that the loop has put there. It returns early if the batch is lost.
func (pt *part) run() {
	slices.SortStableFunc(pt.chunks, func(a, b chunk) int { return strings.Compare(a.topic, b.topic) })
	for i := range pt.chunks {
		ch := &pt.chunks[i]
		for _, rec := range ch.records {
			if pt.batch.failed() != nil {
				return
			}
			if !rec.Attrs.IsControl() {
				pt.handle(&pt.call, ch, rec)
				pt.nIn++
			}
		}
	}
	pt.sendRows()
}

// sendRows sends the changelog records that were held back.
func (pt *part) sendRows() {
	for _, r := range pt.rows {
		pt.send(r)
	}
}

func (pt *part) handle(c *call, ch *chunk, rec *kgo.Record) {
	nils, null := pt.p.cfg.NilHandling, rec.Value == nil || noRow(rec)
	if null && nils == goka.NilIgnore {
		return
	}
	pt.now.Store(rec)
	c.aim(ch.in, ch.id, rec)
	if pt.guard && c.load().vec.seen(c.id) {
		pt.nSkipped++
		return
	}
	var msg any
	switch {
	case null && nils == goka.NilProcess:
	case ch.in.codec == nil:
		msg = rec.Value
	default:
		var err error
		if msg, err = ch.in.codec.Decode(rec.Value); err != nil {
			c.Fail(err)
		}
	}
	ch.in.cb(c, msg)
	c.finish()
}

// visible is the row's value as its own group sees it: with Origins, or beside a
// note, an empty one is no row.
func (pt *part) visible(r row) []byte {
	if len(r.val) == 0 && (pt.guard || len(r.note) > 0) {
		return nil
	}
	return r.val
}

// noRow says whether rec is of a table and stands for a row that is not there,
// but whose vector or note must be kept.
func noRow(rec *kgo.Record) bool {
	return len(rec.Value) == 0 && slices.ContainsFunc(rec.Headers, func(h kgo.RecordHeader) bool { return h.Key == AppliedHeader || h.Key == NoteHeader })
}

// reset forgets the batch.
func (pt *part) reset() {
	clear(pt.chunks)
	clear(pt.rows)
	clear(pt.rowAt)
	clear(pt.after)
	pt.chunks, pt.rows, pt.after = pt.chunks[:0], pt.rows[:0], pt.after[:0]
	pt.nIn, pt.nOut, pt.nSkipped, pt.nVisited = 0, 0, 0, 0
	pt.call = call{}
}

// log writes a changelog record now, or at the end of the batch if only the
// last version of a row shall go there.
func (pt *part) log(key string, raw, value []byte, hs []kgo.RecordHeader) {
	r := pt.record(pt.p.tableTopic, raw, value, hs)
	r.Partition = pt.num
	if !pt.p.cfg.Coalesce {
		pt.send(r)
		return
	}
	if i, ok := pt.rowAt[key]; ok {
		pt.rows[i] = r
		return
	}
	pt.rowAt[key] = len(pt.rows)
	pt.rows = append(pt.rows, r)
}

func (pt *part) record(topic string, key, value []byte, hs []kgo.RecordHeader) *kgo.Record {
	r := pt.arena.record()
	r.Topic, r.Key, r.Value, r.Headers = topic, key, value, hs
	return r
}

func (pt *part) send(r *kgo.Record) {
	pt.nOut++
	pt.batch.prod.produce(r)
}

// arena hands out small things from larger pieces. What it hands out is kept
// alive by its piece; it is never taken back.
type arena struct {
	bytes   []byte
	hdrs    []kgo.RecordHeader
	records []kgo.Record
}

func (a *arena) record() *kgo.Record {
	if len(a.records) == 0 {
		a.records = make([]kgo.Record, 32)
	}
	r := &a.records[0]
	a.records = a.records[1:]
	return r
}

// headers returns an empty slice with room for n.
func (a *arena) headers(n int) []kgo.RecordHeader {
	if len(a.hdrs) < n {
		a.hdrs = make([]kgo.RecordHeader, max(256, n))
	}
	h := a.hdrs[0:0:n]
	a.hdrs = a.hdrs[n:]
	return h
}

func (a *arena) origin(o Origin) []byte {
	const most = 16 + 5 + 10 + 5
	if cap(a.bytes)-len(a.bytes) < most {
		a.bytes = make([]byte, 0, 4096)
	}
	at := len(a.bytes)
	a.bytes = o.Append(a.bytes)
	return a.bytes[at:len(a.bytes):len(a.bytes)]
}
