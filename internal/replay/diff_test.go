package replay_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/topics"
)

// rows are the values of a table, by key.
func (s *shop) rows(table string) map[string]string {
	s.t.Helper()
	rows := map[string]string{}
	must(s.t, content.EachRecord(s.t.Context(), s.on.ClientOpts(), table, func(r *kgo.Record) error {
		if rows[string(r.Key)] = string(r.Value); len(r.Value) == 0 {
			delete(rows, string(r.Key))
		}
		return nil
	}))
	return rows
}

// add writes a row that nobody asked for, made of another one.
func (s *shop) add(table, key string, rows map[string]string) {
	s.t.Helper()
	cl, err := kgo.NewClient(append(s.on.ClientOpts(), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	must(s.t, err)
	defer cl.Close()
	for _, value := range rows {
		must(s.t, cl.ProduceSync(s.t.Context(), &kgo.Record{Topic: table, Key: []byte(key), Value: s.renamed(table, []byte(value), key)}).FirstErr())
		return
	}
}

// standing is what a cluster has: groups, and where every topic ends.
func (s *shop) standing() (groups []string, ends map[string]map[int32]int64) {
	s.t.Helper()
	adm, err := kadm.NewOptClient(s.on.ClientOpts()...)
	must(s.t, err)
	defer adm.Close()
	gs, err := adm.ListGroups(s.t.Context())
	must(s.t, err)
	listed, err := adm.ListEndOffsets(s.t.Context())
	must(s.t, err)
	ends = map[string]map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if ends[o.Topic] == nil {
			ends[o.Topic] = map[int32]int64{}
		}
		ends[o.Topic][o.Partition] = o.Offset
	})
	return gs.Groups(), ends
}

// A table is right while its group works, and each row that is damaged is found, and
// no other; nothing is written, and no group is made.
func TestDiff(t *testing.T) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	s := newShop(t)
	s.start()
	r, err := replay.New(replay.Config{Opts: s.on.ClientOpts(), Serde: s.on.Serde(), Who: "test"})
	must(t, err)
	defer r.Close()
	s.trade(seed, 400)
	for _, g := range replay.Comparable() {
		c, err := r.Diff(t.Context(), g, 0)
		must(t, err)
		t.Logf("at work: %s: %d same, %d open", g, c.Same, c.Open)
		if len(c.Differences) > 0 {
			t.Errorf("at work: %s: %+v", g, c.Differences)
		}
	}
	s.deliver()
	s.proven()
	for _, g := range replay.Comparable() {
		c, err := r.Diff(t.Context(), g, 20*time.Second)
		must(t, err)
		if len(c.Differences) > 0 || c.Same == 0 || g != "voucher" && !c.Right() {
			t.Errorf("at rest: %s: %d same, %d open, %+v", g, c.Same, c.Open, c.Differences)
		}
	}
	s.stop()
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, g := range replay.Comparable() {
		table := g + "-table"
		was := s.rows(table)
		s.damage(rng, g)
		if g == "inventory" {
			s.add(table, "sku_nobody-s", was)
		}
		is := s.rows(table)
		want := map[string]string{}
		for key := range was {
			switch now, there := is[key]; {
			case !there:
				want[key] = replay.OnlyThere
			case now != was[key]:
				want[key] = replay.Changed
			}
		}
		for key := range is {
			if _, there := was[key]; !there { // an empty row, too, that is overwritten with another's
				want[key] = replay.OnlyHere
			}
		}
		groups, ends := s.standing()
		c, err := r.Diff(t.Context(), g, 0)
		must(t, err)
		got := map[string]string{}
		for _, d := range c.Differences {
			got[d.Key] = d.Kind
		}
		if !maps.Equal(got, want) || c.Changed+c.OnlyHere+c.OnlyThere != len(want) || len(want) == 0 || c.Same+len(want)-c.OnlyHere+c.Open != len(was) {
			t.Errorf("%s: %d same, %d open, differ:\n%v, want\n%v", g, c.Same, c.Open, got, want)
		}
		if gs, es := s.standing(); !slices.Equal(gs, groups) || !maps.EqualFunc(es, ends, maps.Equal[map[int32]int64, map[int32]int64]) {
			t.Errorf("%s: the comparison left something on the cluster", g)
		}
	}
	c, err := r.Diff(t.Context(), "order", 0)
	must(t, err)
	if c.Note == "" || !c.Right() || c.Table != topics.OrderTable {
		t.Errorf("the order log is said to be recomputed: %+v", c)
	}
}
