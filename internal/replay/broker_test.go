package replay

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// shop is a broker that can be stopped and started again, with orderlog's topics and
// some records, and nobody who works on them.
type shop struct {
	t      *testing.T
	dir    string
	broker *devbroker.Broker
	opts   []kgo.Opt
	serde  *schemas.Serde
}

func newShop(t *testing.T) *shop {
	s := &shop{t: t, dir: t.TempDir()}
	s.start()
	t.Cleanup(func() { s.broker.Stop() })
	s.opts = []kgo.Opt{kgo.SeedBrokers(s.broker.Addr()), kgo.MetadataMinAge(50 * time.Millisecond)}
	adm := s.admin()
	changes, err := topicplan.Plan(t.Context(), adm, "", 2, 1)
	must(t, err)
	must(t, topicplan.Apply(t.Context(), adm, changes))
	s.serde, err = schemas.NewSerde(t.Context(), schemas.SerdeConfig{Registry: s.broker.RegistryURL()})
	must(t, err)
	cl, err := kgo.NewClient(append(s.opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(t, err)
	defer cl.Close()
	at := kadm.Offsets{}
	for p := range int32(2) {
		for range 10 {
			must(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topics.OrderTable, Partition: p, Key: []byte("k"), Value: []byte("v")}).FirstErr())
		}
		at.AddOffset(topics.OrderTable, p, 10, -1)
	}
	must(t, adm.CommitAllOffsets(t.Context(), "voucher", at))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *shop) start() {
	s.t.Helper()
	b, err := devbroker.Start(context.WithoutCancel(s.t.Context()), devbroker.Config{Dir: s.dir, Log: slog.New(slog.DiscardHandler)})
	must(s.t, err)
	s.broker = b
}

func (s *shop) admin() *kadm.Client {
	s.t.Helper()
	adm, err := kadm.NewOptClient(s.opts...)
	must(s.t, err)
	s.t.Cleanup(adm.Close)
	return adm
}

func (s *shop) replayer(step func(Step) error) *Replayer {
	s.t.Helper()
	r, err := New(Config{Opts: s.opts, Serde: s.serde, Who: "ann", Step: step, Session: time.Second})
	must(s.t, err)
	s.t.Cleanup(r.Close)
	return r
}

var back = Spec{Groups: []string{"voucher"}, Target: Target{Kind: ToEarliest}}

// A broker that is away for a moment, at whatever step, leaves all of a run or nothing,
// and what the run says is so.
func TestTheBrokerDies(t *testing.T) {
	for _, at := range []Step{Agreed, Paused, Emptied, Seated, Begun, Written, Moved, Committed} {
		t.Run(string(at), func(t *testing.T) {
			s := newShop(t)
			r := s.replayer(func(now Step) error {
				if now == at {
					must(t, s.broker.Stop())
					s.start()
				}
				return nil
			})
			res, err := r.Run(t.Context(), back, How{Wait: 10 * time.Second})
			if err != nil {
				t.Logf("the run says: %v", err)
			}
			all, serr := s.replayer(nil).Status(t.Context(), []string{"voucher"})
			must(t, serr)
			moved := s.committed(0) == 0
			if done := err == nil && len(res.Groups) == 1; done != moved || done != (all[0].Last != nil) || done != (s.committed(1) == 0) {
				t.Fatalf("done %v (%v), moved %v, status %+v", done, err, moved, all[0])
			}
			if !moved {
				_, err := s.replayer(nil).Run(t.Context(), back, How{Wait: 10 * time.Second})
				must(t, err)
			}
			if a, b := s.committed(0), s.committed(1); a != 0 || b != 0 {
				t.Errorf("offsets %d and %d", a, b)
			}
		})
	}
}

func (s *shop) committed(p int32) int64 {
	s.t.Helper()
	at, err := s.admin().FetchOffsets(kadm.RequireStable(s.t.Context()), "voucher")
	must(s.t, err)
	o, _ := at.Lookup(topics.OrderTable, p)
	return o.At
}

// The hash is of what a person agrees to.
func TestHash(t *testing.T) {
	s := newShop(t)
	r := s.replayer(nil)
	hash := func(spec Spec) string {
		t.Helper()
		p, err := r.Plan(t.Context(), spec)
		must(t, err)
		return p.Hash
	}
	first := hash(back)
	if again := hash(back); again != first {
		t.Error("the same plan has another hash")
	}
	seen := map[string]string{first: "to-earliest"}
	for name, spec := range map[string]Spec{
		"to-latest": {Groups: back.Groups, Target: Target{Kind: ToLatest}}, "to-offset 0": {Groups: back.Groups, Target: Target{Kind: ToOffset}},
		"shift": {Groups: back.Groups, Target: Target{Kind: ShiftBy, N: -1}}, "one partition": {Groups: back.Groups, Target: back.Target, Only: []Selection{{topics.OrderTable, []int32{0}}}},
		"another group": {Groups: []string{"notification"}, Target: back.Target}, "both": {Groups: []string{"voucher", "notification"}, Target: back.Target},
	} {
		if was := seen[hash(spec)]; was != "" {
			t.Errorf("%s has the hash of %s", name, was)
		}
		seen[hash(spec)] = name
	}
	ago := func(now time.Time, d time.Duration) Spec {
		return Spec{Groups: back.Groups, Target: Target{Kind: ByDuration, Ago: d, Time: now.Add(-d)}}
	}
	now := time.Now()
	if hash(ago(now, time.Minute)) != hash(ago(now.Add(time.Hour), time.Minute)) {
		t.Error("a minute ago has another hash later, so nobody can agree to it")
	}
	if hash(ago(now, time.Minute)) == hash(ago(now, time.Hour)) {
		t.Error("an hour ago has the hash of a minute ago")
	}
	moved := kadm.Offsets{}
	moved.AddOffset(topics.OrderTable, 1, 9, -1)
	must(t, s.admin().CommitAllOffsets(t.Context(), "voucher", moved))
	if hash(back) == first {
		t.Error("a group that does not run is elsewhere, and the hash is the same")
	}
	if _, err := r.Run(t.Context(), back, How{Hash: first}); !errors.Is(err, ErrMoved) {
		t.Error(err)
	}
}

// The audit has what was before and after.
func TestAudit(t *testing.T) {
	s := newShop(t)
	r := s.replayer(nil)
	res, err := r.Run(t.Context(), back, How{Why: "a test", Wait: time.Second})
	must(t, err)
	var found int
	must(t, r.eachAudited(t.Context(), func(a *schemas.Audited) {
		found++
		var before, after moves
		must(t, errors.Join(json.Unmarshal(a.Before, &before), json.Unmarshal(a.After, &after)))
		if a.Who != "ann" || a.What != didRun || a.Why != "a test" || a.Group != "voucher" || a.Target != res.ID ||
			len(before.Offsets) < 2 || before.Offsets[0].Offset != 10 || after.Offsets[0].Offset != 0 || after.Mode != Redeliver {
			t.Errorf("%+v %+v %+v", a, before, after)
		}
	}))
	if found != 1 {
		t.Errorf("%d records", found)
	}
	if _, err := r.Undo(t.Context(), "voucher", How{Wait: time.Second}); err != nil {
		t.Fatal(err)
	}
	if at := s.committed(0); at != 10 {
		t.Errorf("offset %d after undo", at)
	}
}

// A record that nobody can read is passed over; a registry that is away says nothing
// about it.
func TestControlRecordsThatCannotBeRead(t *testing.T) {
	s := newShop(t)
	must(t, s.replayer(nil).Pause(t.Context(), "voucher", "a test", time.Second, func(string) {}))
	cl, err := kgo.NewClient(s.opts...)
	must(t, err)
	defer cl.Close()
	must(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topics.Control, Key: []byte("voucher"), Value: []byte{0, 0, 0, 0x77, 0x77, 1, 2}}).FirstErr())
	url, err := url.Parse(s.broker.RegistryURL())
	must(t, err)
	registry := httptest.NewServer(httputil.NewSingleHostReverseProxy(url))
	serde, err := schemas.NewSerde(t.Context(), schemas.SerdeConfig{Registry: registry.URL})
	must(t, err)
	bad := 0
	read := func() bool {
		said, _, err := Controls(t.Context(), s.opts, s.admin(), serde, "", func(error) { bad++ })
		if err != nil {
			t.Log(err)
		}
		return err == nil && said["voucher"].Paused
	}
	registry.Close()
	if read() || bad > 0 {
		t.Error("without the registry it was read, or called bad")
	}
	serde = s.serde
	if !read() || bad != 1 {
		t.Errorf("the pause is not known, or %d records are bad", bad)
	}
}

// Offsets of a topic that was deleted say nothing of the one that was made anew, and rows
// of a table that was are not those that the group has had.
func TestMadeAnew(t *testing.T) {
	s := newShop(t)
	adm := s.admin()
	r := s.replayer(nil)
	commit := func(id, table [16]byte) {
		t.Helper()
		at := kadm.Offsets{}
		at.Add(kadm.Offset{Topic: topics.OrderTable, Partition: 0, At: 6, LeaderEpoch: -1, Metadata: kgoka.CommitMetadata(id, table)})
		must(t, adm.CommitAllOffsets(t.Context(), "voucher", at))
	}
	ids, err := r.topicIDs(t.Context(), []string{topics.OrderTable, topics.VoucherTable})
	must(t, err)
	log, table, other := ids[topics.OrderTable], ids[topics.VoucherTable], [16]byte{7}
	only := []Selection{{topics.OrderTable, []int32{0}}}
	for _, c := range []struct {
		name       string
		log, table [16]byte
		kind       Kind
		target     int64
		warns      string // "": of nothing
	}{
		{"as it is", log, table, ToCurrent, 6, ""},
		{"another log", other, table, ToCurrent, 10, "of a log that was deleted"},
		{"another log, from its start", other, table, ToEarliest, 0, "of a log that was deleted"},
		{"another table", log, other, ToCurrent, 6, "its rows are gone"},
	} {
		commit(c.log, c.table)
		p, err := r.Plan(t.Context(), Spec{Groups: back.Groups, Target: Target{Kind: c.kind}, Only: only})
		must(t, err)
		g := p.Groups[0]
		if said := strings.Join(g.Warnings, "; "); g.Parts[0].Target != c.target || (said == "") != (c.warns == "") || !strings.Contains(said, c.warns) {
			t.Errorf("%s: to %d, warns of %q", c.name, g.Parts[0].Target, said)
		}
	}
	commit(other, table)
	if p, err := r.Plan(t.Context(), Spec{Groups: back.Groups, Target: Target{Kind: ShiftBy, N: 1}, Only: only}); err != nil || p.OK() {
		t.Errorf("%v, %+v: there is nothing to shift by", err, p)
	}
}

// Rows that do not remember keep a group from handling anything again, and not from going
// on past what is gone.
func TestRowsThatDoNotRemember(t *testing.T) {
	for _, c := range []struct {
		name string
		part Part
		ok   bool
	}{
		{"back", Part{Committed: 5, Target: 4, End: 9}, false},
		{"as it is", Part{Committed: 5, Target: 5, End: 9}, true},
		{"past what is gone", Part{Committed: 5, Target: 7, Start: 7, End: 9}, true},
		{"offsets are forgotten", Part{Committed: -1, Target: 0, End: 9}, false},
		{"nothing has ever come", Part{Committed: -1, Target: 0, End: 0}, true},
	} {
		g := &Group{Name: "retry", Parts: []*Part{&c.part}}
		must(t, redeliver(t.Context(), nil, g))
		if ok := len(g.Problems) == 0; ok != c.ok {
			t.Errorf("%s: %q", c.name, g.Problems)
		}
	}
}
