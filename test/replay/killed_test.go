package replay

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/topics"
)

// steps are those of a run.
var steps = []replay.Step{replay.Agreed, replay.Paused, replay.Emptied, replay.Seated, replay.Begun, replay.Written, replay.Moved, replay.Committed}

// held is a run that waits before a step, for the broker to be killed.
type held struct {
	s      *shop
	spec   replay.Spec
	group  string
	at     replay.Step
	how    replay.How
	before string // ID of the run before, as status tells it

	reached chan struct{}
	goOn    chan error // what becomes of the step
	ended   chan struct{}
	res     *replay.Result
	err     error
}

// hold begins a run and returns when it has come to a step. Tables that are to be
// rebuilt are damaged when nobody is in their group any more, but not that of the
// invoices: if the run fails, its group goes on, and would give numbers again.
func (s *shop) hold(spec replay.Spec, at replay.Step, more ...kgo.Opt) *held {
	s.Helper()
	h := &held{s: s, spec: spec, group: spec.Groups[0], at: at, how: stopping, reached: make(chan struct{}), goOn: make(chan error, 1), ended: make(chan struct{})}
	plan, err := s.replayer(nil).Plan(s.Context(), spec)
	must(s.T, err)
	h.how.Hash, h.before = plan.Hash, h.last()
	r := s.replayer(func(now replay.Step) error {
		if now == replay.Emptied && spec.Mode == replay.Rebuild && h.group != "invoicing" {
			s.damage(h.group)
		}
		if now != at {
			return nil
		}
		close(h.reached)
		return <-h.goOn
	}, more...)
	go func() {
		defer close(h.ended)
		h.res, h.err = r.Run(s.Context(), spec, h.how)
	}()
	select {
	case <-h.reached:
	case <-h.ended:
		s.Fatalf("%s: it ended before %s: %v", h.group, at, h.err)
	}
	return h
}

func (h *held) status() *replay.Status {
	h.s.Helper()
	all, err := h.s.replayer(nil).Status(h.s.Context(), []string{h.group})
	must(h.s.T, err)
	return all[0]
}

// last is the ID of the group's last run.
func (h *held) last() string {
	h.s.Helper()
	if s := h.status(); s.Last != nil {
		return s.Last.ID
	}
	return ""
}

// again is the same run once more.
func (h *held) again() {
	h.s.Helper()
	res, err := h.s.replayer(nil).Run(h.s.Context(), h.spec, h.how)
	if err != nil {
		h.s.Errorf("%s, before %s, again: %v", h.group, h.at, err)
		return
	}
	if last := h.last(); last != res.ID {
		h.s.Errorf("%s, before %s: %q was the last run, and not %q", h.group, h.at, last, res.ID)
	}
}

func (s *shop) back() {
	s.Helper()
	began := time.Now()
	must(s.T, s.cluster.StartNode(s.Context(), 0))
	s.Logf("the broker is back after %.1f s", time.Since(began).Seconds())
}

// brokerDies kills the only broker, as a power cut of its process would, while runs are
// at work that live on: what each says of itself is so.
func (s *shop) brokerDies() {
	s.during(func() {
		hs := []*held{ // who writes comes last, since others wait for the end of that
			s.hold(toEarliest("voucher"), replay.Committed), s.hold(toEarliest("order"), replay.Agreed), s.hold(rebuild("inventory"), replay.Paused),
			s.hold(toEarliest("credit"), replay.Emptied), s.hold(rebuild("invoicing"), replay.Seated), s.hold(toEarliest("notification"), replay.Begun),
			s.hold(toEarliest("effects"), replay.Written),
		}
		must(s.T, s.cluster.Kill(0))
		for _, h := range hs {
			h.goOn <- nil
		}
		s.back()
		for _, h := range hs {
			<-h.ended
			h.told()
		}
	})
}

// told compares what a run says that has ended with how its group stands, and does it
// again if it was not done.
func (h *held) told() {
	h.s.Helper()
	s := h.status()
	h.s.Logf("%s, before %s: %v", h.group, h.at, h.err)
	if done := s.Last != nil && s.Last.ID != h.before; done != (h.err == nil) || done && s.Last.ID != h.res.ID || s.Half() || s.Open {
		h.s.Errorf("%s, before %s: the run says %+v, %v; status %+v", h.group, h.at, h.res, h.err, s)
	}
	if h.err != nil {
		h.how.Hash = "" // it was not interrupted: it is another run, of a group that may not be back yet
		h.again()
	}
}

// bothDie kills the broker, and the runs that were at work: what they have left is told,
// and all ways out of it lead out.
func (s *shop) bothDie() {
	s.during(func() {
		hs := []*held{
			s.hold(rebuild("notification"), replay.Committed), s.hold(toEarliest("inventory"), replay.Agreed), s.hold(rebuild("voucher"), replay.Paused),
			s.hold(rebuild("invoicing"), replay.Emptied), s.hold(toEarliest("order"), replay.Seated), s.hold(toEarliest("effects"), replay.Begun),
			s.hold(rebuild("credit"), replay.Moved),
		}
		must(s.T, s.cluster.Kill(0))
		for _, h := range hs {
			h.goOn <- errors.New("killed")
			<-h.ended
		}
		s.back()
		for _, h := range hs {
			h.left()
		}
		for i, h := range slices.Backward(hs) { // others wait for the end of what the last one has written
			var err error
			switch {
			case h.spec.Mode != replay.Rebuild && i%2 == 0, h.at == replay.Paused:
				_, err = s.replayer(nil).Undo(s.Context(), h.group, stopping)
			case h.spec.Mode != replay.Rebuild:
				err = s.replayer(nil).Resume(s.Context(), h.group, "a test")
			case h.at != replay.Committed:
				h.again()
			}
			if err != nil {
				s.Errorf("%s, before %s: %v", h.group, h.at, err)
			}
			if now := h.status(); now.Half() || now.Open {
				s.Errorf("%s, before %s: %+v", h.group, h.at, now)
			}
		}
	})
}

// left looks at what a run has left that died.
func (h *held) left() {
	h.s.Helper()
	s := h.status()
	i := slices.Index(steps, h.at)
	paused := i >= slices.Index(steps, replay.Paused) && h.at != replay.Committed
	open := h.at == replay.Written || h.at == replay.Moved
	done := s.Last != nil && s.Last.ID != h.before
	if s.Half() != paused || paused && !strings.HasPrefix(s.Paused.Replay, h.how.Hash+".") || s.Open != open || done != (h.at == replay.Committed) {
		h.s.Errorf("%s, died before %s: %+v, paused %+v", h.group, h.at, s, s.Paused)
	}
}

// onEnd is called when the end of a transaction was sent.
type onEnd func()

func (do onEnd) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == kmsg.EndTxn.Int16() {
		do()
	}
}

// endIsLost kills the broker when it is told to commit.
func (s *shop) endIsLost() {
	s.during(func() {
		var armed, killed = make(chan struct{}), make(chan error, 1)
		var once sync.Once
		h := s.hold(rebuild("inventory"), replay.Moved, kgo.WithHooks(onEnd(func() {
			select {
			case <-armed:
				once.Do(func() { killed <- s.cluster.Kill(0) })
			default: // of the pause
			}
		})))
		close(armed)
		h.goOn <- nil
		must(s.T, <-killed)
		s.back()
		<-h.ended
		h.told()
	})
}

// survives does something to the shop that it must survive.
func (s *shop) survives(do func()) func() {
	return func() {
		was := s.books()
		do()
		s.proven(aWhile)
		is := s.books()
		s.kept(was, is)
		if more := len(is.content[topics.OrderTable]) - len(was.content[topics.OrderTable]); more < 20 {
			s.Errorf("%d orders came", more)
		}
	}
}
