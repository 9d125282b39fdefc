package kgoka

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// scripted is a group that does what its inputs say, such as "row=a note=n" or
// "del", and tells what each input found.
func scripted(found func(key, state string)) *goka.GroupGraph {
	return goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Output("out", Bytes{}), goka.Input("in", Bytes{}, func(ctx goka.Context, msg any) {
		c := From(ctx)
		if found != nil {
			found(c.Key(), fmt.Sprintf("%q %q", c.Row(), c.Note()))
		}
		for op := range strings.FieldsSeq(string(msg.([]byte))) {
			switch what, v, _ := strings.Cut(op, "="); what {
			case "row":
				c.SetRow([]byte(v), nil)
			case "note":
				c.SetNote([]byte(v))
			case "more":
				c.SetNote(append(bytes.Clone(c.Note()), v...))
			case "del":
				c.Delete()
			case "out":
				c.EmitRecord("out", c.Key(), []byte(v), nil)
			}
		}
	}))
}

func script(key, ops string) *kgo.Record {
	return &kgo.Record{Topic: "in", Key: []byte(key), Value: []byte(ops)}
}

// logged is a changelog record's value and note.
func logged(r *kgo.Record) string {
	note := ""
	for _, h := range r.Headers {
		if h.Key == NoteHeader {
			note = " note=" + string(h.Value)
		}
	}
	if r.Value == nil {
		return "nil" + note
	}
	return string(r.Value) + note
}

// TestNote: what stays of a row and its note, in the changelog, after a restart
// from it and from disk, and for others.
func TestNote(t *testing.T) {
	const with, without = 1, 2 // Origins
	cases := []struct {
		name             string
		origins          int
		inputs           []string
		log, found, view string
	}{
		{"a note alone", with | without, []string{"note=n"}, " note=n", `"" "n"`, ""},
		{"a row keeps its note", with | without, []string{"note=n", "row=a"}, "a note=n", `"a" "n"`, "a"},
		{"a note keeps its row", with | without, []string{"row=a", "note=n"}, "a note=n", `"a" "n"`, "a"},
		{"both in one call", with | without, []string{"row=a note=n"}, "a note=n", `"a" "n"`, "a"},
		{"both the other way", with | without, []string{"note=n row=a"}, "a note=n", `"a" "n"`, "a"},
		{"the last note", with | without, []string{"row=a", "note=n", "note=m"}, "a note=m", `"a" "m"`, "a"},
		{"no note any more", with | without, []string{"row=a", "note=n", "note="}, "a", `"a" ""`, "a"},
		{"a deleted row's note", with | without, []string{"row=a note=n", "del"}, " note=n", `"" "n"`, ""},
		{"neither", with, []string{"note=n", "row=a", "del", "note="}, "", `"" ""`, ""},
		{"neither", without, []string{"note=n", "row=a", "del", "note="}, "nil", `"" ""`, ""},
		{"neither the other way", without, []string{"note=n", "row=a", "note=", "del"}, "nil", `"" ""`, ""},
		{"an empty row beside a note", without, []string{"row=", "note=n", "note="}, "nil", `"" ""`, ""},
	}
	for _, origins := range []int{with, without} {
		for _, coalesce := range []bool{false, true} {
			t.Run(fmt.Sprintf("origins=%v/coalesce=%v", origins == with, coalesce), func(t *testing.T) {
				b := newBed(t, "in", "out", "a-table")
				var mu sync.Mutex
				found := map[string]string{}
				g := scripted(func(key, state string) { mu.Lock(); found[key] = state; mu.Unlock() })
				cfg := b.config("a-1")
				cfg.Origins, cfg.Coalesce, cfg.Dir = origins == with, coalesce, t.TempDir()
				var asks []*kgo.Record
				for _, tc := range cases {
					if tc.origins&origins == 0 {
						continue
					}
					for _, in := range tc.inputs {
						b.produce(script(tc.name, in)) // before it starts: one batch
					}
					asks = append(asks, script(tc.name, ""))
				}
				p := start(t, cfg, g).waitReady()
				b.caughtUp("a", "in")
				p.mustEnd()
				table := b.read("a-table")
				if coalesce && len(table) > len(asks) {
					t.Errorf("%d changelog records of %d rows", len(table), len(asks))
				}
				logs := map[string]string{}
				for _, r := range table {
					logs[string(r.Key)] = logged(r)
				}
				v := view(t, b.config(""), "a-table", Bytes{})
				for _, dir := range []string{cfg.Dir, "", t.TempDir()} {
					cfg.Dir = dir
					p := start(t, cfg, g).waitReady()
					b.produce(asks...)
					b.caughtUp("a", "in")
					for _, tc := range cases {
						if tc.origins&origins == 0 {
							continue
						}
						mu.Lock()
						if found[tc.name] != tc.found || logs[tc.name] != tc.log {
							t.Errorf("%s: found %s, want %s; changelog %q, want %q", tc.name, found[tc.name], tc.found, logs[tc.name], tc.log)
						}
						mu.Unlock()
						for who, get := range map[string]func(string) ([]byte, error){"its group": p.Get, "a view": v.get} {
							if got := must(get(tc.name))(t); string(got) != tc.view || tc.view == "" && got != nil {
								t.Errorf("%s: %s gets %q, want %q", tc.name, who, got, tc.view)
							}
						}
					}
					p.mustEnd()
				}
			})
		}
	}
}

// TestNoteAndOrigins: what is set aside counts as handled, beside a row or not, and
// is skipped when it comes again; by a topic of its own it comes back.
func TestNoteAndOrigins(t *testing.T) {
	b := newBed(t, "in", "back", "out", "a-table")
	var handled []string // of one key: of one goroutine at a time
	handle := func(ctx goka.Context, msg any) {
		c := From(ctx)
		what := string(msg.([]byte))
		handled = append(handled, string(ctx.Topic())+" "+what)
		switch {
		case ctx.Topic() == "back":
			c.SetNote(nil)
		case strings.HasPrefix(what, "bad"):
			c.SetNote([]byte(what))
			c.EmitRecord("out", c.Key(), []byte(what), nil)
		default:
			c.SetRow([]byte(what), nil)
		}
	}
	p := start(t, b.config("a-1"), goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Output("out", Bytes{}),
		goka.Input("in", Bytes{}, handle), goka.Input("back", Bytes{}, handle))).waitReady()
	id := must(logOf(t.Context(), b.cl, "in"))(t).topic
	sent := func(value string, offset int64) {
		t.Helper()
		o := Origin{TopicID: id, Partition: Partition("k", nparts), Offset: offset}
		b.produce(&kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: OriginHeader, Value: o.Append(nil)}}})
		b.caughtUp("a", "in", "back")
	}
	for _, offset := range []int64{99, 99, 101} {
		sent("bad", offset)
	}
	sent("a", 102) // overtakes
	sent("bad", 101)
	b.produce(&kgo.Record{Topic: "back", Key: []byte("k"), Value: []byte("bad")})
	b.caughtUp("a", "in", "back")
	sent("bad", 101)
	sent("b", 103)
	want := []string{"in bad", "in bad", "in a", "back bad", "in b"}
	p.mustEnd()
	if fmt.Sprint(handled) != fmt.Sprint(want) {
		t.Errorf("handled %q, want %q", handled, want)
	}
	if n := len(b.read("out")); n != 2 {
		t.Errorf("%d outputs", n)
	}
}

// TestOldNoteAgain: records of the changelog that come again bring no old note
// back, whether there is a row or not.
func TestOldNoteAgain(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	found := make(chan string, 10)
	var asked bool
	g := scripted(func(_, state string) {
		if asked {
			found <- state
		}
	})
	cfg := b.config("a-1")
	p := start(t, cfg, g).waitReady()
	for _, in := range []string{"note=1", "note=2", "row=a", "note=3", "note=4", "row=b note=5", "note="} {
		b.produce(script("k", in))
		b.caughtUp("a", "in")
	}
	p.mustEnd()
	asked = true
	var old []*kgo.Record
	for _, r := range b.read("a-table") {
		old = append(old, &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
	if len(old) != 8 {
		t.Fatalf("%d changelog records", len(old))
	}
	for i, r := range old[:len(old)-1] {
		b.produce(r)
		for _, dir := range []string{"", t.TempDir()} {
			cfg.Dir = dir
			p := start(t, cfg, g).waitReady()
			b.produce(script("k", ""))
			if got := <-found; got != `"b" ""` {
				t.Errorf("changelog record %d again, disk=%v: found %s", i, dir != "", got)
			}
			p.mustEnd()
		}
	}
}

// TestNoteIsPartOfTheTransaction: what an aborted one noted is gone.
func TestNoteIsPartOfTheTransaction(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	broker := b.fake(t)
	p := start(t, b.config("a-1"), scripted(nil)).waitReady()
	broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.RebalanceInProgress, Count: 1, Group: "a"})
	b.produce(script("k", "more=x"))
	b.caughtUp("a", "in")
	b.produce(script("k", "more=y"))
	b.caughtUp("a", "in")
	if st := p.Stats(); st.Aborts["REBALANCE_IN_PROGRESS"] != 1 {
		t.Errorf("stats %+v", st)
	}
	p.mustEnd()
	table := b.read("a-table")
	if got := logged(table[len(table)-1]); got != " note=xy" {
		t.Errorf("changelog %q", got)
	}
}

// TestStandbyHasNotes: an instance that has stood by takes over with the notes.
func TestStandbyHasNotes(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	conf := func(id string) Config {
		cfg := b.config(id)
		cfg.Standby = true
		return cfg
	}
	var mu sync.Mutex
	found := map[string]string{}
	g := scripted(func(key, state string) { mu.Lock(); found[key] = state; mu.Unlock() })
	one, two := start(t, conf("a-1"), g).waitReady(), start(t, conf("a-2"), g).waitReady()
	until(t, "each has half", func() bool {
		x, _, _ := one.readSoFar("a-table", RoleActive)
		y, _, _ := two.readSoFar("a-table", RoleActive)
		return x == nparts/2 && y == nparts/2
	})
	const keys = 20
	all := func(ops string) {
		for k := range keys {
			b.produce(script(fmt.Sprint(k), ops))
		}
		b.caughtUp("a", "in")
	}
	all("row=a note=n")
	all("note=m")
	until(t, "the standby is up to date", func() bool {
		_, records, behind := two.readSoFar("a-table", RoleStandby)
		return records > 0 && behind == 0
	})
	one.mustEnd()
	until(t, "the other one has all", func() bool {
		tables, _, _ := two.readSoFar("a-table", RoleActive)
		return tables == nparts && two.Ready()
	})
	all("")
	two.mustEnd()
	for k := range keys {
		if got := found[fmt.Sprint(k)]; got != `"a" "m"` {
			t.Errorf("%d: %s", k, got)
		}
	}
}
