package kgoka

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestAlive: an idle instance is alive for hours, one whose callback hangs is not,
// and says which one.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubble(t, "in", "a-table")
		hang := make(chan struct{})
		g := goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Input("in", Bytes{}, func(goka.Context, any) { <-hang }))
		cfg := Config{Brokers: b.brokers(), ClientOpts: b.opts, Instance: "a-1", Log: slog.New(slog.DiscardHandler)}
		p, err := NewProcessor(cfg, g)
		if err != nil {
			t.Fatal(err)
		}
		if p.Ready() || p.Alive() != nil {
			t.Errorf("before it runs: ready %v, alive %v", p.Ready(), p.Alive())
		}
		r := start(t, cfg, g).waitReady()
		if time.Sleep(time.Hour); !r.Ready() || r.Alive() != nil {
			t.Errorf("idle: ready %v, alive %v", r.Ready(), r.Alive())
		}
		b.feed("in", 0, 1, 1)
		most := r.cfg.TransactionTimeout + r.cfg.SessionTimeout
		if time.Sleep(most); r.Alive() != nil {
			t.Error(r.Alive())
		}
		if time.Sleep(time.Second); r.Alive() == nil || !strings.Contains(r.Alive().Error(), `the callback of in/`) || !strings.Contains(r.Alive().Error(), `offset 0, key "key-0"`) {
			t.Errorf("hanging: %v", r.Alive())
		}
		close(hang)
		b.caughtUp("a", "in")
		if r.Alive() != nil {
			t.Error(r.Alive())
		}
		r.mustEnd()
		if r.Ready() || r.Alive() == nil {
			t.Errorf("after its end: ready %v, alive %v", r.Ready(), r.Alive())
		}
	})
}

// TestNotReadyWhileRecovering: an instance is not ready before its tables are, and
// the state of each tells how far it is.
func TestNotReadyWhileRecovering(t *testing.T) {
	b := newBed(t, "in", "a-table")
	hang := b.client(kgo.TransactionalID("hangs"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := hang.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := hang.ProduceSync(t.Context(), &kgo.Record{Topic: "a-table", Key: []byte("x"), Value: []byte("y")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p := start(t, b.config("a-1"), counting("a", "in", ""))
	until(t, "its tables are there", func() bool { return len(p.Stats().Tables) == nparts })
	if p.Ready() {
		t.Error("it is ready")
	}
	if err := hang.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	p.waitReady()
	st := p.Stats().Tables[0]
	if !p.Ready() || st.Recovering || st.Role != RoleActive || st.Offset != 1 || st.End != 2 || st.Records != 2 {
		t.Errorf("ready %v, %+v", p.Ready(), st)
	}
	p.mustEnd()
}
