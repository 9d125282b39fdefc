package kgoka

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// cutter is a dialer that, when armed, drops the connection instead of the
// answer to a request of one kind: the broker has done it, and nobody knows.
type cutter struct {
	key   int16
	armed atomic.Int64 // requests left to cut
	cuts  atomic.Int64
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &cutConn{Conn: conn, c: c}, err
}

type cutConn struct {
	net.Conn
	c    *cutter
	doom atomic.Bool
}

func (c *cutConn) Write(b []byte) (int, error) {
	if isRequest(b, c.c.key) && c.c.armed.Load() > 0 {
		c.c.armed.Add(-1)
		c.c.cuts.Add(1)
		c.doom.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.doom.Load() {
		c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// TestFaults runs a pipeline of two hops through one broker error after the other.
func TestFaults(t *testing.T) {
	b := newBed(t, "in", "mid", "out", "a-table", "b-table")
	cut := &cutter{key: kmsg.EndTxn.Int16()}
	ca, cb := b.config("a-1"), b.config("b-1")
	ca.ClientOpts = []kgo.Opt{kgo.Dialer(cut.dial)}
	ca.Dir = t.TempDir()
	pa := start(t, ca, counting("a", "in", "mid")).waitReady()
	pb := start(t, cb, counting("b", "mid", "out")).waitReady()
	const keys, step = 29, 300
	n := 0
	run := func(name string, keyed kmsg.Key, err *kerr.Error, count int, check func(before, after Stats) string) {
		t.Run(name, func(t *testing.T) {
			broker := b.fake(t)
			before := pa.Stats()
			f := kfake.Fault{Keys: []kmsg.Key{keyed}, Err: err, Count: count}
			switch keyed {
			case kmsg.TxnOffsetCommit:
				f.Group = "a"
			case kmsg.Produce:
				f.Topic = "mid"
			case kmsg.EndTxn:
				f.TopLevel = true
				f.When = func(r kmsg.Request) bool { return strings.HasPrefix(r.(*kmsg.EndTxnRequest).TransactionalID, "a/a-1/") }
			}
			h := broker.Fault(f)
			b.feed("in", n, step, keys)
			n += step
			b.caughtUp("a", "in")
			after := pa.Stats()
			if h.Hits() == 0 {
				t.Error("the fault was not met")
			}
			h.Remove()
			if why := check(before, after); why != "" {
				t.Errorf("%s: before %+v, after %+v", why, before, after)
			}
		})
	}
	aborted := func(cause string) func(_, _ Stats) string {
		return func(before, after Stats) string {
			if after.Aborts[cause] == before.Aborts[cause] {
				return "no abort for " + cause
			}
			return ""
		}
	}
	any := func(_, _ Stats) string { return "" }
	run("illegal generation", kmsg.TxnOffsetCommit, kerr.IllegalGeneration, 1, aborted("ILLEGAL_GENERATION"))
	run("unknown member", kmsg.TxnOffsetCommit, kerr.UnknownMemberID, 1, aborted("UNKNOWN_MEMBER_ID"))
	run("rebalance in progress", kmsg.TxnOffsetCommit, kerr.RebalanceInProgress, 2, aborted("REBALANCE_IN_PROGRESS"))
	run("concurrent transactions", kmsg.TxnOffsetCommit, kerr.ConcurrentTransactions, 3, any)
	run("coordinator loading", kmsg.TxnOffsetCommit, kerr.CoordinatorLoadInProgress, 3, any)
	run("coordinator moved", kmsg.TxnOffsetCommit, kerr.NotCoordinator, 3, any)
	run("coordinator away", kmsg.TxnOffsetCommit, kerr.CoordinatorNotAvailable, 3, any)
	run("instance fenced on offsets", kmsg.TxnOffsetCommit, kerr.FencedInstanceID, 1, aborted("FENCED_INSTANCE_ID"))
	run("fenced on offsets", kmsg.TxnOffsetCommit, kerr.ProducerFenced, 1, aborted("PRODUCER_FENCED"))
	run("epoch on offsets", kmsg.TxnOffsetCommit, kerr.InvalidProducerEpoch, 1, aborted("INVALID_PRODUCER_EPOCH"))
	run("fenced on produce", kmsg.Produce, kerr.ProducerFenced, 1, aborted("PRODUCER_FENCED"))
	run("epoch on produce", kmsg.Produce, kerr.InvalidProducerEpoch, 1, aborted("INVALID_PRODUCER_EPOCH"))
	run("no leader on produce", kmsg.Produce, kerr.NotLeaderForPartition, 3, any)
	run("transaction state on produce", kmsg.Produce, kerr.InvalidTxnState, 1, aborted("INVALID_TXN_STATE"))
	run("unknown producer on produce", kmsg.Produce, kerr.UnknownProducerID, 1, any)
	run("sequence on produce", kmsg.Produce, kerr.OutOfOrderSequenceNumber, 1, any)
	run("too few replicas on produce", kmsg.Produce, kerr.NotEnoughReplicas, 3, any)
	run("abortable on produce", kmsg.Produce, kerr.TransactionAbortable, 1, aborted("TRANSACTION_ABORTABLE"))
	for _, e := range []*kerr.Error{kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidTxnState, kerr.InvalidProducerIDMapping, kerr.UnknownServerError} {
		run("end: "+e.Message, kmsg.EndTxn, e, 1, func(before, after Stats) string {
			if after.Rebuilds == before.Rebuilds {
				return "the clients were not made anew"
			}
			return ""
		})
	}
	for _, e := range []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.ConcurrentTransactions} {
		run("end: "+e.Message, kmsg.EndTxn, e, 3, any)
	}
	t.Run("answer to end lost", func(t *testing.T) {
		cut.armed.Store(1)
		b.feed("in", n, step, keys)
		n += step
		b.caughtUp("a", "in")
		if cut.cuts.Load() == 0 {
			t.Error("no answer was cut")
		}
	})
	t.Run("answers to end lost for good", func(t *testing.T) {
		before := pa.Stats().Rebuilds
		cut.armed.Store(1 << 30)
		b.feed("in", n, step, keys)
		n += step
		until(t, "rebuild", func() bool { return pa.Stats().Rebuilds > before })
		cut.armed.Store(0)
		b.caughtUp("a", "in")
	})
	t.Run("fenced by a namesake", func(t *testing.T) {
		before := pa.Stats().Rebuilds
		for i := range 2 {
			thief := b.client(kgo.TransactionalID(txnID("a", "a-1", i)))
			if _, _, err := thief.ProducerID(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		b.feed("in", n, step, keys)
		n += step
		b.caughtUp("a", "in")
		if pa.Stats().Rebuilds == before {
			t.Error("the clients were not made anew")
		}
	})
	b.caughtUp("b", "mid")
	pa.mustEnd()
	pb.mustEnd()
	b.checkOnce(n, keys, "out", "a-table", "b-table")
}

// TestBrokerAway closes the network for a while.
func TestBrokerAway(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	w := &wire{}
	cfg := b.config("a-1")
	cfg.ClientOpts = []kgo.Opt{kgo.Dialer(w.dial)}
	const keys = 17
	p := start(t, cfg, counting("a", "in", "out")).waitReady()
	b.feed("in", 0, 500, keys)
	b.caughtUp("a", "in")
	w.kill()
	b.feed("in", 500, 500, keys)
	until(t, "the log says that the broker is away", func() bool { return b.logs.count("broker is away") == 1 })
	until(t, "it is thrown out of the group", func() bool { return b.members("a") == 0 })
	w.cut.Store(false)
	b.caughtUp("a", "in")
	if got := b.logs.count(`level=WARN msg="broker is back"`); got != b.logs.count("broker is away") || got == 0 {
		t.Errorf("%d away, %d back", b.logs.count("broker is away"), got)
	}
	p.mustEnd()
	b.checkOnce(1000, keys, "out", "a-table")

	// Away when it ends: Run returns all the same.
	p = start(t, cfg, counting("a", "in", "out")).waitReady()
	w.kill()
	p.mustEnd()
	// Away when it starts.
	p = start(t, cfg, counting("a", "in", "out"))
	until(t, "it notices", func() bool { return b.logs.count("broker is away") > 1 })
	w.cut.Store(false)
	p.waitReady()
	p.mustEnd()
}

// TestCallbackError: Fail, a panic and what a callback must not do end Run with the
// error, and nothing of the batch stays.
func TestCallbackError(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		act  func(c Context)
		says string
	}{
		"fail":   {func(c Context) { c.Fail(boom) }, "boom"},
		"panic":  {func(Context) { panic(boom) }, "panic: boom"},
		"output": {func(c Context) { c.EmitRecord("elsewhere", "k", nil, nil) }, `topic "elsewhere" is not an output`},
		"nil":    {func(c Context) { c.SetRow(nil, nil) }, errNilRow.Error()},
		"defer":  {func(c Context) { c.DeferCommit() }, errDefer.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, "in", "out", "a-table")
			g := goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Output("out", Bytes{}), goka.Input("in", Bytes{}, func(ctx goka.Context, _ any) {
				k := From(ctx)
				k.SetRow([]byte("x"), nil)
				k.EmitRecord("out", k.Key(), []byte("x"), nil)
				if string(k.Record().Value) == "50" {
					c.act(k)
				}
			}))
			b.feed("in", 0, 100, 10)
			start(t, b.config("a-1"), g).mustFail(c.says)
			for _, r := range b.read("out") {
				if r.Partition == Partition("key-0", nparts) {
					t.Fatalf("%s was emitted", r.Key)
				}
			}
		})
	}
}

// TestFencedWhileStarting: a survivor ends what an instance had open, at the moment
// when that is back and takes its transactional IDs over.
func TestFencedWhileStarting(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	b.feed("in", 0, 100, 7)
	f := b.fake(t).Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.ProducerFenced, Count: 2})
	p := start(t, b.config("a-1"), counting("a", "in", "out"))
	b.caughtUp("a", "in")
	p.mustEnd()
	b.checkOnce(100, 7, "out", "a-table")
	if f.Hits() != 2 {
		t.Errorf("%d hits", f.Hits())
	}
}
