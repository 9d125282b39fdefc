package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderlog/orderlog/kgoka"
)

// A broker takes offsets that come in a transaction from anybody who does not say
// which member of the group it is, whoever is in the group: old producers did not
// say. So a replay is a member, the only one. Then nobody else works on the group,
// its offsets stay where they are, and the broker refuses this one's if they do not.

// seat is the only membership in a group.
type seat struct {
	cl         *kgo.Client
	group      string
	protocol   string
	member     string
	generation int32
	session    time.Duration      // for which it is kept without heartbeats
	end        context.CancelFunc // of the heartbeats
	beating    sync.WaitGroup
}

// ErrNotEmpty says that somebody is in the group.
var ErrNotEmpty = errors.New("the group is not empty")

// sit takes the seat in a group that nobody is in, and gives it back at once if
// somebody came at the same time.
func sit(ctx context.Context, opts []kgo.Opt, session time.Duration, g *Group) (*seat, error) {
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	s := &seat{cl: cl, group: g.full, session: session}
	others, err := s.join(ctx, g)
	if err == nil && others != nil {
		err = fmt.Errorf("group %q: %w: %s came meanwhile", g.full, ErrNotEmpty, strings.Join(others, ", "))
	}
	if err != nil {
		s.leave()
		return nil, err
	}
	beat, end := context.WithCancel(context.WithoutCancel(ctx))
	s.end = end
	s.beating.Go(func() { s.beat(beat) })
	return s, nil
}

// join returns who else is in the group. The member's subscription is that of the
// group's instances, which refuse to share it with others.
func (s *seat) join(ctx context.Context, g *Group) (others []string, err error) {
	sub := kmsg.NewConsumerMemberMetadata()
	for _, in := range g.unit.Inputs {
		sub.Topics = append(sub.Topics, strings.TrimSuffix(g.Table, g.unit.Table)+in)
	}
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.ProtocolType = s.group, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(s.session.Milliseconds()), int32(s.session.Milliseconds())
	p := kmsg.NewJoinGroupRequestProtocol()
	s.protocol = kgoka.Protocol(sub.Topics)
	p.Name, p.Metadata = s.protocol, sub.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	var resp *kmsg.JoinGroupResponse
	for range 2 { // the first answer gives the member its ID
		if resp, err = req.RequestWith(ctx, s.cl); err != nil {
			return nil, fmt.Errorf("joining group %q: %w", s.group, err)
		}
		s.member, req.MemberID = resp.MemberID, resp.MemberID
		if resp.ErrorCode != kerr.MemberIDRequired.Code {
			break
		}
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("joining group %q: %w", s.group, err)
	}
	s.generation = resp.Generation
	if resp.LeaderID != s.member {
		return []string{resp.LeaderID}, nil
	}
	for _, m := range resp.Members {
		if m.MemberID != s.member {
			others = append(others, m.MemberID)
		}
	}
	if len(others) > 0 {
		return others, nil
	}
	return nil, s.sync(ctx)
}

func (s *seat) sync(ctx context.Context) error {
	none := kmsg.NewConsumerMemberAssignment()
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.Generation, req.MemberID = s.group, s.generation, s.member
	req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), &s.protocol
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = s.member, none.AppendTo(nil)
	req.GroupAssignment = append(req.GroupAssignment, a)
	resp, err := req.RequestWith(ctx, s.cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("taking group %q: %w", s.group, err)
	}
	return nil
}

// beat keeps the seat. That it is lost, the commit is told.
func (s *seat) beat(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.session / 10):
		}
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.Generation, req.MemberID = s.group, s.generation, s.member
		_, _ = req.RequestWith(ctx, s.cl)
	}
}

// leave gives the seat back.
func (s *seat) leave() {
	defer s.abandon()
	if s.member == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.session/2)
	defer cancel()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = s.group, s.member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.Reason = s.member, kmsg.StringPtr("the replay has ended")
	req.Members = append(req.Members, m)
	_, _ = req.RequestWith(ctx, s.cl) // the session's timeout does it otherwise
}

// abandon is what a kill does.
func (s *seat) abandon() {
	if s.end != nil {
		s.end()
		s.beating.Wait()
	}
	s.cl.Close()
}
