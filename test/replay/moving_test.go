package replay

import (
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/internal/snapshot"
	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/topics"
)

// long has more orders, and the broker killed in more ways.
var long = os.Getenv("ORDERLOG_TEST_LONG") != ""

// live is what is done to a shop that is at work.
func live(s *shop) {
	orders := 1000
	if long {
		orders = 5000
	}
	must(s.T, s.trade(orders, nil))
	s.proven(aWhile)
	s.deliver()
	report := s.proven(aWhile)
	b := s.books()
	s.Logf("orders %v, %d parked, %d vouchers, %d effects", report.Summary.Orders, report.InFlight, report.Summary.Vouchers, len(b.told))
	if len(b.told) == 0 || len(b.numbers) == 0 || len(b.content[topics.Vouchers]) == 0 || report.InFlight == 0 {
		s.Fatal("the test shows nothing")
	}
	ours := os.Getenv("ORDERLOG_TEST_BROKERS") == ""
	for _, c := range []struct {
		name   string
		do     func()
		wanted bool
	}{
		{"redelivered", s.redelivers, true}, {"redelivered while orders come", s.redeliversBusy, true}, {"rebuilt", s.rebuilds, true},
		{"snapshot", s.goesBack, true}, {"lost", s.isLost, true},
		{"broker dies", s.survives(s.brokerDies), ours}, {"broker and runs die", s.survives(s.bothDie), ours && long}, {"broker dies at the end", s.survives(s.endIsLost), ours && long},
	} {
		if c.wanted && !s.Run(c.name, func(t *testing.T) { s.with(t, c.do) }) {
			return
		}
	}
}

// redelivers has all groups begin anew while nobody orders: nothing is written.
func (s *shop) redelivers() {
	was := s.books()
	res, err := s.replayer(nil).Run(s.Context(), toEarliest(redelivered()...), stopping)
	must(s.T, err)
	s.again(res)
	s.proven(aWhile)
	is := s.books()
	s.same(was, is)
	for topic, n := range is.counts {
		if n != was.counts[topic] {
			s.Errorf("%s has %d records and had %d: something was done again", topic, n, was.counts[topic])
		}
	}
}

// again says that a run had something handled again, and its groups go on.
func (s *shop) again(res *replay.Result) {
	s.Helper()
	for _, g := range res.Groups {
		if g.Again == 0 || !g.Resumed {
			s.Errorf("%+v", g)
		}
		s.Logf("%s: %d again, held for %.1f s", g.Group, g.Again, g.Seconds)
	}
}

// redeliversBusy has each group begin anew, by runs of their own, while orders come.
func (s *shop) redeliversBusy() {
	was := s.books()
	s.during(func() {
		var all sync.WaitGroup
		for _, g := range redelivered() {
			r := s.replayer(nil)
			all.Go(func() {
				res, err := r.Run(s.Context(), toEarliest(g), stopping)
				if err != nil {
					s.Errorf("%s: %v", g, err)
					return
				}
				s.again(res)
			})
		}
		all.Wait()
	})
	s.proven(aWhile)
	is := s.books()
	s.kept(was, is)
	if len(is.content[topics.OrderTable]) == len(was.content[topics.OrderTable]) {
		s.Error("no orders came")
	}
}

// rebuilds has tables that are damaged computed anew, of each group alone and of all,
// and takes that back. Nobody runs them meanwhile, so that what is seen is the run's doing.
func (s *shop) rebuilds() {
	was, r, how := s.books(), s.replayer(nil), replay.How{Why: "a test", Wait: stopping.Wait}
	for _, g := range rebuilt() {
		must(s.T, r.Pause(s.Context(), g, "a test", how.Wait, func(string) {}))
	}
	run := func(groups ...string) (bad books) {
		s.Helper()
		for _, g := range groups {
			if s.damage(g) == 0 {
				s.Errorf("nothing is damaged of %s", g)
			}
		}
		bad = s.books()
		res, err := r.Run(s.Context(), rebuild(groups...), how)
		must(s.T, err)
		for _, g := range res.Groups {
			if g.Rows == 0 || g.Snapshot == "" || g.Resumed {
				s.Errorf("%+v", g)
			}
			s.Logf("%s: %d rows written, %d again, held for %.1f s", g.Group, g.Rows, g.Again, g.Seconds)
		}
		return bad
	}
	computed := func() { // but for that of the vouchers, which is empty until the group runs
		s.Helper()
		is := s.books()
		is.content[topics.VoucherTable] = was.content[topics.VoucherTable]
		s.same(was, is)
	}
	for _, g := range rebuilt() {
		run(g)
		computed()
	}
	bad := run(rebuilt()...)
	computed()
	for _, g := range rebuilt() {
		_, err := r.Undo(s.Context(), g, how)
		must(s.T, err)
	}
	s.same(bad, s.books())
	run(rebuilt()...)
	for _, g := range rebuilt() {
		must(s.T, r.Resume(s.Context(), g, "a test"))
	}
	s.proven(aWhile)
	s.same(was, s.books())
}

// goesBack has groups go back to a snapshot that was taken while orders came.
func (s *shop) goesBack() {
	var m *snapshot.Manifest
	s.during(func() {
		var err error
		m, err = snapshot.Create(s.Context(), snapshot.Config{Opts: s.opts, Namespace: s.cfg.Namespace}, s.store)
		must(s.T, err)
	})
	s.Logf("%d records, %d bytes", m.Records, m.Bytes)
	must(s.T, s.trade(200, nil))
	s.proven(aWhile)
	was := s.books()
	groups := []string{"inventory", "credit", "voucher", "notification"}
	spec, err := replay.ToSnapshot(s.Context(), s.store, m.ID, s.cfg.Namespace, groups...)
	must(s.T, err)
	r, how := s.replayer(nil), stopping
	if _, err := r.Run(s.Context(), spec, how); !errors.Is(err, replay.ErrWarned) {
		s.Errorf("what is decided anew is not warned of: %v", err)
	}
	plan, err := r.Plan(s.Context(), spec)
	must(s.T, err)
	how.Hash = plan.Hash
	res, err := r.Run(s.Context(), spec, how)
	must(s.T, err)
	for _, g := range res.Groups {
		s.Logf("%s: %d again, %d rows", g.Group, g.Again, g.Rows)
	}
	out, err := client.New(client.Config{Opts: s.opts, Serde: s.serde, Namespace: s.cfg.Namespace})
	must(s.T, err)
	defer out.Close()
	must(s.T, out.WaitRead(s.Context(), redelivered()...))
	_, err = r.Run(s.Context(), rebuild("inventory", "credit"), stopping)
	must(s.T, err)
	s.proven(aWhile)
	s.same(was, s.books())
}

// isLost deletes all that there is on the cluster, and brings back what a snapshot has
// that was taken while orders came.
func (s *shop) isLost() {
	cfg := snapshot.Config{Opts: s.opts, Namespace: s.cfg.Namespace}
	var m *snapshot.Manifest
	s.during(func() {
		var err error
		m, err = snapshot.Create(s.Context(), cfg, s.store)
		must(s.T, err)
	})
	s.proven(aWhile)
	was := s.books()
	must(s.T, s.run.Stop())
	s.delete()
	changes, err := topicplan.Plan(s.Context(), s.adm, s.cfg.Namespace, s.cfg.Partitions, 1)
	must(s.T, err)
	must(s.T, topicplan.Apply(s.Context(), s.adm, changes))
	res, err := snapshot.Restore(s.Context(), cfg, s.store, m.ID)
	must(s.T, err)
	moving := s.proven(0)
	s.start()
	still := s.proven(aWhile)
	s.Logf("%d records, %d filled; %d in flight, %d after; orders %v, then %v", res.Records, res.Filled, moving.InFlight, still.InFlight, moving.Summary.Orders, still.Summary.Orders)
	must(s.T, s.trade(300, nil))
	s.proven(aWhile)
	is := s.books()
	if len(is.content[topics.OrderTable]) < len(was.content[topics.OrderTable])/2 {
		s.Errorf("%d orders, and there were %d", len(is.content[topics.OrderTable]), len(was.content[topics.OrderTable]))
	}
}

// delete removes all topics and groups of the shop.
func (s *shop) delete() {
	s.Helper()
	var names []string
	for _, topic := range topics.All() {
		names = append(names, s.name(topic.Name))
	}
	deleted, err := s.adm.DeleteTopics(s.Context(), names...)
	must(s.T, err)
	must(s.T, deleted.Error())
	var groups []string
	for _, u := range replay.Units() {
		groups = append(groups, s.name(u.Name))
	}
	_, err = s.adm.DeleteGroups(s.Context(), groups...)
	must(s.T, err)
}
