package ledger

import (
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Each effect goes out once, and its row says when and what the answer was.
func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mails()
		w.hooks()
		i := w.start("1", "").ready(t)
		w.ask(50)
		w.until("all are sent", time.Minute, w.ended)
		for id, row := range w.rows() {
			want := int64(250)
			if row.Kind == schemas.KindWebhook {
				want = 200
			}
			if row.State != schemas.Sent || row.Code != want || row.Tries != 1 || row.Unsure != 0 || row.Payload != "" || row.ChangedAt == 0 || w.times(id) != 1 {
				t.Errorf("taken %d times: %+v", w.times(id), row)
			}
		}
		text := i.metrics(t)
		for _, want := range []string{`sent_total{endpoint="email"} 50`, `sent_total{endpoint="webhook erp"} 50`, `pending{endpoint="email"} 0`, `oldest_pending_seconds{endpoint="email"} 0`} {
			if !strings.Contains(text, "orderlog_effects_"+want+"\n") {
				t.Errorf("no line %s in\n%s", want, text)
			}
		}
	})
}

func (i *instance) metrics(t *testing.T) string {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(i.Ledger)
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.PanicOnError}).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	return rec.Body.String()
}

// What was sent is never sent again: offsets set back to the start, every record
// of the group's topics shown twice, the local table gone, old records of the
// table's topic behind its newest.
func TestReplaySendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.calendar()
		w.mails()
		w.hooks()
		w.answer = func(_ string, n int) int {
			if n == 1 { // they come by the calendar, too
				return later
			}
			return 0
		}
		i := w.start("1", "").ready(t)
		w.ask(50)
		w.until("all have ended", time.Hour, w.ended)
		i.end(t)
		rows, took := w.rows(), maps.Clone(w.took)
		if w.in(schemas.KindEmail, schemas.Sent) != 50 {
			t.Fatalf("rows %v", rows)
		}

		w.back()
		for _, topic := range []string{topics.Effects, topics.EffectsLoop} {
			w.again(w.read(topic))
		}
		log := w.read(topics.EffectsTable)
		slices.Reverse(log)
		w.again(log)
		i = w.start("1", "").ready(t)
		time.Sleep(100 * time.Hour)
		if !maps.Equal(took, w.took) {
			t.Error("something was sent again")
		}
		for id, want := range rows {
			v, err := i.Get(id)
			must(t, err)
			var row schemas.LedgerEntry
			must(t, w.serde.DecodeInto(t.Context(), topics.EffectsTable, v, &row))
			if row.State != want.State || row.Tries != want.Tries || row.ChangedAt != want.ChangedAt {
				t.Errorf("%+v\nwas %+v", row, want)
			}
		}
	})
}

// again writes records once more, behind the others.
func (w *world) again(rs []*kgo.Record) {
	w.t.Helper()
	for _, r := range rs {
		w.produce(&kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers})
	}
}

// A server that is down for three days: its mails wait, nobody's try is counted,
// and webhooks do not wait for it. A receiver that never answers delays no mail.
func TestEndpointAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.calendar()
		w.hooks()
		i := w.start("1", "").ready(t)
		w.ask(100)
		w.until("webhooks are called", time.Second, func() bool { return w.in(schemas.KindWebhook, schemas.Sent) == 100 })
		time.Sleep(72 * time.Hour)
		if n := len(w.read(topics.EffectsTable)); n > 4*72*3600/300 {
			t.Errorf("%d records of waiting", n)
		}
		for _, want := range []string{`pending{endpoint="email"} 100`, `oldest_pending_seconds{endpoint="email"} 2592`, `unsure_total{endpoint="email"} 0`} {
			if text := i.metrics(t); !strings.Contains(text, "orderlog_effects_"+want) {
				t.Errorf("no line %s in\n%s", want, text)
			}
		}
		i.end(t) // somebody restarts it meanwhile
		w.start("1", "").ready(t)
		w.mails()
		w.until("mails are sent", 10*time.Minute, func() bool { return w.in(schemas.KindEmail, schemas.Sent) == 100 })
		for id, row := range w.rows() {
			if row.Tries != 1 || row.Unsure != 0 || w.times(id) != 1 || len(row.Attempts) > 0 {
				t.Errorf("taken %d times: %+v", w.times(id), row)
			}
		}
		if ls := w.letters(); len(ls) > 0 {
			t.Errorf("dead letters %v", ls)
		}

		w.set(func() { w.hangs = true })
		w.ask(100)
		w.until("mails are sent", time.Second, func() bool { return w.in(schemas.KindEmail, schemas.Sent) == 200 })
	})
}

// What an endpoint refuses for good is a dead letter at once, with what it said; what
// it refuses for now is tried again when the schedule says, to its end.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.calendar()
		w.cfg.Webhooks = nil
		w.mails()
		w.start("1", "").ready(t)
		w.refuse["cus_0@shop.example"] = 550
		tries := map[string][]time.Time{}
		w.answer = func(id string, n int) (code int) {
			w.set(func() {
				tries[id] = append(tries[id], time.Now())
				if id == w.all[1].EffectID || id == w.all[2].EffectID && n < 3 {
					code = later
				}
			})
			return code
		}
		es := w.ask(4)
		never, always, twice := es[0].EffectID, es[1].EffectID, es[2].EffectID
		time.Sleep(time.Minute)
		ls := w.letters()
		if len(ls) != 1 || string(ls[0].Key) != never || ls[0].Cause != causeRefused || ls[0].Class != letter.Poison || !strings.HasPrefix(ls[0].Error, "550 ") || len(ls[0].Attempts) != 1 {
			t.Fatalf("dead letters %+v", ls)
		}
		time.Sleep(75 * time.Hour)
		rows := w.rows()
		for id, want := range map[string]schemas.LedgerEntry{
			never: {State: schemas.Failed, Tries: 1, Code: 550}, always: {State: schemas.Failed, Tries: 6, Code: 451},
			twice: {State: schemas.Sent, Tries: 3, Code: 250}, es[3].EffectID: {State: schemas.Sent, Tries: 1, Code: 250},
		} {
			if row := rows[id]; row.State != want.State || row.Tries != want.Tries || row.Code != want.Code || (row.Payload != "") != (row.State == schemas.Failed) {
				t.Errorf("%+v, want %+v", row, want)
			}
		}
		for n, wait := range retry.Default() {
			if d := tries[always][n+1].Sub(tries[always][n]); d < wait || d > wait+wait/10+time.Second {
				t.Errorf("try %d came after %v, want %v and up to a tenth more", n+2, d, wait)
			}
		}
		ls = w.letters()
		if at := slices.IndexFunc(ls, func(l letter.Letter) bool { return string(l.Key) == always }); len(ls) != 2 || at < 0 ||
			ls[at].Cause != causeFailed || len(ls[at].Attempts) != 6 || ls[at].Topic != topics.Effects || ls[at].Seq != 0 {
			t.Errorf("dead letters %+v", ls)
		}
	})
}

// A person brings back what has failed, and what was sent; each of that once.
func TestByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.calendar()
		w.cfg.Webhooks = nil
		w.mails()
		w.start("1", "").ready(t)
		w.refuse["cus_0@shop.example"] = 550
		es := w.ask(2)
		w.until("both have ended", time.Minute, w.ended)
		failed, sent := es[0], es[1]

		w.set(func() { clear(w.refuse) })
		resend := kgo.RecordHeader{Key: event.Type, Value: []byte(schemas.NotificationsResend)}
		redriven := w.letters()[0].Redrive("0/0")
		w.produce(&kgo.Record{Topic: topics.EffectsLoop, Key: redriven.Key, Value: redriven.Value, Headers: redriven.Headers()}, w.record(topics.EffectsLoop, sent, resend))
		w.until("both are sent", time.Minute, func() bool { return w.times(failed.EffectID) == 1 && w.times(sent.EffectID) == 2 })

		other := redriven.Redrive("0/0")
		other.Key, other.Value = []byte(sent.EffectID), w.record(topics.Effects, sent).Value
		w.produce(&kgo.Record{Topic: topics.EffectsLoop, Key: other.Key, Value: other.Value, Headers: other.Headers()}) // it is sent: nothing to mend
		time.Sleep(time.Hour)
		if a, b := w.times(failed.EffectID), w.times(sent.EffectID); a != 1 || b != 2 {
			t.Errorf("taken %d and %d times", a, b)
		}
		for _, row := range w.rows() {
			if row.State != schemas.Sent || row.Tries != 2 || row.Unsure != 0 {
				t.Errorf("%+v", row)
			}
		}
	})
}

// A person corrects an address: the effect goes there.
func TestEdited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cfg.Webhooks = nil
		w.mails()
		w.start("1", "").ready(t)
		w.refuse["cus_0@shop.example"] = 550
		e := w.ask(1)[0]
		w.until("it has failed", time.Minute, w.ended)
		edited := w.letters()[0].Redrive("0/0")
		e.To = "cus_1@shop.example"
		edited.Value = w.record(topics.Effects, e).Value
		w.produce(&kgo.Record{Topic: topics.EffectsLoop, Key: edited.Key, Value: edited.Value, Headers: edited.Headers()})
		w.until("it is sent", time.Minute, func() bool { return w.times(e.EffectID) == 1 })
		w.until("its row says so", time.Minute, w.ended)
		if row := w.rows()[e.EffectID]; row.State != schemas.Sent || row.To != e.To || row.Tries != 2 {
			t.Errorf("%+v", row)
		}
	})
}

// A person cancels what waits for its next try.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.calendar()
		w.cfg.Webhooks = nil
		w.mails()
		w.answer = func(string, int) int { return later }
		w.start("1", "").ready(t)
		id := w.ask(1)[0].EffectID
		time.Sleep(time.Minute)
		entries := w.read(topics.RetryTable)
		var p schemas.Parked
		must(t, w.serde.DecodeInto(t.Context(), topics.RetryTable, entries[0].Value, &p))
		if len(entries) != 1 || entries[0].Partition != kgoka.Partition(id, nparts) || p.Group != Name || p.Cause != causeFailed || !strings.HasPrefix(p.Error, "451 ") {
			t.Errorf("%d entries, the first %+v", len(entries), p)
		}
		p.Cancel = "a test" // the calendar's way to tell
		key, value, hs := letter.Dispatch(&p)
		w.produce(&kgo.Record{Topic: topics.EffectsLoop, Key: key, Value: value, Headers: hs})
		time.Sleep(100 * time.Hour)
		row, ls := w.rows()[id], w.letters()
		if row.State != schemas.Failed || row.Tries != 1 || row.Text != "a test" || len(ls) != 1 || ls[0].Cause != causeCancelled || ls[0].Error != "a test" || len(ls[0].Attempts) != 1 {
			t.Errorf("%+v, dead letters %+v", row, ls)
		}
	})
}

// What is no effect is a dead letter, and others flow. It stays one about what it
// first was, however often somebody brings it back.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mails()
		w.hooks()
		w.start("1", "").ready(t)
		other := w.record(topics.Effects, schemas.Effect{EffectID: "eff_1"})
		other.Key = []byte("eff_2")
		w.produce(&kgo.Record{Topic: topics.Effects, Key: []byte("eff_0"), Value: []byte("no effect")}, other)
		w.ask(5)
		w.until("the others are sent", time.Minute, w.ended)
		causes := map[string]string{}
		for _, l := range w.letters() {
			causes[string(l.Key)] = l.Cause
		}
		if want := map[string]string{"eff_0": "undecodable", "eff_2": "key mismatch"}; !maps.Equal(causes, want) {
			t.Errorf("dead letters %v, want %v", causes, want)
		}
		l := w.letters()[0].Redrive("0/0")
		w.produce(&kgo.Record{Topic: topics.EffectsLoop, Key: l.Key, Value: l.Value, Headers: l.Headers()})
		time.Sleep(time.Minute)
		ls := w.letters()
		if at := slices.IndexFunc(ls, func(l letter.Letter) bool { return len(l.Attempts) == 2 }); len(ls) != 3 || at < 0 || ls[at].Topic != topics.Effects || ls[at].Group != Name {
			t.Errorf("dead letters %+v", ls)
		}
	})
}
