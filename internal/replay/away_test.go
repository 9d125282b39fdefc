package replay

import (
	"testing"
	"time"
)

// A broker that is away for longer than a request is repeated leaves no group paused, and
// nobody in doubt of what has happened.
func TestTheBrokerIsAway(t *testing.T) {
	for _, at := range []Step{Agreed, Paused, Emptied, Seated, Begun, Written, Moved, Committed} {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			again := make(chan struct{})
			r := s.replayer(func(now Step) error {
				if now != at {
					return nil
				}
				must(t, s.broker.Stop())
				go func() {
					defer close(again)
					time.Sleep(time.Second) // the outage
					s.start()
				}()
				return nil
			})
			_, err := r.Run(t.Context(), back, How{Stop: true, Wait: 10 * time.Second})
			<-again
			t.Logf("the run says: %v", err)
			all, serr := s.replayer(nil).Status(t.Context(), []string{"voucher"})
			must(t, serr)
			if done := err == nil; done != (s.committed(0) == 0) || done != (all[0].Last != nil) || all[0].Half() || all[0].Open {
				t.Errorf("%v, offset %d, status %+v", err, s.committed(0), all[0])
			}
		})
	}
}
