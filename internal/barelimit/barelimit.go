// Package barelimit measures what a broker and franz-go can do at all: one
// transactional consume-produce loop, without tables, rules or codecs, that moves
// as many records of the same sizes as a pipeline does. That is the limit which
// the pipeline is measured against, on the same machine in the same run.
package barelimit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Shape is what is moved.
type Shape struct {
	Topic      string  // prefix of the topics, the group and the transactional ID, which must all be new
	Partitions int32   // of the topic in and of the topic out
	Consume    float64 // records read per order
	Produce    float64 // records written per order
	Sizes      []int   // bytes of record values, taken in turn
	Poll       int     // records per transaction at most; 0: 8,000
}

func (s Shape) validate() error {
	switch {
	case s.Topic == "" || s.Partitions < 1:
		return errors.New("barelimit: a topic prefix and a number of partitions are needed")
	case s.Consume <= 0 || s.Produce <= 0 || len(s.Sizes) == 0 || slices.Min(s.Sizes) < 0:
		return errors.New("barelimit: records per order and their sizes must be positive")
	}
	return nil
}

// Result is what was measured.
type Result struct {
	Consumed         int           `json:"consumed"`
	Produced         int           `json:"produced"`
	Transactions     int           `json:"transactions"`
	Took             time.Duration `json:"took_ns"`
	CPU              time.Duration `json:"cpu_ns"`
	OrdersPerSecond  float64       `json:"orders_per_second"`
	RecordsPerSecond float64       `json:"records_per_second"` // consumed and produced
}

// Run fills a topic with the records of that many orders, and then measures how
// fast one loop moves them to another. cpu tells the CPU time used so far by
// whom it may concern; nil: none. The topics stay behind.
func Run(ctx context.Context, client []kgo.Opt, s Shape, orders int, cpu func() time.Duration) (Result, error) {
	if err := s.validate(); err != nil {
		return Result{}, err
	}
	if cpu == nil {
		cpu = func() time.Duration { return 0 }
	}
	r := &run{Shape: s, client: client, payload: payload(slices.Max(s.Sizes)), in: s.Topic + "-in", out: s.Topic + "-out"}
	if r.Poll == 0 {
		r.Poll = 8000
	}
	r.todo = int(float64(orders) * s.Consume)
	if err := r.fill(ctx); err != nil {
		return Result{}, fmt.Errorf("barelimit: %w", err)
	}
	began, used := time.Now(), cpu()
	if err := r.move(ctx); err != nil {
		return Result{}, fmt.Errorf("barelimit: %w", err)
	}
	res := Result{Consumed: r.todo, Produced: r.made, Transactions: r.transactions, Took: time.Since(began), CPU: cpu() - used}
	res.OrdersPerSecond = float64(orders) / res.Took.Seconds()
	res.RecordsPerSecond = float64(res.Consumed+res.Produced) / res.Took.Seconds()
	return res, nil
}

type run struct {
	Shape
	client       []kgo.Opt
	in, out      string
	payload      []byte
	todo         int // records to move
	made         int // records written
	transactions int
}

// payload is text of 64 letters: it can be compressed, but by a quarter at most.
func payload(n int) []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
	return b
}

func (r *run) value(i int) []byte { return r.payload[:r.Sizes[i%len(r.Sizes)]] }

// fill makes the topics and writes what is to be moved.
func (r *run) fill(ctx context.Context) error {
	cl, err := kgo.NewClient(append(slices.Clone(r.client), kgo.MetadataMinAge(50*time.Millisecond), kgo.MaxBufferedRecords(100_000))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	made, err := kadm.NewClient(cl).CreateTopics(ctx, r.Partitions, -1, nil, r.in, r.out)
	if err == nil {
		err = made.Error()
	}
	if err != nil {
		return fmt.Errorf("creating topics: %w", err)
	}
	promise := kgo.AbortingFirstErrPromise(cl)
	for i := range r.todo {
		cl.Produce(ctx, &kgo.Record{Topic: r.in, Key: fmt.Appendf(nil, "ord_%012d", i), Value: r.value(i)}, promise.Promise())
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return promise.Err()
}

// move is the loop.
func (r *run) move(ctx context.Context) error {
	s, err := kgo.NewGroupTransactSession(append(slices.Clone(r.client),
		kgo.TransactionalID(r.Topic), kgo.ConsumerGroup(r.Topic), kgo.ConsumeTopics(r.in),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return err
	}
	defer s.Close()
	for done := 0; done < r.todo; {
		fs := s.PollRecords(ctx, r.Poll)
		if err := fs.Err0(); err != nil {
			return err
		}
		if fs.NumRecords() == 0 {
			continue
		}
		n, made, err := r.transact(ctx, s, fs, done)
		if err != nil {
			return err
		}
		if n > 0 { // else it was aborted, and comes again
			r.made += made
			r.transactions++
		}
		done += n
	}
	return nil
}

// transact moves one batch. It returns how much was committed.
func (r *run) transact(ctx context.Context, s *kgo.GroupTransactSession, fs kgo.Fetches, done int) (n, made int, err error) {
	if err := s.Begin(); err != nil {
		return 0, 0, err
	}
	promise := kgo.AbortingFirstErrPromise(s.Client())
	fs.EachRecord(func(rec *kgo.Record) {
		n++
		for upTo := int(float64(done+n) * r.Produce / r.Consume); r.made+made < upTo; made++ {
			s.Produce(ctx, &kgo.Record{Topic: r.out, Key: rec.Key, Value: r.value(r.made + made)}, promise.Promise())
		}
	})
	failed := promise.Err()
	committed, err := s.End(ctx, failed == nil)
	switch {
	case err != nil:
		return 0, 0, err
	case failed != nil && !kerr.IsRetriable(failed):
		return 0, 0, failed
	case !committed:
		return 0, 0, nil
	}
	return n, made, nil
}
