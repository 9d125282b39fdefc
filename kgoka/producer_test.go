package kgoka

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestEndTransactionKnowsWhatWasWritten: the first record of a topic is acknowledged
// before the client has noted the topic, as it has another one to find a partition for; the
// transaction is committed nevertheless.
func TestEndTransactionKnowsWhatWasWritten(t *testing.T) {
	for name, c := range map[string]struct {
		end     func(context.Context, *kgo.Client, kgo.TransactionEndTry) error
		commits bool
	}{
		"EndTransaction": {EndTransaction, true},
		"kgo alone": {func(ctx context.Context, cl *kgo.Client, how kgo.TransactionEndTry) error {
			return cl.EndTransaction(ctx, how)
		}, false}, // if that is wrong one day, EndTransaction is not needed any more
		"given up": {func(ctx context.Context, cl *kgo.Client, how kgo.TransactionEndTry) error {
			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			if err := EndTransaction(short, cl, how); !errors.Is(err, kerr.OperationNotAttempted) {
				return fmt.Errorf("got %v, want that it was not tried", err)
			}
			return EndTransaction(ctx, cl, kgo.TryAbort)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bubble(t, "old", "new")
				var ends []bool
				b.c.ControlKey(kmsg.EndTxn.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
					b.c.KeepControl()
					ends = append(ends, r.(*kmsg.EndTxnRequest).Commit)
					return nil, nil, false
				})
				hold := make(chan struct{})
				cl := b.client(kgo.TransactionalID("x"), kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
					return func(r *kgo.Record, _ int) int {
						if string(r.Value) == "nowhere" {
							<-hold
							return -1
						}
						return 0
					}
				})))
				defer cl.Close()
				begin := func() {
					if err := cl.BeginTransaction(); err != nil {
						t.Fatal(err)
					}
				}
				write := func(topic, value string) <-chan error {
					done := make(chan error, 1)
					cl.Produce(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}, func(_ *kgo.Record, err error) { done <- err })
					return done
				}
				begin()
				if err := errors.Join(<-write("old", "v"), cl.EndTransaction(t.Context(), kgo.TryCommit)); err != nil {
					t.Fatal(err)
				}
				begin() // at the same moment as what was learnt of topics: the client waits before it asks again
				first, second := write("new", "v"), write("new", "nowhere")
				if err := <-first; err != nil {
					t.Error(err)
				}
				ended := make(chan error, 1)
				go func() { ended <- c.end(t.Context(), cl, kgo.TryCommit) }()
				time.Sleep(time.Second) // of the bubble's clock
				close(hold)
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if err := <-second; err == nil {
					t.Error("a record was written to partition -1")
				}
				if len(ends) != 2 || ends[1] != c.commits {
					t.Errorf("committed: %v, want true and %t", ends, c.commits)
				}
			})
		})
	}
}

// TestFirstOfATopic: a producer waits for topics to be known from the first record
// on, and once more if that one failed.
func TestFirstOfATopic(t *testing.T) {
	b := newBed(t, "t")
	p, err := newProducer(t.Context(), "x", b.config("a-1"), "", true, append([]kgo.Opt{kgo.SeedBrokers(b.brokers()...)}, b.opts...))
	if err != nil {
		t.Fatal(err)
	}
	defer p.cl.Close()
	for i, c := range []struct {
		topic string
		err   error
		first bool
	}{
		{"x", kerr.UnknownTopicOrPartition, true}, {"x", nil, true}, {"x", nil, false}, {"y", nil, true}, {"x", nil, false},
	} {
		p.batch = &batch{prod: p}
		p.acknowledged(&kgo.Record{Topic: c.topic}, c.err)
		if p.first != c.first {
			t.Errorf("%d: first %t, want %t", i, p.first, c.first)
		}
		if err := p.end(t.Context(), kgo.TryAbort); err != nil || p.first {
			t.Errorf("%d: %v, first %t", i, err, p.first)
		}
	}
}
