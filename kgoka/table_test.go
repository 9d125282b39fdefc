package kgoka

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
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

// TestWhatACrashLeaves: files that have not become part of the database go, and
// the filter of a store does not outlive its rows.
func TestWhatACrashLeaves(t *testing.T) {
	fs := vfs.NewCrashableMem()
	dir := t.TempDir()
	open := func(fs vfs.FS) (*disk, *diskStore) {
		d := must(openDisk(dir, "x", fs))(t)
		return d, must(d.open(place{"t", 0}))(t)
	}
	rows := func(key string) []keyed { return []keyed{{key: key, row: row{val: []byte("1")}}} }
	d, s := open(fs)
	f := newFilter()
	f.add([]byte("a"))
	if err := errors.Join(s.write(rows("a"), 5), s.keepKeys(f), d.close()); err != nil {
		t.Fatal(err)
	}
	half := must(fs.Create(fs.PathJoin(d.dir, newRows+"7"), vfs.WriteCategoryUnspecified))(t)
	if err := half.Close(); err != nil {
		t.Fatal(err)
	}
	d, s = open(fs)
	if err := errors.Join(s.wipe(identity{parts: 1}), s.write(rows("b"), 5), d.db.Flush()); err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	d, s = open(crashed)
	defer d.close()
	if !must(s.keys())(t).has([]byte("b")) {
		t.Error("the filter is of rows that are gone")
	}
	for _, name := range must(crashed.List(d.dir))(t) {
		if strings.HasPrefix(name, newRows) {
			t.Errorf("%s was left", name)
		}
	}
}
