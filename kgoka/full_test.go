package kgoka

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fullDisk is a disk in memory that takes no more for files of one kind while full.
type fullDisk struct {
	vfs.FS
	full atomic.Bool
}

func newFullDisk(t *testing.T, kind string) *fullDisk {
	d := &fullDisk{}
	d.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if d.full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, kind) {
			return syscall.ENOSPC
		}
		return nil
	}))
	t.Cleanup(func() { d.full.Store(false) }) // what was left behind ends
	return d
}

var kinds = []struct{ name, kind string }{{"rows", ".sst"}, {"list of files", "MANIFEST"}}

func checkFull(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if !errors.Is(err, syscall.ENOSPC) || strings.Count(err.Error(), "data folder cannot be written") != 1 {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not return")
	}
}

// TestCloseOnAFullDisk: closing the tables gives up.
func TestCloseOnAFullDisk(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			fs := newFullDisk(t, k.kind)
			ss, err := openDisk(t.TempDir(), "x", fs)
			if err != nil {
				t.Fatal(err)
			}
			s, err := ss.open(place{"t", 0})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.wipe(identity{parts: 1}); err != nil {
				t.Fatal(err)
			}
			fs.full.Store(true)
			done := make(chan error, 1)
			go func() { done <- ss.close() }()
			checkFull(t, done)
		})
	}
}

// TestDiskFullWhileRunning: Run ends by itself and says why, once.
func TestDiskFullWhileRunning(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := newBed(t, "in", "a-table")
			fs := newFullDisk(t, k.kind)
			cfg := b.config("a-1")
			cfg.Dir, cfg.fs = t.TempDir(), fs
			g := goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Input("in", Bytes{}, func(ctx goka.Context, _ any) {
				From(ctx).SetRow(make([]byte, 256<<10), nil)
			}))
			p := start(t, cfg, g).waitReady()
			fs.full.Store(true)
			var recs []*kgo.Record
			for i := 0; len(recs) < 2*moveBytes/(256<<10); i++ {
				if key := fmt.Sprint(i); Partition(key, nparts) == 0 {
					recs = append(recs, &kgo.Record{Topic: "in", Key: []byte(key), Value: []byte("x")})
				}
			}
			b.produce(recs...)
			checkFull(t, p.err)
		})
	}
}
