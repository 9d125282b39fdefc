package snapshot_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/internal/snapshot"
	"github.com/orderlog/orderlog/topics"
)

// A snapshot that was taken at whatever moment of a busy system, restored into an empty
// cluster, is a state that the proof holds for, as it is, and after processors have done
// what was under way.
func TestSnapshotsOfABusySystem(t *testing.T) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 0))
	on, store := platform(t), snapshot.Folder(t.TempDir())
	busy := run(t, on, config(t, newReceiver(t)))
	apart := func() { time.Sleep(150 * time.Millisecond) } // of the load, which some topics show and some do not
	due := map[int]bool{}
	for len(due) < 4 {
		due[100+rng.IntN(900)] = true
	}
	var taking sync.WaitGroup
	var mu sync.Mutex
	var taken []*snapshot.Manifest
	load(t, on, seed, 600, func(i int) {
		if due[i] {
			taking.Go(func() {
				m, err := snapshot.Create(t.Context(), of(on).Between(apart), store)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				taken = append(taken, m)
			})
		}
	})
	taking.Wait()
	proven(t, busy, 30*time.Second)
	must(t, busy.Stop())

	if len(taken) != len(due) {
		t.Fatalf("%d snapshots of %d", len(taken), len(due))
	}
	for i, m := range taken {
		t.Run(fmt.Sprint(i), func(t *testing.T) { restored(t, store, m) })
	}
	t.Run("at rest, and by way of S3", func(t *testing.T) {
		store := bucket(t)
		m, err := snapshot.Create(t.Context(), of(on), store)
		must(t, err)
		again := restored(t, store, m)
		was, err := content.Read(t.Context(), on.ClientOpts(), on.Serde(), "")
		must(t, err)
		is, err := content.Read(t.Context(), again.ClientOpts(), again.Serde(), "")
		must(t, err)
		for _, d := range content.Diff(was, is, 5) {
			t.Error(d)
		}
		load(t, again, seed+1, 100, func(int) {}) // limits are set anew, too
		proven(t, again, 30*time.Second)
		was, err = content.Read(t.Context(), again.ClientOpts(), again.Serde(), "")
		must(t, err)
		r, err := replay.New(replay.Config{Opts: again.ClientOpts(), Serde: again.Serde(), Who: "test"})
		must(t, err)
		defer r.Close()
		spec := replay.Spec{Target: replay.Target{Kind: replay.ToEarliest}}
		for _, u := range replay.Units() {
			if u.Origins {
				spec.Groups = append(spec.Groups, u.Name)
			}
		}
		_, err = r.Run(t.Context(), spec, replay.How{Stop: true, Wait: 20 * time.Second, Why: "test"})
		must(t, err)
		proven(t, again, 30*time.Second)
		is, err = content.Read(t.Context(), again.ClientOpts(), again.Serde(), "")
		must(t, err)
		delete(is, topics.Audit)
		delete(was, topics.Audit)
		for _, d := range content.Diff(was, is, 5) {
			t.Errorf("after all was delivered again: %s", d)
		}
	})
}

// restored brings a snapshot to a cluster of its own, and has processors go on there.
func restored(t *testing.T, store snapshot.Store, m *snapshot.Manifest) *app.App {
	anew := platform(t)
	res, err := snapshot.Restore(t.Context(), of(anew), store, m.ID)
	must(t, err)
	moving := proven(t, anew, 0)
	a := run(t, anew, config(t, newReceiver(t)))
	still := proven(t, a, 30*time.Second)
	t.Logf("%d records, %d filled; %d in flight, %d after; orders %v, then %v", res.Records, res.Filled, moving.InFlight, still.InFlight, moving.Summary.Orders, still.Summary.Orders)
	return a
}
