package kgoka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestReadersBesideMoves: what brings a table's rows to its store while reading
// does so in the background does not undo it, nor the other way; iterators see no
// row go back meanwhile.
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
	for range 2 {
		readers.Go(func() {
			seen := map[string]int{}
			for ctx.Err() == nil {
				for k, err := range tb.rows("", "") {
					n, _ := strconv.Atoi(string(k.val))
					if err != nil || n < seen[k.key] {
						t.Errorf("key %s: %d after %d, %v", k.key, n, seen[k.key], err)
					}
					seen[k.key] = n
				}
			}
		})
	}
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

// TestRowsAndFirst compares what a table has with a plain map, wherever its rows
// are: in memory, on their way to the store, in the store, deleted in any.
func TestRowsAndFirst(t *testing.T) {
	for _, disk := range []bool{false, true} {
		seed := uint64(time.Now().UnixNano())
		rng := rand.New(rand.NewPCG(seed, 0))
		var sh shelf
		if disk {
			d, err := openDisk(t.TempDir(), "x", vfs.NewMem())
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			sh.disk = d
		}
		tb, err := sh.load(place{"t", 0})
		if err != nil {
			t.Fatal(err)
		}
		defer tb.close() // before the disk is, which rows may be on their way to
		want := map[string]string{}
		key := func() string { return fmt.Sprintf("%03d", rng.IntN(120)) }
		for i := range 600 {
			for range rng.IntN(20) {
				k, v := key(), fmt.Sprint(i)
				switch rng.IntN(4) {
				case 0:
					tb.set(k, row{})
					delete(want, k)
				case 1: // deleted, and remembered
					tb.set(k, row{vec: vector{}.advance(nil, Origin{}), val: []byte{}})
					delete(want, k)
				default:
					tb.set(k, row{val: []byte(v)})
					want[k] = v
				}
			}
			if err := tb.commit(int64(i)); err != nil {
				t.Fatal(err)
			}
			switch rng.IntN(12) {
			case 0:
				if err := tb.flush(); err != nil {
					t.Fatal(err)
				}
			case 1:
				if tb.still(); disk {
					tb.move()
				}
				tb.mu.Unlock()
			}
			from, to := key(), key()
			switch rng.IntN(4) {
			case 0:
				from, to = "", ""
			case 1:
				to = ""
			}
			var expect, got []string
			for _, k := range slices.Sorted(maps.Keys(want)) {
				if k >= from && (to == "" || k < to) {
					expect = append(expect, k+"="+want[k])
				}
			}
			for k, err := range tb.rows(from, to) {
				if err != nil {
					t.Fatal(err)
				}
				if k.value() != nil {
					got = append(got, k.key+"="+string(k.val))
				}
			}
			if !slices.Equal(got, expect) {
				t.Fatalf("seed %d, disk=%v: [%s, %s) has %v, want %v", seed, disk, from, to, got, expect)
			}
			least := ""
			for k := range want {
				if k >= from && (least == "" || k < least) {
					least = k
				}
			}
			if first, err := tb.first(from); err != nil || first != least {
				t.Fatalf("seed %d, disk=%v: the first from %q is %q, %v, want %q", seed, disk, from, first, err, least)
			}
		}
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

// The keys of deleted rows do not stay in memory for good, of a table whose keys are
// always new ones.
func TestFilterForgetsWhatIsGone(t *testing.T) {
	const many = 2 * filterFirst
	dir := t.TempDir()
	reopened := func(keep int) int {
		t.Helper()
		d := must(openDisk(dir, "x", nil))(t)
		defer func() {
			if err := d.close(); err != nil {
				t.Error(err)
			}
		}()
		tb := must((&shelf{disk: d}).load(place{"t", 0}))(t)
		layers := len(*tb.known.Load().layers.Load())
		key := func(i int) string { return fmt.Sprintf("%013d.key", i) }
		for i := range many {
			tb.set(key(i), row{val: []byte("a value of some length, as rows have")})
		}
		if err := errors.Join(tb.commit(tb.at+1), tb.flush()); err != nil {
			t.Fatal(err)
		}
		for i := range many - keep {
			tb.set(key(i), row{})
		}
		if err := errors.Join(tb.commit(tb.at+1), tb.close()); err != nil {
			t.Fatal(err)
		}
		return layers
	}
	reopened(many)
	if n := reopened(10); n < 2 {
		t.Errorf("a full table's filter has %d layers: it was not kept", n)
	}
	if n := reopened(0); n != 1 {
		t.Errorf("the filter of ten rows has %d layers", n)
	}
}
