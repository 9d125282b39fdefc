package app_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// A customer buys two books, one for more than 100.00. What grants the voucher is
// lost on its way, in every way there is, and the delivery is processed again, in every
// way there is: there is one voucher.
func TestCoupon(t *testing.T) {
	refusedGrant := func(why *kerr.Error) *kfake.Fault {
		return &kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topics.Vouchers, Err: why}
	}
	refusedCommit := func(why *kerr.Error) *kfake.Fault {
		return &kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: why,
			When: func(r kmsg.Request) bool {
				return strings.HasPrefix(r.(*kmsg.EndTxnRequest).TransactionalID, "voucher/")
			}}
	}
	for _, c := range []struct {
		name    string
		refused *kfake.Fault // what the broker says no to, once
		loss    *loss
		aborted bool // a grant was written that does not count
	}{
		{name: "nothing is lost"},
		{name: "a copy of the grant is missing", refused: refusedGrant(kerr.NotEnoughReplicas)},
		{name: "the grant comes in a wrong state", refused: refusedGrant(kerr.InvalidTxnState)},
		{name: "the grant is fenced", refused: refusedGrant(kerr.ProducerFenced)},
		{name: "the commit is fenced", refused: refusedCommit(kerr.ProducerFenced), aborted: true},
		{name: "the commit is refused", refused: refusedCommit(kerr.UnknownServerError), aborted: true},
		{name: "the grant does not arrive", loss: &loss{request: kmsg.Produce}},
		{name: "the grant is written, the answer lost", loss: &loss{request: kmsg.Produce, done: true}},
		{name: "the commit does not arrive", loss: &loss{request: kmsg.EndTxn}},
		{name: "it is committed, the answer lost", loss: &loss{request: kmsg.EndTxn, done: true}},
		{name: "dead before the grant", loss: &loss{request: kmsg.Produce, dies: true}},
		{name: "dead after the grant", loss: &loss{request: kmsg.Produce, done: true, dies: true}, aborted: true},
		{name: "dead before the commit", loss: &loss{request: kmsg.EndTxn, dies: true}, aborted: true},
		{name: "dead after the commit", loss: &loss{request: kmsg.EndTxn, done: true, dies: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openBookshop(t)
				s.vouchers("first", c.loss)
				s.send(price("sku_dear", 8404), price("sku_cheap", 999), receive("sku_dear", 9), receive("sku_cheap", 9))
				s.send(place("ord_1", "cus_ann", schemas.PlaceLine{SKU: "sku_dear", Quantity: 1}))
				s.send(place("ord_2", "cus_ann", schemas.PlaceLine{SKU: "sku_cheap", Quantity: 1}))
				s.states(map[string]int{"invoiced": 2})

				var refusal *kfake.FaultHandle
				if c.refused != nil {
					refusal = s.broker.Fault(*c.refused)
				}
				if c.loss != nil {
					c.loss.arm()
				}
				s.send(deliver("ord_1"), deliver("ord_2"))
				if c.loss != nil {
					select {
					case <-c.loss.met:
					case <-time.After(time.Minute):
						t.Fatal("nothing was lost")
					}
				}
				if c.loss != nil && c.loss.dies {
					s.vouchers("second", nil)
				}
				s.states(map[string]int{"delivered": 2})
				s.one()
				if refusal != nil && refusal.Hits() == 0 {
					t.Error("nothing was refused")
				}
				if n := s.written(); c.aborted != (n > 1) {
					t.Errorf("%d grants were written, committed or not", n)
				}

				s.send(deliver("ord_1")) // by who asks again
				s.again(topics.OrderTable, topics.OrderReplies)
				s.one()
				s.rewind()
				s.vouchers("last", nil)
				s.one()
			})
		})
	}
}

// bookshop is a cluster on which the rules run, those that grant vouchers apart from
// the others. It is for synctest.
type bookshop struct {
	*world
	net    kfake.VirtualNetwork
	broker *kfake.Cluster
	cfg    app.Config
	apart  []*app.App
}

func openBookshop(t *testing.T) *bookshop {
	s := &bookshop{}
	var err error
	s.broker, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(s.net.Listen), kfake.GroupMinSessionTimeout(time.Second))
	must(t, err)
	t.Cleanup(s.broker.Close)
	devbroker.WantNoMetrics(s.broker)
	at, err := s.net.Listen("tcp", "127.0.0.1:8081")
	must(t, err)
	registry := &http.Server{Handler: srfake.NewRegistry().Handler()}
	go func() { _ = registry.Serve(at) }()
	t.Cleanup(func() { must(t, registry.Close()) })
	s.cfg = config(t)
	s.cfg.Brokers, s.cfg.Registry, s.cfg.ApplyTopics, s.cfg.Dial = s.broker.ListenAddrs(), "http://127.0.0.1:8081", true, s.net.DialContext
	cfg := s.cfg
	cfg.Processors = slices.DeleteFunc(app.Names(), func(n string) bool { return n == "voucher" || n == "notification" || n == "effects" })
	s.world = start(t, cfg)
	return s
}

// vouchers runs an instance that grants them, behind what may be lost.
func (s *bookshop) vouchers(instance string, l *loss) {
	s.t.Helper()
	cfg := s.cfg
	cfg.Processors, cfg.Instance = []string{"voucher"}, instance
	if l != nil {
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			return l.dial(func() (net.Conn, error) { return s.net.DialContext(ctx, network, address) })
		}
	}
	a, err := app.New(cfg)
	must(s.t, err)
	must(s.t, a.Start(s.t.Context()))
	s.t.Cleanup(func() { must(s.t, a.Stop()) })
	s.apart = append(s.apart, a)
}

// one checks that there is one voucher, wherever one looks.
func (s *bookshop) one() {
	s.t.Helper()
	s.quiet()
	c := s.content()
	var rows, earned, told int
	for _, v := range c[topics.VoucherTable] {
		var row schemas.Grants
		must(s.t, json.Unmarshal([]byte(v), &row))
		rows++
		earned += len(row.Granted)
	}
	for _, v := range c[topics.OrderTable] {
		var o schemas.Order
		must(s.t, json.Unmarshal([]byte(v), &o))
		for _, e := range o.Timeline {
			if e.Type == schemas.VoucherGrantedEvent {
				told++
			}
		}
	}
	if n := s.counts()[topics.Vouchers]; rows != 1 || earned != 1 || told != 1 || n != 1 || len(c[topics.Vouchers]) != 1 {
		s.t.Fatalf("%d rows with %d vouchers, %d in timelines, %d records of %d vouchers, want one each", rows, earned, told, n, len(c[topics.Vouchers]))
	}
}

// written is how many grants stand on the topic of vouchers, committed or not.
func (s *bookshop) written() (n int) {
	s.t.Helper()
	ends, err := s.admin().ListEndOffsets(s.t.Context(), topics.Vouchers)
	must(s.t, err)
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	cl, err := kgo.NewClient(append(s.ClientOpts(), kgo.ConsumeTopics(topics.Vouchers), kgo.KeepControlRecords())...)
	must(s.t, err)
	defer cl.Close()
	for ctx := s.within(time.Minute); len(left) > 0; {
		fs := cl.PollFetches(ctx)
		must(s.t, fs.Err())
		fs.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				n++
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return n
}

// again shows all records of topics once more.
func (s *bookshop) again(names ...string) {
	for _, topic := range names {
		must(s.t, content.EachRecord(s.t.Context(), s.ClientOpts(), topic, func(r *kgo.Record) error {
			s.produce(&kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers})
			return nil
		}))
	}
}

// rewind has whoever grants vouchers begin anew, with the table that there is.
func (s *bookshop) rewind() {
	s.t.Helper()
	for _, a := range s.apart {
		must(s.t, a.Stop())
	}
	resp, err := s.admin().FetchOffsets(s.t.Context(), "voucher")
	must(s.t, err)
	var zero kadm.Offsets
	resp.Each(func(o kadm.OffsetResponse) { zero.AddOffset(o.Topic, o.Partition, 0, -1) })
	if len(zero) == 0 {
		s.t.Fatal("there are no offsets")
	}
	must(s.t, s.admin().CommitAllOffsets(s.t.Context(), "voucher", zero))
}

// loss is what befalls a process when it first sends a request of a kind to a
// broker, once armed: its connection breaks, before the request has arrived or when
// the answer is there. A process that dies of it gets no other connection.
type loss struct {
	request    kmsg.Key
	done, dies bool

	mu    sync.Mutex
	met   chan struct{} // closed when it happens; nil: not armed
	ready bool          // to happen
	dead  bool
	conns []net.Conn
}

func (l *loss) arm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready, l.met = true, make(chan struct{})
}

var errLost = errors.New("the connection is lost")

func (l *loss) dial(dial func() (net.Conn, error)) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return nil, errLost
	}
	c, err := dial()
	if err != nil {
		return nil, err
	}
	l.conns = append(l.conns, c)
	return &lossy{Conn: c, l: l}, nil
}

// befalls tells whether it is this request that is lost.
func (l *loss) befalls(request []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	hit := l.ready && len(request) > 12 && kmsg.Key(binary.BigEndian.Uint16(request[4:])) == l.request
	l.ready = l.ready && !hit
	return hit
}

// strike breaks a connection, and all others of who dies.
func (l *loss) strike(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Close()
	if l.dead = l.dies; l.dead {
		for _, c := range l.conns {
			c.Close()
		}
	}
	close(l.met)
}

// lossy is a connection to a broker. A request is written at once: its length, its
// kind, a version and a number. Its answer begins with its length and that number.
type lossy struct {
	net.Conn
	l      *loss
	doomed atomic.Pointer[[]byte] // number of the answer that shall not be read
}

func (c *lossy) Write(b []byte) (int, error) {
	if c.l.befalls(b) {
		if !c.l.done {
			c.l.strike(c.Conn)
			return 0, errLost
		}
		number := bytes.Clone(b[8:12])
		c.doomed.Store(&number)
	}
	return c.Conn.Write(b)
}

func (c *lossy) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if number := c.doomed.Load(); number != nil && n >= 8 && bytes.Equal(b[4:8], *number) {
		c.doomed.Store(nil)
		c.l.strike(c.Conn)
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}
