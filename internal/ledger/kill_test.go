package ledger

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orderlog/orderlog/schemas"
)

var (
	kills = flag.Int("ledger.kills", 20, "how often a worker is killed in TestKill")
	seed  = flag.Uint64("ledger.seed", uint64(time.Now().UnixNano()), "of the moments; printed on failure")
)

// A worker that is killed, at any moment, alone or beside another one: each effect
// is sent, under the same ID, at least once and at most once more for each try whose
// end nobody could write down; the ledger counts those.
func TestKill(t *testing.T) {
	if testing.Short() {
		*kills = min(*kills, 5)
	}
	for _, instances := range []int{1, 2} {
		t.Run(fmt.Sprint(instances), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { killAtWork(t, instances) })
		})
	}
}

func killAtWork(t *testing.T, instances int) {
	rng := rand.New(rand.NewPCG(*seed, uint64(instances)))
	w := newWorld(t)
	w.answer = func(string, int) int {
		time.Sleep(20 * time.Millisecond)
		return 0
	}
	w.mails()
	w.hooks()
	running := make([]*instance, instances)
	for n := range running {
		dir := ""
		if rng.IntN(2) == 0 {
			dir = t.TempDir()
		}
		running[n] = w.start(fmt.Sprint(n), dir)
	}
	for range *kills {
		n := rng.IntN(instances)
		i := running[n]
		w.ask(40)
		switch rng.IntN(3) {
		case 0: // something is sent, and nobody hears that it was taken
			left := 1 + rng.IntN(40)
			w.onTaken(func() {
				if left--; left == 0 {
					i.wire.Cut()
				}
			})
		case 1: // any request is the last one
			i.wire.CutAt(1+rng.IntN(300), false)
		}
		time.AfterFunc(time.Duration(rng.Int64N(int64(500*time.Millisecond))), i.wire.Cut) // any time, at the latest
		w.until("it is cut", time.Minute, i.wire.IsCut)
		w.onTaken(func() {})
		i.end(t) // it cannot do anything any more, and gives its folder back
		running[n] = w.start(fmt.Sprint(n), i.dir)
	}
	w.until("all are sent", time.Hour, w.ended)
	again, unsure := 0, 0
	for id, row := range w.rows() {
		n := int64(w.times(id))
		if row.State != schemas.Sent || n < 1 || n > 1+row.Unsure || row.Tries < n {
			t.Errorf("taken %d times: %+v", n, row)
		}
		again += int(n) - 1
		unsure += int(row.Unsure)
	}
	if most := *kills * 8; instances == 1 && unsure > most {
		t.Errorf("%d unsure tries of %d kills, want at most %d", unsure, *kills, most)
	}
	t.Logf("%d of %d were sent again, %d tries are unsure", again, len(w.all), unsure)
	if again == 0 && *kills >= 20 {
		t.Error("none was sent again: the kills came at no bad moment")
	}
	if t.Failed() {
		t.Logf("-ledger.seed=%d", *seed)
	}
}
