package kgoka

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/lovoo/goka/codec"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// reader is what reads tables, without a group or a view around it.
func (b *bed) reader() *base {
	b.t.Helper()
	r := newBase(b.config("r"), "reader")
	if err := r.start("reader"); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			b.t.Error(err)
		}
	})
	return r
}

// TestTopicMadeAnew: a reader notices that its topic was deleted, and takes no
// table of one that comes back with other partitions.
func TestTopicMadeAnew(t *testing.T) {
	b := newBed(t, "names")
	r, ctx, adm := b.reader(), context.Background(), kadm.NewClient(b.cl)
	ts := must(r.take(ctx, RoleView, "names", numbers(nparts)...))(t)
	if err := ts[0].apply(ts[0].id.topic, kgo.FetchPartition{Err: kerr.UnknownTopicID}); !errors.Is(err, errMoved) {
		t.Errorf("of a deleted topic: %v", err)
	}
	must(adm.DeleteTopic(ctx, "names"))(t)
	b.create(nparts/2, "names")
	for _, num := range numbers(nparts) {
		_, err := r.take(ctx, RoleView, "names", num)
		if !errors.As(err, new(localError)) || !strings.Contains(err.Error(), "another number of partitions") {
			t.Errorf("partition %d: %v", num, err)
		}
	}
}

// TestReadingEnds: what reading fails with is no step that hangs.
func TestReadingEnds(t *testing.T) {
	b := newBed(t, "names")
	b.feed("names", 0, 100, 100)
	r, ctx := b.reader(), t.Context()
	ts := must(r.take(ctx, RoleView, "names", numbers(nparts)...))(t)
	if err := r.setGoals(ctx, ts, false); err != nil {
		t.Fatal(err)
	}
	for _, tb := range ts {
		tb.id.topic[0]++
	}
	if err := r.catchUp(ctx, ts); !errors.Is(err, errMoved) || r.pulse.step != nil {
		t.Errorf("got %v, at work on %v", err, r.pulse.step != nil)
	}
}

// TestDeletionsLeaveTheLog: a local table that was away for so long that the log
// may have forgotten deletions is made anew, unless no more than one record came since.
func TestDeletionsLeaveTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		away time.Duration
		then string // keys written meanwhile
		want string
	}{
		"long":         {time.Hour, "cd", "b=1 c=1 d=1 "},
		"short":        {time.Minute, "cd", "a=1 b=1 c=1 d=1 "}, // the log of this test forgets at once
		"long and one": {time.Hour, "", "a=1 b=1 "},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			if b.c == nil {
				t.Skip("a real log compacts when it likes")
			}
			must(kadm.NewClient(b.cl).CreateTopic(t.Context(), 1, -1, map[string]*string{
				"cleanup.policy": kadm.StringPtr("compact"), "delete.retention.ms": kadm.StringPtr("3600000")}, "names"))(t)
			put := func(key string, value []byte) {
				b.produce(&kgo.Record{Topic: "names", Key: []byte(key), Value: value, Timestamp: time.Now().Add(-2 * time.Hour)})
			}
			read := func(cfg Config) (got string) {
				v := view(t, cfg, "names", new(codec.String))
				defer v.stop()
				it, err := v.Iterator()
				return all(t, it, err) + " "
			}
			cfg := b.config("")
			cfg.Dir = t.TempDir()
			put("a", []byte("1"))
			put("b", []byte("1"))
			read(cfg)
			d := must(openDisk(cfg.Dir, "view=names", nil))(t)
			s := must(d.open(place{"names", 0}))(t)
			s.asOf -= c.away.Milliseconds()
			if err := errors.Join(s.write(nil, s.last), d.close()); err != nil {
				t.Fatal(err)
			}
			if c.then != "" {
				put("a", nil)
			}
			for _, k := range c.then {
				put(string(k), []byte("1"))
			}
			b.c.Compact()
			if got := read(cfg); got != c.want || b.logs.count("may have left the log") > 0 != (c.want[0] == 'b') {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestDeletionsThatStay: a group with Origins deletes no rows from its log.
func TestDeletionsThatStay(t *testing.T) {
	b := newBed(t, "a-table")
	b.feed("a-table", 0, 100, 1)
	r := b.reader()
	num := Partition("key-0", nparts)
	for role, want := range map[Role]int64{RoleActive: 7, RoleStandby: 7, RoleJoin: -1} {
		tb := must(r.take(t.Context(), role, "a-table", num))(t)[0]
		tb.at, tb.asOf = 7, time.Now().Add(-24*time.Hour).UnixMilli()
		must(r.take(t.Context(), role, "a-table", num))(t)
		if tb.at != want {
			t.Errorf("%s: the table is at %d, want %d", role, tb.at, want)
		}
	}
}

func TestMeter(t *testing.T) {
	now := time.Now()
	m := meter{begun: now, last: now}
	if r := m.perSecond(now); r != 0 {
		t.Errorf("nothing yet: %v", r)
	}
	for range 300 { // 10 records each 100 ms
		now = now.Add(100 * time.Millisecond)
		m.add(10, now)
		if r := m.perSecond(now); math.Abs(r-100) > 5 {
			t.Fatalf("after %v: %v per second", now.Sub(m.begun), r)
		}
	}
	if r := m.perSecond(now.Add(30 * time.Second)); r > 1 {
		t.Errorf("long after: %v", r)
	}
}

func TestTimeLeft(t *testing.T) {
	at := time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		p    progress
		at   int64
		want time.Duration
	}{
		"half":    {progress{end: 1001, goal: 1001, meter: meter{rate: 50, begun: at, last: time.Now()}}, 500, 10 * time.Second},
		"done":    {progress{end: 1001, goal: 1001, meter: meter{rate: 50, begun: at, last: time.Now()}}, 1000, 0},
		"no rate": {progress{end: 1001, goal: 1001}, 500, 0},
	} {
		tb := &table{at: c.at, progress: c.p}
		if st := tb.stats(); st.Left.Round(time.Second) != c.want || st.Recovering != (c.at < 1000) {
			t.Errorf("%s: %+v", name, st)
		}
	}
}
