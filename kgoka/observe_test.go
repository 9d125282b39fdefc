package kgoka

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What is to be done on the commit is done once for each record, in their order, though
// batches are repeated; and the observer is told of each batch, what became of it.
func TestObserver(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	var mu sync.Mutex
	called, counted, told := 0, map[string][]string{}, []Transaction(nil)
	g := goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Output("out", Bytes{}),
		goka.Input("in", Bytes{}, func(ctx goka.Context, _ any) {
			c := From(ctx)
			key, value := c.Key(), string(c.Record().Value)
			mu.Lock()
			called++
			mu.Unlock()
			c.OnCommit(func() { counted[key] = append(counted[key], value) }) // by the loop alone
			if value != "nothing" {
				c.EmitRecord("out", key, c.Record().Value, nil)
			}
		}))
	cfg := b.config("a-1")
	cfg.Observer.Transaction = func(tx Transaction) { told = append(told, tx) }
	p := start(t, cfg, g).waitReady()
	if b.c == nil {
		t.Skip("a broker that fails by order is not at hand")
	}
	const n, keys = 300, 7
	b.feed("in", 0, n, keys)
	b.caughtUp("a", "in")
	h := b.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.RebalanceInProgress, Count: 2, Group: "a"})
	b.feed("in", n, n, keys)
	b.caughtUp("a", "in")
	h.Remove()
	b.produce(&kgo.Record{Topic: "in", Key: []byte("quiet"), Value: []byte("nothing")})
	b.caughtUp("a", "in")
	p.mustEnd()

	if called <= 2*n+1 {
		t.Errorf("the callback was called %d times: nothing was repeated", called)
	}
	for key := range keys {
		var want []string
		for i := key; i < 2*n; i += keys {
			want = append(want, fmt.Sprint(i))
		}
		if got := counted[fmt.Sprintf("key-%d", key)]; !slices.Equal(got, want) {
			t.Errorf("key-%d: %v", key, got)
		}
	}
	s, sum, aborts := p.Stats(), Stats{}, int64(0)
	for _, n := range s.Aborts {
		aborts += n
	}
	for _, tx := range told {
		switch {
		case tx.Took <= 0:
			t.Errorf("it took %v", tx.Took)
		case tx.Err != nil:
			aborts--
			continue
		case tx.Out == 0:
			sum.Commits++
		default:
			sum.Transactions++
		}
		sum.In, sum.Out = sum.In+tx.In, sum.Out+tx.Out
	}
	if sum.In != s.In || sum.Out != s.Out || sum.Commits != s.Commits || sum.Transactions != s.Transactions || aborts != 0 || sum.In != 2*n+1 || s.Rebalances < 1 {
		t.Errorf("told of %+v, counted %+v", sum, s)
	}
}

// How much a table holds is told whether it is in memory or on disk.
func TestSizes(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, "in", "a-table")
			cfg := b.config("a-1")
			cfg.Dir = dir
			p := start(t, cfg, counting("a", "in", "")).waitReady()
			const keys = 50
			look := func() (rows, bytes int64) {
				for _, s := range p.Sizes() {
					if s.Topic != "a-table" || s.Role != RoleActive {
						t.Errorf("%+v", s)
					}
					rows, bytes = rows+s.Rows, bytes+s.Bytes
				}
				return rows, bytes
			}
			if rows, bytes := look(); rows != 0 || bytes != 0 {
				t.Errorf("before: %d rows, %d bytes", rows, bytes)
			}
			b.feed("in", 0, keys, keys)
			b.caughtUp("a", "in")
			until(t, "all rows are counted", func() bool { rows, _ := look(); return rows == keys })
			rows, bytes := look()
			if bytes < keys*13 { // "key-0" and eight bytes
				t.Errorf("%d rows, %d bytes", rows, bytes)
			}
			if dir == "" {
				b.feed("in", keys, keys, keys)
				until(t, "they came again", func() bool { return p.Stats().In == 2*keys })
				if _, again := look(); again > 2*bytes-keys {
					t.Errorf("%d bytes, and %d after the same rows came again", bytes, again)
				}
				return
			}
			p.mustEnd()
			p = start(t, cfg, counting("a", "in", "")).waitReady()
			if rows, bytes := look(); rows != keys || bytes < keys*13 {
				t.Errorf("after a start: %d rows, %d bytes", rows, bytes)
			}
		})
	}
}
