// Package wire is a network that tests cut: nobody hears any more of who is at its
// end, which to all others is as good as kill -9.
package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Dial opens a connection.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Err is what a wire says that is cut.
var Err = errors.New("the wire is cut")

// Wire is what connections go through.
type Wire struct {
	Dial   Dial
	Counts func(written []byte) bool // tells which writes CutAt counts; nil: all

	mu    sync.Mutex
	dead  bool
	left  int  // writes until it is cut; below 1: it is not
	after bool // the last one passes
	conns []net.Conn
}

// Connect is a Dial.
func (w *Wire) Connect(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := w.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		c.Close()
		return nil, Err
	}
	w.conns = append(w.conns, c)
	return &tap{c, w}, nil
}

// Cut cuts it now; twice is once.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
	for _, c := range w.conns {
		c.Close()
	}
}

// CutAt cuts it at the n-th write from now on, which is lost; after has it pass, and
// its answer is.
func (w *Wire) CutAt(n int, after bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.after = n, after
}

// IsCut tells whether it is.
func (w *Wire) IsCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

// count tells whether a write is the one to cut at, and whether that passes.
func (w *Wire) count(written []byte) (last, after bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left < 1 || w.Counts != nil && !w.Counts(written) {
		return false, false
	}
	w.left--
	return w.left == 0, w.after
}

// tap counts what is written.
type tap struct {
	net.Conn
	w *Wire
}

func (t *tap) Write(b []byte) (int, error) {
	last, after := t.w.count(b)
	if last {
		defer t.w.Cut()
	}
	if last && !after {
		return 0, Err
	}
	return t.Conn.Write(b)
}

// Transaction tells whether what is written to a broker begins a request that a
// transaction is made of.
func Transaction(written []byte) bool {
	if len(written) < 6 {
		return false
	}
	switch kmsg.Key(binary.BigEndian.Uint16(written[4:])) {
	case kmsg.InitProducerID, kmsg.Produce, kmsg.AddPartitionsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn:
		return true
	}
	return false
}
