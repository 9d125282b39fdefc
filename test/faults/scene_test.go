package faults

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/test/kafka"
)

const (
	rate     = 1500             // records a second
	session  = 2 * time.Second  // of the instances
	transact = 4 * time.Second  // transaction timeout
	sweep    = time.Second      // how often the brokers look for transactions over their timeout
	patience = 45 * time.Second // without any progress
)

// stage is a cluster and what the test needs to look at it.
type stage struct {
	kafka *kafka.Cluster
	nodes int
	opts  []kgo.Opt
	cl    *kgo.Client
	adm   *kadm.Client
}

func newStage(t *testing.T, nodes int) *stage {
	t.Helper()
	k := &stage{kafka: kafka.Run(t, kafka.Options{Nodes: nodes, Own: true, Proxy: true, Config: map[string]string{
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": fmt.Sprint(sweep.Milliseconds()),
	}}), nodes: nodes}
	k.opts = []kgo.Opt{kgo.SeedBrokers(k.kafka.Brokers()...), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.UnknownTopicRetries(-1)} // a topic just made is not known everywhere at once
	var err error
	k.cl, err = kgo.NewClient(k.opts...)
	must(t, err)
	t.Cleanup(k.cl.Close)
	k.adm = kadm.NewClient(k.cl)
	return k
}

// scene is one fault's stay on a stage: topics, groups and instances of its own.
type scene struct {
	*testing.T
	*stage
	name, dir string
	rnd       *rand.Rand
	long      bool
	insts     []*instance
	load      *load
	watch     *watch
	notes     []string

	transaction time.Duration // timeout of the instances
}

func newScene(t *testing.T, k *stage, name string, seed uint64, long bool) *scene {
	t.Helper()
	s := &scene{T: t, stage: k, name: name, dir: t.TempDir(), rnd: rand.New(rand.NewPCG(seed, 0)), long: long}
	_, err := k.adm.CreateTopics(t.Context(), nparts, -1, nil, s.topic("in"), s.topic("mid"), s.topic("out"))
	must(t, err)
	s.until("the topics have leaders", func() any { return nil }, func() bool {
		ts, err := k.adm.ListTopics(t.Context(), s.topic("in"), s.topic("mid"), s.topic("out"))
		return err == nil && ts.Error() == nil && led(ts)
	})
	s.load, err = newLoad(k.opts, s.topic("in"), rate, seed)
	must(t, err)
	t.Cleanup(s.load.cl.Close)
	s.watch, err = newWatch(k.opts, s.topic("out"))
	must(t, err)
	t.Cleanup(s.watch.close)
	t.Cleanup(func() {
		for _, i := range s.insts {
			if i.running() {
				i.kill()
			}
		}
		if t.Failed() {
			s.blame()
			for _, i := range s.insts {
				t.Logf("log of instance %s:\n%s", i.job.Instance, tail(i.log(), 12<<10))
			}
		}
	})
	return s
}

func led(ts kadm.TopicDetails) bool {
	for _, topic := range ts {
		for _, p := range topic.Partitions {
			if p.Err != nil || p.Leader < 0 {
				return false
			}
		}
	}
	return true
}

func (s *scene) topic(name string) string { return s.name + "-" + name }

func (s *scene) topics() []string {
	return []string{s.topic("in"), s.topic("mid"), s.topic("out"), s.topic("a-table"), s.topic("b-table")}
}

func (s *scene) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// partitions are those of all topics.
func (s *scene) partitions() kadm.TopicsSet {
	set := kadm.TopicsSet{}
	for _, topic := range s.topics() {
		for num := range int32(nparts) {
			set.Add(topic, num)
		}
	}
	return set
}

// instance adds an instance of that name; it is not started.
func (s *scene) instance(name string) *instance {
	i := &instance{job: job{Brokers: s.kafka.Brokers(), Name: s.name, Instance: name, Dir: s.dir, Session: session, Transaction: s.transaction}}
	s.insts = append(s.insts, i)
	return i
}

// cast starts three instances and waits until they share the work.
func (s *scene) cast() {
	s.Helper()
	for _, name := range []string{"x", "y", "z"} {
		must(s, s.instance(name).start())
	}
	s.shared()
}

// shared waits until all instances that run have work of each hop, and all
// partitions are someone's.
func (s *scene) shared() {
	s.Helper()
	s.until("the instances share the work", func() any { return s.held() }, func() bool {
		var held [2]int
		for _, i := range s.insts {
			r, _ := i.state()
			if !i.running() {
				continue
			}
			if len(r.Hops) < len(hops) {
				return false
			}
			for h := range hops {
				if len(r.Hops[h].Here) == 0 {
					return false
				}
				held[h] += len(r.Hops[h].Here)
			}
		}
		return held == [2]int{nparts, nparts}
	})
}

func (s *scene) held() string {
	var b strings.Builder
	for _, i := range s.insts {
		if i.running() {
			fmt.Fprintf(&b, "%s %v ", i.job.Instance, slices.Sorted(maps.Keys(i.here())))
		}
	}
	return b.String()
}

// one is a running instance drawn by chance.
func (s *scene) one() *instance {
	var alive []*instance
	for _, i := range s.insts {
		if i.running() {
			alive = append(alive, i)
		}
	}
	return alive[s.rnd.IntN(len(alive))]
}

// moment waits for a random moment in the work.
func (s *scene) moment() { time.Sleep(time.Duration(s.rnd.IntN(1000)) * time.Millisecond) }

// flowing waits until each partition has shown what was written after now.
func (s *scene) flowing() {
	s.Helper()
	now := time.Now()
	s.until("records flow on all partitions", func() any { return s.watch.since(now) }, func() bool { return s.watch.since(now) == nparts })
}

// drain ends the load and waits until all of it has come out.
func (s *scene) drain() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	s.watch.untimed()
	must(s, s.load.finish(ctx))
	total := s.load.ledger.total()
	s.until("all that was sent comes out", func() any { return s.watch.count() }, func() bool { return s.watch.count() >= total })
}

// strikes says which partitions the fault hits from now on; nil are all.
func (s *scene) strikes(parts map[int32]bool) {
	if parts == nil {
		parts = map[int32]bool{}
		for num := range int32(nparts) {
			parts[num] = true
		}
	}
	s.watch.strike(parts)
}

// until waits for a condition. It gives up if nothing moves for long, or if an
// instance has ended by itself.
func (s *scene) until(what string, progress func() any, ok func() bool) {
	s.Helper()
	last, since := fmt.Sprint(progress()), time.Now()
	for !ok() {
		for _, i := range s.insts {
			if err := i.failure(); err != nil {
				s.Fatalf("until %s: %v", what, err)
			}
		}
		if now := fmt.Sprint(progress()); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > patience {
			s.Fatalf("until %s: nothing has moved for %v, at %s", what, patience, last)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// read returns the committed records of a topic.
func (s *scene) read(topic string) (recs []*kgo.Record) {
	s.Helper()
	span, err := client.Whole(s.Context(), s.adm, topic)
	must(s, err)
	must(s, span.Read(s.Context(), s.opts, func(r *kgo.Record) (bool, error) {
		recs = append(recs, r)
		return true, nil
	}))
	return recs
}

// settled waits until no transaction is open on the scene's topics: readers get
// to the end. It returns how long that took.
func (s *scene) settled() time.Duration {
	s.Helper()
	begun := time.Now()
	open := ""
	s.until("no transaction is open", func() any { return open }, func() bool {
		open = s.open()
		return open == ""
	})
	return time.Since(begun)
}

// open names a partition that readers cannot read to its end, "" if there is none.
func (s *scene) open() string {
	ends, err := s.adm.ListEndOffsets(s.Context(), s.topics()...)
	if err != nil {
		return err.Error()
	}
	stable, err := s.adm.ListCommittedOffsets(s.Context(), s.topics()...)
	if err != nil {
		return err.Error()
	}
	found := ""
	ends.Each(func(o kadm.ListedOffset) {
		if at, _ := stable.Lookup(o.Topic, o.Partition); at.Err != nil || o.Err != nil || at.Offset != o.Offset {
			found = fmt.Sprintf("%s/%d: stable to %d of %d", o.Topic, o.Partition, at.Offset, o.Offset)
		}
	})
	return found
}

// check stops the instances and compares all that they left with what was sent.
func (s *scene) check() {
	s.Helper()
	for _, i := range s.insts {
		if i.running() {
			if err := i.stop(patience); err != nil {
				s.Error(err)
			}
		}
	}
	if d := s.settled(); d > transact {
		s.Errorf("transactions were open for %v after a stop in order", d)
	}
	s.noTransaction()
	sent := s.load.ledger
	found := func(topic string, a audit) {
		if len(a.counts) > 0 {
			s.Errorf("%s, of %d records: %s", topic, sent.total(), &a)
		}
		if a.repeated > 0 {
			s.note("%s: %d shown twice by the broker", topic, a.repeated)
		}
	}
	for i, h := range hops {
		found(h.out, sent.stream(s.read(s.topic(h.out))))
		found(h.group+"-table", sent.changelog(s.read(s.topic(h.group+"-table")), i == 0))
	}
	for _, i := range s.insts {
		s.dump(i)
	}
}

// noTransaction: none of the scene's is left, as their coordinators and the
// partitions see it.
func (s *scene) noTransaction() {
	s.Helper()
	ts, err := s.adm.ListTransactions(s.Context(), nil, []string{"Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence"})
	must(s, err)
	for _, t := range ts.Sorted() {
		if strings.HasPrefix(t.TxnID, s.name+"-") {
			s.Errorf("transaction of %s is left: %s", t.TxnID, t.State)
		}
	}
	ps, err := s.adm.DescribeProducers(s.Context(), s.partitions())
	must(s, err)
	ps.EachProducer(func(p kadm.DescribedProducer) {
		if p.CurrentTxnStartOffset >= 0 {
			s.Errorf("%s/%d: a transaction of producer %d is open since %d", p.Topic, p.Partition, p.ProducerID, p.CurrentTxnStartOffset)
		}
	})
}

// blame shows which transactions keep readers from the end, as the partitions see
// it and as their coordinator does.
func (s *scene) blame() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ps, err := s.adm.DescribeProducers(ctx, s.partitions())
	if err != nil {
		s.Logf("describing producers: %v", err)
		return
	}
	ids := map[int64]bool{}
	ps.EachProducer(func(p kadm.DescribedProducer) {
		if p.CurrentTxnStartOffset >= 0 {
			ids[p.ProducerID] = true
			s.Logf("open: %s/%d since offset %d: producer %d, epoch %d, of coordinator epoch %d, last wrote at %v", p.Topic, p.Partition,
				p.CurrentTxnStartOffset, p.ProducerID, p.ProducerEpoch, p.CoordinatorEpoch, time.UnixMilli(p.LastTimestamp).UTC())
		}
	})
	if len(ids) == 0 {
		return
	}
	ts, err := s.adm.ListTransactions(ctx, slices.Collect(maps.Keys(ids)), nil)
	s.Logf("their coordinator: %v %v", ts.Sorted(), err)
	ds, err := s.adm.DescribeTransactions(ctx, ts.TransactionalIDs()...)
	s.Logf("and: %v %v", ds.Sorted(), err)
}

// dump runs an instance alone, on the local tables that it left: nothing is left
// to consume, and its rows are those of all that was sent.
func (s *scene) dump(i *instance) {
	s.Helper()
	i.job.Dump = true
	i.job.Brokers = s.kafka.Brokers()
	must(s, i.start())
	i.expectEnd()
	s.until(i.job.Instance+" dumps its rows", func() any { return s.held() }, func() bool { return !i.running() })
	r, _ := i.state()
	if err := i.failure(); err != nil {
		s.Error(err)
	}
	for h, hop := range r.Hops {
		if hop.Stats.In > 0 {
			s.Errorf("instance %s alone: %s consumes %d records that were consumed before", i.job.Instance, hops[h].group, hop.Stats.In)
		}
		if h >= len(r.Rows) {
			s.Errorf("instance %s alone: no rows", i.job.Instance)
		} else if a := s.load.ledger.rows(r.Rows[h]); len(a.counts) > 0 {
			s.Errorf("instance %s alone: table of %s: %s", i.job.Instance, hops[h].group, &a)
		}
	}
}

func (s *scene) tally() (t tally) {
	for _, i := range s.insts {
		t = t.add(i.tally())
	}
	return t
}

func tail(file string, bytes int64) string {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-bytes), io.SeekStart)
	}
	text, _ := io.ReadAll(f)
	return string(text)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
