package kgoka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestFirstOffset(t *testing.T) {
	id, other := kadm.TopicID{1}, kadm.TopicID{2}
	table, none := kadm.TopicID{3}, kadm.TopicID{}
	log := extent{id: id, table: table, start: 10, end: 20, commit: 15, epoch: 3, epochEnd: -1}
	for name, c := range map[string]struct {
		edit func(x *extent)
		at   int64
		err  string
	}{
		"no commit":                 {func(x *extent) { x.commit = -1 }, 10, ""},
		"no commit, but rows":       {func(x *extent) { x.commit, x.rows, x.start = -1, true, 0 }, 0, "offsets are gone"},
		"rows that know":            {func(x *extent) { x.commit, x.rows, x.start, x.origins = -1, true, 0, true }, 0, ""},
		"rows that cannot know all": {func(x *extent) { x.commit, x.rows, x.origins = -1, true, true }, 0, "offsets are gone"},
		"rows, and an empty topic":  {func(x *extent) { x.commit, x.rows, x.start, x.end = -1, true, 0, 0 }, 0, ""},
		"inside":                    {func(*extent) {}, 15, ""},
		"at the start":              {func(x *extent) { x.commit = 10 }, 10, ""},
		"at the end":                {func(x *extent) { x.commit = 20 }, 20, ""},
		"below the start":           {func(x *extent) { x.commit = 9 }, 0, "offset 9 is next, and the log begins at 10"},
		"beyond the end":            {func(x *extent) { x.commit = 21 }, 0, "offset 21 is next, and the log ends at 20"},
		"same topic":                {func(x *extent) { x.meta = *commitMeta(id, table) }, 15, ""},
		"another topic":             {func(x *extent) { x.meta = *commitMeta(other, table) }, 0, "made anew"},
		"another topic, no commit":  {func(x *extent) { x.meta, x.commit = *commitMeta(other, other), -1 }, 10, ""},
		"another table":             {func(x *extent) { x.meta = *commitMeta(id, other) }, 0, "table has been deleted"},
		"no table then":             {func(x *extent) { x.meta = *commitMeta(id, none) }, 15, ""},
		"no table now":              {func(x *extent) { x.meta, x.table = *commitMeta(id, table), none }, 15, ""},
		"metadata of somebody else": {func(x *extent) { x.meta = "member-1" }, 15, ""},
		"epoch goes on":             {func(x *extent) { x.epochEnd = 20 }, 15, ""},
		"epoch ends at the commit":  {func(x *extent) { x.epochEnd = 15 }, 15, ""},
		"epoch ends before":         {func(x *extent) { x.epochEnd = 14 }, 0, "leader epoch 3 ends at 14"},
	} {
		x := log
		c.edit(&x)
		at, err := x.first()
		if at != c.at || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %d, %v", name, at, err)
		}
	}
}

// onIn is a partition of topic in that has records in these tests.
var onIn = Partition("key-0", nparts)

func (b *bed) deleteRecords(topic string, num int32, before int64) {
	b.t.Helper()
	offs := kadm.Offsets{}
	offs.AddOffset(topic, num, before, -1)
	if rs, err := kadm.NewClient(b.cl).DeleteRecords(context.Background(), offs); err != nil || rs.Error() != nil {
		b.t.Fatal(err, rs.Error())
	}
}

func (b *bed) commit(group string, o kadm.Offset) {
	b.t.Helper()
	offs := kadm.Offsets{}
	offs.Add(o)
	if err := kadm.NewClient(b.cl).CommitAllOffsets(context.Background(), group, offs); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) committed(group, topic string, num int32) kadm.Offset {
	b.t.Helper()
	offs, err := kadm.NewClient(b.cl).FetchOffsets(context.Background(), group)
	if err != nil {
		b.t.Fatal(err)
	}
	o, _ := offs.Lookup(topic, num)
	return o.Offset
}

func (b *bed) anew(topic string) {
	b.t.Helper()
	ctx, adm := context.Background(), kadm.NewClient(b.cl)
	if _, err := adm.DeleteTopic(ctx, topic); err != nil {
		b.t.Fatal(err)
	}
	b.create(nparts, topic)
}

// TestOffsetsOfAnotherLog: a group that was down finds a log that does not go on
// where it left it, says what and where, and touches nothing.
func TestOffsetsOfAnotherLog(t *testing.T) {
	for name, c := range map[string]struct {
		log  func(b *bed, at kadm.Offset)
		says string
	}{
		"retention": {func(b *bed, at kadm.Offset) {
			b.feed("in", 100, 100, 1)
			b.deleteRecords("in", onIn, at.At+7)
		}, "the log has lost records before the group came to them: offset 100 is next, and the log begins at 107"},
		"shorter": {func(b *bed, at kadm.Offset) {
			at.At += 1000
			b.commit("a", at)
		}, "offset 1100 is next, and the log ends at 100"},
		"made anew": {func(b *bed, at kadm.Offset) {
			b.anew("in")
			b.feed("in", 100, 200, 1)
			b.commit("a", at)
		}, "deleted and made anew"},
		"table made anew": {func(b *bed, _ kadm.Offset) { b.anew("a-table") }, "the group's table has been deleted and made anew"},
		"another election": {func(b *bed, at kadm.Offset) {
			if err := b.fake(b.t).MoveTopicPartition("in", onIn, 0); err != nil {
				b.t.Fatal(err)
			}
			b.feed("in", 100, 100, 1) // at offsets that the group has seen, had the old leader written more
			at.At += 10
			b.commit("a", at)
		}, "ends at 100 now"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, "in", "out", "a-table")
			p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
			b.feed("in", 0, 100, 1)
			b.caughtUp("a", "in")
			p.mustEnd()
			at := b.committed("a", "in", onIn)
			if at.Metadata == "" || at.LeaderEpoch < 0 {
				t.Errorf("committed %+v", at)
			}
			c.log(b, at)
			at = b.committed("a", "in", onIn)
			start(t, b.config("a-1"), counting("a", "in", "out")).mustFail(`group "a" cannot go on with in/`, c.says, "--reset-offsets")
			if got := b.committed("a", "in", onIn); got != at {
				t.Errorf("committed %+v, was %+v", got, at)
			}
			b.rewind("a", "in") // the way out
			p = start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
			b.caughtUp("a", "in")
			p.mustEnd()
		})
	}
}

// TestOffsetsExpired: a group that has rows but no offsets any more does not begin
// anew, unless its rows know what they have seen.
func TestOffsetsExpired(t *testing.T) {
	for name, origins := range map[string]bool{"known": true, "not known": false} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, "in", "out", "a-table")
			cfg := b.config("a-1")
			cfg.Origins = origins
			count := func() *goka.GroupGraph {
				return goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Input("in", Bytes{}, func(ctx goka.Context, _ any) {
					c := From(ctx)
					c.SetRow(append(slices.Clone(c.Row()), '.'), nil)
				}))
			}
			p := start(t, cfg, count()).waitReady()
			b.feed("in", 0, 20, 20)
			b.caughtUp("a", "in")
			p.mustEnd()
			adm := kadm.NewClient(b.cl)
			until(t, "the group is gone", func() bool {
				_, err := adm.DeleteGroup(t.Context(), "a")
				return err == nil || errors.Is(err, kerr.GroupIDNotFound)
			})
			p = start(t, cfg, count())
			if !origins {
				p.mustFail(`"a"`, "in/", "offsets are gone", "--reset-offsets")
				return
			}
			p.waitReady()
			b.caughtUp("a", "in")
			if b.logs.count("offsets are gone") == 0 {
				t.Error("nothing is said about it")
			}
			for i := range 20 {
				if v := must(p.Get(fmt.Sprintf("key-%d", i)))(t); string(v) != "." {
					t.Errorf("row %d: %q", i, v)
				}
			}
		})
	}
}

// TestStartsBehindRetention: a group that never ran begins with what is left.
func TestStartsBehindRetention(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	b.feed("in", 0, 100, 1)
	b.deleteRecords("in", onIn, 60)
	p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	b.caughtUp("a", "in")
	p.mustEnd()
	if n := len(b.read("out")); n != 40 || b.logs.count("the log's first records are gone") != 1 {
		t.Errorf("%d records", n)
	}
}

// TestLogChangesUnderARunningGroup: the same while it runs.
func TestLogChangesUnderARunningGroup(t *testing.T) {
	for name, c := range map[string]struct {
		log  func(b *bed, w *wire)
		says string
	}{
		"retention": {func(b *bed, w *wire) {
			w.kill()
			b.feed("in", 100, 100, 1)
			b.deleteRecords("in", onIn, 150)
			w.cut.Store(false)
		}, "offset 100 is next, and the log begins at 150"},
		"made anew": {func(b *bed, _ *wire) {
			b.anew("in")
			b.feed("in", 100, 200, 1)
		}, `topic "in" was deleted and made anew`},
		"gone": {func(b *bed, _ *wire) {
			if _, err := kadm.NewClient(b.cl).DeleteTopic(context.Background(), "in"); err != nil {
				b.t.Fatal(err)
			}
		}, `of ["in" "a-table"], only ["a-table"] are there`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, "in", "out", "a-table")
			w := &wire{}
			cfg := b.config("a-1")
			cfg.ClientOpts = []kgo.Opt{kgo.Dialer(w.dial), // the client asks six times before it tells of an unknown topic
				kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond })}
			p := start(t, cfg, counting("a", "in", "out")).waitReady()
			b.feed("in", 0, 100, 1)
			b.caughtUp("a", "in")
			c.log(b, w)
			p.mustFail(c.says)
			b.checkOnce(100, 1, "out", "a-table")
		})
	}
}

// TestRetentionOfMarkers: a log whose last transactions retention has taken, with
// their markers, has lost nothing that the group has not seen.
func TestRetentionOfMarkers(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	b.transact(kgo.TryCommit, "in", 0, 1)
	b.transact(kgo.TryAbort, "in", 7, 8)
	var end kadm.ListedOffset
	until(t, "the group has committed the last marker", func() bool {
		end, _ = b.settled("in").Lookup("in", onIn)
		return end.Offset >= 6 && b.committed("a", "in", onIn).At == end.Offset
	})
	p.mustEnd()
	if st := p.Stats(); st.In != 2 {
		t.Errorf("%d records", st.In)
	}
	b.deleteRecords("in", onIn, end.Offset)
	p = start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	b.transact(kgo.TryCommit, "in", 2)
	b.caughtUp("a", "in")
	p.mustEnd()
	b.checkOnce(3, 1, "out", "a-table")
}

// TestFirstTransactionAborted: a table whose log has nothing but what was never
// committed has no rows, and the group begins as if it were new.
func TestFirstTransactionAborted(t *testing.T) {
	for _, c := range []struct {
		name string
		end  kgo.TransactionEndTry
		more bool // behind it
		says string
	}{
		{"aborted", kgo.TryAbort, false, ""},
		{"committed", kgo.TryCommit, false, "offsets are gone"},
		{"aborted, then committed", kgo.TryAbort, true, "offsets are gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, "in", "out", "a-table")
			b.transact(c.end, "a-table", 1, 2)
			if c.more {
				b.transact(kgo.TryCommit, "a-table", 3)
			}
			b.feed("in", 0, 20, 1)
			cfg := b.config("a-1")
			cfg.Origins = false
			p := start(t, cfg, counting("a", "in", "out"))
			if c.says != "" {
				p.mustFail(c.says)
				return
			}
			p.waitReady()
			b.caughtUp("a", "in")
			p.mustEnd()
			b.checkOnce(20, 1, "out", "a-table")
		})
	}
}

// transact produces values for key-0 in one transaction.
func (b *bed) transact(end kgo.TransactionEndTry, topic string, values ...int) {
	b.t.Helper()
	cl := b.client(kgo.TransactionalID("upstream"))
	defer cl.Close()
	err := cl.BeginTransaction()
	for _, v := range values {
		rec := &kgo.Record{Topic: topic, Key: []byte("key-0"), Value: fmt.Append(nil, v)}
		err = errors.Join(err, cl.ProduceSync(context.Background(), rec).FirstErr())
	}
	if err = errors.Join(err, cl.EndTransaction(context.Background(), end)); err != nil {
		b.t.Fatal(err)
	}
}

// TestOutOfRangeWhileTheCoordinatorFails: where the log is looked at because a
// broker says that an offset is not there, an error that passes ends nothing.
func TestOutOfRangeWhileTheCoordinatorFails(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	b.fake(t).Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "in", Err: kerr.OffsetOutOfRange})
	failing := b.fake(t).Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Group: "a", Err: kerr.UnknownServerError})
	b.feed("in", 0, 100, 1) // ends the fetch that waits; the next one fails
	until(t, "the offsets are looked at", func() bool { return failing.Hits() > 0 })
	b.feed("in", 100, 100, 1)
	b.caughtUp("a", "in")
	p.mustEnd()
	b.checkOnce(200, 1, "out", "a-table")
}

// TestCommitsLeftOut: a broker that leaves partitions out of its answer has not said
// that nothing is committed.
func TestCommitsLeftOut(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	b.feed("in", 0, 100, 1)
	b.caughtUp("a", "in")
	p.mustEnd()
	asked := 0
	b.fake(t).ControlKey(kmsg.OffsetFetch.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		if asked++; asked <= 2 { // to wait for stable ones, and by the client itself
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.OffsetFetchResponse)
		for _, of := range kreq.(*kmsg.OffsetFetchRequest).Groups {
			g := kmsg.NewOffsetFetchResponseGroup()
			g.Group = of.Group
			resp.Groups = append(resp.Groups, g)
		}
		return resp, nil, true
	})
	p = start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	b.feed("in", 100, 100, 1)
	b.caughtUp("a", "in")
	p.mustEnd()
	if n := b.logs.count("offsets are gone"); n != 0 || p.Stats().Skipped != 0 {
		t.Errorf("said %d times, %d skipped", n, p.Stats().Skipped)
	}
	b.checkOnce(200, 1, "out", "a-table")
}

// TestPartitionNotKnownYet: a broker that has just come back may not know a topic; the
// client would go without its partitions.
func TestPartitionNotKnownYet(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	unknown := 4 // answers after which the client gives partitions up
	b.fake(t).ControlKey(kmsg.OffsetFetch.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		resp, own := kreq.ResponseKind().(*kmsg.OffsetFetchResponse), false
		for _, of := range kreq.(*kmsg.OffsetFetchRequest).Groups {
			own = own || of.MemberID != nil
			g := kmsg.NewOffsetFetchResponseGroup()
			g.Group = of.Group
			for _, asked := range of.Topics {
				topic := kmsg.NewOffsetFetchResponseGroupTopic()
				topic.Topic, topic.TopicID = asked.Topic, asked.TopicID
				for _, num := range asked.Partitions {
					p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
					p.Partition, p.ErrorCode = num, kerr.UnknownTopicID.Code
					topic.Partitions = append(topic.Partitions, p)
				}
				g.Topics = append(g.Topics, topic)
			}
			resp.Groups = append(resp.Groups, g)
		}
		if b.fake(t).KeepControl(); !own || unknown == 0 { // not the processor's own question
			return nil, nil, false
		}
		unknown--
		return resp, nil, true
	})
	p := start(t, b.config("a-1"), counting("a", "in", "out")).waitReady()
	b.feed("in", 0, 100, 1)
	b.caughtUp("a", "in")
	p.mustEnd()
	if unknown > 0 {
		t.Fatalf("the client was not told %d times", unknown)
	}
	b.checkOnce(100, 1, "out", "a-table")
}

// TestVisitKeepsTheEpoch: a visit commits the group's offsets once more as they
// are, with the leader epoch that tells of a log that was cut.
func TestVisitKeepsTheEpoch(t *testing.T) {
	b := newBed(t, "in", "out", "a-table")
	g := visited(func(ctx goka.Context, _ any) { ctx.Emit("out", ctx.Key(), []byte("x")) })
	p := start(t, b.config("a-1"), g).waitReady()
	b.feed("in", 0, 100, 1)
	b.caughtUp("a", "in")
	p.mustEnd()
	before := b.committed("a", "in", onIn)
	p = start(t, b.config("a-1"), g).waitReady()
	if n, err := p.VisitAll(t.Context(), "mark", nil); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	p.mustEnd()
	if b.settled("out"); b.committed("a", "in", onIn) != before || before.LeaderEpoch < 0 {
		t.Errorf("committed %+v, was %+v", b.committed("a", "in", onIn), before)
	}
}
