package kgoka

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// gate is a logger that holds the client up where it is known to be at work on topics.
type gate struct{ closed atomic.Pointer[chan struct{}] } // nil: open

func (g *gate) Level() kgo.LogLevel { return kgo.LogLevelDebug }

func (g *gate) Log(_ kgo.LogLevel, msg string, _ ...any) {
	if closed := g.closed.Load(); closed != nil && msg == "metadata refresh has identical topic partition data" {
		<-*closed
	}
}

// TestTransactionEndsAfterItsTopicsAreKnown: while the client notes topics, in
// whatever order, one of which the transaction is the first to write to, the transaction is
// not ended: the client may not know yet that there is anything in it.
func TestTransactionEndsAfterItsTopicsAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 12
		topics := []string{"old"}
		for i := range n {
			topics = append(topics, fmt.Sprint("new-", i))
		}
		b := bubble(t, topics...)
		commits, aborts := 0, 0
		b.c.ControlKey(kmsg.EndTxn.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
			b.c.KeepControl()
			if r.(*kmsg.EndTxnRequest).Commit {
				commits++
			} else {
				aborts++
			}
			return nil, nil, false
		})
		g := &gate{}
		p, err := newProducer(t.Context(), "x", b.config("a-1"), "", true, append([]kgo.Opt{kgo.SeedBrokers(b.brokers()...), kgo.WithLogger(g)}, b.opts...))
		if err != nil {
			t.Fatal(err)
		}
		defer p.cl.Close()
		write := func(topic string) <-chan error {
			if err := p.begin(t.Context(), &batch{prod: p}); err != nil {
				t.Fatal(err)
			}
			p.produce(&kgo.Record{Topic: topic, Value: []byte("v")})
			done := make(chan error, 1)
			go func() {
				if err := p.cl.Flush(t.Context()); err != nil {
					done <- err
					return
				}
				done <- p.end(t.Context(), kgo.TryCommit)
			}()
			return done
		}
		if err := <-write("old"); err != nil {
			t.Fatal(err)
		}
		for i, topic := range topics[1:] {
			open := make(chan struct{})
			g.closed.Store(&open)
			done := write(topic)
			time.Sleep(time.Second) // of the bubble's clock: the client waits before it asks for topics again
			if commits+aborts > i+1 {
				t.Errorf("%s: ended while the client is not done with its topics", topic)
			}
			close(open)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			g.closed.Store(nil)
		}
		if err := <-write("old"); err != nil {
			t.Fatal(err)
		}
		if commits != n+2 || aborts > 0 {
			t.Errorf("%d transactions were committed and %d aborted, want %d and 0", commits, aborts, n+2)
		}
	})
}
