package kgoka

import (
	"strings"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// long is a session that no test waits for.
const long = time.Minute

// owns returns the partitions that p consumes now.
func (p *Processor) owns() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sess == nil {
		return 0
	}
	return len(p.sess.parts)
}

// share waits until two instances have half of the partitions each.
func share(p, q *running) {
	p.t.Helper()
	until(p.t, "they share", func() bool { return p.owns() == nparts/2 && q.owns() == nparts/2 })
}

// TestCleanStop: others take over from an instance that stops, without waiting for
// its session to end.
func TestCleanStop(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	inst := func(name string) *running {
		cfg := b.config(name)
		cfg.SessionTimeout = long
		return start(t, cfg, counting("a", "in", "out")).waitReady()
	}
	p := inst("a-1")
	q := inst("a-2")
	share(p, q)
	b.feed("in", 0, 300, 11)
	b.caughtUp("a", "in")
	p.mustEnd()
	until(t, "the other has all", func() bool { return q.owns() == nparts })
	b.feed("in", 300, 300, 11)
	b.caughtUp("a", "in")
	q.mustEnd()
	b.checkOnce(600, 11, "out", "a-table")
}

// TestKilledAndBackWithinItsSession: who is killed and starts again gets its
// partitions at once, while the broker still takes its ghost for alive.
func TestKilledAndBackWithinItsSession(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	inst := func(name string) (*running, *wire) {
		w := &wire{}
		cfg := b.config(name)
		cfg.ClientOpts = []kgo.Opt{kgo.Dialer(w.dial)}
		cfg.SessionTimeout = long
		return start(t, cfg, counting("a", "in", "out")).waitReady(), w
	}
	p, _ := inst("a-1")
	q, w := inst("a-2")
	share(p, q)
	b.feed("in", 0, 300, 11)
	b.caughtUp("a", "in")
	w.kill()
	q2, _ := inst("a-2")
	share(p, q2)
	b.feed("in", 300, 300, 11)
	b.caughtUp("a", "in")
	q.stop()
	<-q.done
	p.mustEnd()
	q2.mustEnd()
	b.checkOnce(600, 11, "out", "a-table")
}

// TestReplacedWhileAsleep: an instance that was taken for dead and replaced wakes
// up, and ends.
func TestReplacedWhileAsleep(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	w := &wire{}
	cfg := b.config("a-1")
	cfg.ClientOpts = []kgo.Opt{kgo.Dialer(w.dial)}
	p := start(t, cfg, counting("a", "in", "out")).waitReady()
	b.feed("in", 0, 300, 11)
	b.caughtUp("a", "in")
	w.kill()
	q := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	b.feed("in", 300, 300, 11)
	b.caughtUp("a", "in")
	w.cut.Store(false)
	p.mustFail(`another process has joined group "a" as instance "a-1"`, "instance name")
	b.feed("in", 600, 300, 11)
	b.caughtUp("a", "in")
	q.mustEnd()
	b.checkOnce(900, 11, "out", "a-table")
}

// TestNamesakes: of two that run under one name, one stays, as a rule the later one,
// and the other says why it does not; what they did is right.
func TestNamesakes(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	cfg := b.config("a-1")
	p := start(t, cfg, counting("a", "in", "out")).waitReady()
	const keys = 17
	n := 0
	feed := func() bool {
		b.feed("in", n, 20, keys)
		n += 20
		return true
	}
	until(t, "the first works", func() bool { return feed() && p.Stats().In > 100 })
	q := start(t, cfg, counting("a", "in", "out"))
	until(t, "one of them ends", func() bool {
		feed()
		select {
		case <-p.done:
			return true
		case <-q.done: // as the first has joined again before the second had joined at all
			p, q = q, p
			return true
		default:
			return false
		}
	})
	if err := <-p.err; err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
	feed()
	b.caughtUp("a", "in")
	q.mustEnd()
	b.checkOnce(n, keys, "out", "a-table")
}

// TestMembersConsumeTheSame: an instance with another input does not get in, where
// it would share partitions of the table with those that are there.
func TestMembersConsumeTheSame(t *testing.T) {
	b := newBed(t, "in", "in-2", "a-table")
	p := start(t, b.config("a-1"), counting("a", "in", "")).waitReady()
	more := goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Inputs(goka.Streams{"in", "in-2"}, Bytes{}, func(goka.Context, any) {}))
	start(t, b.config("a-2"), more).mustFail(`do not all consume ["in" "in-2"]`, "INCONSISTENT_GROUP_PROTOCOL")
	b.feed("in", 0, 100, 7)
	b.caughtUp("a", "in")
	if n := p.owns(); n != nparts {
		t.Errorf("the one that was there has %d partitions", n)
	}
	p.mustEnd()
	start(t, b.config("a-2"), more).waitReady().mustEnd()
}
