package kgoka

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Processor is one instance of a group.
type Processor struct {
	cfg        Config
	graph      *goka.GroupGraph // with run for every callback
	opts       []goka.ProcessorOption
	group      string
	inputs     map[string]*input
	outputs    map[string]goka.Codec
	joins      map[string]goka.Codec
	tableTopic string // "" if the group has no table
	tableCodec goka.Codec
	stores     stores
	adm        *kgo.Client // while Run runs
	count      counters
	started    atomic.Bool
	done       chan struct{}

	mu     sync.Mutex
	ctx    context.Context // of what goka does now: the session's or Run's
	sess   *session        // consuming now
	ready  chan struct{}   // closed while sess is set
	tables map[place]*table
	npart  int
	fatal  error
	away   map[string]bool // broker addresses that could not be reached
}

// NewProcessor prepares an instance of the graph's group. It does not talk to
// the brokers; Run does. Of the options, those that replace goka's transport,
// storage, hasher, logger, context wrapper and nil handling have no effect.
func NewProcessor(cfg Config, graph *goka.GroupGraph, opts ...goka.ProcessorOption) (*Processor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of group %q: %w", graph.Group(), err)
	}
	if group := string(graph.Group()); !legalName(group) {
		return nil, fmt.Errorf("group %q: its name must be one that a topic could have", group)
	}
	if err := checkGraph(graph); err != nil {
		return nil, fmt.Errorf("graph of group %q: %w", graph.Group(), err)
	}
	p := &Processor{cfg: cfg.withDefaults(), group: string(graph.Group()),
		inputs: map[string]*input{}, outputs: map[string]goka.Codec{}, joins: map[string]goka.Codec{},
		done: make(chan struct{}), ready: make(chan struct{}), tables: map[place]*table{}, away: map[string]bool{}}
	p.cfg.Log = p.cfg.Log.With("group", p.group)
	g, callbacks, err := rewire(graph, p.run)
	if err != nil {
		return nil, fmt.Errorf("graph of group %q: %w", p.group, err)
	}
	p.graph = g
	ins := graph.InputStreams()
	if loop := graph.LoopStream(); loop != nil {
		ins = append(ins[:len(ins):len(ins)], loop)
	}
	for _, e := range ins {
		p.inputs[e.Topic()] = &input{codecOf(e), callbacks[e.Topic()]}
	}
	for _, e := range graph.OutputStreams() {
		p.outputs[e.Topic()] = e.Codec()
	}
	for _, e := range graph.JointTables() {
		p.joins[e.Topic()] = e.Codec()
	}
	if t := graph.GroupTable(); t != nil {
		p.tableTopic, p.tableCodec = t.Topic(), t.Codec()
	}
	p.opts = append(opts[:len(opts):len(opts)], p.transport()...)
	return p, nil
}

// transport puts this package in the place of sarama.
func (p *Processor) transport() []goka.ProcessorOption {
	return []goka.ProcessorOption{
		goka.WithLogger(gokaLog{p.cfg.Log}),
		goka.WithHasher(NewHasher),
		goka.WithNilHandling(goka.NilProcess), // the message that brings a batch has no value
		goka.WithContextWrapper(func(c goka.Context) goka.Context { return c }),
		goka.WithProducerBuilder(func([]string, string, func() hash.Hash32) (goka.Producer, error) { return noProducer{}, nil }),
		goka.WithConsumerGroupBuilder(func([]string, string, string) (sarama.ConsumerGroup, error) { return newGroup(p), nil }),
		goka.WithConsumerSaramaBuilder(func([]string, string) (sarama.Consumer, error) {
			return newReader(p.tableTopic, p.clientOpts("reader")), nil
		}),
		goka.WithTopicManagerBuilder(func([]string) (goka.TopicManager, error) { return p.topicManager(), nil }),
		goka.WithStorageBuilder(p.openTable),
	}
}

// Run consumes until ctx ends, and returns nil then: the transaction at hand is
// committed, the group left and the tables are closed. Any other return is for
// an error that repeating does not mend, such as a callback's. A broker that is
// away is waited for. Run can be called once.
func (p *Processor) Run(ctx context.Context) (err error) {
	if p.started.Swap(true) {
		return errors.New("a processor runs only once")
	}
	defer close(p.done)
	if p.stores, err = openStores(p.cfg, p.group); err != nil {
		return err
	}
	defer func() {
		if e := p.stores.close(); !errors.Is(err, e) {
			err = errors.Join(err, e)
		}
	}()
	lost := p.stores.failed()
	work, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(lost, end)()
	p.setContext(work)
	if p.adm, err = kgo.NewClient(p.clientOpts("admin")...); err != nil {
		return err
	}
	defer p.adm.Close()
	g, err := goka.NewProcessor(p.cfg.Brokers, p.graph, p.opts...)
	if err == nil {
		err = g.Run(work)
	}
	if lost.Err() != nil {
		return context.Cause(lost)
	}
	if ctx.Err() != nil { // goka reports its own stop as an error, too
		err = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fatal != nil {
		return p.fatal
	}
	return err
}

// WaitReady returns once partitions are assigned, their tables recovered and
// records are consumed; or if there are more instances than partitions, and this
// one has nothing to do. It fails if ctx ends or Run has.
func (p *Processor) WaitReady(ctx context.Context) error {
	p.mu.Lock()
	ready := p.ready
	p.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-p.done:
		return errors.New("the processor has ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ErrNotHere says that a key's partition belongs to another instance, or to none yet.
var ErrNotHere = errors.New("partition is not assigned to this instance")

// Get returns the row of key as of the last commit, nil if there is none. The
// row must not be changed.
func (p *Processor) Get(key string) ([]byte, error) {
	if p.tableTopic == "" {
		return nil, errNoTable
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sess == nil {
		return nil, ErrNotHere
	}
	pt := p.sess.parts[Partition(key, p.npart)]
	if pt == nil {
		return nil, ErrNotHere
	}
	r, err := pt.table.committed([]byte(key))
	if err != nil || pt.guard && len(r.val) == 0 {
		return nil, err
	}
	return r.val, nil
}

// run is the callback that goka calls: with the message that brings a batch.
func (p *Processor) run(ctx goka.Context, _ any) {
	p.mu.Lock()
	pt := p.sess.parts[ctx.Partition()]
	p.mu.Unlock()
	pt.run(ctx)
}

func (p *Processor) topicManager() goka.TopicManager {
	return &topicManager{adm: kadm.NewClient(p.adm), ctx: p.context, table: p.tableTopic,
		settle: 2 * p.cfg.TransactionTimeout, factor: p.cfg.Replication, warn: p.cfg.Log.Warn}
}

// openTable is goka's storage builder.
func (p *Processor) openTable(topic string, num int32) (storage.Storage, error) {
	at := place{topic, num}
	var t *table
	err := retry(p.context(), func(ctx context.Context) (err error) {
		t, err = openChecked(ctx, p.stores, p.adm, at, p.cfg.Log)
		return err
	})
	if err != nil {
		return nil, err
	}
	t.group = topic == p.tableTopic
	t.onClose = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.tables, at)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tables[at] = t
	return t, nil
}

func (p *Processor) joined(topic string, num int32) *table {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tables[place{topic, num}]
}

func (p *Processor) context() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ctx
}

func (p *Processor) setContext(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx = ctx
}

// serve says which session is consuming, nil for none.
func (p *Processor) serve(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s != nil && p.sess == nil:
		close(p.ready)
	case s == nil && p.sess != nil:
		p.ready = make(chan struct{})
	}
	p.sess = s
}

func (p *Processor) setFatal(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fatal = err
}

// clientOpts is what all clients share. A short metadata age matters to a fresh
// producer, whose first records wait for the topics to be known, and to whoever
// meets a leader that has just moved.
func (p *Processor) clientOpts(role string) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(p.cfg.Brokers...),
		kgo.ClientID(p.group + "." + role),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.WithHooks(connects{p}),
	}, p.cfg.ClientOpts...)
}

// connects notices that brokers go away and come back, and says each once.
type connects struct{ p *Processor }

func (c connects) OnBrokerConnect(m kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	addr := net.JoinHostPort(m.Host, fmt.Sprint(m.Port))
	c.p.mu.Lock()
	was := c.p.away[addr]
	c.p.away[addr] = err != nil
	c.p.mu.Unlock()
	switch {
	case err != nil && !was:
		c.p.cfg.Log.Warn("broker is away, waiting for it", "broker", addr, "error", err)
	case err == nil && was:
		c.p.cfg.Log.Warn("broker is back", "broker", addr)
	}
}

// gokaLog takes goka's own messages at debug level: what matters of them comes
// back as errors.
type gokaLog struct{ *slog.Logger }

func (l gokaLog) Print(a ...any)                 { l.Debug(fmt.Sprint(a...)) }
func (l gokaLog) Println(a ...any)               { l.Debug(fmt.Sprint(a...)) }
func (l gokaLog) Printf(format string, a ...any) { l.Debug(fmt.Sprintf(format, a...)) }
