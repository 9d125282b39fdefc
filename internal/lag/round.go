package lag

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/group"
)

// Config says what a Reader looks at.
type Config struct {
	Client   *kgo.Client            // of the cluster, for the Reader's requests; it consumes nothing
	Expected []Expected             // told of in any case
	Others   func(name string) bool // which groups of the cluster are, too; nil: none
	Budget   int                    // bytes of records read in a round, more or less; 0: 4 MiB
	Now      func() time.Time       // nil: time.Now
}

const defaultBudget = 4 << 20

// Reader looks at one cluster again and again. It remembers what it has read, so that
// nothing is read twice for a group that has not moved. For one goroutine.
type Reader struct {
	cfg Config
	adm *kadm.Client

	rounds   int
	places   map[place]*ahead
	seen     map[reading]time.Time // timestamp of the last record that is known to have been the next one
	moves    map[stream][]sample
	settings settings
	states   map[string]string // of groups, as last known
}

// reading is one group on one partition, stream on one topic.
type (
	stream  struct{ group, topic string }
	reading struct {
		stream
		partition int32
	}
)

// NewReader returns a Reader that has seen nothing yet.
func NewReader(cfg Config) *Reader {
	cfg.Budget = cmp.Or(cfg.Budget, defaultBudget)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Reader{cfg: cfg, adm: kadm.NewClient(cfg.Client), places: map[place]*ahead{}, moves: map[stream][]sample{}}
}

// Round looks at the cluster. What cannot be read of some groups or partitions is
// left out, or unknown, and among the round's faults; the error is that nothing can.
func (r *Reader) Round(ctx context.Context) (*Round, error) {
	began := time.Now()
	round := &Round{At: r.cfg.Now(), Groups: []Group{}, Topics: []Topic{}, Partitions: []Partition{}}
	names, listed, err := r.names(ctx, round)
	if err != nil {
		return nil, err
	}
	described := r.describe(ctx, round, names, listed)
	committed, faults := group.Many(ctx, r.adm, names...)
	round.Faults = append(round.Faults, faults...)
	if len(committed) == 0 && len(faults) > 0 {
		return nil, faults[0]
	}
	inputs := r.inputs(names, described, committed)
	logs, err := r.logs(ctx, round, inputs)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, told := inputs[name]; !told {
			continue
		}
		n := len(round.Partitions)
		at, known := committed[name] // who cannot be asked after is not at the start
		for _, topic := range inputs[name] {
			if known {
				round.Partitions = append(round.Partitions, partitions(name, topic, at, logs[topic])...)
			}
		}
		// Who is not there, nor what it would read, is of another cluster.
		if g := described[name]; g.state != dead || len(round.Partitions) > n {
			told := Group{Group: name, State: g.state, Members: g.members}
			if !known {
				told.CatchUp = unknown
			}
			round.Groups = append(round.Groups, told)
		}
	}
	r.lookAhead(ctx, round, logs)
	round.Unsafe = r.safe(ctx, round)
	round.sum()
	r.rate(round)
	round.Took = time.Since(began)
	return round, ctx.Err()
}

// names are those of all groups that are told of, in order, and what brokers list.
func (r *Reader) names(ctx context.Context, round *Round) ([]string, kadm.ListedGroups, error) {
	var listed kadm.ListedGroups
	names := map[string]bool{}
	for _, e := range r.cfg.Expected {
		names[e.Name] = true
	}
	if r.cfg.Others != nil {
		var err error
		listed, err = r.adm.ListGroups(ctx)
		if err != nil {
			err = fmt.Errorf("listing groups: %w", err)
			if len(listed) == 0 {
				return nil, nil, err
			}
			round.Faults = append(round.Faults, err)
		}
		for name := range listed {
			if r.cfg.Others(name) {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names)), listed, nil
}

// described is what coordinators tell of a group.
type described struct {
	state   string
	members int
	reads   map[string]bool // topics that its members have been assigned
}

// chunk is how many groups are asked after in one request to a coordinator.
const chunk = 500

// dead is the state of a group that nobody knows.
const dead = "Dead"

// describe asks in the classic way, and in the other those that are there and of
// which that knows nothing (KIP-848).
func (r *Reader) describe(ctx context.Context, round *Round, names []string, listed kadm.ListedGroups) map[string]described {
	all := make(map[string]described, len(names))
	fault := func(err error) {
		if err != nil {
			round.Faults = append(round.Faults, fmt.Errorf("describing groups: %w", err))
		}
	}
	var later []string
	for some := range slices.Chunk(names, chunk) {
		ds, err := r.adm.DescribeGroups(ctx, some...)
		fault(err)
		for name, d := range ds {
			if l := listed[name]; l.State != "" && l.State != dead && (d.State == dead || d.Err != nil) {
				later = append(later, name)
			}
			g := described{cmp.Or(d.State, dead), len(d.Members), map[string]bool{}}
			for _, m := range d.Members {
				if c, ok := m.Assigned.AsConsumer(); ok {
					for _, t := range c.Topics {
						g.reads[t.Topic] = true
					}
				}
			}
			if d.Err != nil && !errors.Is(d.Err, kerr.GroupIDNotFound) {
				fault(fmt.Errorf("%q: %w", name, d.Err))
				continue
			}
			all[name] = g
		}
	}
	for some := range slices.Chunk(later, chunk) {
		ds, err := r.adm.DescribeConsumerGroups(ctx, some...)
		fault(err)
		for name, d := range ds {
			if d.Err != nil { // neither: a share group, or a streams group
				continue
			}
			g := described{d.State, len(d.Members), map[string]bool{}}
			for topic := range d.AssignedPartitions() {
				g.reads[topic] = true
			}
			all[name] = g
		}
	}
	for _, name := range later {
		if g := all[name]; g.state == dead || g.state == "" {
			g.state = listed[name].State
			all[name] = g
		}
	}
	return all
}

// inputs are the topics of each group that is told of, in order.
func (r *Reader) inputs(names []string, described map[string]described, committed map[string]kadm.OffsetResponses) map[string][]string {
	inputs := map[string][]string{}
	for _, name := range names {
		topics := described[name].reads
		if topics == nil {
			topics = map[string]bool{}
		}
		for t := range committed[name] {
			topics[t] = true
		}
		if i := slices.IndexFunc(r.cfg.Expected, func(e Expected) bool { return e.Name == name }); i >= 0 {
			e := r.cfg.Expected[i]
			if e.Optional && len(topics) == 0 {
				continue
			}
			for _, t := range e.Topics {
				topics[t] = true
			}
		}
		inputs[name] = slices.Sorted(maps.Keys(topics))
	}
	return inputs
}

// Log is one partition of a topic.
type Log struct {
	Topic              string
	Partition          int32
	Start, End, Stable int64 // as Partition has them

	id     kadm.TopicID
	leader int32
}

// logs asks for the bounds of all that is read, once. A topic that is not there is
// left out: that is doctor's business.
func (r *Reader) logs(ctx context.Context, round *Round, inputs map[string][]string) (map[string][]*Log, error) {
	var names []string
	for _, topics := range inputs {
		names = append(names, topics...)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return nil, nil // kadm would ask for all there are
	}
	meta, err := r.adm.Metadata(kadm.WithAuthorizedOps(ctx), names...) // so it does not answer from its cache
	if err != nil {
		return nil, fmt.Errorf("asking for topics: %w", err)
	}
	// Stable is asked for before End, or it might be the larger one.
	var starts, ends, stables kadm.ListedOffsets
	for _, ask := range []struct {
		of   *kadm.ListedOffsets
		list func(context.Context, ...string) (kadm.ListedOffsets, error)
	}{{&starts, r.adm.ListStartOffsets}, {&stables, r.adm.ListCommittedOffsets}, {&ends, r.adm.ListEndOffsets}} {
		if *ask.of, err = ask.list(ctx, names...); err != nil {
			round.Faults = append(round.Faults, fmt.Errorf("offsets of topics: %w", err))
		}
	}
	logs := make(map[string][]*Log, len(names))
	for _, t := range names {
		if err := meta.Topics[t].Err; err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			round.Faults = append(round.Faults, fmt.Errorf("topic %q: %w", t, err))
		}
		for _, p := range meta.Topics[t].Partitions.Sorted() {
			log := &Log{Topic: t, Partition: p.Partition, id: meta.Topics[t].ID, leader: p.Leader}
			for _, bound := range []struct {
				of   kadm.ListedOffsets
				into *int64
			}{{starts, &log.Start}, {stables, &log.Stable}, {ends, &log.End}} {
				o, ok := bound.of.Lookup(t, p.Partition)
				if err := cmp.Or(o.Err, p.Err); !ok || err != nil {
					round.Faults = append(round.Faults, fmt.Errorf("offsets of %s/%d: %w", t, p.Partition, cmp.Or(err, errNoOffset)))
					log = nil
					break
				}
				*bound.into = o.Offset
			}
			if log != nil {
				logs[t] = append(logs[t], log)
				round.Logs = append(round.Logs, *log)
			}
		}
	}
	return logs, nil
}

var errNoOffset = errors.New("its leader does not tell")

func partitions(group, topic string, committed kadm.OffsetResponses, logs []*Log) (ps []Partition) {
	for _, log := range logs {
		p := Partition{Group: group, Topic: topic, Partition: log.Partition, Committed: -1, Start: log.Start, End: log.End, Stable: log.Stable, Lag: -1}
		if o, ok := committed.Lookup(topic, log.Partition); ok && o.Err == nil && o.At >= 0 {
			p.Committed, p.Lag = o.At, log.End-o.At
		}
		ps = append(ps, p)
	}
	return ps
}

// sum makes topics of partitions, which stand together.
func (r *Round) sum() {
	for i := range r.Partitions {
		p := &r.Partitions[i]
		if n := len(r.Topics); n == 0 || r.Topics[n-1].Group != p.Group || r.Topics[n-1].Topic != p.Topic {
			r.Topics = append(r.Topics, Topic{Group: p.Group, Topic: p.Topic, Seconds: unknown, In: unknown, Out: unknown})
		}
		t := &r.Topics[len(r.Topics)-1]
		t.Partitions++
		t.Lag += max(0, p.Lag)
		if p.Beyond() {
			t.Beyond++
		}
		t.Records += p.Records
		t.Estimated = t.Estimated || p.Estimated
		t.Seconds = worse(t.Seconds, p.Seconds)
		if p.Safe.Urgency() < t.Safe.Urgency() {
			t.Safe = p.Safe
		}
	}
}
