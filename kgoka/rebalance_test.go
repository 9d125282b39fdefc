package kgoka

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRebalance: instances come, go and die while records flow.
func TestRebalance(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	dir := t.TempDir()
	inst := func(i int, disk bool) (*running, *wire) {
		w := &wire{}
		cfg := b.config(fmt.Sprintf("a-%d", i))
		cfg.ClientOpts = []kgo.Opt{kgo.Dialer(w.dial)}
		if disk {
			cfg.Dir = dir
		}
		return start(t, cfg, counting("a", "in", "out")), w
	}
	const keys = 31
	var n atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	var feeding sync.WaitGroup
	feeding.Go(func() {
		for ctx.Err() == nil {
			b.feed("in", int(n.Load()), 50, keys)
			n.Add(50)
			time.Sleep(3 * time.Millisecond) // the load, not a wait
		}
	})
	moves := func(p *running) {
		t.Helper()
		from := p.Stats().In
		until(t, "records are consumed", func() bool { return p.Stats().In > from+200 })
	}
	p1, _ := inst(1, true)
	moves(p1)
	p2, w2 := inst(2, true)
	moves(p2)
	moves(p1)
	p3, _ := inst(3, false)
	moves(p3)
	p1.mustEnd()
	moves(p2)
	moves(p3)
	w2.kill() // p3 takes over
	moves(p3)
	p1, _ = inst(1, true)
	moves(p1)
	until(t, "the dead instance is out", func() bool { return b.members("a") == 2 })
	w2.cut.Store(false) // and comes back as a zombie
	moves(p2)
	p3.mustEnd()
	moves(p2)
	moves(p1)
	stop()
	feeding.Wait()
	b.caughtUp("a", "in")
	p1.mustEnd()
	p2.mustEnd()
	b.checkOnce(int(n.Load()), keys, "out", "a-table")
}

// TestKilledAndRestarted: the same instance again, after deaths at any moment.
func TestKilledAndRestarted(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	const keys, n = 19, 12000
	b.feed("in", 0, n, keys)
	dirs := []string{t.TempDir(), t.TempDir()}
	var dead []*running
	for i := range 6 {
		w := &wire{}
		cfg := b.config("a-1")
		cfg.ClientOpts, cfg.MaxPoll = []kgo.Opt{kgo.Dialer(w.dial)}, 20
		if i%3 > 0 {
			cfg.Dir = dirs[i%2]
			if i >= 4 {
				<-dead[i-4].done // or it still holds the folder's lock, as a killed process would not
				<-dead[i-2].done
			}
		}
		p := start(t, cfg, counting("a", "in", "out")).waitReady()
		until(t, "it works", func() bool { return p.Stats().In > int64(100*i) })
		w.kill()
		p.stop()
		dead = append(dead, p)
	}
	p := start(t, b.config("a-1"), counting("a", "in", "out"))
	b.caughtUp("a", "in")
	p.mustEnd()
	b.checkOnce(n, keys, "out", "a-table")
}

// TestMoreInstancesThanPartitions: the ones without work are ready, too.
func TestMoreInstancesThanPartitions(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	var ps []*running
	for i := range nparts + 1 {
		ps = append(ps, start(t, b.config(fmt.Sprintf("a-%d", i)), counting("a", "in", "out")))
	}
	for _, p := range ps {
		p.waitReady()
	}
	b.feed("in", 0, 500, 11)
	b.caughtUp("a", "in")
	for _, p := range ps {
		p.mustEnd()
	}
	b.checkOnce(500, 11, "out", "a-table")
}

// TestPartitionsAdded: a topic that grows while the group runs ends Run, and the
// error names it.
func TestPartitionsAdded(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	b.opts = append(b.opts, kgo.MetadataMaxAge(100*time.Millisecond))
	p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	if _, err := kadm.NewClient(b.cl).CreatePartitions(context.Background(), 1, "in"); err != nil {
		t.Fatal(err)
	}
	p.mustFail(`topic "in" has got more partitions than the 4`)
}
