package app_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// session is short, so that the seat of the dead is soon free.
const session = 500 * time.Millisecond

// replayer moves groups of the world; step is its hook.
func (w *world) replayer(step func(replay.Step) error) *replay.Replayer {
	w.t.Helper()
	r, err := replay.New(replay.Config{Opts: w.ClientOpts(), Serde: w.Serde(), Who: "ann", Step: step, Session: session})
	must(w.t, err)
	w.t.Cleanup(r.Close)
	return r
}

var byHand = replay.How{Stop: true, Wait: 20 * time.Second, Why: "a test"}

// redelivered are the groups that can be.
func redelivered() (groups []string) {
	for _, u := range replay.Units() {
		if u.Origins {
			groups = append(groups, u.Name)
		}
	}
	return groups
}

func (w *world) committed(group string) kadm.OffsetResponses {
	w.t.Helper()
	at, err := w.admin().FetchOffsets(w.t.Context(), group)
	must(w.t, err)
	return at
}

// Every group goes to the start of its logs, one after the other and all at once, while
// orders come. Nothing changes but positions, and nobody is told anything twice.
func TestRedeliverEverything(t *testing.T) {
	hook := newReceiver(t)
	cfg := config(t)
	cfg.Dir, cfg.Effects = t.TempDir(), hook.effects()
	w := start(t, cfg)
	mixed(w, 60)
	w.ledger()
	before, counts, told := w.content(), w.counts(), hook.counts()
	r := w.replayer(nil)
	toStart := replay.Target{Kind: replay.ToEarliest}
	for _, g := range redelivered() {
		res, err := r.Run(t.Context(), replay.Spec{Groups: []string{g}, Target: toStart}, byHand)
		must(t, err)
		if len(res.Groups) != 1 || res.Groups[0].Again == 0 || !res.Groups[0].Resumed {
			t.Errorf("%s: %+v", g, res)
		}
	}
	w.ledger()
	w.quiet()
	w.same(before)
	if !maps.Equal(hook.counts(), told) {
		t.Error("somebody was told again")
	}
	for topic, n := range w.counts() {
		if n != counts[topic] && topic != topics.Audit && topic != topics.Control {
			t.Errorf("%s has %d records and had %d: something was done again", topic, n, counts[topic])
		}
	}

	var more []flow.Message
	for i := range 40 {
		more = append(more, place(fmt.Sprint("ord_more_", i), fmt.Sprint("cus_", i%5), schemas.PlaceLine{SKU: fmt.Sprint("sku_", i%5), Quantity: 1}))
	}
	sent, rs := make(chan error, 1), w.records(more)
	go func() {
		for _, rec := range rs {
			if err := w.cl.ProduceSync(context.WithoutCancel(t.Context()), rec).FirstErr(); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	res, err := r.Run(t.Context(), replay.Spec{Groups: redelivered(), Target: toStart}, byHand)
	must(t, err)
	if len(res.Groups) != len(redelivered()) {
		t.Errorf("%+v", res)
	}
	must(t, <-sent)
	w.settled(100)
	w.ledger()
	w.quiet()
	for id, n := range hook.counts() {
		if n != 1 {
			t.Errorf("%s was told %d times", id, n)
		}
	}
	after := w.content()
	for topic, rows := range before {
		if topic != topics.OrderTable && topic != topics.VoucherTable { // what is keyed by orders: the old ones are as they were
			continue
		}
		for key, row := range rows {
			if after[topic][key] != row {
				t.Errorf("%s %s: %s, and it was %s", topic, key, after[topic][key], row)
			}
		}
	}
}

// killed has a process run inventory to the start of its logs, which kills itself (kill
// -9) before a step.
func (w *world) killed(at replay.Step, hash string) {
	w.t.Helper()
	exe, err := os.Executable()
	must(w.t, err)
	cmd := exec.CommandContext(w.t.Context(), exe, "-test.run=^TestReplayToBeKilled$")
	cmd.Env = append(os.Environ(), "ORDERLOG_TEST_KILL_AT="+string(at), "ORDERLOG_TEST_KILL_PLAN="+hash,
		"ORDERLOG_TEST_KILL_BROKERS="+w.Addresses().Brokers[0], "ORDERLOG_TEST_KILL_REGISTRY="+w.Addresses().Registry)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		w.t.Fatalf("%v: not killed\n%s", err, out)
	}
}

// TestReplayToBeKilled is what killed runs.
func TestReplayToBeKilled(t *testing.T) {
	at := replay.Step(os.Getenv("ORDERLOG_TEST_KILL_AT"))
	if at == "" {
		t.Skip("no test by itself")
	}
	serde, err := schemas.NewSerde(t.Context(), schemas.SerdeConfig{Registry: os.Getenv("ORDERLOG_TEST_KILL_REGISTRY")})
	must(t, err)
	r, err := replay.New(replay.Config{Opts: []kgo.Opt{kgo.SeedBrokers(os.Getenv("ORDERLOG_TEST_KILL_BROKERS"))}, Serde: serde, Who: "ann", Session: session,
		Step: func(s replay.Step) error {
			if s == at {
				must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
				select {}
			}
			return nil
		}})
	must(t, err)
	how := byHand
	how.Hash = os.Getenv("ORDERLOG_TEST_KILL_PLAN")
	_, err = r.Run(t.Context(), replay.Spec{Groups: []string{"inventory"}, Target: replay.Target{Kind: replay.ToEarliest}}, how)
	t.Fatal("it should have been killed", err)
}

// A run that is killed at any of its steps has done nothing or all, and says which; going
// on with it, undoing it and forgetting it all lead where they should.
func TestReplayThatDies(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and kills processes")
	}
	const group = "inventory"
	w := start(t, config(t))
	mixed(w, 30)
	before := w.content()
	spec := replay.Spec{Groups: []string{group}, Target: replay.Target{Kind: replay.ToEarliest}}
	steps := []replay.Step{replay.Agreed, replay.Paused, replay.Emptied, replay.Seated, replay.Begun, replay.Written, replay.Moved, replay.Committed}
	for i, at := range steps {
		ways := []string{"run"}
		if at == replay.Paused || at == replay.Moved || at == replay.Committed { // the embedded broker is slow to miss who sat there and died
			ways = []string{"undo", "run"}
		}
		if at == replay.Moved {
			ways = append(ways, "resume")
		}
		for _, then := range ways {
			t.Run(fmt.Sprintf("%s, %s", at, then), func(t *testing.T) {
				w.caughtUp()
				r := w.replayer(nil)
				plan, err := r.Plan(t.Context(), spec)
				must(t, err)
				how := byHand
				how.Hash = plan.Hash
				w.killed(at, plan.Hash)
				s := w.status(group)
				paused := i >= slices.Index(steps, replay.Paused) && at != replay.Committed
				if s.Half() != paused || paused && s.Paused.Replay[:12] != plan.Hash {
					t.Errorf("paused %+v, want that to be %v", s.Paused, paused)
				}
				moved := s.Last != nil && s.Last.ID[:12] == plan.Hash && !s.Last.Undone
				switch then {
				case "run":
					if at == replay.Committed { // it is done: there is nothing to go on with
						break
					}
					res, err := r.Run(t.Context(), spec, how)
					must(t, err)
					if res.Groups[0].Changed == 0 || s.Paused != nil && res.ID != s.Paused.Replay {
						t.Errorf("%+v is not the run that was interrupted, %+v", res, s.Paused)
					}
				case "undo":
					res, err := r.Undo(t.Context(), group, byHand)
					if errors.Is(err, replay.ErrNothing) && at == replay.Agreed {
						break
					}
					must(t, err)
					if !moved && at != replay.Agreed && at != replay.Committed && res != nil {
						t.Errorf("%+v was undone, and nothing had been moved", res)
					}
				case "resume":
					must(t, r.Resume(t.Context(), group, "a test"))
				}
				if s := w.status(group); s.Paused != nil || s.Open {
					t.Errorf("paused %+v, open %v", s.Paused, s.Open)
				}
			})
		}
	}
	w.quiet()
	w.same(before)
}

func (w *world) status(group string) *replay.Status {
	w.t.Helper()
	all, err := w.replayer(nil).Status(w.t.Context(), []string{group})
	must(w.t, err)
	return all[0]
}

// What was passed over and undone is handled after all.
func TestUndoOfWhatWasPassedOver(t *testing.T) {
	w := start(t, config(t))
	w.send(price("sku_pen", 150), receive("sku_pen", 100))
	line := schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}
	w.send(place("ord_1", "cus_a", line))
	w.states(map[string]int{"invoiced": 1})
	r := w.replayer(nil)
	must(t, r.Pause(t.Context(), "order", "a test", byHand.Wait, func(string) {}))
	before := w.committed("order")
	w.send(place("ord_2", "cus_a", line))
	spec := replay.Spec{Groups: []string{"order"}, Target: replay.Target{Kind: replay.ToLatest}}
	if _, err := r.Run(t.Context(), spec, byHand); !errors.Is(err, replay.ErrWarned) {
		t.Fatalf("%v: what nobody has agreed to was passed over", err)
	}
	plan, err := r.Plan(t.Context(), spec)
	must(t, err)
	how := byHand
	how.Hash = plan.Hash
	res, err := r.Run(t.Context(), spec, how)
	must(t, err)
	if res.Groups[0].Resumed {
		t.Error("a group that a person has paused goes on")
	}
	if _, err := r.Run(t.Context(), spec, how); !errors.Is(err, replay.ErrMoved) {
		t.Errorf("%v: the plan was another one", err)
	}
	if _, err := r.Undo(t.Context(), "order", byHand); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Undo(t.Context(), "order", byHand); !errors.Is(err, replay.ErrNothing) {
		t.Errorf("undone twice: %v", err)
	}
	after := w.committed("order")
	before.Each(func(o kadm.OffsetResponse) {
		if got, _ := after.Lookup(o.Topic, o.Partition); got.At != o.At || got.Metadata != o.Metadata {
			t.Errorf("%s/%d: %d %q, and it was %d %q", o.Topic, o.Partition, got.At, got.Metadata, o.At, o.Metadata)
		}
	})
	must(t, r.Resume(t.Context(), "order", "a test"))
	w.states(map[string]int{"invoiced": 2})
	w.quiet()
}

// A process that starts while a group is paused is ready, and runs it when it goes on.
func TestStartWhilePaused(t *testing.T) {
	cfg := config(t)
	w := start(t, cfg)
	w.send(price("sku_pen", 150), receive("sku_pen", 100))
	r := w.replayer(nil)
	must(t, r.Pause(t.Context(), "credit", "a test", byHand.Wait, func(string) {}))
	cfg.Brokers, cfg.Registry, cfg.Instance = w.Addresses().Brokers, w.Addresses().Registry, "other"
	other, err := app.New(cfg)
	must(t, err)
	must(t, other.Start(t.Context()))
	defer func() { must(t, other.Stop()) }()
	if s := w.status("credit"); len(s.Members) > 0 {
		t.Errorf("%q are in the group", s.Members)
	}
	w.send(place("ord_1", "cus_a", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1, UnitPrice: 150}))
	w.states(map[string]int{"placed": 1})
	must(t, r.Resume(t.Context(), "credit", "a test"))
	w.states(map[string]int{"invoiced": 1})
}

// Nobody is put out of a group who was not asked.
func TestReplayOfAGroupThatRuns(t *testing.T) {
	w := start(t, config(t))
	how := byHand
	how.Stop, how.Wait = false, 0
	_, err := w.replayer(nil).Run(t.Context(), replay.Spec{Groups: []string{"order"}, Target: replay.Target{Kind: replay.ToEarliest}}, how)
	if !errors.Is(err, replay.ErrNotEmpty) {
		t.Error(err)
	}
	must(t, w.cl.ProduceSync(t.Context(), &kgo.Record{Topic: topics.Retry, Key: []byte("k"), Value: []byte("?")}).FirstErr())
	_, err = w.replayer(nil).Run(t.Context(), replay.Spec{Groups: []string{"retry"}, Target: replay.Target{Kind: replay.ToEarliest}}, byHand)
	if !errors.Is(err, replay.ErrProblem) {
		t.Error(err)
	}
	if s := w.status("order"); s.Paused != nil || len(s.Members) == 0 || s.Last != nil {
		t.Errorf("%+v", s)
	}
}

// Who interrupts a run, or waits in vain for a group to be empty, leaves no group paused.
func TestReplayThatIsStopped(t *testing.T) {
	w := start(t, config(t))
	w.send(price("sku_pen", 150), receive("sku_pen", 100))
	w.send(place("ord_1", "cus_a", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}))
	w.states(map[string]int{"invoiced": 1})
	spec := replay.Spec{Groups: []string{"order", "credit"}, Target: replay.Target{Kind: replay.ToEarliest}}
	for _, at := range []replay.Step{replay.Paused, replay.Emptied, replay.Seated, replay.Begun} {
		w.caughtUp()
		before := w.committed("order")
		ctx, cancel := context.WithCancel(t.Context())
		_, err := w.replayer(func(s replay.Step) error {
			if s == at {
				cancel()
			}
			return nil
		}).Run(ctx, spec, byHand)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", at, err)
		}
		for _, g := range spec.Groups {
			if s := w.status(g); s.Paused != nil || s.Open || s.Last != nil {
				t.Errorf("%s: %+v", at, s)
			}
		}
		after := w.committed("order")
		before.Each(func(o kadm.OffsetResponse) {
			if got, _ := after.Lookup(o.Topic, o.Partition); got.At < o.At {
				t.Errorf("%s: %s/%d is at %d, and was at %d", at, o.Topic, o.Partition, got.At, o.At)
			}
		})
	}
	stranger, err := kgo.NewClient(append(w.ClientOpts(), kgo.ConsumerGroup("credit"), kgo.ConsumeTopics(topics.CreditTasks, topics.CreditCommands, topics.CreditLoop),
		kgo.Balancers(named{kgo.RangeBalancer(), kgoka.Protocol([]string{topics.CreditTasks, topics.CreditCommands, topics.CreditLoop})}), kgo.ClientID("stranger"), kgo.DisableAutoCommit())...)
	must(t, err)
	defer stranger.Close()
	for s := w.status("credit"); !slices.ContainsFunc(s.Members, func(m string) bool { return strings.HasPrefix(m, "stranger ") }); s = w.status("credit") {
		must(t, w.within(20*time.Second).Err())
		stranger.PollFetches(w.within(100 * time.Millisecond))
	}
	how := byHand
	how.Wait = time.Second
	if _, err := w.replayer(nil).Run(t.Context(), spec, how); !errors.Is(err, replay.ErrNotEmpty) || !strings.Contains(err.Error(), "stranger ") {
		t.Errorf("%v does not say who is in it", err)
	}
	for _, g := range spec.Groups {
		if s := w.status(g); s.Paused != nil || s.Last != nil {
			t.Errorf("%+v", s)
		}
	}
}

// named is a balancer under another name.
type named struct {
	kgo.GroupBalancer
	name string
}

func (n named) ProtocolName() string { return n.name }

// What nobody can read is said, and neither keeps a process from starting nor changes what
// was said before it.
func TestStartBesideAControlRecordThatCannotBeRead(t *testing.T) {
	cfg := config(t)
	w := start(t, cfg)
	r := w.replayer(nil)
	must(t, r.Pause(t.Context(), "credit", "a test", byHand.Wait, func(string) {}))
	bad := &kgo.Record{Topic: topics.Control, Key: []byte("credit"), Value: []byte("?")}
	must(t, w.cl.ProduceSync(t.Context(), bad).FirstErr())
	cfg.Brokers, cfg.Registry, cfg.Instance = w.Addresses().Brokers, w.Addresses().Registry, "other"
	other, err := app.New(cfg)
	must(t, err)
	must(t, other.Start(t.Context()))
	defer func() { must(t, other.Stop()) }()
	if s := w.status("credit"); len(s.Members) > 0 || s.Paused == nil {
		t.Errorf("%+v", s)
	}
	must(t, r.Resume(t.Context(), "credit", "a test"))
	if s := w.status("credit"); s.Paused != nil {
		t.Errorf("%+v", s.Paused)
	}
}
