package faults

import (
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// stuckTransaction: a transaction that nobody is left to end blocks readers for
// no longer than its timeout, and what the brokers take to notice.
func stuckTransaction(s *scene) {
	s.cast()
	s.load.start()
	s.flowing()
	s.hang(time.Hour)
	s.strikes(nil)
	for _, i := range s.insts {
		i.kill()
	}
	blocked := s.settled()
	s.note("readers blocked for %s ms, timeout %v", millis(blocked), s.transaction)
	if blocked > s.transaction+2*sweep {
		s.Errorf("readers were blocked for %v by transactions with a timeout of %v", blocked, s.transaction)
	}
	s.startAll()
	s.shared()
	s.flowing()
	s.drain()
	s.check()
}

// topicMadeAnew: whoever reads a topic that is deleted and made again must say so
// and end, at once or never read on.
func topicMadeAnew(s *scene) {
	s.cast()
	s.load.start()
	s.flowing()
	s.drain()
	in := s.topic("in")
	_, err := s.adm.DeleteTopics(s.Context(), in)
	must(s, err)
	s.until("the topic can be made again", func() any { return nil }, func() bool {
		resp, err := s.adm.CreateTopic(s.Context(), nparts, -1, nil, in)
		return err == nil && resp.Err == nil
	})
	before := s.load.ledger.total()
	again, err := newLoad(s.opts, in, rate, *seed) // the other one's producer knows the topic that is gone
	must(s, err)
	defer again.cl.Close()
	again.start()
	s.refused(in)
	must(s, again.finish(s.Context()))
	if n := len(s.read(s.topic("mid"))); n != before {
		s.Errorf("%d records came out of %d", n, before)
	}
}

// recordsDeleted: an instance that comes back after retention has taken what it
// had not read yet must say so and end.
func recordsDeleted(s *scene) {
	s.cast()
	s.load.start()
	s.flowing()
	s.drain()
	s.stopAll()
	before := s.load.ledger.total()
	s.more(2 * time.Second)
	ends, err := s.adm.ListEndOffsets(s.Context(), s.topic("in"))
	must(s, err)
	to := kadm.Offsets{}
	ends.Each(func(o kadm.ListedOffset) { to.AddOffset(o.Topic, o.Partition, o.Offset-10, -1) })
	_, err = s.adm.DeleteRecords(s.Context(), to)
	must(s, err)
	s.startAll()
	s.refused(s.topic("in"))
	if n := len(s.read(s.topic("mid"))); n != before {
		s.Errorf("%d records came out of %d", n, before)
	}
}

// offsetsExpired: a group whose offsets are gone starts at the log's start; its
// rows remember what they have seen.
func offsetsExpired(s *scene) {
	s.cast()
	s.load.start()
	s.flowing()
	s.drain()
	s.stopAll()
	set := kadm.TopicsSet{}
	for num := range int32(nparts) {
		set.Add(s.topic("in"), num)
	}
	resp, err := s.adm.DeleteOffsets(s.Context(), s.topic("a"), set)
	must(s, err)
	must(s, resp.Error())
	s.strikes(nil)
	s.startAll()
	s.shared()
	s.load.start()
	s.flowing()
	s.drain()
	s.check()
}

// more sends for a while. The instances may be down.
func (s *scene) more(d time.Duration) {
	s.Helper()
	s.load.start()
	time.Sleep(d) // the load
	must(s, s.load.finish(s.Context()))
}

func (s *scene) startAll() {
	s.Helper()
	for _, i := range s.insts {
		must(s, i.start())
	}
}

func (s *scene) stopAll() {
	s.Helper()
	for _, i := range s.insts {
		must(s, i.stop(patience))
	}
}

// refused waits until every instance has ended by itself with an error that names
// the topic.
func (s *scene) refused(topic string) {
	s.Helper()
	deadline := time.After(patience)
	for _, i := range s.insts {
		select {
		case <-i.done:
			if err := i.failure(); err == nil || !strings.Contains(err.Error(), topic) {
				s.Errorf("want an error that names topic %s, got %v", topic, err)
			}
			s.Log(i.failure())
		case <-deadline:
			s.Fatalf("instance %s does not end, it holds %s", i.job.Instance, s.held())
		}
	}
}
