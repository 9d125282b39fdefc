package mend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func told(id, kind, to, state string, changed int64) Effect {
	return Effect{LedgerEntry: schemas.LedgerEntry{EffectID: id, Kind: kind, To: to, Event: schemas.OrderInvoiced, OrderID: "ord_1", State: state, ChangedAt: changed}}
}

func effectIDs(es []Effect) (ids []string) {
	for _, e := range es {
		ids = append(ids, e.EffectID)
	}
	return ids
}

func TestEffectFilter(t *testing.T) {
	es := []Effect{
		told("eff_1", schemas.KindEmail, "a@shop.example", schemas.Sent, 10), told("eff_2", schemas.KindWebhook, "erp", schemas.Failed, 20),
		told("eff_3", schemas.KindWebhook, "email", schemas.Pending, 30),
	}
	es[2].Event, es[2].OrderID = schemas.VoucherGrantedEvent, "ord_2"
	for _, c := range []struct {
		name string
		f    EffectFilter
		want string
	}{
		{"all", EffectFilter{}, "eff_1 eff_2 eff_3"},
		{"IDs", EffectFilter{IDs: []string{"eff_2", "eff_9"}}, "eff_2"},
		{"state", EffectFilter{State: schemas.Failed}, "eff_2"},
		{"a webhook by its name", EffectFilter{Endpoint: "erp"}, "eff_2"},
		{"and by its lane", EffectFilter{Endpoint: "webhook erp"}, "eff_2"},
		{"mails, and a webhook of that name", EffectFilter{Endpoint: "email"}, "eff_1 eff_3"},
		{"only the webhook", EffectFilter{Endpoint: "webhook email"}, "eff_3"},
		{"an address is no endpoint", EffectFilter{Endpoint: "a@shop.example"}, ""},
		{"event", EffectFilter{Event: "order.invoiced"}, "eff_1 eff_2"},
		{"events", EffectFilter{Event: "voucher.*"}, "eff_3"},
		{"order", EffectFilter{Order: "ord_2"}, "eff_3"},
		{"since", EffectFilter{Since: 20}, "eff_2 eff_3"},
		{"before", EffectFilter{Before: 20}, "eff_1"},
		{"both", EffectFilter{Since: 20, Before: 30}, "eff_2"},
		{"all of them count", EffectFilter{State: schemas.Sent, Endpoint: "erp"}, ""},
	} {
		got := effectIDs(slices.DeleteFunc(slices.Clone(es), func(e Effect) bool { return !c.f.fits(e) }))
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
		if c.f.All() != (c.name == "all") {
			t.Errorf("%s: chooses everything: %v", c.name, c.f.All())
		}
	}
	if got := (EffectFilter{IDs: []string{"eff_2", "eff_9"}}).Missing(es); !slices.Equal(got, []string{"eff_9"}) {
		t.Errorf("missing are %v", got)
	}
}

func TestOnItsWay(t *testing.T) {
	for _, c := range []struct {
		state string
		due   int64
		want  bool
	}{
		{schemas.Pending, 0, true}, {schemas.Pending, 5, false}, {schemas.Sending, 0, true}, {schemas.Sent, 0, false}, {schemas.Failed, 0, false},
	} {
		e := Effect{LedgerEntry: schemas.LedgerEntry{State: c.state, Due: c.due}}
		if got := e.OnItsWay(); got != c.want {
			t.Errorf("%s, due %d: %v", c.state, c.due, got)
		}
	}
}

// ask writes what asks for an effect, and its row as one that was sent since.
func (w *world) ask(id, payload string) {
	w.t.Helper()
	p := client.PartitionOf(id, nparts)
	e := schemas.Effect{EffectID: id, Kind: schemas.KindEmail, To: "a@shop.example", Event: schemas.OrderInvoiced, OrderID: "ord_1", Payload: payload}
	r := &kgo.Record{Topic: "red.effects", Partition: p, Key: []byte(id), Value: w.encode(topics.Effects, &e)}
	w.produce(r)
	w.row(schemas.LedgerEntry{EffectID: id, Kind: e.Kind, To: e.To, Event: e.Event, OrderID: e.OrderID, State: schemas.Sent, Tries: 1, Offset: r.Offset})
}

func (w *world) row(row schemas.LedgerEntry) {
	w.t.Helper()
	w.produce(&kgo.Record{Topic: "red.effects-table", Partition: client.PartitionOf(row.EffectID, nparts), Key: []byte(row.EffectID), Value: w.encode(topics.EffectsTable, &row)})
}

func (d *Desk) effects(t testing.TB, f EffectFilter) []Effect {
	t.Helper()
	es, err := d.Effects(t.Context(), f)
	must(t, err)
	must(t, d.Payloads(t.Context(), es))
	return es
}

// What was sent goes out again as it was asked for, where its row is, and the audit says so.
func TestResend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.desk("ann", w.net.DialContext)
		if _, err := d.Effects(t.Context(), EffectFilter{}); !errors.Is(err, ErrUntold) {
			t.Errorf("an empty ledger: %v", err)
		}
		want := map[string]string{}
		for _, id := range []string{"eff_1", "eff_2", "eff_3", "eff_4", "eff_5", "eff_6"} {
			want[id] = `{"data":{"customer_id":"cus_` + id + `"}}`
			w.ask(id, want[id])
		}
		if es := d.effects(t, EffectFilter{Customer: "cus_eff_4"}); !slices.Equal(effectIDs(es), []string{"eff_4"}) {
			t.Errorf("of one customer are %v", effectIDs(es))
		}
		some := []string{"eff_1", "eff_3", "eff_6"}
		n, err := d.ResendAll(t.Context(), d.effects(t, EffectFilter{IDs: some}), "a test")
		if err != nil || n != len(some) {
			t.Fatalf("%d, %v", n, err)
		}
		var went []string
		for _, r := range w.read(topics.EffectsLoop) {
			var e schemas.Effect
			must(t, w.serde.DecodeInto(t.Context(), topics.Effects, r.Value, &e))
			if id := string(r.Key); e.EffectID != id || e.Payload != want[id] || r.Partition != client.PartitionOf(id, nparts) || event.Header(r, event.Type) != schemas.NotificationsResend {
				t.Errorf("%s on %d: %+v", r.Key, r.Partition, e)
			}
			went = append(went, e.EffectID)
		}
		if slices.Sort(went); !slices.Equal(went, some) {
			t.Errorf("on the loop are %v, want %v", went, some)
		}
		for _, a := range w.audit() {
			if a.Who != "ann" || a.What != "effects.resend" || a.Why != "a test" || a.Group != "effects" || !slices.Contains(some, a.Key) || !strings.HasPrefix(a.Target, "effects/") {
				t.Errorf("audit %+v", a)
			}
		}
		if n := len(w.audit()); n != len(some) {
			t.Errorf("%d on the audit, want %d", n, len(some))
		}
	})
}

// Who is interrupted between two transactions has done the first, and knows how many
// that are.
func TestInterruptedResend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var es []Effect
		for i := range batch + 1 {
			es = append(es, told(fmt.Sprint("eff_", i), schemas.KindEmail, "a@shop.example", schemas.Sent, 1))
		}
		ctx, interrupt := context.WithCancel(t.Context())
		d := w.desk("ann", w.net.DialContext)
		asked := 0
		d.cfg.Now = func() time.Time { // for each record, and for what the audit says of it
			if asked++; asked > 2*batch {
				interrupt()
			}
			return time.Now()
		}
		n, err := d.ResendAll(ctx, es, "")
		if !errors.Is(err, context.Canceled) || n != batch {
			t.Errorf("%d, %v", n, err)
		}
		if loop, audit := len(w.read(topics.EffectsLoop)), len(w.audit()); loop != batch || audit != batch {
			t.Errorf("%d on the loop, %d on the audit", loop, audit)
		}
	})
}

// A record that is gone, or is another effect's since the topic was made anew, is no
// payload.
func TestPayloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ask("eff_1", "{}")
		w.ask("eff_2", "{}")
		gone := d0(w.desk("ann", w.net.DialContext).effects(t, EffectFilter{IDs: []string{"eff_1"}}))
		adm := kadm.NewClient(w.cl)
		var off kadm.Offsets
		off.AddOffset("red.effects", gone.Partition, gone.Offset+1, -1)
		_, err := adm.DeleteRecords(t.Context(), off)
		must(t, err)
		d := w.desk("ann", w.net.DialContext)
		other := d0(d.effects(t, EffectFilter{IDs: []string{"eff_2"}}))
		if other.Payload != "{}" {
			t.Errorf("eff_2 says %q", other.Payload)
		}
		other.EffectID, other.Payload = "eff_3", ""
		beyond := other
		beyond.Offset += 7
		for name, e := range map[string]Effect{"gone": d0(d.effects(t, EffectFilter{IDs: []string{"eff_1"}})), "another's": other, "beyond": beyond} {
			es := []Effect{e}
			if err := d.Payloads(t.Context(), es); err != nil || es[0].Payload != "" {
				t.Errorf("%s: %q, %v", name, es[0].Payload, err)
			}
		}
	})
}

func d0(es []Effect) Effect { return es[0] }

// What becomes of effects is what the ledger says of them after it was asked, once they are at
// rest; what is not, is open when the wait is over.
func TestOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, id := range []string{"eff_1", "eff_2", "eff_3", "eff_4"} {
			w.ask(id, "{}")
		}
		d := w.desk("ann", w.net.DialContext)
		es := d.effects(t, EffectFilter{})
		from, err := d.LedgerEnd(t.Context())
		must(t, err)
		go func() {
			for _, row := range []schemas.LedgerEntry{
				{EffectID: "eff_1", State: schemas.Pending}, {EffectID: "eff_1", State: schemas.Sending}, {EffectID: "eff_1", State: schemas.Sent},
				{EffectID: "eff_2", State: schemas.Failed}, {EffectID: "eff_3", State: schemas.Pending, Due: 5}, {EffectID: "eff_4", State: schemas.Sending},
				{EffectID: "eff_9", State: schemas.Sent},
			} {
				w.row(row)
			}
		}()
		began := time.Now()
		ended, err := d.Outcome(t.Context(), from, es, time.Minute)
		if err != nil || time.Since(began) < time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		got := map[string]string{}
		for _, e := range ended {
			got[e.EffectID] = e.State
		}
		if len(ended) != 3 || got["eff_1"] != schemas.Sent || got["eff_2"] != schemas.Failed || got["eff_3"] != schemas.Pending {
			t.Errorf("ended: %v", got)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := d.Outcome(ctx, from, es, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted: %v", err)
		}
	})
}
