package lag

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderlog/orderlog/internal/figure"
)

// place is an offset of a log at which somebody stands.
type place struct {
	topic     string
	id        kadm.TopicID // a topic made anew is another one
	partition int32
	offset    int64
}

// ahead is what has been read from a place on.
type ahead struct {
	place
	next    int64     // all before it has been read
	records int64     // that one gets of that who reads what is committed
	first   time.Time // of the first of them, zero if there is none yet
	round   int       // the last one that somebody stood here
}

// lookAhead fills in Records and Seconds.
func (r *Reader) lookAhead(ctx context.Context, round *Round, logs map[string][]*Log) {
	r.rounds++
	standing := make([]*ahead, len(round.Partitions))
	parts := map[*Log]*part{}
	for i := range round.Partitions {
		p := &round.Partitions[i]
		if p.at() >= p.Stable {
			continue
		}
		at, _ := slices.BinarySearchFunc(logs[p.Topic], p.Partition, func(l *Log, n int32) int { return int(l.Partition - n) })
		log := logs[p.Topic][at]
		key := place{p.Topic, log.id, p.Partition, p.at()}
		a := r.places[key]
		if a == nil {
			a = &ahead{place: key, next: p.at()}
			r.places[key] = a
		}
		standing[i] = a
		if a.round == r.rounds { // somebody else stands here
			continue
		}
		a.round = r.rounds
		if parts[log] == nil {
			parts[log] = &part{log: log}
		}
		parts[log].open = append(parts[log].open, a)
	}
	for key, a := range r.places {
		if a.round != r.rounds {
			delete(r.places, key)
		}
	}
	r.read(ctx, round, parts)

	seen := map[reading]time.Time{}
	for i, a := range standing {
		if p := &round.Partitions[i]; a != nil {
			r.tell(p, a, round.At, seen)
		}
	}
	r.seen = seen
}

// tell says what a means for p. Of a record that has not been read it is known that it
// comes after the one that was the next one in an earlier round.
func (r *Reader) tell(p *Partition, a *ahead, now time.Time, seen map[reading]time.Time) {
	who := reading{stream{p.Group, p.Topic}, p.Partition}
	p.Records = a.records
	if left := p.Stable - a.next; left > 0 {
		share := 1.0 // as long as none was found, nobody knows: rather too many than none
		if a.records > 0 {
			share = float64(a.records) / float64(a.next-a.offset)
		}
		p.Records += int64(math.Round(share * float64(left)))
		p.Estimated = true
	}
	first, known := a.first, !a.first.IsZero()
	if !known && a.next < p.Stable {
		first, known = r.seen[who]
		if p.Seconds = unknown; !known {
			return
		}
	}
	if known {
		seen[who] = first
		p.Seconds = figure.Figure(max(0, now.Sub(first).Round(time.Millisecond).Seconds()))
	}
}

// readFor is how long brokers may take to answer: of one that does not, lags in offsets
// are known all the same.
const readFor = 10 * time.Second

// read asks the leaders of parts, all at once.
func (r *Reader) read(ctx context.Context, round *Round, parts map[*Log]*part) {
	ctx, cancel := context.WithTimeout(ctx, readFor)
	defer cancel()
	byLeader := map[int32][]*part{}
	for log, p := range parts {
		if slices.ContainsFunc(p.open, func(a *ahead) bool { return a.next < log.Stable }) {
			byLeader[log.leader] = append(byLeader[log.leader], p)
		}
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for leader, parts := range byLeader {
		all.Go(func() {
			// Where the budget does not last for all, it shall not be the same ones that go short.
			rand.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			f := fetcher{ctx: ctx, broker: r.cfg.Client.Broker(int(leader)), parts: parts, budget: r.cfg.Budget / len(byLeader)}
			err := errors.Join(f.run((*part).nextFirst, firstLimit), f.run((*part).nextAny, mostLimit))
			mu.Lock()
			defer mu.Unlock()
			round.Read += f.spent
			if err != nil {
				round.Faults = append(round.Faults, fmt.Errorf("reading records of broker %d: %w", leader, err))
			}
		})
	}
	all.Wait()
}

// part is a partition, and the places from which it is read.
type part struct {
	log    *Log
	open   []*ahead
	limit  int32 // of bytes asked for, at least
	short  bool  // it got nothing last time
	failed bool
}

const (
	firstLimit = 16 << 10 // is enough for one batch in most cases
	mostLimit  = 1 << 20
	growth     = 8
	response   = 8 << 20 // the most that one answer may have
)

// nextFirst is from where to read on to find the first record of some place: of the one
// that is furthest behind, since what is read for it may serve others.
func (p *part) nextFirst() (from int64, ok bool) {
	for _, a := range p.open {
		if a.first.IsZero() && a.next < p.log.Stable && (!ok || a.next < from) {
			from, ok = a.next, true
		}
	}
	return from, ok
}

// nextAny is from where to read on to count what comes. Who is nearly at the end is
// counted first: a small lag shall be right.
func (p *part) nextAny() (from int64, ok bool) {
	for _, a := range p.open {
		if a.next < p.log.Stable && (!ok || a.next > from) {
			from, ok = a.next, true
		}
	}
	return from, ok
}

// take has everybody go on who stands in what was read, from one offset to another.
func (p *part) take(from, to int64, records []*kgo.Record) {
	to = min(to, p.log.Stable) // what has come meanwhile is for another round
	for _, a := range p.open {
		if a.next < from || a.next >= to {
			continue
		}
		for _, rec := range records {
			if rec.Offset < a.next || rec.Offset >= to {
				continue
			}
			if a.records++; a.first.IsZero() {
				a.first = rec.Timestamp
			}
		}
		a.next = to
	}
}

// fetcher reads from one broker.
type fetcher struct {
	ctx    context.Context
	broker *kgo.Broker
	parts  []*part
	budget int
	spent  int
}

// ask is from where to read a partition.
type ask struct {
	part *part
	from int64
}

// run reads what next wants until it wants no more, or the budget is spent; of each
// partition up to so many bytes at once. Only of the first partition of a request it is
// sure that a batch comes which is larger than what was asked for: who got nothing asks
// for more, and first, the next time.
func (f *fetcher) run(next func(*part) (int64, bool), most int) error {
	var errs []error
	for f.spent < f.budget && f.ctx.Err() == nil {
		var asks []ask
		for _, p := range f.parts {
			if from, ok := next(p); ok && !p.failed {
				asks = append(asks, ask{p, from})
			}
		}
		if len(asks) == 0 {
			break
		}
		slices.SortStableFunc(asks, func(a, b ask) int { return order(a.part.short) - order(b.part.short) })
		resp, err := f.fetch(asks, most)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for i, a := range asks {
			got, ok := resp[logKey{a.part.log.Topic, a.part.log.Partition}]
			if err := f.answer(a, got, ok, i == 0); err != nil {
				a.part.failed = true
				errs = append(errs, fmt.Errorf("%s/%d at %d: %w", a.part.log.Topic, a.part.log.Partition, a.from, err))
			}
		}
	}
	return errors.Join(errs...)
}

func order(short bool) int {
	if short {
		return 0
	}
	return 1
}

func (f *fetcher) answer(a ask, got kmsg.FetchResponseTopicPartition, ok, first bool) error {
	err := kerr.ErrorForCode(got.ErrorCode)
	if errors.Is(err, kerr.OffsetOutOfRange) { // deleted meanwhile: the next round knows
		a.part.failed = true
		return nil
	}
	if err != nil {
		return err
	}
	f.spent += len(got.RecordBatches)
	opts := kgo.ProcessFetchPartitionOpts{Offset: a.from, IsolationLevel: kgo.ReadCommitted(), Topic: a.part.log.Topic, Partition: a.part.log.Partition}
	read, to := kgo.ProcessFetchPartition(opts, &got, kgo.DefaultDecompressor(), nil)
	switch a.part.short = !ok || to <= a.from; {
	case read.Err != nil:
		return read.Err
	case !a.part.short:
		a.part.take(a.from, to, read.Records)
	case first && got.LastStableOffset < a.part.log.Stable: // a broker that throttles leaves everything out
		return errNothing
	case first:
		here, err := f.here(a)
		if err != nil {
			return err
		}
		if !here {
			return errElsewhere
		}
		a.part.take(a.from, a.part.log.Stable, nil) // there is nothing up to the end but a gap
	default:
		a.part.limit = min(growth*max(a.part.limit, firstLimit), response)
	}
	return nil
}

// earliestLocal asks for the first offset that a broker has on a disk of its own (KIP-405).
const earliestLocal = -4

// here tells whether a broker that answers nothing would have it on a disk of its own. What
// lies in tiered storage it fetches, and answers nothing if that takes too long.
func (f *fetcher) here(a ask) (bool, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	t, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	t.Topic, p.Partition, p.Timestamp = a.part.log.Topic, a.part.log.Partition, earliestLocal
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	kresp, err := f.broker.RetriableRequest(f.ctx, req)
	if err != nil {
		return false, err
	}
	ts := kresp.(*kmsg.ListOffsetsResponse).Topics
	if len(ts) != 1 || len(ts[0].Partitions) != 1 {
		return false, errNothing
	}
	got := ts[0].Partitions[0]
	err = kerr.ErrorForCode(got.ErrorCode)
	if errors.Is(err, kerr.UnsupportedVersion) { // too old to have any other storage
		return true, nil
	}
	return got.Offset <= a.from, err
}

var (
	errNothing   = errors.New("the broker answers nothing, or is throttling")
	errElsewhere = errors.New("the broker has not fetched it from tiered storage in time")
)

type logKey struct {
	topic     string
	partition int32
}

func (f *fetcher) fetch(asks []ask, most int) (map[logKey]kmsg.FetchResponseTopicPartition, error) {
	left := f.budget - f.spent
	share := int32(min(max(left/len(asks), firstLimit), most))
	req := kmsg.NewPtrFetchRequest()
	req.IsolationLevel, req.MaxBytes = 1, int32(min(max(left, firstLimit), response))
	byTopic, names := map[string]int{}, map[kadm.TopicID]string{}
	for _, a := range asks {
		log := a.part.log
		i, ok := byTopic[log.Topic]
		if !ok {
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = log.Topic, log.id
			i = len(req.Topics)
			byTopic[log.Topic], names[log.id] = i, log.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = log.Partition, a.from, max(a.part.limit, share)
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	kresp, err := f.broker.RetriableRequest(f.ctx, req)
	if err != nil {
		return nil, err
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	got := map[logKey]kmsg.FetchResponseTopicPartition{}
	for _, t := range resp.Topics {
		if t.Topic == "" {
			t.Topic = names[t.TopicID]
		}
		for _, p := range t.Partitions {
			got[logKey{t.Topic, p.Partition}] = p
		}
	}
	return got, nil
}
