package kgoka

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/lovoo/goka"
)

// Processor is one instance of a group.
type Processor struct {
	*base
	group      string
	graph      *goka.GroupGraph
	inputs     map[string]*input
	visitors   map[string]goka.ProcessCallback
	outputs    map[string]goka.Codec
	joins      map[string]goka.Codec
	lookups    map[string]*lookup
	tableTopic string // "" if the group has no table
	tableCodec goka.Codec
	npart      int // of the inputs, the joined tables, the loop and the group's own table
	count      counters

	mu    sync.Mutex
	sess  *session      // consuming now
	ready chan struct{} // closed while sess is set
	moved chan struct{} // closed when sess changes next
}

// input is one input edge: its codec and the callback of the graph's owner.
type input struct {
	codec goka.Codec // nil: bytes as they are
	cb    goka.ProcessCallback
}

// lookup is a table that is all here, whatever is assigned.
type lookup struct {
	codec  goka.Codec
	tables []*table // by partition
}

// NewProcessor prepares an instance of the graph's group. It does not talk to
// the brokers; Run does.
func NewProcessor(cfg Config, graph *goka.GroupGraph) (*Processor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of group %q: %w", graph.Group(), err)
	}
	if group := string(graph.Group()); !legalName(group) {
		return nil, fmt.Errorf("group %q: its name must be one that a topic could have", group)
	}
	if err := graph.Validate(); err != nil {
		return nil, fmt.Errorf("graph of group %q: %w", graph.Group(), err)
	}
	cfg = cfg.withDefaults()
	cfg.Log = cfg.Log.With("group", graph.Group())
	p := &Processor{base: newBase(cfg, string(graph.Group())), group: string(graph.Group()), graph: graph,
		inputs: map[string]*input{}, outputs: map[string]goka.Codec{}, joins: map[string]goka.Codec{}, lookups: map[string]*lookup{},
		ready: make(chan struct{}), moved: make(chan struct{})}
	cbs, visitors, err := callbacks(graph)
	if err != nil {
		return nil, fmt.Errorf("graph of group %q: %w", p.group, err)
	}
	p.visitors = visitors
	for _, e := range p.consumed() {
		p.inputs[e.Topic()] = &input{codecOf(e), cbs[e.Topic()]}
	}
	for _, e := range graph.OutputStreams() {
		p.outputs[e.Topic()] = e.Codec()
	}
	for _, topic := range cfg.SamePartition {
		if _, ok := p.outputs[topic]; !ok {
			return nil, fmt.Errorf("configuration of group %q: SamePartition names %q, which is not an output of the graph", p.group, topic)
		}
	}
	for _, e := range graph.JointTables() {
		p.joins[e.Topic()] = e.Codec()
	}
	for _, e := range graph.LookupTables() {
		p.lookups[e.Topic()] = &lookup{codec: e.Codec()}
	}
	if t := graph.GroupTable(); t != nil {
		p.tableTopic, p.tableCodec = t.Topic(), t.Codec()
	}
	return p, nil
}

// consumed returns the edges of what the group consumes.
func (p *Processor) consumed() goka.Edges {
	in := p.graph.InputStreams()
	if loop := p.graph.LoopStream(); loop != nil {
		in = append(in[:len(in):len(in)], loop)
	}
	return in
}

// Run consumes until ctx ends, and returns nil then: the transaction at hand is
// committed, the group left and the tables are closed. Any other return is for
// an error that repeating does not mend, such as a callback's. A broker that is
// away is waited for. Run can be called once.
func (p *Processor) Run(ctx context.Context) error {
	return p.run(ctx, filepath.Join(p.group, p.cfg.Instance), p.work)
}

func (p *Processor) work(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer end()
	err := p.prepare(ctx)
	if err == nil {
		err = p.look(ctx, &following)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	return newMembership(p).run(ctx)
}

// look reads the looked-up tables, and goes on with it beside all else.
func (p *Processor) look(ctx context.Context, following *sync.WaitGroup) error {
	var all []*table
	for topic, l := range p.lookups {
		var err error
		if l.tables, err = p.toRead(ctx, RoleLookup, topic, numbers(len(l.tables))...); err != nil {
			return err
		}
		all = append(all, l.tables...)
	}
	if err := p.catchUp(ctx, all); err != nil {
		return err
	}
	following.Go(func() { p.follow(ctx, RoleLookup, all) })
	return nil
}

// numbers returns the partitions of a topic that has n.
func numbers(n int) []int32 {
	nums := make([]int32, n)
	for i := range nums {
		nums[i] = int32(i)
	}
	return nums
}

// WaitReady returns once partitions are assigned, their tables recovered and
// records are consumed; or if there are more instances than partitions, and this
// one has nothing to do. It fails if ctx ends or Run has.
func (p *Processor) WaitReady(ctx context.Context) error {
	p.mu.Lock()
	ready := p.ready
	p.mu.Unlock()
	return p.await(ctx, ready)
}

// Ready says whether WaitReady would return at once. It is not for good: a
// rebalance takes it back until the tables of what is assigned then are recovered.
func (p *Processor) Ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sess != nil
}

// ErrNotHere says that a key's partition belongs to another instance, or to none yet.
var ErrNotHere = errors.New("partition is not assigned to this instance")

// Get returns the row of key as of the last commit, nil if there is none. It looks
// on the partition of the key, where rows are whose inputs are placed by their
// keys. The row must not be changed.
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
	return pt.visible(r), err
}

// First returns the least key, from from on, of the rows that are here as of the
// last commit; "" if there is none.
func (p *Processor) First(from string) (least string, err error) {
	if p.tableTopic == "" {
		return "", errNoTable
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sess == nil {
		return "", ErrNotHere
	}
	for _, pt := range p.sess.parts {
		key, err := pt.table.first(from)
		if err != nil {
			return "", err
		}
		if key != "" && (least == "" || key < least) {
			least = key
		}
	}
	return least, nil
}

// Rows calls each with the rows that are here and what is noted beside them, from key
// from and before to, as of the last commit of each partition; "" is no limit. Within
// a partition they come in the order of their keys. It holds nobody up: records are
// handled meanwhile.
// It ends with ErrNotHere when the partitions are taken away, or with each's error.
func (p *Processor) Rows(from, to string, each func(key string, row, note []byte) error) error {
	if p.tableTopic == "" {
		return errNoTable
	}
	p.mu.Lock()
	s := p.sess
	if s != nil && p.disk != nil { // which is not closed before serve(nil)
		p.disk.tries.Add(1)
		defer p.disk.tries.Done()
	}
	p.mu.Unlock()
	if s == nil {
		return ErrNotHere
	}
	for _, pt := range s.parts {
		for r, err := range pt.table.rows(from, to) {
			if err == nil && s.ended() {
				err = ErrNotHere
			}
			if v := pt.visible(r.row); err == nil && v != nil {
				err = each(r.key, v, r.note)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Moved returns a channel that is closed when partitions are assigned here, or
// taken away, the next time.
func (p *Processor) Moved() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moved
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
	close(p.moved)
	p.moved = make(chan struct{})
}
