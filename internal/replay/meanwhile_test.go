package replay

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/topics"
)

// What others do to a group between two steps of a run is seen by the run, or waits.
func TestMeanwhile(t *testing.T) {
	shift := Spec{Groups: back.Groups, Target: Target{Kind: ShiftBy, N: -2}, Only: []Selection{{topics.OrderTable, nil}}}
	stop := How{Stop: true, Wait: 5 * time.Second}
	killed := errors.New("killed")
	kill := func(at Step) func(Step) error {
		return func(now Step) error {
			if now == at {
				return killed
			}
			return nil
		}
	}
	// interrupted is a run that was killed when it had paused the group.
	interrupted := func(t *testing.T, s *shop, spec Spec) How {
		t.Helper()
		p, err := s.replayer(nil).Plan(t.Context(), spec)
		must(t, err)
		how := stop
		how.Hash = p.Hash
		if _, err := s.replayer(kill(Emptied)).Run(t.Context(), spec, how); !errors.Is(err, killed) {
			t.Fatal(err)
		}
		return how
	}
	during := func(at Step, do func()) func(Step) error {
		return func(now Step) error {
			if now == at {
				do()
			}
			return nil
		}
	}
	paused := func(t *testing.T, s *shop) bool {
		t.Helper()
		all, err := s.replayer(nil).Status(t.Context(), back.Groups)
		must(t, err)
		return all[0].Paused != nil
	}

	t.Run("who goes on with another plan is refused", func(t *testing.T) {
		s := newShop(t)
		how := interrupted(t, s, shift)
		if _, err := s.replayer(nil).Run(t.Context(), back, how); !errors.Is(err, ErrMoved) {
			t.Errorf("%v: it was agreed to go elsewhere", err)
		}
		if at := s.committed(0); at != 10 {
			t.Errorf("offset %d", at)
		}
		res, err := s.replayer(nil).Run(t.Context(), shift, how)
		must(t, err)
		if at := s.committed(0); at != 8 || !res.Groups[0].Resumed {
			t.Errorf("offset %d, %+v", at, res)
		}
	})
	t.Run("two go on with the same run", func(t *testing.T) {
		s := newShop(t)
		how := interrupted(t, s, shift)
		r := s.replayer(during(Paused, func() {
			_, err := s.replayer(nil).Run(t.Context(), shift, how)
			must(t, err)
		}))
		res, err := r.Run(t.Context(), shift, how)
		must(t, err)
		if at := s.committed(0); at != 8 || !res.Groups[0].Before {
			t.Errorf("offset %d, %+v: it was done twice", at, res.Groups[0])
		}
	})
	t.Run("the run is given up by somebody else", func(t *testing.T) {
		for _, at := range []Step{Paused, Emptied, Seated, Begun, Written, Moved} {
			s := newShop(t)
			r := s.replayer(during(at, func() {
				if _, err := s.replayer(nil).Undo(t.Context(), "voucher", stop); err != nil {
					t.Errorf("%s: %v", at, err)
				}
			}))
			_, err := r.Run(t.Context(), back, stop)
			if got := s.committed(0); err == nil || got != 10 || paused(t, s) {
				t.Errorf("%s: %v, offset %d, paused %v: it was forgotten", at, err, got, paused(t, s))
			}
		}
	})
	t.Run("a person has paused the group since the plan", func(t *testing.T) {
		s := newShop(t)
		r := s.replayer(during(Agreed, func() {
			must(t, s.replayer(nil).Pause(t.Context(), "voucher", "a wrong rule", time.Second, func(string) {}))
		}))
		_, err := r.Run(t.Context(), back, stop)
		if !paused(t, s) {
			t.Errorf("%v: the pause is lost", err)
		}
	})
	t.Run("another replay has paused the group since the plan", func(t *testing.T) {
		s := newShop(t)
		r := s.replayer(during(Agreed, func() { interrupted(t, s, shift) }))
		if _, err := r.Run(t.Context(), back, stop); !errors.Is(err, ErrBusy) || !paused(t, s) {
			t.Errorf("%v, paused %v", err, paused(t, s))
		}
	})
	t.Run("another group's replay holds back what can be read", func(t *testing.T) {
		s := newShop(t)
		var other string
		for _, u := range Units() {
			if u.Origins && u.Name != "voucher" && client.PartitionOf(u.Name, 2) == client.PartitionOf("voucher", 2) {
				other = u.Name
			}
		}
		done := make(chan error, 1)
		r := s.replayer(during(Moved, func() {
			mine := s.replayer(nil)
			go func() {
				_, err := mine.Run(t.Context(), back, stop)
				done <- err
			}()
			select {
			case err := <-done:
				done <- err
			case <-time.After(300 * time.Millisecond): // it waits, as it should
			}
		}))
		_, err := r.Run(t.Context(), Spec{Groups: []string{other}, Target: back.Target}, stop)
		must(t, err)
		must(t, <-done)
		if at := s.committed(0); at != 0 || paused(t, s) {
			t.Errorf("offset %d, paused %v", at, paused(t, s))
		}
	})
	t.Run("a warning that nobody has agreed to", func(t *testing.T) {
		s := newShop(t)
		adm := s.admin()
		at := kadm.Offsets{}
		at.AddOffset(topics.OrderTable, 0, 5, -1)
		must(t, adm.CommitAllOffsets(t.Context(), "voucher", at))
		on := Spec{Groups: back.Groups, Target: Target{Kind: ToOffset, N: 8}, Only: []Selection{{topics.OrderTable, []int32{0}}}}
		how := func() How {
			t.Helper()
			p, err := s.replayer(nil).Plan(t.Context(), on)
			must(t, err)
			how := stop
			how.Hash = p.Hash
			return how
		}
		gone := func(before int64) {
			at := kadm.Offsets{}
			at.AddOffset(topics.OrderTable, 0, before, -1)
			_, err := adm.DeleteRecords(t.Context(), at)
			must(t, err)
		}
		first := how()
		if _, err := s.replayer(during(Seated, func() { gone(6) })).Run(t.Context(), on, first); !errors.Is(err, ErrMoved) || s.committed(0) != 5 {
			t.Errorf("%v, offset %d: it was not told what has gone", err, s.committed(0))
		}
		if _, err := s.replayer(nil).Run(t.Context(), on, first); !errors.Is(err, ErrMoved) || s.committed(0) != 5 {
			t.Errorf("%v, offset %d: it was not told what has gone", err, s.committed(0))
		}
		second := how()
		_, err := s.replayer(during(Seated, func() { gone(7) })).Run(t.Context(), on, second) // more of the same
		must(t, err)
		if s.committed(0) != 8 {
			t.Errorf("offset %d", s.committed(0))
		}
	})
	t.Run("another process has taken the run over", func(t *testing.T) {
		for _, step := range []Step{Written, Moved} {
			s := newShop(t)
			at, goOn := make(chan bool), make(chan bool)
			heirs, own := make(chan error, 1), make(chan error, 1)
			p, err := s.replayer(nil).Plan(t.Context(), shift)
			must(t, err)
			how := stop
			how.Hash = p.Hash
			asleep := s.replayer(during(step, func() { // for longer than a seat is kept
				s.evict("voucher")
				heir := s.replayer(during(Moved, func() { close(at); <-goOn }))
				go func() {
					_, err := heir.Run(t.Context(), shift, how)
					heirs <- err
				}()
				select {
				case <-at:
				case err := <-heirs:
					heirs <- err
				}
			}))
			go func() {
				_, err := asleep.Run(t.Context(), shift, how)
				own <- err
			}()
			select {
			case err = <-own:
				if err == nil {
					t.Errorf("%s: it ended what was no longer its own", step)
				}
				own <- err
			case <-time.After(3 * time.Second): // it waits for what becomes of it
			}
			close(goOn)
			if err := <-heirs; err != nil || s.committed(0) != 8 || paused(t, s) {
				t.Errorf("%s: the heir: %v, offset %d, paused %v", step, err, s.committed(0), paused(t, s))
			}
			t.Log(step, <-own)
		}
	})
}

// evict has the members of a group lose it, as if they had not been heard of for long.
func (s *shop) evict(group string) {
	s.t.Helper()
	cl, err := kgo.NewClient(s.opts...)
	must(s.t, err)
	defer cl.Close()
	described, err := s.admin().DescribeGroups(s.t.Context(), group)
	must(s.t, err)
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group
	for _, m := range described[group].Members {
		l := kmsg.NewLeaveGroupRequestMember()
		l.MemberID = m.MemberID
		req.Members = append(req.Members, l)
	}
	_, err = req.RequestWith(s.t.Context(), cl)
	must(s.t, err)
}
