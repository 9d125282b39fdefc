package kgoka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// group is the sarama.ConsumerGroup that goka consumes from. Consume returns
// only when all is over: rebalances, and clients made anew, are cycles of Setup,
// ConsumeClaim and Cleanup within it, so that goka, which sleeps 5 s whenever
// Consume returns, never does.
type group struct {
	p     *Processor
	h     sarama.ConsumerGroupHandler
	limit int // records per poll; shrinks when transactions fail
	errs  chan error
}

func newGroup(p *Processor) *group { return &group{p: p, limit: p.cfg.MaxPoll, errs: make(chan error)} }

func (g *group) Errors() <-chan error      { return g.errs }
func (g *group) Close() error              { return nil }
func (g *group) Pause(map[string][]int32)  {}
func (g *group) Resume(map[string][]int32) {}
func (g *group) PauseAll()                 {}
func (g *group) ResumeAll()                {}

// session is one assignment: what goka sees of it (sarama.ConsumerGroupSession)
// and what the loop needs. It is torn down where the group takes it away, in the
// client's callback, and that is why setting up and tearing down exclude each
// other; the client sees to it that no batch is under way then.
type session struct {
	g      *group
	ctx    context.Context
	cancel context.CancelFunc
	work   context.Context // of callbacks: ends with ctx, and when Run shall end
	leave  func() bool     // forgets that Run may end
	assign map[string][]int32
	member string
	gen    int32
	parts  map[int32]*part
	claims []*claim

	pending atomic.Int32  // partitions that have not finished the batch
	idle    chan struct{} // a batch is finished
	exited  chan struct{} // a claim ended by itself: a callback failed
	exit    sync.Once
	running sync.WaitGroup

	mu       sync.Mutex
	up, down bool
	err      error
}

func newSession(g *group, assign map[string][]int32, member string, gen int32) *session {
	s := &session{g: g, assign: map[string][]int32{}, member: member, gen: gen, parts: map[int32]*part{},
		idle: make(chan struct{}, 1), exited: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	p := g.p
	for topic, nums := range assign {
		for _, num := range nums {
			pt := s.parts[num]
			if pt == nil {
				pt = &part{p: p, num: num, outputs: p.outputs, claims: map[string]*claim{}, rowAt: map[string]int{}}
				s.parts[num] = pt
			}
			c := &claim{topic: topic, part: num, msgs: make(chan *sarama.ConsumerMessage, 1)}
			pt.claims[topic] = c
			s.claims = append(s.claims, c)
			s.assign[topic] = append(s.assign[topic], num)
		}
	}
	return s
}

func (s *session) Claims() map[string][]int32               { return s.assign }
func (s *session) MemberID() string                         { return s.member }
func (s *session) GenerationID() int32                      { return s.gen }
func (s *session) Context() context.Context                 { return s.ctx }
func (s *session) Commit()                                  {}
func (s *session) ResetOffset(string, int32, int64, string) {}

// MarkOffset comes when a partition has finished its batch.
func (s *session) MarkOffset(string, int32, int64, string) {
	if s.pending.Add(-1) == 0 {
		s.idle <- struct{}{}
	}
}

func (s *session) MarkMessage(m *sarama.ConsumerMessage, md string) {
	s.MarkOffset(m.Topic, m.Partition, m.Offset+1, md)
}

// setup recovers the tables and starts the claims. It gives up when ctx ends.
func (s *session) setup(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil
	}
	p := s.g.p
	for topic, nums := range s.assign {
		if int(slices.Max(nums)) >= p.npart {
			return fmt.Errorf("topic %q has got more partitions than the %d that group %q started with: keys would move away from their rows", topic, p.npart, p.group)
		}
	}
	p.setContext(s.ctx)
	defer p.setContext(ctx)
	var end context.CancelFunc
	s.work, end = context.WithCancel(s.ctx)
	s.leave = context.AfterFunc(ctx, end)
	stop := context.AfterFunc(ctx, s.cancel)
	err := s.g.h.Setup(s)
	stop()
	s.up = true
	if s.ctx.Err() != nil {
		return nil // taken away meanwhile, or all is over: teardown follows
	}
	if err != nil {
		return err
	}
	for _, pt := range s.parts {
		pt.work = s.work
		if p.tableTopic != "" {
			if pt.table = p.joined(p.tableTopic, pt.num); pt.table == nil {
				return errors.New("goka set up no table")
			}
			pt.guard = p.cfg.Origins
		}
	}
	for _, c := range s.claims {
		s.running.Go(func() {
			if err := s.g.h.ConsumeClaim(s, c); err != nil {
				p.cfg.Log.Error("claim failed", "topic", c.topic, "partition", c.part, "error", err)
			}
			s.exit.Do(func() { close(s.exited) })
		})
	}
	return nil
}

// teardown ends the session; it is safe to call twice.
func (s *session) teardown() error {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return s.err
	}
	s.down = true
	for _, c := range s.claims {
		close(c.msgs)
	}
	s.running.Wait()
	if s.up {
		s.leave()
		s.err = s.g.h.Cleanup(s)
	}
	return s.err
}

func (s *session) ended() bool { return s.ctx.Err() != nil }

// claim is one topic's partition. One message comes through it per batch, for all
// topics of that partition; the records go round it.
type claim struct {
	topic string
	part  int32
	msgs  chan *sarama.ConsumerMessage
}

func (c *claim) Topic() string                            { return c.topic }
func (c *claim) Partition() int32                         { return c.part }
func (c *claim) InitialOffset() int64                     { return 0 }
func (c *claim) HighWaterMarkOffset() int64               { return 0 }
func (c *claim) Messages() <-chan *sarama.ConsumerMessage { return c.msgs }

// handle gives a batch to the partitions and waits until they are done with it.
func (s *session) handle(b *batch, fs kgo.Fetches) error {
	var due []*part
	for i := range fs {
		for _, t := range fs[i].Topics {
			for _, fp := range t.Partitions {
				if len(fp.Records) == 0 {
					continue
				}
				pt := s.parts[fp.Partition]
				if len(pt.chunks) == 0 {
					pt.batch = b
					due = append(due, pt)
				}
				pt.chunks = append(pt.chunks, chunk{s.g.p.inputs[t.Topic], t.Topic, t.TopicID, fp.Records})
			}
		}
	}
	s.pending.Store(int32(len(due)))
	for _, pt := range due {
		first := pt.chunks[0]
		pt.claims[first.topic].msgs <- &sarama.ConsumerMessage{Topic: first.topic, Partition: pt.num, Offset: first.records[0].Offset}
	}
	select {
	case <-s.idle:
		return nil
	case <-s.exited:
		err := s.teardown() // waits for the other partitions
		if err == nil {
			err = errors.New("a partition stopped")
		}
		return failure{err}
	}
}

var (
	_ sarama.ConsumerGroup        = (*group)(nil)
	_ sarama.ConsumerGroupSession = (*session)(nil)
	_ sarama.ConsumerGroupClaim   = (*claim)(nil)
	_ goka.Producer               = noProducer{}
)
