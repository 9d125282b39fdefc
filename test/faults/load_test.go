package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// load sends numbered records over random keys at a steady rate.
type load struct {
	cl      *kgo.Client
	topic   string
	rate    int
	rnd     *rand.Rand
	ledger  ledger
	next    uint64
	hanging atomic.Bool // the next record is one whose callback may hang

	begun time.Time
	took  time.Duration // sending, so far
	err   atomic.Pointer[error]
	stop  context.CancelFunc
	done  chan struct{}
}

// newLoad has a producer that gives up nothing: what it could not send is an error
// of the test.
func newLoad(opts []kgo.Opt, topic string, rate int, seed uint64) (*load, error) {
	cl, err := kgo.NewClient(append(opts, kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MaxBufferedRecords(1<<20), kgo.ProducerLinger(5*time.Millisecond))...)
	return &load{cl: cl, topic: topic, rate: rate, rnd: rand.New(rand.NewPCG(seed, 1)), ledger: ledger{}}, err
}

// start sends until finish; it may be called again then.
func (l *load) start() {
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	l.done = make(chan struct{})
	l.begun = time.Now()
	go func() {
		defer close(l.done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for first := l.next; ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-tick.C:
				for due := first + uint64(time.Since(l.begun).Seconds()*float64(l.rate)); l.next < due; {
					l.send()
				}
			}
		}
	}()
}

// send sends the next number.
func (l *load) send() {
	m := message{number: l.next, hang: l.hanging.Swap(false)}
	l.next++
	key := keyOf(l.rnd.IntN(nkeys))
	l.ledger[key] = append(l.ledger[key], m.number)
	l.cl.Produce(context.Background(), &kgo.Record{Topic: l.topic, Key: []byte(key), Value: m.bytes()}, func(_ *kgo.Record, err error) {
		if err != nil {
			err = fmt.Errorf("sending: %w", err)
			l.err.CompareAndSwap(nil, &err)
		}
	})
}

// finish stops the load and returns when all is acknowledged.
func (l *load) finish(ctx context.Context) error {
	l.stop()
	<-l.done
	l.took += time.Since(l.begun)
	if err := l.cl.Flush(ctx); err != nil {
		return fmt.Errorf("flushing the load: %w", err)
	}
	if err := l.err.Load(); err != nil {
		return *err
	}
	return nil
}

// watch is a read_committed reader of the last topic: it knows what has come out,
// and for how long nothing did.
type watch struct {
	cl   *kgo.Client
	done sync.WaitGroup

	mu      sync.Mutex
	seen    map[uint64]bool
	arrived [nparts]time.Time // of the last record
	newest  [nparts]time.Time // when that was sent
	struck  map[int32]bool    // partitions that the fault is meant for
	pause   map[bool]time.Duration
	timed   bool // pauses count
}

func newWatch(opts []kgo.Opt, topic string) (*watch, error) {
	cl, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		return nil, err
	}
	w := &watch{cl: cl, seen: map[uint64]bool{}, pause: map[bool]time.Duration{}}
	w.done.Go(func() {
		for {
			fs := cl.PollFetches(context.Background())
			if fs.IsClientClosed() {
				return
			}
			w.see(fs, time.Now())
		}
	})
	return w, nil
}

func (w *watch) close() {
	w.cl.Close()
	w.done.Wait()
}

func (w *watch) see(fs kgo.Fetches, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fs.EachPartition(func(fp kgo.FetchTopicPartition) {
		if len(fp.Records) == 0 {
			return
		}
		w.pauseUntil(fp.Partition, now)
		w.arrived[fp.Partition] = now
		for _, r := range fp.Records {
			w.seen[parseMessage(r.Value).number] = true
			if r.Timestamp.After(w.newest[fp.Partition]) {
				w.newest[fp.Partition] = r.Timestamp
			}
		}
	})
}

func (w *watch) pauseUntil(num int32, now time.Time) {
	if last := w.arrived[num]; w.timed && !last.IsZero() {
		struck := w.struck[num]
		w.pause[struck] = max(w.pause[struck], now.Sub(last))
	}
}

// strike says which partitions the next pauses are expected of. Pauses that last
// are settled first.
func (w *watch) strike(parts map[int32]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timed, w.struck = true, parts
}

// forget begins anew with the measuring of pauses.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.pause)
}

// untimed ends the measuring of pauses.
func (w *watch) untimed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for num := range int32(nparts) {
		w.pauseUntil(num, time.Now())
	}
	w.timed = false
}

func (w *watch) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

// since counts the partitions that have shown a record that the last hop wrote
// after t.
func (w *watch) since(t time.Time) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for num := range w.newest {
		if w.newest[num].After(t) {
			n++
		}
	}
	return n
}

// pauses returns the longest on the partitions struck, and on the others.
func (w *watch) pauses() (struck, others time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pause[true], w.pause[false]
}
