package kgoka

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestInstanceOf(t *testing.T) {
	for _, c := range []struct{ group, id, instance string }{
		{"a", txnID("a", "1", 0), "1"},
		{"a", txnID("a", "x-1.y", 1), "x-1.y"},
		{"a", txnID("ab", "1", 0), ""},
		{"ab", txnID("a", "1", 0), ""},
		{"a", "a", ""},
		{"a", "a/", ""},
		{"a", "a-1-0", ""}, // of somebody else
	} {
		if got, ok := instanceOf(c.group, c.id); got != c.instance || ok != (c.instance != "") {
			t.Errorf("%s, %s: %q, %v", c.group, c.id, got, ok)
		}
	}
}

// dying is an instance's network that is cut when the instance sends a request of
// one kind: the broker does not get it.
type dying struct {
	wire
	key   int16
	armed atomic.Bool
}

func (d *dying) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.wire.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &dyingConn{c, d}, nil
}

type dyingConn struct {
	net.Conn
	d *dying
}

func (c *dyingConn) Write(b []byte) (int, error) {
	if isRequest(b, c.d.key) && c.d.armed.CompareAndSwap(true, false) {
		c.d.kill()
	}
	return c.Conn.Write(b)
}

// TestDiesInATransaction: an instance dies with its transaction open, which the
// broker would keep for long. The survivor ends it and goes on; the dead one wakes
// up, is a member again, and nothing of what it had under way counts.
func TestDiesInATransaction(t *testing.T) {
	for name, key := range map[string]kmsg.Key{
		"before its offsets": kmsg.TxnOffsetCommit,
		"before its end":     kmsg.EndTxn, // offsets are held back, too
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, "in", "out", "a-table")
			const keys, step = 23, 400
			d := &dying{key: key.Int16()}
			inst := func(name string, opts ...kgo.Opt) *running {
				cfg := b.config(name)
				cfg.ClientOpts, cfg.TransactionTimeout = opts, long
				return start(t, cfg, counting("a", "in", "out")).waitReady()
			}
			p := inst("a-1", kgo.Dialer(d.dial))
			q := inst("a-2")
			share(p, q)
			b.feed("in", 0, step, keys)
			b.caughtUp("a", "in")
			d.armed.Store(true)
			b.feed("in", step, step, keys)
			until(t, "one dies", d.cut.Load)
			until(t, "the other has all", func() bool { return q.owns() == nparts })
			b.caughtUp("a", "in")
			if b.logs.count("ended the open transaction of an instance that is gone") == 0 {
				t.Error("nobody ended the dead one's transaction")
			}
			d.cut.Store(false)
			share(p, q)
			b.feed("in", 2*step, step, keys)
			b.caughtUp("a", "in")
			p.mustEnd()
			q.mustEnd()
			b.checkOnce(3*step, keys, "out", "a-table")
		})
	}
}

// TestFencingRefused: where transactions cannot be listed, or not be ended, it is
// said once and changes nothing else.
func TestFencingRefused(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	f := b.fake(t).Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListTransactions}, TopLevel: true, Err: kerr.ClusterAuthorizationFailed, Count: -1})
	p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	q := start(t, b.config("a-2"), counting("a", "in", "out")).waitReady()
	b.feed("in", 0, 300, 11)
	b.caughtUp("a", "in")
	p.mustEnd()
	q.mustEnd()
	b.checkOnce(300, 11, "out", "a-table")
	if n := b.logs.count("cannot end transactions"); n != 2 || f.Hits() < 3 {
		t.Errorf("%d asked, %d told", f.Hits(), n)
	}
}
