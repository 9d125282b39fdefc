package kgoka

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestOldRowBehindItsNewest: a broker repeats rows after newer ones were written.
// Recovery keeps the newer.
func TestOldRowBehindItsNewest(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	const n, keys = 300, 7
	cfg := b.config("a-1")
	p := start(t, cfg, counting("a", "in", "out")).waitReady()
	b.feed("in", 0, n, keys)
	b.caughtUp("a", "in")
	old := b.read("a-table")
	b.feed("in", n, n, keys)
	b.caughtUp("a", "in")
	p.mustEnd()
	for _, r := range old {
		b.produce(&kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
	for i, dir := range []string{"", t.TempDir()} {
		cfg.Dir = dir
		p = start(t, cfg, counting("a", "in", "out")).waitReady()
		b.feed("in", (2+i)*n, n, keys)
		b.caughtUp("a", "in")
		p.mustEnd()
		b.checkOnce((3+i)*n, keys, "out", "a-table")
	}
}

func TestVectorOlderThan(t *testing.T) {
	at := func(os ...Origin) (v vector) {
		for _, o := range os {
			v = v.advance(nil, o)
		}
		return v
	}
	a, b := [16]byte{1}, [16]byte{2}
	base := at(Origin{a, 0, 5, 1}, Origin{a, 2, 7, 0}, Origin{b, 1, 1, 0})
	for name, c := range map[string]struct {
		v    vector
		want bool
	}{
		"same":              {base, false},
		"empty":             {nil, false}, // of a row that somebody wrote without one
		"an entry less":     {at(Origin{a, 0, 5, 1}, Origin{a, 2, 7, 0}), true},
		"a lower offset":    {at(Origin{a, 0, 4, 9}, Origin{a, 2, 7, 0}, Origin{b, 1, 1, 0}), true},
		"a lower index":     {at(Origin{a, 0, 5, 0}, Origin{a, 2, 7, 0}, Origin{b, 1, 1, 0}), true},
		"a higher offset":   {at(Origin{a, 0, 6, 0}, Origin{a, 2, 7, 0}, Origin{b, 1, 1, 0}), false},
		"another partition": {at(Origin{a, 1, 0, 0}), false},
		"another topic":     {at(Origin{[16]byte{3}, 0, 0, 0}), false},
		"both":              {at(Origin{a, 0, 4, 0}, Origin{b, 1, 2, 0}), false},
	} {
		if got := c.v.olderThan(base); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestNullKey: a compacted topic takes no record without a key.
func TestNullKey(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	b.produce(&kgo.Record{Topic: "in", Value: []byte("0")})
	b.caughtUp("a", "in")
	p.mustEnd()
	rows := b.read("a-table")
	if len(rows) != 1 || rows[0].Key == nil {
		t.Errorf("rows %v", rows)
	}
}

// TestRecoveryBehindOpenTransaction: rows committed behind a transaction that is
// open on the table cannot be read before it ends; recovery waits for them.
func TestRecoveryBehindOpenTransaction(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	const n, keys = 100, 7
	ctx := context.Background()
	p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	hang := b.client(kgo.TransactionalID("hangs"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := hang.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for part := range int32(nparts) {
		if err := hang.ProduceSync(ctx, &kgo.Record{Topic: "a-table", Partition: part, Key: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	b.feed("in", 0, n, keys)
	b.caughtUp("a", "in")
	p.mustEnd()
	cfg := b.config("a-1")
	cfg.TransactionTimeout = 200 * time.Millisecond
	b.feed("in", n, n, keys)
	p = start(t, cfg, counting("a", "in", "out"))
	until(t, "it says what it waits for", func() bool { return b.logs.count("transaction is open") > 0 })
	if err := hang.EndTransaction(ctx, kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	b.caughtUp("a", "in")
	p.mustEnd()
	b.checkOnce(2*n, keys, "out", "a-table")
}
