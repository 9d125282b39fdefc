package kgoka

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestVirtualTime runs a pipeline in a bubble: hours of rare records pass in no
// time, a broker error heals, and when Run has returned no goroutine is left.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubble(t, "in", "mid", "out", "a-table", "b-table")
		conf := func(id string) Config {
			return Config{Brokers: b.brokers(), ClientOpts: b.opts, Instance: id, Origins: true, Log: slog.New(slog.DiscardHandler)}
		}
		pa, pb := start(t, conf("a-1"), counting("a", "in", "mid")).waitReady(), start(t, conf("b-1"), counting("b", "mid", "out")).waitReady()
		began := time.Now()
		const n, keys = 30, 7
		for i := range n {
			b.feed("in", i, 1, keys)
			time.Sleep(2 * time.Minute) // of the bubble's clock
		}
		if d := time.Since(began); d < time.Hour {
			t.Errorf("only %v passed", d)
		}
		pa.mustEnd()
		pb.mustEnd()
		b.checkOnce(n, keys, "out", "a-table", "b-table")
		if st := pb.Stats(); st.In != n || st.Rebuilds > 0 {
			t.Errorf("stats %+v", st)
		}
	})
}
