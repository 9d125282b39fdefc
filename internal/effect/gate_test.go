package effect

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orderlog/orderlog/schemas"
)

// fake ends as it is told to.
type fake struct {
	mu    sync.Mutex
	takes time.Duration
	end   Outcome
	calls int
	now   int // under way
	most  int
}

func (f *fake) Send(ctx context.Context, _ schemas.Effect) Outcome {
	f.mu.Lock()
	f.calls++
	f.now++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	select {
	case <-time.After(f.takes):
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now--
	return f.end
}

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{end: Outcome{Class: Transient, Sick: true}}
		g := newGate(f, 1)
		send := func() Outcome { return g.Send(t.Context(), schemas.Effect{}) }
		expect := func(what string, calls int, class Class, wait time.Duration) {
			t.Helper()
			before := f.calls
			if o := send(); f.calls-before != calls || o.Class != class || o.RetryAfter != wait {
				t.Errorf("%s: %d calls, %v, again after %v; want %d, %s, %v", what, f.calls-before, o, o.RetryAfter, calls, class, wait)
			}
		}
		for i := range maxTroubles {
			expect(fmt.Sprint("trouble ", i), 1, Transient, 0)
		}
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
			expect("closed", 0, Away, pause*time.Second)
			time.Sleep(pause*time.Second - time.Millisecond)
			expect("just before the end of the pause", 0, Away, time.Millisecond)
			time.Sleep(time.Millisecond)
			expect("probe", 1, Transient, 0)
		}
		time.Sleep(lastPause)
		f.end = Outcome{Class: Permanent} // an answer, though not a good one
		expect("probe", 1, Permanent, 0)
		f.end = Outcome{Class: Transient, Sick: true}
		for range maxTroubles - 1 {
			expect("open again", 1, Transient, 0)
		}
		f.end = Outcome{Class: Sent}
		expect("not enough troubles", 1, Sent, 0)

		f.end = Outcome{Class: Transient} // trouble with the effect only
		for range 2 * maxTroubles {
			expect("a try that fails", 1, Transient, 0)
		}
		f.end = Outcome{Class: Transient, Sick: true, RetryAfter: 2 * time.Minute}
		expect("it wants to be left alone", 1, Transient, 2*time.Minute)
		expect("it is", 0, Away, 2*time.Minute)
		time.Sleep(2 * time.Minute)
		f.end.RetryAfter = 0
		expect("it says no more, but is no better", 1, Transient, 0)
		expect("it is left alone", 0, Away, 2*time.Second)
		time.Sleep(2 * time.Second)
		f.end.RetryAfter = 24 * time.Hour
		expect("for too long", 1, Transient, 24*time.Hour)
		expect("it is, for a while", 0, Away, maxHint)
	})
}

// While one probes, others stay away; a probe that is interrupted leaves the gate
// as it was.
func TestGateProbesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{end: Outcome{Class: Away, Sick: true, RetryAfter: time.Second}}
		g := newGate(f, 8)
		g.Send(t.Context(), schemas.Effect{})
		time.Sleep(time.Second)
		f.takes, f.end, f.calls = 20*time.Second, Outcome{Class: Sent}, 0
		stopped, stop := context.WithCancel(t.Context())
		probes := func(ctx context.Context) {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() { g.Send(ctx, schemas.Effect{}) })
			}
			synctest.Wait()
			if f.calls != 1 {
				t.Errorf("%d probes", f.calls)
			}
			stop()
			wg.Wait()
		}
		probes(stopped)
		f.calls = 0
		probes(t.Context())
		f.calls = 0
		g.Send(t.Context(), schemas.Effect{})
		g.Send(t.Context(), schemas.Effect{})
		if f.calls != 2 {
			t.Errorf("after a good probe %d of 2 tries get through", f.calls)
		}
	})
}

func TestGateBoundsConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second, end: Outcome{Class: Sent}}
		g := newGate(f, 3)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { g.Send(t.Context(), schemas.Effect{}) })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if o := g.Send(ctx, schemas.Effect{}); o.Class != Away || o.Sick {
			t.Errorf("stopped while waiting: %v", o)
		}
		wg.Wait()
		if f.most != 3 || f.calls != 10 {
			t.Errorf("%d at once, %d calls", f.most, f.calls)
		}
	})
}

// One effect at which a sender panics is one effect's trouble: others go on, and a
// closed gate stays as it was.
func TestGateSurvivesPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{end: Outcome{Class: Transient, Sick: true}}
		g := newGate(f, 1)
		bug := func() {
			t.Helper()
			g.to = panics{}
			if o := g.Send(t.Context(), schemas.Effect{}); o.Class != Transient || o.Text != "panic: a bug" {
				t.Errorf("%v", o)
			}
			g.to = f
		}
		bug()
		for range maxTroubles {
			g.Send(t.Context(), schemas.Effect{})
		}
		if wait := g.closed(); wait != firstPause {
			t.Errorf("closed for %v", wait)
		}
		time.Sleep(firstPause)
		bug()
		if o := g.Send(t.Context(), schemas.Effect{}); o.Class != Transient || g.closed() != 2*firstPause {
			t.Errorf("%v, then closed for %v", o, g.closed())
		}
	})
}

type panics struct{}

func (panics) Send(context.Context, schemas.Effect) Outcome { panic("a bug") }

func TestLanes(t *testing.T) {
	c := Config{Webhooks: []Webhook{{Name: "erp", Concurrency: 7}}} // nobody gets mails
	es, err := New(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	hook, mail := schemas.Effect{EffectID: "eff_1", Kind: schemas.KindWebhook, To: "erp"}, schemas.Effect{EffectID: "eff_1", Kind: schemas.KindEmail, To: "a@shop.example"}
	if a, b := es.Width(Lane(hook)), es.Width(Lane(mail)); a != 7 || b != 1 {
		t.Errorf("%d and %d at once", a, b)
	}
	if wait := es.Closed(Lane(hook)) + es.Closed(Lane(mail)); wait != 0 {
		t.Errorf("closed for %v", wait)
	}
	if o := es.Send(t.Context(), mail); o.Class != Permanent {
		t.Errorf("a mail with nowhere to go: %v", o)
	}
}
