package kgoka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// session is one assignment. It is torn down where the group takes it away, in
// the client's callback, and that is why setting up and tearing down exclude each
// other; the client sees to it that no batch is under way then.
type session struct {
	p      *Processor
	ctx    context.Context
	cancel context.CancelFunc
	work   context.Context // of callbacks: ends with ctx, and when Run shall end
	leave  func() bool     // forgets that Run may end
	member string
	gen    int32
	at     offsets // where the group stands
	parts  map[int32]*part
	visits visits

	mu        sync.Mutex
	up, down  bool
	following sync.WaitGroup
}

func newSession(p *Processor, at offsets, member string, gen int32) *session {
	s := &session{p: p, at: at, member: member, gen: gen, parts: map[int32]*part{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, parts := range at {
		for num := range parts {
			if s.parts[num] == nil {
				s.parts[num] = &part{p: p, s: s, num: num, joins: map[string]*table{}, rowAt: map[string]int{}}
			}
		}
	}
	return s
}

// setup recovers the tables. It gives up when ctx ends.
func (s *session) setup(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil
	}
	for topic, parts := range s.at {
		for num := range parts {
			if int(num) >= s.p.npart {
				return fmt.Errorf("topic %q has got more partitions than the %d that group %q started with: keys would move away from their rows", topic, s.p.npart, s.p.group)
			}
		}
	}
	var end context.CancelFunc
	s.work, end = context.WithCancel(s.ctx)
	s.leave = context.AfterFunc(ctx, end)
	s.up = true
	defer context.AfterFunc(ctx, s.cancel)()
	err := s.recover()
	switch {
	case s.ctx.Err() != nil: // taken away meanwhile, or all is over: teardown follows
		return nil
	case errors.Is(err, errMoved):
		return doubt{err}
	}
	return err
}

// recover brings the tables of what is assigned up to date. Joined tables, and
// the group's own of other partitions, are followed from then on.
func (s *session) recover() error {
	p, mine := s.p, slices.Sorted(maps.Keys(s.parts))
	p.cfg.Log.Debug("partitions assigned", "partitions", mine, "generation", s.gen)
	if p.tableTopic != "" && p.cfg.Standby {
		s.following.Go(func() { s.standBy(mine) })
	}
	var due, joined []*table
	take := func(role Role, topic string) ([]*table, error) {
		ts, err := p.toRead(s.ctx, role, topic, mine...)
		due = append(due, ts...)
		return ts, err
	}
	if p.tableTopic != "" {
		ts, err := take(RoleActive, p.tableTopic)
		if err != nil {
			return err
		}
		for i, num := range mine {
			s.parts[num].table, s.parts[num].guard = ts[i], p.cfg.Origins
		}
	}
	for topic := range p.joins {
		var ts []*table
		if l := p.lookups[topic]; l != nil {
			ts = pick(l.tables, mine)
		} else {
			var err error
			if ts, err = take(RoleJoin, topic); err != nil {
				return err
			}
			joined = append(joined, ts...)
		}
		for i, num := range mine {
			s.parts[num].joins[topic] = ts[i]
		}
	}
	if err := p.catchUp(s.ctx, due); err != nil {
		return err
	}
	s.following.Go(func() { p.follow(s.ctx, RoleJoin, joined) })
	return p.retain(func(at place) bool {
		return s.parts[at.part] != nil || p.lookups[at.topic] != nil || at.topic == p.tableTopic && p.cfg.Standby
	})
}

// standBy follows what is not assigned here.
func (s *session) standBy(mine []int32) {
	p := s.p
	others := slices.DeleteFunc(numbers(p.npart), func(num int32) bool { return slices.Contains(mine, num) })
	ts, err := p.take(s.ctx, RoleStandby, p.tableTopic, others...)
	if err != nil {
		p.cfg.Log.Warn("no standby", "error", err)
		return
	}
	p.follow(s.ctx, RoleStandby, ts)
}

func pick(ts []*table, nums []int32) (some []*table) {
	for _, num := range nums {
		some = append(some, ts[num])
	}
	return some
}

// teardown ends the session; it is safe to call twice.
func (s *session) teardown() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up && !s.down {
		s.leave()
	}
	s.down = true
	s.following.Wait()
}

func (s *session) ended() bool { return s.ctx.Err() != nil }
