package kgoka

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRestart stops and starts a group with its local tables in every state.
func TestRestart(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	cfg := b.config("a-1")
	cfg.Dir = t.TempDir()
	const keys, step = 23, 400
	n := 0
	round := func(wantLog string) {
		t.Helper()
		before := b.logs.count("emptying a local table")
		p := start(t, cfg, counting("a", "in", "out")).waitReady()
		b.feed("in", n, step, keys)
		n += step
		b.caughtUp("a", "in")
		until(t, "there is a row", func() bool { return len(must(p.Get("key-1"))(t)) == 8 })
		p.mustEnd()
		if _, err := p.Get("key-1"); err == nil {
			t.Error("get after the end succeeds")
		}
		b.checkOnce(n, keys, "out", "a-table")
		if wantLog == "" && b.logs.count("emptying a local table") != before {
			t.Error("a sound local table was emptied")
		}
		if wantLog != "" && b.logs.count(wantLog) == 0 {
			t.Errorf("no log line says %q", wantLog)
		}
	}
	edit := func(fn func(s *diskStore)) {
		t.Helper()
		ss, err := openDisk(cfg.Dir, filepath.Join("a", cfg.Instance), nil)
		if err != nil {
			t.Fatal(err)
		}
		for num := range int32(nparts) {
			s, err := ss.open(place{"a-table", num})
			if err != nil {
				t.Fatal(err)
			}
			fn(s)
		}
		if err := ss.close(); err != nil {
			t.Fatal(err)
		}
	}
	bad := []keyed{{key: "key-1", row: row{val: []byte("nonsense")}}}

	round("")
	round("") // intact
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	round("")
	edit(func(s *diskStore) { s.write(bad, 1<<40) })
	round("ahead of the log")
	edit(func(s *diskStore) { s.id.topic[3]++; s.write(bad, 1) })
	round("made anew")
	edit(func(s *diskStore) { s.id.parts++; s.write(bad, 1) })
	round("number of partitions")
	edit(func(s *diskStore) { s.d.db.Set(s.meta, []byte("short"), pebble.NoSync) })
	round("another version")
	note := filepath.Join(cfg.Dir, "a", cfg.Instance, damaged)
	if err := os.WriteFile(note, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	round("")
	if _, err := os.Stat(note); err == nil {
		t.Error("a folder that is damaged was used again")
	}
}

// TestTwoProcessesOneFolder: the second one is refused.
func TestTwoProcessesOneFolder(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	cfg := b.config("a-1")
	cfg.Dir = t.TempDir()
	start(t, cfg, counting("a", "in", "out")).waitReady()
	second := start(t, cfg, counting("a", "in", "out"))
	if err := <-second.err; err == nil {
		t.Error("a second process opened the same tables")
	}
}

// TestForeignTableRecords: what others write to the table topic, with our bytes,
// does no harm; with a broken vector, the row still counts.
func TestForeignTableRecords(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	cfg := b.config("a-1")
	p := start(t, cfg, counting("a", "in", "out")).waitReady()
	b.feed("in", 0, 100, 7)
	b.caughtUp("a", "in")
	p.mustEnd()
	var again []*kgo.Record
	for _, r := range b.read("a-table") {
		again = append(again, &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
	last := again[len(again)-1]
	again = append(again, &kgo.Record{Topic: last.Topic, Key: last.Key, Value: last.Value, Headers: []kgo.RecordHeader{{Key: AppliedHeader, Value: []byte("?")}}})
	b.produce(again...)
	p = start(t, cfg, counting("a", "in", "out")).waitReady()
	b.feed("in", 100, 100, 7)
	b.caughtUp("a", "in")
	p.mustEnd()
	b.checkOnce(200, 7, "out", "a-table")
}
