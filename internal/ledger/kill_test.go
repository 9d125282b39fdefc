package ledger

import (
	"flag"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orderlog/orderlog/schemas"
)

var (
	kills = flag.Int("ledger.kills", 20, "how often the worker is killed in TestKill")
	seed  = flag.Uint64("ledger.seed", uint64(time.Now().UnixNano()), "of the moments; printed on failure")
)

// A worker that is killed, at any moment: each effect is sent, under the same ID,
// at least once and at most once more for each try whose end nobody could write
// down; the ledger counts those.
func TestKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(*seed, 0))
		w := newWorld(t)
		w.answer = func(string, int) int {
			time.Sleep(20 * time.Millisecond)
			return 0
		}
		w.mails()
		w.hooks()
		w.ask(400)
		dir := ""
		if rng.IntN(2) == 0 {
			dir = t.TempDir()
		}
		for range *kills {
			i := w.start("1", dir)
			switch rng.IntN(3) {
			case 0: // something is sent, and nobody hears that it was taken
				n := 1 + rng.IntN(40)
				w.onTaken(func() {
					if n--; n == 0 {
						i.wire.cut()
					}
				})
			case 1: // any request is the last one
				i.wire.cutAfter(1 + rng.IntN(300))
			}
			time.AfterFunc(time.Duration(rng.Int64N(int64(500*time.Millisecond))), i.wire.cut) // any time, at the latest
			w.until("it is cut", time.Minute, i.wire.isCut)
			w.onTaken(func() {})
			i.end(t) // it cannot do anything any more, and gives its folder back
		}
		w.start("1", dir)
		w.until("all are sent", time.Hour, w.ended)
		again, unsure := 0, 0
		for id, row := range w.rows() {
			n := int64(w.times(id))
			if row.State != schemas.Sent || n < 1 || n > 1+row.Unsure || row.Unsure > int64(*kills) || row.Tries < n {
				t.Errorf("taken %d times: %+v", n, row)
			}
			again += int(n) - 1
			unsure += int(row.Unsure)
		}
		if most := *kills * 8; unsure > most {
			t.Errorf("%d unsure tries of %d kills, want at most %d", unsure, *kills, most)
		}
		t.Logf("%d of %d were sent again, %d tries are unsure", again, len(w.all), unsure)
		if again == 0 && *kills >= 20 {
			t.Error("none was sent again: the kills came at no bad moment")
		}
		if t.Failed() {
			t.Logf("-ledger.seed=%d", *seed)
		}
	})
}
