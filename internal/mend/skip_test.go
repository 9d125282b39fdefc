package mend

import (
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/topics"
)

// noted is the row of ord_1 with a queue beside it; there is no row yet.
func (w *world) noted(first, next uint64) {
	w.t.Helper()
	note := []byte{1}
	for _, v := range []uint64{first, next, 1767225600000} {
		note = binary.AppendUvarint(note, v)
	}
	w.produce(&kgo.Record{Topic: "red.order-table", Partition: client.PartitionOf("ord_1", nparts), Key: []byte("ord_1"), Value: []byte{},
		Headers: []kgo.RecordHeader{{Key: kgoka.NoteHeader, Value: append(note, 0, 0)}}})
}

// place is an entry of ord_1, or of another, as it stands on a topic.
func (w *world) place(topic, group, key string, seq int64) *kgo.Record {
	l := w.letter(key)
	l.Group, l.Seq, l.Due = group, seq, 1767225600000
	r := &kgo.Record{Topic: "red." + topic, Partition: client.PartitionOf(key, nparts), Key: []byte(retry.Key(l.Due, string(rune('a'+seq))+group+key))}
	if topic == topics.OrderLoop {
		_, r.Value, r.Headers = letter.Dispatch(l.Parked(topic))
		r.Key = l.Key
		return r
	}
	r.Value = w.encode(topic, l.Parked(topics.Loop(group)))
	return r
}

// What still may come is not lost, wherever it is.
func TestLost(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(w *world)
		err    error
		count  int64
		behind int
	}{
		"no queue":         {func(w *world) { w.noted(3, 3) }, ErrNoQueue, 0, 0},
		"no row":           {func(*world) {}, ErrNoQueue, 0, 0},
		"it is there":      {func(w *world) { w.noted(3, 5); w.produce(w.place("retry-table", "order", "ord_1", 3)) }, ErrHead, 0, 0},
		"all are lost":     {func(w *world) { w.noted(3, 5) }, nil, 2, 0},
		"one is lost":      {func(w *world) { w.noted(3, 5); w.produce(w.place("retry-table", "order", "ord_1", 4)) }, nil, 1, 1},
		"that came before": {func(w *world) { w.noted(3, 5); w.produce(w.place("retry-table", "order", "ord_1", 2)) }, nil, 2, 0},
		"another row's":    {func(w *world) { w.noted(3, 5); w.produce(w.place("retry-table", "order", "ord_4", 3)) }, nil, 2, 0},
		"another group's":  {func(w *world) { w.noted(3, 5); w.produce(w.place("retry-table", "credit", "ord_1", 3)) }, nil, 2, 0},
		"it is gone": {func(w *world) {
			r := w.place("retry-table", "order", "ord_1", 3)
			w.noted(3, 5)
			w.produce(r)
			r.Value = nil
			w.produce(&kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key})
		}, nil, 2, 0},
		"on its way there": {func(w *world) { w.noted(3, 5); w.produce(w.place("retry", "order", "ord_1", 3)) }, ErrUnderway, 0, 0},
		"on its way back":  {func(w *world) { w.noted(3, 5); w.produce(w.place("order-loop", "order", "ord_1", 3)) }, ErrUnderway, 0, 0},
		"another's way": {func(w *world) {
			w.noted(3, 5)
			w.produce(w.place("order-loop", "order", "ord_4", 3), w.place("retry", "order", "ord_4", 3))
		}, nil, 2, 0},
		"it was there once": {func(w *world) { w.noted(3, 5); w.handled("retry", w.place("retry", "order", "ord_1", 3)) }, nil, 2, 0},
		"it was back once":  {func(w *world) { w.noted(3, 5); w.handled("order", w.place("order-loop", "order", "ord_1", 3)) }, nil, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c.do(w)
				l, err := w.desk("ann", w.net.DialContext).Lost(t.Context(), "order", "ord_1")
				if !errors.Is(err, c.err) || err == nil && (l.First != 3 || l.Count != c.count || len(l.Behind) != c.behind || l.Due != 1767225600000) {
					t.Errorf("%+v, %v", l, err)
				}
			})
		})
	}
}

// What goes to the calendar while this looks is seen there, though its transaction
// has not ended on that partition yet: what the group has committed is visible before.
func TestLostWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.noted(3, 5)
		w.handled("retry", w.place("retry", "order", "ord_1", 3))
		tx, err := kgo.NewClient(append(w.opts(w.net.DialContext), kgo.TransactionalID("retry"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
		must(t, err)
		defer tx.Close()
		must(t, tx.BeginTransaction())
		must(t, tx.ProduceSync(t.Context(), w.place("retry-table", "order", "ord_1", 3)).FirstErr())
		time.AfterFunc(time.Second, func() { tx.EndTransaction(t.Context(), kgo.TryCommit) })
		if l, err := w.desk("ann", w.net.DialContext).Lost(t.Context(), "order", "ord_1"); !errors.Is(err, ErrHead) {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

// handled is a record that a group has seen.
func (w *world) handled(group string, r *kgo.Record) {
	w.t.Helper()
	w.produce(r)
	var at kadm.Offsets
	at.AddOffset(r.Topic, r.Partition, r.Offset+1, -1)
	must(w.t, kadm.NewClient(w.cl).CommitAllOffsets(w.t.Context(), "red."+group, at))
}

// The record for a lost place says which, and that it shall not be tried.
func TestSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.noted(0, 3)
		w.produce(w.place("retry-table", "order", "ord_1", 2))
		d := w.desk("ann", w.net.DialContext)
		l, err := d.Lost(t.Context(), "order", "ord_1")
		must(t, err)
		must(t, d.TakeOver(t.Context(), "retries"))
		must(t, d.Skip(t.Context(), l, "a test"))
		loop, audit := w.read(topics.OrderLoop), w.audit()
		if len(loop) != 2 || len(audit) != 2 {
			t.Fatalf("%d records, %d on the audit", len(loop), len(audit))
		}
		for i, r := range loop {
			got := letter.Parse(r)
			if got.Seq != int64(i) || got.Cancel != "it was lost, and ann has the queue go on without it: a test" || got.Topic != "" || r.Value == nil || string(r.Key) != "ord_1" ||
				r.Partition != client.PartitionOf("ord_1", nparts) {
				t.Errorf("%d: %+v", i, got)
			}
			if a := audit[i]; a.What != "retries.skip" || a.Group != "order" || a.Key != "ord_1" || a.Why != "a test" {
				t.Errorf("audit %+v", a)
			}
		}
		if _, err := d.Lost(t.Context(), "order", "ord_1"); !errors.Is(err, ErrUnderway) {
			t.Errorf("before the group has seen it: %v", err)
		}
	})
}

// However many are lost, the queue goes on behind all of them.
func TestSkipMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const many = 2*batch + 1
		w.noted(7, 7+many+1)
		w.produce(w.place("retry-table", "order", "ord_1", 7+many))
		d := w.desk("ann", w.net.DialContext)
		l, err := d.Lost(t.Context(), "order", "ord_1")
		must(t, err)
		must(t, d.TakeOver(t.Context(), "retries"))
		must(t, d.Skip(t.Context(), l, ""))
		loop := w.read(topics.OrderLoop)
		if l.Count != many || len(loop) != many || len(w.audit()) != many {
			t.Fatalf("%d lost, %d skipped", l.Count, len(loop))
		}
		for i, r := range loop {
			if got := letter.Parse(r).Seq; got != 7+int64(i) {
				t.Fatalf("the %d-th is for place %d", i, got)
			}
		}
	})
}
