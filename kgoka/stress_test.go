package kgoka

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestEndsWithoutBroker: whatever a processor is doing when its network goes
// and its context ends, Run returns.
func TestEndsWithoutBroker(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	for i := range 6 {
		after := time.Duration(rnd.IntN(120)) * time.Millisecond
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			parallel(t)
			b := newBed(t, "in", "out", "a-table")
			b.feed("in", 0, 2000, 19)
			w := &wire{}
			cfg := b.config(fmt.Sprint("a-", i))
			cfg.ClientOpts, cfg.MaxPoll = []kgo.Opt{kgo.Dialer(w.dial)}, 20
			p := start(t, cfg, counting("a", "in", "out"))
			time.Sleep(after) // the moment, not a wait
			w.kill()
			if i%2 == 0 {
				time.Sleep(after)
			}
			if err := p.end(); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		})
	}
}
