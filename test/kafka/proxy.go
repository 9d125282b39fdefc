package kafka

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is the network before one node: connections through it can be cut,
// refused and slowed.
type Proxy struct {
	ln      net.Listener
	target  string
	refuse  atomic.Bool
	latency atomic.Int64

	mu      sync.Mutex
	links   map[*link]struct{}
	closed  bool
	serving sync.WaitGroup
}

func newProxy(target string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{ln: ln, target: target, links: map[*link]struct{}{}}
	p.serving.Go(p.serve)
	return p, nil
}

// Addr is where the proxy listens, host:port.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Cut closes the connections there are; new ones may come.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}

// Refuse has new connections closed at once, or no longer; those there are stay.
func (p *Proxy) Refuse(yes bool) { p.refuse.Store(yes) }

// Slow delays what comes from now on by d, each way. An hour is a network that
// swallows everything and says nothing; Cut ends it for the connections there are.
func (p *Proxy) Slow(d time.Duration) { p.latency.Store(int64(d)) }

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.ln.Close()
	p.Cut()
	p.serving.Wait()
}

func (p *Proxy) serve() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		if p.refuse.Load() {
			in.Close()
			continue
		}
		out, err := net.DialTimeout("tcp", p.target, 5*time.Second)
		if err != nil {
			in.Close()
			continue
		}
		p.serving.Go(func() { p.carry(&link{in: in, out: out, cut: make(chan struct{})}) })
	}
}

// carry keeps a link, so that it can be cut, until both of its ways have ended.
func (p *Proxy) carry(l *link) {
	p.mu.Lock()
	p.links[l] = struct{}{}
	if p.closed {
		l.close()
	}
	p.mu.Unlock()
	var ways sync.WaitGroup
	ways.Go(func() { p.pipe(l, l.in, l.out) })
	ways.Go(func() { p.pipe(l, l.out, l.in) })
	ways.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// pipe carries one way, until one end closes or the link is cut.
func (p *Proxy) pipe(l *link, from, to net.Conn) {
	under := make(chan chunk, 1024)
	var writer sync.WaitGroup
	writer.Go(func() {
		defer l.close()
		l.deliver(under, to)
	})
	defer writer.Wait()
	defer close(under)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case under <- chunk{time.Now().Add(time.Duration(p.latency.Load())), slices.Clone(buf[:n])}:
			case <-l.cut:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// link is a client's connection and the one behind it.
type link struct {
	in, out net.Conn
	once    sync.Once
	cut     chan struct{}
}

// chunk is bytes under way, and when they arrive.
type chunk struct {
	due   time.Time
	bytes []byte
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.cut)
		l.in.Close()
		l.out.Close()
	})
}

func (l *link) deliver(under <-chan chunk, to net.Conn) {
	for c := range under {
		select {
		case <-time.After(time.Until(c.due)):
		case <-l.cut:
			return
		}
		if _, err := to.Write(c.bytes); err != nil {
			return
		}
	}
}
