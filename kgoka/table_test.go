package kgoka

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestReadersBesideMoves: iterators bring a table's rows to its store while
// reading does so in the background; neither undoes the other.
func TestReadersBesideMoves(t *testing.T) {
	d, err := openDisk(t.TempDir(), "x", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	tb, err := (&shelf{disk: d}).load(place{"t", 0})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for ctx.Err() == nil {
				tb.mu.RLock()
				busy := tb.busy
				tb.mu.RUnlock()
				if !busy {
					runtime.Gosched()
				} else if err := tb.flush(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	const n, keys = 2000, 7
	for i := range n {
		if i%2 == 0 { // a move is due
			tb.mu.Lock()
			tb.bytes = moveBytes
			tb.mu.Unlock()
		}
		if err := tb.replay([]*kgo.Record{{Offset: int64(i), Key: fmt.Append(nil, i%keys), Value: fmt.Append(nil, i)}}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	readers.Wait()
	if err := tb.flush(); err != nil {
		t.Fatal(err)
	}
	for i := n - keys; i < n; i++ {
		if r, err := tb.store.get(fmt.Append(nil, i%keys)); err != nil || string(r.val) != fmt.Sprint(i) {
			t.Errorf("key %d: %q, %v, want %d", i%keys, r.val, err, i)
		}
	}
	if tb.store.last != n-1 {
		t.Errorf("the store stands for offset %d, want %d", tb.store.last, n-1)
	}
}
