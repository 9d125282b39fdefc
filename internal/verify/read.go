package verify

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderlog/orderlog/topics"
)

// chunk is how much of a partition is fetched at a time.
const chunk = 4 << 20

// reader reads partitions from one exact offset to another. It fetches by hand,
// since a consumer does not tell how far it is when all that was left were
// markers, aborted records, or records that compaction took away.
type reader struct {
	cl         *kgo.Client
	adm        *kadm.Client
	namespace  string
	partitions map[string]int // by catalogue topic
	telling    bool           // teller runs
	records    atomic.Int64

	mu      sync.Mutex
	details kadm.TopicDetails
	next    offsets // where to read on
	from    offsets // where reading began, or began anew after a gap

	done, total int64 // offsets to read, of all cuts
}

func newReader(ctx context.Context, cl *kgo.Client, namespace string) (*reader, error) {
	r := &reader{cl: cl, adm: kadm.NewClient(cl), namespace: namespace, partitions: map[string]int{}, next: offsets{}, from: offsets{}}
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	var missing []string
	for _, n := range slices.Concat(tables, logs) {
		d := r.details[r.name(n)]
		if d.Err != nil || len(d.Partitions) == 0 {
			missing = append(missing, r.name(n))
		}
		r.partitions[n] = len(d.Partitions)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("topics missing: %s", strings.Join(missing, ", "))
	}
	var err error
	r.telling, err = r.runs(ctx, teller)
	return r, err
}

func (r *reader) name(topic string) string { return topics.Prefixed(r.namespace, topic) }

func (r *reader) refresh(ctx context.Context) error {
	var full []string
	for _, n := range slices.Concat(tables, logs) {
		full = append(full, r.name(n))
	}
	md, err := r.adm.Metadata(ctx, full...)
	if err != nil {
		return fmt.Errorf("asking for metadata: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.details = md.Topics
	return nil
}

// sink takes the records of one partition, in order.
type sink interface{ add(*kgo.Record) error }

// readTo reads every partition up to its end at the cut: what is dead or parked
// first, since that says what became of the commands.
func (r *reader) readTo(ctx context.Context, c *cut, w *world, progress func(done, total int64)) error {
	if err := r.readAll(ctx, c, w, first, progress); err != nil {
		return err
	}
	if err := w.dead.sort(w); err != nil {
		return err
	}
	if err := w.park(); err != nil {
		return err
	}
	return r.readAll(ctx, c, w, slices.DeleteFunc(slices.Concat(tables, logs), func(n string) bool { return slices.Contains(first, n) }), progress)
}

// readAll reads some topics up to their ends at the cut.
func (r *reader) readAll(ctx context.Context, c *cut, w *world, names []string, progress func(done, total int64)) error {
	r.begin(c)
	step := func(n int64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.done += n
		progress(r.done, r.total)
	}
	var jobs []func() error
	for _, topic := range names {
		for p, end := range c.ends[topic] {
			jobs = append(jobs, func() error { return r.read(ctx, topic, int32(p), end, w.sinks[topic][p], step) })
		}
	}
	return parallel(jobs)
}

// begin finds out how much there is to read.
func (r *reader) begin(c *cut) {
	r.total = r.done
	for topic, ends := range c.ends {
		if r.next[topic] == nil {
			r.next[topic] = slices.Clone(c.starts[topic])
			r.from[topic] = slices.Clone(c.starts[topic])
		}
		for p, end := range ends {
			if start := c.starts[topic][p]; start > r.next[topic][p] {
				r.next[topic][p], r.from[topic][p] = start, start
			}
			if slices.Contains(tails, topic) {
				r.next[topic][p] = max(r.next[topic][p], c.committed[topic][p])
			}
			r.total += max(end-r.next[topic][p], 0)
		}
	}
}

// parallel runs jobs, a few at a time, and returns when all are done.
func parallel(jobs []func() error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(jobs))
	slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	for i, job := range jobs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = job()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// read feeds what is committed below end to the sink.
func (r *reader) read(ctx context.Context, topic string, p int32, end int64, s sink, step func(int64)) error {
	next := &r.next[topic][p] // of this goroutine alone
	for tries := 0; *next < end; {
		fp, after, err := r.fetch(ctx, topic, p, *next, end, chunk)
		if errors.Is(err, kerr.OffsetOutOfRange) {
			if err = r.skip(ctx, topic, p, next); err == nil {
				continue
			}
		}
		if err != nil {
			if tries++; tries > 50 || !kerr.IsRetriable(err) && !errors.Is(err, errNoLeader) {
				return fmt.Errorf("reading topic %q, partition %d, offset %d: %w", r.name(topic), p, *next, err)
			}
			if err := r.again(ctx); err != nil {
				return err
			}
			continue
		}
		tries = 0
		for _, rec := range fp.Records {
			if rec.Offset >= end {
				break
			}
			if err := s.add(rec); err != nil {
				return fmt.Errorf("topic %q, partition %d, offset %d: %w", r.name(topic), p, rec.Offset, err)
			}
			r.records.Add(1)
		}
		after = min(after, end)
		step(after - *next)
		*next = after
	}
	return nil
}

// skip goes on where retention has left the log meanwhile.
func (r *reader) skip(ctx context.Context, topic string, p int32, next *int64) error {
	starts := offsets{}
	if err := r.list(ctx, r.adm.ListStartOffsets, starts, []string{topic}); err != nil {
		return err
	}
	if starts[topic][p] <= *next {
		return kerr.OffsetOutOfRange
	}
	*next, r.from[topic][p] = starts[topic][p], starts[topic][p]
	return nil
}

func (r *reader) again(ctx context.Context) error {
	select {
	case <-time.After(200 * time.Millisecond):
		return r.refresh(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errNoLeader = errors.New("no leader")

// fetch returns the records from the offset on, and the offset after the last
// one that was looked at.
func (r *reader) fetch(ctx context.Context, topic string, p int32, from, end int64, most int32) (kgo.FetchPartition, int64, error) {
	r.mu.Lock()
	d := r.details[r.name(topic)]
	r.mu.Unlock()
	leader := d.Partitions[p].Leader
	if leader < 0 {
		return kgo.FetchPartition{}, 0, errNoLeader
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = 500, 1, most, 1
	req.SessionEpoch = -1 // no fetch session
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = r.name(topic), d.ID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = p, from, most
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)

	resp, err := req.RequestWith(ctx, r.cl.Broker(int(leader)))
	if err != nil {
		return kgo.FetchPartition{}, 0, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return kgo.FetchPartition{}, 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return kgo.FetchPartition{}, 0, errors.New("the answer does not fit the request")
	}
	got := &resp.Topics[0].Partitions[0]
	fp, after := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: from, IsolationLevel: kgo.ReadCommitted(), Topic: r.name(topic), Partition: p,
	}, got, kgo.DefaultDecompressor(), nil)
	switch {
	case fp.Err != nil:
		return fp, after, fp.Err
	case len(got.RecordBatches) == 0 && resp.ThrottleMillis == 0 && got.LastStableOffset >= end:
		return fp, end, nil // nothing is left between here and there
	case after == from && len(got.RecordBatches) > 0:
		return fp, after, errors.New("a batch that cannot be read")
	}
	return fp, after, nil
}
