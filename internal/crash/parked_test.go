package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// faultyDir says, in the environment, that this very program is to be `orderlog up`
// on that folder, but with rules that panic now and then.
const faultyDir = "ORDERLOG_CRASH_FAULTY"

func faulty(dir string) {
	var schedule retry.Schedule
	for range retry.MaxAttempts {
		schedule = append(schedule, 250*time.Millisecond)
	}
	a, err := app.New(app.Config{Dir: dir, Partitions: 4, Schedule: schedule, Rules: processors.Config{OpeningLimit: 100_000},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError + 1})), // panics are errors
		BeforeDecide: func(flow.Message) {
			if rand.IntN(20) == 0 {
				panic("a bug in the rule")
			}
		}})
	if err == nil {
		err = a.Start(context.Background())
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(a.Addresses())
	}
	if err == nil {
		err = <-a.Failed()
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Rules panic, what they could not do is parked and comes back, and the process is
// killed over and over meanwhile: each entry of the calendar is dispatched once, and the
// books end up as if there had been neither bug nor kill.
func TestKillFaultyRules(t *testing.T) {
	const rate = 60
	rng := rand.New(rand.NewPCG(*seed, 2))
	t.Logf("crash.seed=%d", *seed)
	exe, orders := build(t), rate*(1+*kills)
	sound := up(t, exe, t.TempDir(), "--effects", "off")
	defer func() { sound.kill() }()
	must(t, <-produce(t, exe, sound.at, orders, 10*rate))
	want := Settle(t, sound.at, orders)
	sound.kill()

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), faultyDir+"="+t.TempDir())
	p := begin(t, cmd)
	defer func() { p.kill() }()
	produced := produce(t, exe, p.at, orders, rate)
	var killed []moment
	for range *kills {
		born := time.Now()
		time.Sleep(time.Duration(50+rng.IntN(1500)) * time.Millisecond)
		killed = append(killed, moment{born: born, died: time.Now()})
		p = p.again(t)
	}
	must(t, <-produced)
	drained(t, p.at)
	for _, d := range content.Diff(want, Settle(t, p.at, orders), 5) {
		t.Errorf("differs after panics and kills: %s", d)
	}
	eachRow(t, p.at, topics.DeadLetter, func(r *kgo.Record) { t.Errorf("dead letter: %+v", letter.Parse(r)) })
	fell(t, killed, onceEach(t, p.at), false)
}

// moment is a kill.
type moment struct {
	born, died     time.Time // of the process
	sending, taken int       // effects under way then, and taken until then
	tried          time.Time // when the last one came
}

// drained waits until nothing is parked, and nothing comes of what was.
func drained(t *testing.T, at app.Addresses) {
	t.Helper()
	serde := serde(t, at)
	c, err := client.New(client.Config{Opts: reach(at), Serde: serde})
	must(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for last := -1; ; time.Sleep(100 * time.Millisecond) {
		must(t, c.WaitRead(ctx, app.Names()...))
		entries, waits := 0, map[string]bool{}
		eachRow(t, at, topics.Retry, func(*kgo.Record) { entries++ })
		must(t, content.EachRecord(ctx, reach(at), topics.RetryTable, func(r *kgo.Record) error {
			delete(waits, string(r.Key))
			if len(r.Value) == 0 {
				return nil
			}
			var p schemas.Parked
			waits[string(r.Key)] = true
			if err := serde.DecodeInto(ctx, topics.RetryTable, r.Value, &p); err != nil || p.Topic == "" { // a deadline
				delete(waits, string(r.Key))
				return err
			}
			return nil
		}))
		if len(waits) == 0 && entries == last {
			return
		}
		last = entries
	}
}

// onceEach checks that each entry of the calendar has been dispatched once, and
// returns when.
func onceEach(t *testing.T, at app.Addresses) (when []time.Time) {
	t.Helper()
	serde := serde(t, at)
	left, entries := map[string]int{}, 0 // by where it goes, key and place in its queue: entries less dispatches
	eachRow(t, at, topics.Retry, func(r *kgo.Record) {
		var p schemas.Parked
		must(t, serde.DecodeInto(t.Context(), topics.Retry, r.Value, &p))
		if p.Topic != "" { // else a deadline
			left[fmt.Sprintf("%s %s %d", p.To, p.Key, p.Seq)]++
			entries++
		}
	})
	for _, tp := range topics.All() {
		if !strings.HasSuffix(tp.Name, "-loop") {
			continue
		}
		eachRow(t, at, tp.Name, func(r *kgo.Record) {
			left[fmt.Sprintf("%s %s %d", r.Topic, r.Key, letter.Parse(r).Seq)]--
			when = append(when, r.Timestamp)
		})
	}
	for id, n := range left {
		if n != 0 {
			t.Errorf("%s: %d entries more than dispatches", id, n)
		}
	}
	t.Logf("%d entries of the calendar, %d dispatches", entries, len(when))
	return when
}

// fell tells how much was done before each kill. If few fell into work, the others
// prove little.
func fell(t *testing.T, killed []moment, dispatched []time.Time, sends bool) {
	t.Helper()
	const shortly = 300 * time.Millisecond
	dispatching, sending, before := 0, 0, 0
	for i, m := range killed {
		life, last := 0, 0
		for _, at := range dispatched {
			if at.After(m.born) && at.Before(m.died) {
				life++
			}
			if at.After(m.died.Add(-shortly)) && at.Before(m.died) {
				last++
			}
		}
		if last > 0 {
			dispatching++
		}
		if m.died.Sub(m.tried) < shortly {
			sending++
		}
		text := fmt.Sprintf("kill %d after %v: %d dispatched, %d in the last %v", i, m.died.Sub(m.born).Round(time.Millisecond), life, last, shortly)
		if sends {
			text += fmt.Sprintf("; %d effects taken, %d being sent", m.taken-before, m.sending)
		}
		t.Log(text)
		before = m.taken
	}
	t.Logf("of %d kills %d fell into dispatch, %d into sending, if any", len(killed), dispatching, sending)
	if 4*dispatching < len(killed) || sends && 4*sending < len(killed) {
		t.Error("too few: they prove little")
	}
}

func eachRow(t *testing.T, at app.Addresses, topic string, do func(*kgo.Record)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, content.EachRecord(ctx, reach(at), topic, func(r *kgo.Record) error {
		if len(r.Value) > 0 {
			do(r)
		}
		return nil
	}))
}
