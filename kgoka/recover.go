package kgoka

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

// reader is the sarama.Consumer by which goka recovers tables and follows joins.
// Partitions that are read at the same time share a client.
type reader struct {
	table string // the group's own: its values get their vectors in front
	opts  []kgo.Opt

	mu      sync.Mutex
	src     *source // takes further partitions; nil if there is none
	running sync.WaitGroup
}

// source is a client and what is read through it. It ends with its last reading.
// A partition is read only once through one source, so that nothing fetched for
// an earlier reading can reach a later one.
type source struct {
	cl     *kgo.Client
	cancel context.CancelFunc
	parts  map[place]*reading // nil reading: was read, is done
	open   int
}

type place struct {
	topic string
	part  int32
}

func newReader(table string, opts []kgo.Opt) *reader { return &reader{table: table, opts: opts} }

var errUnused = errors.New("not used by goka")

func (r *reader) Topics() ([]string, error)                  { return nil, errUnused }
func (r *reader) Partitions(string) ([]int32, error)         { return nil, errUnused }
func (r *reader) HighWaterMarks() map[string]map[int32]int64 { return nil }
func (r *reader) Pause(map[string][]int32)                   {}
func (r *reader) Resume(map[string][]int32)                  {}
func (r *reader) PauseAll()                                  {}
func (r *reader) ResumeAll()                                 {}

// Close waits until all is read that was begun; goka ends that before.
func (r *reader) Close() error { r.running.Wait(); return nil }

func (r *reader) ConsumePartition(topic string, part int32, off int64) (sarama.PartitionConsumer, error) {
	at := kgo.NewOffset().At(off)
	switch off {
	case sarama.OffsetOldest:
		at = kgo.NewOffset().AtStart()
	case sarama.OffsetNewest:
		at = kgo.NewOffset().AtEnd()
	}
	from := map[string]map[int32]kgo.Offset{topic: {part: at}}
	rd := &reading{r: r, place: place{topic, part}, msgs: make(chan *sarama.ConsumerMessage, 1024),
		errs: make(chan *sarama.ConsumerError, 1), gone: make(chan struct{})}

	r.mu.Lock()
	defer r.mu.Unlock()
	_, used := r.src.has(rd.place)
	if r.src == nil || used {
		if err := r.start(from); err != nil {
			return nil, err
		}
	} else {
		r.src.cl.AddConsumePartitions(from)
	}
	rd.src = r.src
	r.src.parts[rd.place] = rd
	r.src.open++
	return rd, nil
}

func (s *source) has(p place) (*reading, bool) {
	if s == nil {
		return nil, false
	}
	rd, ok := s.parts[p]
	return rd, ok
}

// start makes a new source. Control records are kept: goka reads on until it has
// seen the last offset, and on a transactional log that is a control record.
func (r *reader) start(from map[string]map[int32]kgo.Offset) error {
	cl, err := kgo.NewClient(append(r.opts[:len(r.opts):len(r.opts)], kgo.ConsumePartitions(from),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(200*time.Millisecond))...) // what is added waits for the fetch under way
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &source{cl: cl, cancel: cancel, parts: map[place]*reading{}}
	r.src = s
	r.running.Go(func() { r.run(ctx, s) })
	return nil
}

func (r *reader) run(ctx context.Context, s *source) {
	defer s.cl.Close()
	for {
		fs := s.cl.PollRecords(ctx, 4000)
		if ctx.Err() != nil {
			return
		}
		fs.EachPartition(func(fp kgo.FetchTopicPartition) {
			r.mu.Lock()
			rd := s.parts[place{fp.Topic, fp.Partition}]
			r.mu.Unlock()
			if rd != nil {
				rd.deliver(fp)
			}
		})
	}
}

// drop ends a reading, and its source with the last one.
func (r *reader) drop(rd *reading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := rd.src
	s.parts[rd.place] = nil
	if s.open--; s.open > 0 {
		s.cl.RemoveConsumePartitions(map[string][]int32{rd.topic: {rd.part}})
		return
	}
	s.cancel()
	if r.src == s {
		r.src = nil
	}
}

// reading is one partition being read.
type reading struct {
	r   *reader
	src *source
	place
	msgs chan *sarama.ConsumerMessage
	errs chan *sarama.ConsumerError
	gone chan struct{}
	once sync.Once
	mu   sync.Mutex // held while delivering
}

func (rd *reading) deliver(fp kgo.FetchTopicPartition) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	select {
	case <-rd.gone: // and so are the channels
		return
	default:
	}
	if fp.Err != nil && !passing(fp.Err) {
		select {
		case rd.errs <- &sarama.ConsumerError{Topic: fp.Topic, Partition: fp.Partition, Err: fp.Err}:
		case <-rd.gone:
		}
	}
	for _, rec := range fp.Records {
		select {
		case rd.msgs <- rd.r.message(rec):
		case <-rd.gone:
			return
		}
	}
}

// controlKey is a key that no row has: goka stores a control record by deleting it.
const controlKey = "\x00kgoka.control"

func (r *reader) message(rec *kgo.Record) *sarama.ConsumerMessage {
	m := &sarama.ConsumerMessage{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Timestamp: rec.Timestamp, Key: rec.Key, Value: rec.Value}
	var applied []byte
	for _, h := range rec.Headers {
		m.Headers = append(m.Headers, &sarama.RecordHeader{Key: []byte(h.Key), Value: h.Value})
		if h.Key == AppliedHeader {
			applied = h.Value
		}
	}
	switch {
	case rec.Attrs.IsControl():
		m.Key, m.Value, m.Headers = []byte(controlKey), nil, nil
	case rec.Topic == r.table && rec.Value != nil:
		m.Value = envelope(applied, rec.Value)
	case len(rec.Value) == 0 && applied != nil:
		m.Value = nil // of another group's table: no row
	}
	return m
}

// envelope is a row as a table stores it. A vector that somebody else broke is
// no vector: the row is as good, and handles what comes anew.
func envelope(applied, value []byte) []byte {
	vec, err := parseVector(applied)
	if err != nil {
		vec = nil
	}
	return row{vec, value}.encode(make([]byte, 0, len(vec)+len(value)+binary.MaxVarintLen64))
}

func (rd *reading) AsyncClose() {
	rd.once.Do(func() {
		close(rd.gone)
		rd.r.drop(rd)
		rd.mu.Lock()
		defer rd.mu.Unlock()
		close(rd.msgs)
		close(rd.errs)
	})
}

func (rd *reading) Close() error {
	rd.AsyncClose()
	for range rd.msgs {
	}
	return nil
}

func (rd *reading) Messages() <-chan *sarama.ConsumerMessage { return rd.msgs }
func (rd *reading) Errors() <-chan *sarama.ConsumerError     { return rd.errs }
func (rd *reading) HighWaterMarkOffset() int64               { return 0 }
func (rd *reading) Pause()                                   {}
func (rd *reading) Resume()                                  {}
func (rd *reading) IsPaused() bool                           { return false }
