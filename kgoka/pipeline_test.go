package kgoka

import (
	"testing"
)

func TestPipeline(t *testing.T) {
	for _, coalesce := range []bool{false, true} {
		b := newBed(t, "in", "mid", "out", "a-table", "b-table")
		ca, cb := b.config("a-1"), b.config("b-1")
		ca.Coalesce, cb.Coalesce = coalesce, coalesce
		pa, pb := start(t, ca, counting("a", "in", "mid")), start(t, cb, counting("b", "mid", "out"))
		const n, keys = 5000, 37
		b.feed("in", 0, n, keys)
		b.caughtUp("a", "in")
		b.caughtUp("b", "mid")
		pa.mustEnd()
		pb.mustEnd()
		b.checkOnce(n, keys, "out", "a-table", "b-table")
		st := pa.Stats()
		if st.In != n || st.Out != 2*n && !coalesce || st.Rebuilds != 0 || len(st.Aborts) != 0 {
			t.Errorf("stats %+v", st)
		}
		if c := len(b.read("a-table")); coalesce == (c == n) {
			t.Errorf("coalesce %v: %d changelog records", coalesce, c)
		}
	}
}
