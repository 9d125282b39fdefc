package kgoka

import (
	"fmt"
	"testing"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readSoFar sums up an instance's tables of one topic and role: how many there are,
// the records read from their logs, and how far all are behind.
func (r *running) readSoFar(topic string, role Role) (tables int, records, behind int64) {
	for _, t := range r.Stats().Tables {
		if t.Topic == topic && t.Role == role {
			tables++
			records += t.Records
			behind += t.End - 1 - t.Offset
		}
	}
	return tables, records, behind
}

// TestStandbyTakesOver: an instance that has stood by takes tables over as they
// are, gives them back, and reads no log twice.
func TestStandbyTakesOver(t *testing.T) {
	for _, disk := range []bool{false, true} {
		t.Run(fmt.Sprintf("disk=%v", disk), func(t *testing.T) {
			b := newBed(t, "in", "out", "a-table")
			const n, keys = 3000, 29
			conf := func(id string) Config {
				cfg := b.config(id)
				if cfg.Standby = true; disk {
					cfg.Dir = t.TempDir()
				}
				return cfg
			}
			one := start(t, conf("a-1"), counting("a", "in", "out")).waitReady()
			two := start(t, conf("a-2"), counting("a", "in", "out")).waitReady()
			until(t, "each has half", func() bool {
				x, _, _ := one.readSoFar("a-table", RoleActive)
				y, _, _ := two.readSoFar("a-table", RoleActive)
				return x == nparts/2 && y == nparts/2
			})
			b.feed("in", 0, n, keys)
			b.caughtUp("a", "in")
			stands := func(p *running) {
				t.Helper()
				ends, err := kadm.NewClient(b.cl).ListCommittedOffsets(t.Context(), "a-table") // an instance learns of them when it reads
				if err != nil {
					t.Fatal(err)
				}
				until(t, "the standby is up to date", func() bool {
					tables := 0
					for _, table := range p.Stats().Tables {
						if end, _ := ends.Lookup(table.Topic, table.Partition); table.Role == RoleStandby && table.Offset+1 >= end.Offset {
							tables++
						}
					}
					return tables == nparts/2
				})
			}
			stands(one)
			stands(two)
			var before int64
			for _, role := range []Role{RoleActive, RoleStandby} {
				_, records, _ := two.readSoFar("a-table", role)
				before += records
			}
			one.mustEnd()
			until(t, "the other one has all", func() bool {
				tables, _, _ := two.readSoFar("a-table", RoleActive)
				return tables == nparts && two.Ready()
			})
			if _, records, _ := two.readSoFar("a-table", RoleActive); records > before+before/4 { // the tail, and the ends of transactions
				t.Errorf("%d records were read to take over, %d before", records-before, before)
			}
			b.feed("in", n, n, keys)
			b.caughtUp("a", "in")
			one = start(t, conf("a-1"), counting("a", "in", "out")).waitReady()
			stands(two)
			b.feed("in", 2*n, n, keys)
			b.caughtUp("a", "in")
			stands(two)
			one.mustEnd()
			two.mustEnd()
			b.checkOnce(3*n, keys, "out", "a-table")
		})
	}
}

// TestJoinsAndLookupsAreFollowed: what is written to joined and looked-up tables
// is seen while the group runs, deletions too, and after a restart from disk.
func TestJoinsAndLookupsAreFollowed(t *testing.T) {
	b := newBed(t, "in", "out", "prices", "names")
	graph := func() *goka.GroupGraph {
		return goka.DefineGroup("a", goka.Output("out", Bytes{}), goka.Join("prices", Bytes{}), goka.Lookup("names", Bytes{}), goka.Lookup("prices", Bytes{}),
			goka.Input("in", Bytes{}, func(ctx goka.Context, _ any) {
				say := func(v any) string { b, _ := v.([]byte); return string(b) }
				ctx.Emit("out", ctx.Key(), []byte(say(ctx.Join("prices"))+" "+say(ctx.Lookup("prices", "k"))+" "+say(ctx.Lookup("names", "n"))))
			}))
	}
	cfg := b.config("a-1")
	cfg.Dir, cfg.Origins = t.TempDir(), false
	p := start(t, cfg, graph()).waitReady()
	ask := func(want string) {
		t.Helper()
		until(t, fmt.Sprintf("the answer is %q", want), func() bool {
			b.produce(&kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("?")})
			b.caughtUp("a", "in")
			out := b.read("out")
			return string(out[len(out)-1].Value) == want
		})
	}
	ask("  ")
	b.produce(&kgo.Record{Topic: "prices", Key: []byte("k"), Value: []byte("7")}, &kgo.Record{Topic: "names", Key: []byte("n"), Value: []byte("one")})
	ask("7 7 one")
	b.produce(&kgo.Record{Topic: "prices", Key: []byte("k")}, &kgo.Record{Topic: "names", Key: []byte("n"), Value: []byte("two")})
	ask("  two")
	p.mustEnd()
	b.produce(&kgo.Record{Topic: "prices", Key: []byte("k"), Value: []byte("8")})
	p = start(t, cfg, graph()).waitReady()
	ask("8 8 two")
	if _, records, _ := p.readSoFar("names", RoleLookup); records > 0 {
		t.Errorf("%d records of a table that is on disk were read again", records)
	}
	p.mustEnd()
}
