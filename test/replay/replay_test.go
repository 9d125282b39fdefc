// Package replay holds no code: its test compares targets with those of Kafka's own
// tool, has a broker refuse what it should, and replays, rebuilds and restores orderlog
// at work, also while the broker is killed.
package replay

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/test/kafka"
	"github.com/orderlog/orderlog/topics"
)

// world is a cluster with orderlog's topics and nobody who works on them.
type world struct {
	t         *testing.T
	cluster   *kafka.Cluster
	opts      []kgo.Opt
	cl        *kgo.Client
	adm       *kadm.Client
	serde     *schemas.Serde
	namespace string
}

// TestOnKafka is all of it on one cluster.
func TestOnKafka(t *testing.T) {
	c := kafka.Run(t, kafka.Options{})
	t.Run("targets", func(t *testing.T) { sameTargets(newWorld(t, c)) })
	t.Run("seat", func(t *testing.T) { refused(newWorld(t, c)) })
	t.Run("anonymous", func(t *testing.T) { anonymous(newWorld(t, c)) })
	t.Run("gone", func(t *testing.T) { gone(newWorld(t, c)) })
	t.Run("live", func(t *testing.T) { live(openShop(t, c)) })
}

func newWorld(t *testing.T, c *kafka.Cluster) *world {
	registry, err := devbroker.Start(t.Context(), devbroker.Config{})
	must(t, err)
	t.Cleanup(func() { registry.Stop() })
	w := &world{t: t, cluster: c, opts: []kgo.Opt{kgo.SeedBrokers(c.Brokers()...)}, namespace: fmt.Sprintf("test-%d", time.Now().UnixNano())}
	w.cl, err = kgo.NewClient(append(w.opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(t, err)
	t.Cleanup(w.cl.Close)
	w.adm = kadm.NewClient(w.cl)
	changes, err := topicplan.Plan(t.Context(), w.adm, w.namespace, 4, 1)
	must(t, err)
	must(t, topicplan.Apply(t.Context(), w.adm, changes))
	w.serde, err = schemas.NewSerde(t.Context(), schemas.SerdeConfig{Registry: registry.RegistryURL(), Namespace: w.namespace})
	must(t, err)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) name(bare string) string { return topics.Prefixed(w.namespace, bare) }

func (w *world) replayer(step func(replay.Step) error) *replay.Replayer {
	w.t.Helper()
	r, err := replay.New(replay.Config{Opts: w.opts, Serde: w.serde, Namespace: w.namespace, Who: "ann", Step: step, Session: 2 * time.Second})
	must(w.t, err)
	w.t.Cleanup(r.Close)
	return r
}

// scene is every state that a partition can be in.
func (w *world) scene(from time.Time) {
	ctx := w.t.Context()
	commits := kadm.Offsets{}
	for _, c := range []struct {
		topic            string
		partition        int32
		records, deleted int64
		committed        int64 // -1: not at all
	}{
		{topics.OrderCommands, 0, 0, 0, -1}, // empty
		{topics.OrderCommands, 1, 10, 0, 5},
		{topics.OrderCommands, 2, 10, 6, 3},  // what was committed has gone
		{topics.OrderCommands, 3, 10, 0, 10}, // all is handled
		{topics.OrderReplies, 0, 0, 0, 0},    // empty, and somebody has been there
		{topics.OrderReplies, 1, 10, 0, -1},  // nobody has been there
		{topics.OrderReplies, 2, 10, 10, 4},  // all of it has gone
		{topics.OrderReplies, 3, 10, 0, 2},   // it ends in a transaction that is open
	} {
		topic := w.name(c.topic)
		for i := range c.records {
			must(w.t, w.cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: c.partition, Value: []byte("x"), Timestamp: from.Add(time.Duration(i) * 15 * time.Minute)}).FirstErr())
		}
		if c.deleted > 0 {
			_, err := w.adm.DeleteRecords(ctx, kadm.Offsets{topic: {c.partition: {Topic: topic, Partition: c.partition, At: c.deleted}}})
			must(w.t, err)
		}
		if c.committed >= 0 {
			commits.AddOffset(topic, c.partition, c.committed, -1)
		}
	}
	must(w.t, w.adm.CommitAllOffsets(ctx, w.name("order"), commits))
	open, err := kgo.NewClient(append(w.opts, kgo.TransactionalID(w.name("open")), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(w.t, err)
	w.t.Cleanup(open.Close)
	must(w.t, open.BeginTransaction())
	must(w.t, open.ProduceSync(ctx, &kgo.Record{Topic: w.name(topics.OrderReplies), Partition: 3, Value: []byte("x"), Timestamp: from.Add(3 * time.Hour)}).FirstErr())
}

// sameTargets compares all targets with those of Kafka's own tool.
func sameTargets(w *world) {
	t := w.t
	from := time.Now().Add(-4 * time.Hour).Truncate(time.Millisecond)
	w.scene(from)
	at := func(d time.Duration) string { return from.Add(d).UTC().Format("2006-01-02T15:04:05.000") }
	commands, replies := w.name(topics.OrderCommands), w.name(topics.OrderReplies)
	file := filepath.Join(t.TempDir(), "offsets.csv")
	must(t, os.WriteFile(file, fmt.Appendf(nil, "%s,0,0\n%[1]s,1,7\n%[1]s,2,2\n%[1]s,3,11\n%[2]s,1,10\n%[2]s,3,10\n", commands, replies), 0o600))
	both, been := []string{commands, replies}, []string{commands + ":1,2,3", replies + ":0,2,3"}
	for _, c := range []struct {
		flag, arg string
		only      []string
	}{
		{"to-earliest", "", both}, {"to-latest", "", both}, {"to-current", "", both},
		{"to-offset", "6", both}, {"to-offset", "1000", both}, {"to-offset", "0", both},
		{"shift-by", "3", been}, {"shift-by", "-3", been}, {"shift-by", "100", been}, {"shift-by", "-100", been},
		{"to-datetime", at(time.Hour), both}, {"to-datetime", at(61*time.Minute) + "Z", both}, {"to-datetime", at(2*time.Hour) + "+01:00", both},
		{"to-datetime", at(24 * time.Hour), both}, {"to-datetime", at(-24 * time.Hour), both},
		{"by-duration", "PT2H", both}, {"by-duration", "P1DT1H1M1S", both}, {"by-duration", "PT0S", both},
		{"from-file", file, nil},
	} {
		t.Run(c.flag+" "+filepath.Base(c.arg), func(t *testing.T) {
			w := *w
			w.t = t
			want, got := w.theirs(c.flag, c.arg, c.only), w.ours(c.flag, c.arg, c.only)
			if !slices.Equal(want, got) || len(want) == 0 {
				t.Errorf("Kafka's tool:\n%v\nours:\n%v", want, got)
			}
		})
	}
}

func (w *world) theirs(flag, arg string, only []string) []replay.Line {
	w.t.Helper()
	args := []string{"--group", w.name("order"), "--reset-offsets", "--dry-run", "--export", "--" + flag}
	if arg != "" {
		args = append(args, arg)
	}
	for _, o := range only {
		args = append(args, "--topic", o)
	}
	out, err := w.cluster.Tool(w.t.Context(), "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", args...)
	must(w.t, err)
	var csv bytes.Buffer
	for line := range bytes.Lines(out) { // beside warnings
		if strings.Count(string(line), ",") == 2 && strings.Contains(string(line), w.namespace) && !strings.Contains(string(line), " ") {
			csv.Write(line)
		}
	}
	lines, err := replay.ParseFile(&csv)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	return inOrder(lines)
}

func (w *world) ours(flag, arg string, only []string) (lines []replay.Line) {
	w.t.Helper()
	spec := replay.Spec{Groups: []string{"order"}, Target: replay.Target{Kind: replay.Kind(flag)}}
	var err error
	switch spec.Target.Kind {
	case replay.ToOffset, replay.ShiftBy:
		_, err = fmt.Sscan(arg, &spec.Target.N)
	case replay.ToDatetime:
		spec.Target.Time, err = replay.ParseDatetime(arg)
	case replay.ByDuration:
		var d time.Duration
		d, err = replay.ParseDuration(arg)
		spec.Target.Time = time.Now().Add(-d)
	case replay.FromFile:
		var text []byte
		text, err = os.ReadFile(arg)
		must(w.t, err)
		spec.Target.File, err = replay.ParseFile(bytes.NewReader(text))
	}
	must(w.t, err)
	for _, o := range only {
		s, err := replay.ParseSelection(o)
		must(w.t, err)
		spec.Only = append(spec.Only, s)
	}
	p, err := w.replayer(nil).Plan(w.t.Context(), spec)
	must(w.t, err)
	for _, part := range p.Groups[0].Parts {
		lines = append(lines, replay.Line{Topic: part.Topic, Partition: part.Partition, Offset: part.Target})
	}
	return inOrder(lines)
}

func inOrder(lines []replay.Line) []replay.Line {
	slices.SortFunc(lines, func(a, b replay.Line) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return lines
}

// refused: a run moves offsets as a member. If it is one no longer, nothing of it
// happens; what died before its end has changed nothing.
func refused(w *world) {
	t := w.t
	w.scene(time.Now().Add(-4 * time.Hour))
	spec := replay.Spec{Groups: []string{"order"}, Target: replay.Target{Kind: replay.ToEarliest}, Only: []replay.Selection{{Topic: topics.OrderCommands, Partitions: []int32{1, 3}}}}
	how := replay.How{Wait: 20 * time.Second}
	before := w.committed()
	_, err := w.replayer(func(s replay.Step) error {
		if s == replay.Written {
			w.putOut()
		}
		return nil
	}).Run(t.Context(), spec, how)
	if !errors.Is(err, kerr.UnknownMemberID) {
		t.Fatal(err)
	}
	if after := w.committed(); !slices.Equal(before, after) {
		t.Errorf("offsets %v, and they were %v", after, before)
	}
	if s := w.status(); s.Last != nil || s.Open {
		t.Errorf("%+v: something of it has happened", s)
	}

	died := errors.New("killed")
	for _, at := range []replay.Step{replay.Begun, replay.Moved, replay.Committed} {
		_, err := w.replayer(func(s replay.Step) error {
			if s == at {
				return died
			}
			return nil
		}).Run(t.Context(), spec, how)
		if !errors.Is(err, died) {
			t.Fatal(err)
		}
		if s := w.status(); (s.Last != nil) != (at == replay.Committed) || s.Open != (at == replay.Moved) {
			t.Errorf("died before %s: %+v", at, s)
		}
		began := time.Now()
		must(t, w.emptied())
		t.Logf("died before %s: the seat was free after %v", at, time.Since(began).Round(time.Millisecond))
	}
	if at := w.committed(); at[1].Offset != 0 || at[3].Offset != 0 {
		t.Errorf("offsets %v", at)
	}
	if _, err := w.replayer(nil).Undo(t.Context(), "order", how); err != nil {
		t.Fatal(err)
	}
	if after := w.committed(); !slices.Equal(before, after) {
		t.Errorf("offsets %v, and they were %v", after, before)
	}
}

// anonymous: nobody refuses offsets in a transaction from one who does not say which
// member it is, whoever is in the group. This is why a run takes a seat.
func anonymous(w *world) {
	t := w.t
	member, err := kgo.NewClient(append(w.opts, kgo.ConsumerGroup(w.name("order")), kgo.ConsumeTopics(w.name(topics.OrderCommands)), kgo.DisableAutoCommit())...)
	must(t, err)
	defer member.Close()
	for {
		member.PollFetches(within(t, 200*time.Millisecond))
		if _, generation := member.GroupMetadata(); generation >= 0 {
			break
		}
		must(t, t.Context().Err())
	}
	tx, err := kgo.NewClient(append(w.opts, kgo.TransactionalID(w.name("anonymous")))...)
	must(t, err)
	defer tx.Close()
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.Generation = w.name("anonymous"), w.name("order"), -1
	req.ProducerID, req.ProducerEpoch, err = tx.ProducerID(t.Context())
	must(t, err)
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset = 0
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = w.name(topics.OrderCommands), append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.Group, add.ProducerID, add.ProducerEpoch = req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch
	_, err = add.RequestWith(t.Context(), tx)
	must(t, err)
	req.Version = 4
	resp, err := req.RequestWith(t.Context(), tx)
	must(t, err)
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Errorf("%v: the broker looks after it now, and replays need no seat", kerr.ErrorForCode(code))
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// putOut removes whoever is in the group.
func (w *world) putOut() {
	w.t.Helper()
	groups, err := w.adm.DescribeGroups(w.t.Context(), w.name("order"))
	must(w.t, err)
	for _, m := range groups[w.name("order")].Members {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group, req.MemberID = w.name("order"), m.MemberID
		one := kmsg.NewLeaveGroupRequestMember()
		one.MemberID = m.MemberID
		req.Members = append(req.Members, one)
		_, err := req.RequestWith(w.t.Context(), w.cl)
		must(w.t, err)
	}
}

func (w *world) committed() (at []replay.Line) {
	w.t.Helper()
	got, err := w.adm.FetchOffsets(kadm.RequireStable(w.t.Context()), w.name("order"))
	must(w.t, err)
	for errors.Is(got.Error(), kerr.UnstableOffsetCommit) { // what has just ended has no markers yet
		got, err = w.adm.FetchOffsets(kadm.RequireStable(w.t.Context()), w.name("order"))
		must(w.t, err)
	}
	must(w.t, got.Error())
	for p := range int32(4) {
		l := replay.Line{Topic: topics.OrderCommands, Partition: p, Offset: -1}
		if o, ok := got.Lookup(w.name(topics.OrderCommands), p); ok {
			l.Offset = o.At
		}
		at = append(at, l)
	}
	return at
}

func (w *world) status() *replay.Status {
	w.t.Helper()
	all, err := w.replayer(nil).Status(w.t.Context(), []string{"order"})
	must(w.t, err)
	return all[0]
}

// emptied waits until nobody is in the group.
func (w *world) emptied() error {
	for ctx := within(w.t, 30*time.Second); ; {
		if s := w.status(); len(s.Members) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
