package kgoka

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// membership is an instance's part in its group, through all clients and sessions.
// It is a static one: the broker knows a member by its instance's name, and who
// joins under a name takes the place of the one before, with its partitions,
// without a rebalance and without waiting until the one before is missed.
type membership struct {
	p      *Processor
	topics []string                // that the group consumes
	ids    map[string]kadm.TopicID // of topics and the table, from the first look on
	member string                  // the last member ID that the broker gave, "" for none yet
	warned atomic.Bool             // that the dead cannot be fenced
	limit  int                     // records per poll; shrinks when transactions fail
}

func newMembership(p *Processor) *membership {
	return &membership{p: p, topics: p.consumed().Topics(), limit: p.cfg.MaxPoll}
}

// members returns who is in the group: member IDs by instance.
func (m *membership) members(ctx context.Context) (map[string]string, error) {
	groups, err := kadm.NewClient(m.p.adm).DescribeGroups(ctx, m.p.group)
	g := groups[m.p.group]
	if err = errors.Join(err, g.Err); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		m.relocate(ctx)
		return nil, fmt.Errorf("describing group %q: %w", m.p.group, err)
	}
	ids := map[string]string{}
	for _, mb := range g.Members {
		if mb.InstanceID != nil {
			ids[*mb.InstanceID] = mb.MemberID
		}
	}
	return ids, nil
}

// relocate has the client look for the group's coordinator anew if it cannot reach
// the one that it knows, which it does not do for requests that may concern several
// groups (franz-go 1.22). A heartbeat of nobody is such a request, and harmless.
func (m *membership) relocate(ctx context.Context) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID = m.p.group, "nobody"
	_, _ = req.RequestWith(ctx, m.p.adm) // that there is no such member is no news
}

// alone returns once no other process is a member under this name. It must be
// asked before joining again: joining takes the place of whoever is there, and two
// that do so in turn get nowhere. The one that came later stays. A join of our own
// whose answer got lost leaves a member, too, but none that keeps its session.
func (m *membership) alone(ctx context.Context) error {
	for start := time.Now(); m.member != "" && ctx.Err() == nil; pause(ctx, m.p.cfg.Heartbeat) {
		ids, err := m.members(ctx)
		if err != nil {
			return err
		}
		id := ids[m.p.cfg.Instance]
		if id == "" || id == m.member {
			break
		}
		if time.Since(start) > m.p.cfg.SessionTimeout+m.p.cfg.RebalanceTimeout {
			m.member = "" // nothing to leave: it is the other one's now
			return localError{fmt.Errorf("another process has joined group %q as instance %q after this one: give each its own instance name", m.p.group, m.p.cfg.Instance)}
		}
	}
	return ctx.Err()
}

// leave tells the broker that this instance has ended. A static member that only
// falls silent keeps its partitions for the rest of its session.
func (m *membership) leave() {
	if m.member == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.p.cfg.SessionTimeout)
	defer cancel()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = m.p.group
	mb := kmsg.NewLeaveGroupRequestMember()
	mb.MemberID, mb.InstanceID, mb.Reason = m.member, &m.p.cfg.Instance, kmsg.StringPtr("the instance has ended")
	req.Members = append(req.Members, mb)
	if _, err := req.RequestWith(ctx, m.p.adm); err != nil {
		m.p.cfg.Log.Debug("leaving the group", "error", err)
	}
}
