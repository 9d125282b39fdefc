package kgoka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clients is what a group consumes and produces with, until there is a doubt.
type clients struct {
	*membership
	ctx    context.Context // ends with Run
	prods  [2]*producer
	turn   int
	cl     *kgo.Client
	next   chan *session      // the last assignment, until the loop takes it
	cur    *session           // owned by the client's callbacks, as are joined and mine
	joined *kgo.Client        // cl, which a callback may come too early to see
	mine   map[string][]int32 // what is assigned
	tries  int                // aborts since the last commit
	stuck  chan error         // an error of the group that joining again does not mend
}

// doubt marks an error after which it is not known what the broker holds, or
// that it holds against these clients. New ones find out: taking over the
// transactional IDs ends what was open, the group knows the offsets and the
// changelogs know the rows.
type doubt struct{ error }

func (d doubt) Unwrap() error { return d.error }

// run consumes until ctx ends or an error is there to stay.
func (m *membership) run(ctx context.Context) error {
	defer m.leave()
	var wait time.Duration
	for ctx.Err() == nil {
		before := m.p.count.in.Load()
		err := m.live(ctx)
		if ctx.Err() != nil && (!errors.As(err, new(failure)) || errors.Is(err, context.Canceled)) {
			return nil
		}
		if !errors.As(err, new(doubt)) {
			return err
		}
		if m.p.count.in.Load() > before {
			wait = 0
		}
		wait = min(max(2*wait, 100*time.Millisecond), 5*time.Second)
		m.p.count.rebuilds.Add(1)
		m.p.cfg.Log.Warn("making new clients", "error", err, "after", wait)
		pause(ctx, wait)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// live consumes with one set of clients.
func (m *membership) live(ctx context.Context) error {
	c := &clients{membership: m, ctx: ctx, next: make(chan *session, 1), stuck: make(chan error, 1)}
	defer c.close()
	if err := c.connect(ctx); err != nil {
		if passing(err) || fenced(err) { // two that ask at once for one ID: a survivor, and who it took for dead
			return doubt{err}
		}
		return err
	}
	for {
		var s *session
		select {
		case <-ctx.Done():
			return nil
		case err := <-c.stuck:
			return err
		case s = <-c.next:
		}
		stop := m.fencing(ctx)
		err := s.setup(ctx)
		stop()
		if err == nil && !s.ended() {
			m.p.serve(s)
			err = c.consume(ctx, s)
			m.p.serve(nil)
		}
		s.teardown()
		if err != nil {
			return err
		}
	}
}

// connect takes over the transactional IDs and then joins the group.
func (c *clients) connect(ctx context.Context) (err error) {
	p := c.p
	if err := c.alone(ctx); err != nil {
		return err
	}
	implicit, err := ImplicitOffsets(ctx, p.adm)
	if err != nil {
		return err
	}
	for i := range c.prods {
		id := txnID(p.group, p.cfg.Instance, i)
		if c.prods[i], err = newProducer(ctx, id, p.cfg, p.tableTopic, implicit, p.clientOpts("producer")); err != nil {
			return err
		}
	}
	if err := c.sameTopics(ctx); err != nil {
		return err
	}
	c.cl, err = kgo.NewClient(append(p.clientOpts("consumer"),
		kgo.ConsumerGroup(p.group), kgo.InstanceID(p.cfg.Instance), kgo.ConsumeTopics(c.topics...),
		kgo.Balancers(sameInputs{kgo.RangeBalancer(), c.topics}),
		kgo.BlockRebalanceOnPoll(), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(p.cfg.SessionTimeout), kgo.HeartbeatInterval(p.cfg.Heartbeat),
		kgo.RebalanceTimeout(p.cfg.RebalanceTimeout),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // fetched says where to begin, and nothing else does
		// The group commits past control records, too: where they are the last, and
		// retention takes them, it would seem to have missed something.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.WithHooks(c), kgo.OnPartitionsAssigned(c.assigned), kgo.AdjustFetchOffsetsFn(c.fetched),
		kgo.OnPartitionsRevoked(c.revoked), kgo.OnPartitionsLost(c.revoked))...)
	return err
}

// sameInputs is range, under a name by which the broker lets only those into the
// group that consume the same topics.
//
// Range gives equal partitions of all topics to the same member, if all consume the
// same ones: otherwise two would write to one partition of the table. Cooperative
// sticky does not: of 8 partitions of three topics, three members share some. What
// range costs is that all partitions rest in a rebalance, for 35 to 90 ms on Apache
// Kafka with tables that are warm.
type sameInputs struct {
	kgo.GroupBalancer
	topics []string
}

func (b sameInputs) ProtocolName() string { return Protocol(b.topics) }

// Protocol is the name by which instances that consume these topics know each other
// in a group. Who joins by a request of their own, needs it.
func Protocol(topics []string) string {
	return "range of " + strings.Join(slices.Sorted(slices.Values(topics)), ",")
}

// close ends the clients. The group is not left: the next clients take these
// ones' place.
func (c *clients) close() {
	if c.cl != nil {
		if id, _ := c.cl.GroupMetadata(); id != "" {
			c.member = id
		}
		c.cl.CloseAllowingRebalance()
	}
	if c.cur != nil {
		c.cur.teardown()
	}
	for _, p := range c.prods {
		if p != nil {
			p.cl.Close()
		}
	}
}

// The group's callbacks. A session is offered to the loop only once the group's
// offsets are stable: before, a predecessor could still commit between the
// recovery of a table and the first record.

func (c *clients) assigned(_ context.Context, cl *kgo.Client, m map[string][]int32) {
	c.p.count.rebalances.Add(1)
	c.joined, c.mine = cl, m
	for _, nums := range m {
		if len(nums) > 0 {
			c.settle(c.ctx, m)
			return // fetched follows
		}
	}
	c.offer(nil)
}

// fetched says where to consume from. The client gets offsets without epochs, which
// positions has looked at: what it must look up itself, it adds to its fetches one
// long poll later. A partition that a broker which has just come back does not know is
// one that the client would go without, silently, until the next rebalance: joining
// again asks anew.
func (c *clients) fetched(ctx context.Context, offs map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	for topic, nums := range c.mine {
		for _, num := range nums {
			if _, ok := offs[topic][num]; !ok {
				return nil, fmt.Errorf("committed offset of %s/%d: %w", topic, num, kerr.UnknownTopicOrPartition)
			}
		}
	}
	var at offsets
	err := retry(ctx, func(ctx context.Context) (err error) {
		at, err = c.positions(ctx, c.mine)
		return err
	})
	if err != nil {
		if !passing(err) {
			c.give(err)
		}
		return nil, err
	}
	for topic, parts := range at {
		for num, o := range parts {
			offs[topic][num] = kgo.NewOffset().At(o.Offset)
		}
	}
	c.offer(at)
	return offs, nil
}

func (c *clients) offer(at offsets) {
	if c.cur != nil {
		c.cur.teardown()
	}
	member, gen := c.joined.GroupMetadata()
	c.cur = newSession(c.p, at, member, gen)
	select {
	case <-c.next: // nobody took it
	default:
	}
	c.next <- c.cur
}

func (c *clients) revoked(context.Context, *kgo.Client, map[string][]int32) {
	if c.cur != nil {
		c.cur.teardown()
		c.cur = nil
	}
}

// OnGroupManageError is the client's hook for errors of the group. It joins again
// after any; some come back each time. Where another member has come under this
// one's name, new clients find out whether it stays.
func (c *clients) OnGroupManageError(err error) {
	c.p.cfg.Log.Debug("group session ended", "error", err)
	switch {
	case errors.Is(err, kerr.FencedInstanceID):
		c.give(doubt{fmt.Errorf("membership of group %q: %w", c.p.group, err)})
	case errors.Is(err, kerr.InconsistentGroupProtocol):
		c.give(fmt.Errorf("joining group %q: its members do not all consume %q, as this one does: stop those that consume something else first: %w", c.p.group, c.topics, err))
	case errors.Is(err, kerr.InvalidSessionTimeout) || lasting(err):
		c.give(fmt.Errorf("joining group %q: %w", c.p.group, err))
	}
}

// give hands the loop an error that ends these clients.
func (c *clients) give(err error) {
	select {
	case c.stuck <- err:
	default:
	}
}
