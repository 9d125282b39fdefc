package app_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// receiver counts webhooks by their ID.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	calls map[string]int
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{calls: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls[req.Header.Get("webhook-id")]++
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.calls)
}

// effects is a configuration with mails as files and a webhook.
func (r *receiver) effects() *effect.Config {
	c := effect.Default()
	c.Webhooks = []effect.Webhook{{Name: "erp", URL: r.URL, Secrets: [][]byte{make([]byte, 32)}, Timeout: 20 * time.Second, Concurrency: 20}}
	return &c
}

// ledger waits until every effect that was asked for is sent, and returns its rows.
func (w *world) ledger() map[string]schemas.LedgerEntry {
	w.t.Helper()
	for ctx := w.within(30 * time.Second); ; {
		w.caughtUp()
		asked, sent, rows := int64(0), int64(0), map[string]schemas.LedgerEntry{}
		notices := map[string]int64{}
		w.eachRow(topics.NotificationTable, func(r *kgo.Record) {
			var n schemas.Notices
			must(w.t, w.Serde().DecodeInto(ctx, topics.NotificationTable, r.Value, &n))
			notices[n.OrderID] = n.Asked
		})
		w.eachRow(topics.EffectsTable, func(r *kgo.Record) {
			var e schemas.LedgerEntry
			must(w.t, w.Serde().DecodeInto(ctx, topics.EffectsTable, r.Value, &e))
			rows[e.EffectID] = e
		})
		for _, n := range notices {
			asked += n
		}
		for _, e := range rows {
			if e.State == schemas.Sent {
				sent++
			}
		}
		if asked > 0 && asked == sent {
			return rows
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			w.t.Fatalf("%d of %d effects are sent", sent, asked)
		}
	}
}

func (w *world) eachRow(topic string, do func(*kgo.Record)) {
	w.t.Helper()
	must(w.t, content.EachRecord(w.t.Context(), w.ClientOpts(), topic, func(r *kgo.Record) error {
		if len(r.Value) > 0 {
			do(r)
		}
		return nil
	}))
}

// Every event of an order is told of once, in a mail and to a webhook; whatever is
// replayed after that: all records shown twice, offsets at the start with the tables kept,
// notification computed anew from the order log.
func TestEffectsOnce(t *testing.T) {
	hook := newReceiver(t)
	cfg := config(t)
	cfg.Dir, cfg.Effects, cfg.HTTP = t.TempDir(), hook.effects(), "127.0.0.1:0"
	w := start(t, cfg)
	mixed(w, 40)
	rows := w.ledger()
	w.quiet()
	told := hook.counts()
	mails, err := os.ReadDir(filepath.Join(cfg.Dir, app.MailFolder))
	must(t, err)
	for id, n := range told {
		if e := rows[id]; n != 1 || e.Kind != schemas.KindWebhook || e.Tries != 1 || e.Unsure != 0 {
			t.Errorf("called %d times: %+v", n, e)
		}
	}
	if len(mails) != len(rows)/2 || len(told) != len(rows)/2 || len(rows) < 3*40 {
		t.Errorf("%d effects, %d mails, %d webhooks", len(rows), len(mails), len(told))
	}
	for _, m := range mails {
		if id, ok := strings.CutSuffix(m.Name(), ".eml"); !ok || rows[id].Kind != schemas.KindEmail {
			t.Errorf("%s is of %+v", m.Name(), rows[id])
		}
	}

	resp, err := http.Get("http://" + w.Addresses().HTTP + "/metrics")
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if want := fmt.Sprintf("\norderlog_effects_sent_total{endpoint=\"webhook erp\"} %d\n", len(told)); !strings.Contains(string(text), want) {
		t.Errorf("/metrics does not say%s", want)
	}

	again := func(what string) {
		t.Helper()
		after := w.ledger()
		w.quiet()
		if !maps.Equal(hook.counts(), told) {
			t.Errorf("%s: some were told again", what)
		}
		for id, e := range after {
			if was := rows[id]; e.State != was.State || e.Tries != was.Tries || e.ChangedAt != was.ChangedAt {
				t.Errorf("%s: %+v, was %+v", what, e, was)
			}
		}
	}
	for _, topic := range []string{topics.OrderTable, topics.Effects, topics.EffectsLoop, topics.NotificationTable} {
		must(t, content.EachRecord(t.Context(), w.ClientOpts(), topic, func(r *kgo.Record) error {
			w.produce(&kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers})
			return nil
		}))
	}
	again("shown twice")
	w.Stop()

	platform := startPlatform(t, cfg)
	for _, g := range []string{"notification", "effects"} {
		resp, err := platform.admin().FetchOffsets(t.Context(), g)
		must(t, err)
		var zero kadm.Offsets
		resp.Each(func(o kadm.OffsetResponse) { zero.AddOffset(o.Topic, o.Partition, 0, -1) })
		must(t, platform.admin().CommitAllOffsets(t.Context(), g, zero))
	}
	must(t, platform.Stop())
	w = start(t, cfg)
	again("from the start")
	w.Stop()

	platform = startPlatform(t, cfg)
	_, err = platform.admin().DeleteTopics(t.Context(), topics.NotificationTable)
	must(t, err)
	_, err = platform.admin().DeleteGroups(t.Context(), "notification")
	must(t, err)
	must(t, platform.Stop())
	must(t, os.RemoveAll(filepath.Join(cfg.Dir, "tables")))
	w = start(t, cfg)
	again("notification computed anew")
	if n := w.Stats()["effects"].Skipped; n < int64(len(rows)) {
		t.Errorf("%d of %d effects came again", n, len(rows))
	}
}

// With a configuration that runs nothing of the kind, nothing of the kind is there.
func TestWithoutEffects(t *testing.T) {
	cfg := config(t)
	cfg.Processors = []string{"effects"}
	if _, err := app.New(cfg); err == nil || !strings.Contains(err.Error(), "--effects") {
		t.Errorf("it starts: %v", err)
	}
}
