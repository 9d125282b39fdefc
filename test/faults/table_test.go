package faults

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderlog/orderlog/test/kafka"
)

var faults = []fault{
	{name: "instance killed", one: longOnly, three: always, hit: func(s *scene) {
		for range s.times(2, 20) {
			s.moment()
			i := s.one()
			s.strikes(i.here())
			i.kill()
			if s.rnd.IntN(2) == 0 { // or it is back before the others know
				s.flowing()
			}
			must(s, i.start())
			s.shared()
			s.flowing()
		}
	}},
	{name: "instance killed in a transaction", one: always, three: longOnly, transaction: time.Minute, hit: func(s *scene) {
		for range s.times(1, 5) {
			i := s.hang(time.Hour)
			s.strikes(i.here())
			begun := time.Now()
			i.kill()
			s.flowing()
			if took := time.Since(begun); took > s.transaction/2 {
				s.Errorf("the survivors went on after %v: they waited for the dead one's transaction to time out", took)
			}
			must(s, i.start())
			s.shared()
		}
	}},
	{name: "instances restarted in turn", one: always, three: longOnly, hit: func(s *scene) {
		for range s.times(1, 4) {
			for _, i := range s.insts {
				s.strikes(i.here())
				must(s, i.stop(patience))
				must(s, i.start())
				s.shared()
				s.flowing()
			}
		}
	}},
	{name: "instance frozen", one: always, three: longOnly, transaction: time.Minute, hit: func(s *scene) {
		i := s.hang(2 * time.Second) // so that it wakes up in the middle of a transaction
		before := i.tally()
		s.strikes(i.here())
		i.signal(syscall.SIGSTOP)
		time.Sleep(s.length(2*session, 30*time.Second)) // the fault itself
		s.flowing()
		i.signal(syscall.SIGCONT)
		s.back(i)
		if now := i.tally(); now.aborts+now.rebuilds == before.aborts+before.rebuilds {
			s.Error("the transaction that it was frozen in was neither aborted nor fenced")
		}
	}},
	{name: "connection cut", one: always, three: longOnly, hit: func(s *scene) {
		i := s.behindProxies()
		for range s.times(1, 5) {
			s.strikes(i.here())
			s.proxies(func(p *kafka.Proxy) { p.Refuse(true); p.Cut() })
			time.Sleep(s.length(2*session, 5*session)) // the fault itself
			s.flowing()
			s.proxies(func(p *kafka.Proxy) { p.Refuse(false) })
			s.back(i)
			s.proxies(func(p *kafka.Proxy) { p.Cut() }) // and once shorter than anybody waits
			s.flowing()
		}
	}},
	{name: "connection silent", one: longOnly, three: longOnly, hit: func(s *scene) {
		i := s.behindProxies()
		s.strikes(i.here())
		s.proxies(func(p *kafka.Proxy) { p.Slow(time.Hour) })
		time.Sleep(5 * session) // the fault itself
		s.flowing()
		s.proxies(func(p *kafka.Proxy) { p.Slow(0); p.Cut() })
		s.back(i)
	}},
	{name: "connection slow", one: longOnly, three: longOnly, hit: func(s *scene) {
		i := s.behindProxies()
		s.strikes(i.here())
		s.proxies(func(p *kafka.Proxy) { p.Slow(100 * time.Millisecond) })
		time.Sleep(s.length(3*time.Second, 30*time.Second)) // the fault itself
		s.flowing()
		s.proxies(func(p *kafka.Proxy) { p.Slow(0) })
	}},
	{name: "rebalance storm", one: always, three: longOnly, hit: func(s *scene) {
		s.strikes(nil)
		i := s.instance("storm")
		for end := time.Now().Add(s.length(8*time.Second, time.Minute)); time.Now().Before(end); {
			must(s, i.start())
			time.Sleep(500 * time.Millisecond) // the fault itself
			must(s, i.stop(patience))
			time.Sleep(500 * time.Millisecond)
		}
	}},
	{name: "callback longer than the transaction", one: always, three: longOnly, hit: func(s *scene) {
		for range s.times(1, 5) {
			i := s.hang(s.transaction + 2*sweep)
			s.strikes(i.here())
			s.back(i)
			s.flowing()
		}
	}},
	{name: "rebalance under a long callback", one: always, three: longOnly, transaction: time.Minute, hit: func(s *scene) {
		for range s.times(1, 5) {
			i := s.hang(3 * session) // longer than a rebalance waits for a member
			before := i.tally()
			s.strikes(i.here())
			other := s.instance("other")
			must(s, other.start())
			s.until("the new one has work", func() any { return s.held() }, func() bool { return len(other.here()) > 0 })
			must(s, other.stop(patience))
			s.back(i)
			if now := i.tally(); now.aborts == before.aborts {
				s.Error("the transaction of a member that had lost its partitions was not aborted")
			}
		}
	}},
	{name: "all instances killed in a transaction", one: always, three: longOnly, alone: stuckTransaction},
	{name: "broker killed", one: always, three: longOnly, hit: func(s *scene) {
		for range s.times(1, 10) {
			s.moment()
			s.killNode(s.rnd.IntN(s.nodes))
		}
	}},
	{name: "transaction coordinator killed", three: always, hit: func(s *scene) {
		for range s.times(1, 5) {
			s.moment()
			s.killNode(s.coordinator(s.adm.FindTxnCoordinators(s.Context(), s.transactionalID())))
		}
	}},
	{name: "group coordinator killed", three: always, hit: func(s *scene) {
		for range s.times(1, 5) {
			s.moment()
			s.killNode(s.coordinator(s.adm.FindGroupCoordinators(s.Context(), s.topic("a"))))
		}
	}},
	{name: "brokers restarted in turn", one: longOnly, three: longOnly, hit: func(s *scene) {
		for i := range s.nodes {
			s.strikes(nil)
			must(s, s.kafka.Stop(i))
			must(s, s.kafka.StartNode(s.Context(), i))
			s.inSync()
			s.flowing()
		}
	}},
	{name: "topic made anew", one: always, three: longOnly, alone: topicMadeAnew},
	{name: "records deleted before they were read", one: always, three: longOnly, alone: recordsDeleted},
	{name: "offsets expired", one: always, three: longOnly, alone: offsetsExpired},
	{name: "orders, instances and brokers killed", three: always, alone: orders},
}

func (s *scene) times(short, long int) int {
	if s.long {
		return long
	}
	return short
}

func (s *scene) length(short, long time.Duration) time.Duration {
	if s.long {
		return long
	}
	return short
}

// hang has a callback hang for that long in the middle of a transaction, and
// returns the instance that it does so in.
func (s *scene) hang(d time.Duration) (who *instance) {
	s.Helper()
	for _, i := range s.insts {
		_ = os.Remove(filepath.Join(s.dir, hangFile+"."+i.job.Instance)) // of the time before
	}
	must(s, os.WriteFile(filepath.Join(s.dir, hangFile+".new"), []byte(d.String()), 0o644))
	must(s, os.Rename(filepath.Join(s.dir, hangFile+".new"), filepath.Join(s.dir, hangFile)))
	s.load.hanging.Store(true)
	s.until("a callback hangs", func() any { return nil }, func() bool {
		for _, i := range s.insts {
			if _, err := os.Stat(filepath.Join(s.dir, hangFile+"."+i.job.Instance)); err == nil {
				who = i
			}
		}
		return who != nil && s.ongoing(s.topic("a"), who.job.Instance)
	})
	return who
}

// ongoing says whether the brokers know of an open transaction of a group's instance.
func (s *scene) ongoing(group, name string) bool {
	ts, err := s.adm.ListTransactions(s.Context(), nil, []string{"Ongoing"})
	if err != nil {
		return false
	}
	for id := range ts {
		if rest, ok := strings.CutPrefix(id, group); ok && strings.Contains(rest, name) {
			return true
		}
	}
	return false
}

// back waits until an instance works on partitions, as it says from now on.
func (s *scene) back(i *instance) {
	s.Helper()
	begun := time.Now()
	s.until(i.job.Instance+" is back", func() any { return s.held() }, func() bool {
		_, at := i.state()
		return at.After(begun) && len(i.here()) > 0 && s.watch.since(begun) == nparts
	})
	s.shared()
}

// behindProxies has one of the instances start anew behind the proxies.
func (s *scene) behindProxies() *instance {
	s.Helper()
	i := s.one()
	must(s, i.stop(patience))
	i.job.Brokers = s.kafka.ProxyBrokers()
	must(s, i.start())
	s.shared()
	s.flowing()
	return i
}

func (s *scene) proxies(do func(*kafka.Proxy)) {
	for i := range s.nodes {
		do(s.kafka.Proxy(i))
	}
}

// killNode kills a node and starts it again: on three nodes, after the others
// have taken over.
func (s *scene) killNode(i int) {
	s.Helper()
	s.strikes(s.ledBy(i))
	must(s, s.kafka.Kill(i))
	if s.nodes > 1 {
		s.flowing()
	}
	must(s, s.kafka.StartNode(s.Context(), i))
	s.inSync()
	s.flowing()
}

// ledBy is the partitions that a node leads, of any of the scene's topics.
func (s *scene) ledBy(node int) map[int32]bool {
	s.Helper()
	ts, err := s.adm.ListTopics(s.Context(), s.topics()...)
	must(s, err)
	led := map[int32]bool{}
	ts.EachPartition(func(p kadm.PartitionDetail) {
		if int(p.Leader) == node+1 {
			led[p.Partition] = true
		}
	})
	return led
}

func (s *scene) coordinator(found kadm.FindCoordinatorResponses) int {
	s.Helper()
	must(s, found.Error())
	for _, c := range found {
		return int(c.NodeID) - 1
	}
	s.Fatal("no coordinator")
	return 0
}

// transactionalID is one that an instance uses.
func (s *scene) transactionalID() string {
	s.Helper()
	ts, err := s.adm.ListTransactions(s.Context(), nil, nil)
	must(s, err)
	for _, t := range ts.Sorted() {
		if strings.HasPrefix(t.TxnID, s.topic("a")) {
			return t.TxnID
		}
	}
	s.Fatal("no transactional ID of the scene is known to the brokers")
	return ""
}

// inSync waits until all replicas are.
func (s *scene) inSync() {
	s.Helper()
	s.until("all replicas are in sync", func() any { return s.watch.count() }, func() bool {
		ts, err := s.adm.ListTopicsWithInternal(s.Context())
		if err != nil {
			return false
		}
		whole := true
		ts.EachPartition(func(p kadm.PartitionDetail) { whole = whole && len(p.ISR) == len(p.Replicas) })
		return whole
	})
}
