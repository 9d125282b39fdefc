package mend

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/wire"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const nparts = 3

// world is a broker with the catalogue's topics, in a bubble, and nobody else.
type world struct {
	t     testing.TB
	addrs []string
	net   kfake.VirtualNetwork
	cl    *kgo.Client
	serde *schemas.Serde

	offset int64 // of what the next letter is about
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, serde: schemas.NewLocalSerde()}
	var names []string
	for _, tp := range topics.All() {
		names = append(names, "red."+tp.Name)
	}
	c, err := kfake.NewCluster(kfake.ListenFn(w.net.Listen), kfake.NumBrokers(1), kfake.SeedTopics(nparts, names...))
	must(t, err)
	t.Cleanup(c.Close)
	w.addrs = c.ListenAddrs()
	w.cl, err = kgo.NewClient(append(w.opts(w.net.DialContext), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(t, err)
	t.Cleanup(w.cl.Close)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) opts(dial wire.Dial) []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(w.addrs...), kgo.Dialer(dial), kgo.DisableClientMetrics()}
}

func (w *world) desk(who string, dial wire.Dial) *Desk {
	w.t.Helper()
	d, err := New(w.t.Context(), Config{Opts: w.opts(dial), Serde: w.serde, Namespace: "red", Who: who, Now: time.Now})
	must(w.t, err)
	w.t.Cleanup(d.Close)
	return d
}

func (w *world) produce(rs ...*kgo.Record) {
	w.t.Helper()
	must(w.t, w.cl.ProduceSync(w.t.Context(), rs...).FirstErr())
}

func (w *world) encode(topic string, body any) []byte {
	w.t.Helper()
	v, err := w.serde.Encode(nil, topic, body)
	must(w.t, err)
	return v
}

// letter is about a placement that the order rule could not handle.
func (w *world) letter(key string) letter.Letter {
	w.offset++
	body := &schemas.PlaceOrder{OrderID: key, CustomerID: "cus_1", Currency: "EUR", Lines: []schemas.PlaceLine{{SKU: "sku_1", Quantity: 2}}}
	l := letter.Of(&kgo.Record{Topic: "red.order-commands", Partition: client.PartitionOf(key, nparts), Offset: w.offset, Timestamp: time.UnixMilli(1767225600000), Key: []byte(key),
		Value:   w.encode(topics.OrderCommands, body),
		Headers: event.Append(nil, event.DefaultSource, event.Avro, flow.Message{ID: "evt_" + key, Type: schemas.OrdersOrderPlace, At: 1767225600000})})
	l.Group = "order"
	return l.Failed(1767225600000, letter.Transient, "panic", "a bug in the rule", "stack")
}

func (w *world) bury(ls ...letter.Letter) {
	w.t.Helper()
	var rs []*kgo.Record
	for _, l := range ls {
		rs = append(rs, &kgo.Record{Topic: "red.dead-letter", Partition: client.PartitionOf(string(l.Key), nparts), Key: l.Key, Value: l.Value, Headers: l.Headers()})
	}
	w.produce(rs...)
}

// read returns the committed records of a topic.
func (w *world) read(topic string) (rs []*kgo.Record) {
	w.t.Helper()
	must(w.t, content.EachRecord(w.t.Context(), w.opts(w.net.DialContext), "red."+topic, func(r *kgo.Record) error {
		rs = append(rs, r)
		return nil
	}))
	return rs
}

func (w *world) audit() (all []schemas.Audited) {
	w.t.Helper()
	for _, r := range w.read(topics.Audit) {
		var a schemas.Audited
		must(w.t, w.serde.DecodeInto(w.t.Context(), topics.Audit, r.Value, &a))
		all = append(all, a)
	}
	return all
}

func (d *Desk) letters(t testing.TB, f Filter) []Item {
	t.Helper()
	items, err := d.Letters(t.Context(), f, false)
	must(t, err)
	return items
}

func TestEdit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.desk("ann", w.net.DialContext)
		const text = `{"type":"orders.order.place","order_id":"ord_1","customer_id":"cus_1","currency":"EUR","lines":[{"sku":"sku_1","quantity":2,"unit_price":0,"discount_bp":0}]}`
		value := func(s string) func(*letter.Letter) { return func(l *letter.Letter) { l.Value = []byte(s) } }
		header := func(k, v string) func(*letter.Letter) {
			return func(l *letter.Letter) { l.Own = withHeader(l.Own, k, v) }
		}
		for _, c := range []struct {
			name   string
			letter func(*letter.Letter)
			shown  string // for editing
			as     string // what it is made; "": as shown
			key    string
			fault  string
		}{
			{"as it is", func(*letter.Letter) {}, text, "", "ord_1", ""},
			{"another amount", func(*letter.Letter) {}, text, strings.Replace(text, `"quantity":2`, `"quantity":3`, 1), "ord_1", ""},
			{"without its type", func(*letter.Letter) {}, text, strings.Replace(text, `"type":"orders.order.place",`, ``, 1), "ord_1", ""},
			{"another key", func(l *letter.Letter) { l.Key = []byte("ord_9") }, text, "", "ord_1", ""},
			{"another type", func(*letter.Letter) {}, text, `{"type":"orders.order.cancel","order_id":"ord_1","reason":"x"}`, "ord_1", ""},
			{"an unknown type", header(event.Type, "orders.order.frobnicate"), text, "", "ord_1", ""},
			{"garbage", value("garbage"), `{"type":"orders.order.place","order_id":"","customer_id":"","currency":"","lines":[]}`, text, "ord_1", ""},
			{"garbage of an unknown type", func(l *letter.Letter) { l.Value = nil; header(event.Type, "x")(l) }, `{"type":""}`, text, "ord_1", ""},
			{"JSON", func(l *letter.Letter) { header(event.ContentType, event.JSON)(l); value(`{"order_id":7}`)(l) }, `{"order_id":7}`, text, "ord_1", ""},
			{"no JSON", func(*letter.Letter) {}, text, "quantity: 3", "", "invalid character"},
			{"a typing error", func(*letter.Letter) {}, text, strings.Replace(text, "customer_id", "custmer_id", 1), "", "unknown member"},
			{"of another topic", func(*letter.Letter) {}, text, `{"type":"credit.limit.set","customer_id":"cus_1","limit":1,"currency":"EUR"}`, "", "does not belong here"},
			{"no type at all", func(l *letter.Letter) { l.Own = nil; l.Value = nil }, `{"type":""}`, "", "", "must name a message type"},
		} {
			l := w.letter("ord_1")
			c.letter(&l)
			it := Item{ID: "1/2", Letter: l}
			shown, err := d.Text(t.Context(), it)
			if err != nil || string(shown) != c.shown {
				t.Errorf("%s: shown as %s, %v", c.name, shown, err)
			}
			if c.as == "" {
				c.as = string(shown)
			}
			edited, err := d.Edit(it, []byte(c.as))
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("%s: %v, want %s", c.name, err, c.fault)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			again, err := d.Text(t.Context(), edited)
			typ := event.Header(edited.Letter.Original(), event.Type)
			if err != nil || !strings.Contains(string(again), strings.TrimPrefix(c.as, "{")) || string(edited.Letter.Key) != c.key || !strings.Contains(string(again), `"type":"`+typ+`"`) {
				t.Errorf("%s: %s of type %s under %s, %v", c.name, again, typ, edited.Letter.Key, err)
			}
			deed, err := d.redriven(edited, "")
			if err != nil || deed.Audit.What != schemas.Edited || string(deed.Audit.Before) != string(l.Value) || string(deed.Audit.After) != string(edited.Letter.Value) || string(it.Letter.Value) != string(l.Value) {
				t.Errorf("%s: %+v, %v", c.name, deed.Audit, err)
			}
		}
	})
}

// What stands in the calendar is its last version; a pause stands once.
func TestCalendar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		row := func(partition int32, due int64, body any) *kgo.Record {
			r := &kgo.Record{Topic: "red.retry-table", Partition: partition, Key: []byte(retry.Key(due, "x"))}
			if body != nil {
				r.Value = w.encode(topics.RetryTable, body)
			}
			return r
		}
		parked := func(due int64) *schemas.Parked {
			l := w.letter("ord_1")
			l.Due = due + 99 // before it was pulled forward
			return l.Parked(topics.OrderLoop)
		}
		w.produce(row(0, 30, parked(30)), row(0, 10, parked(10)), row(1, 20, parked(20)), row(0, 10, nil), row(1, 10, parked(10)))
		for p := range int32(nparts) {
			r := row(p, 0, &schemas.RetryCommand{Entry: retry.PauseKey("order", "panic"), Group: "order", Cause: "panic", Who: "ann"})
			r.Key = []byte(retry.PauseKey("order", "panic"))
			w.produce(r)
		}
		d := w.desk("ann", w.net.DialContext)
		entries, pauses, err := d.Calendar(t.Context())
		must(t, err)
		if got := ids(entries); !slices.Equal(got, []string{"1/1", "1/0", "0/0"}) || entries[0].Entry != retry.Key(10, "x") || entries[0].Due != 10 || entries[0].To != topics.OrderLoop {
			t.Errorf("entries %v", got)
		}
		if len(pauses) != 1 || pauses[0].Who != "ann" {
			t.Errorf("pauses %v", pauses)
		}
		pull, err := d.PullForward(entries[0], 5, "now")
		must(t, err)
		pause, err := d.Pause("order", "panic", "a test")
		must(t, err)
		must(t, d.TakeOver(t.Context(), "retries"))
		must(t, d.Act(t.Context(), pull, pause))
		var got []string
		for _, r := range w.read(topics.RetryCommands) {
			var c schemas.RetryCommand
			must(t, w.serde.DecodeInto(t.Context(), topics.RetryCommands, r.Value, &c))
			if string(r.Key) != c.Entry || c.Who != "ann" {
				t.Errorf("command %s: %+v", r.Key, c)
			}
			got = append(got, fmt.Sprintf("%d %s %s %d", r.Partition, event.Header(r, event.Type), c.Entry, c.Due))
		}
		slices.Sort(got)
		want := []string{"0 retries.cause.pause pause.order.panic 0", "1 retries.cause.pause pause.order.panic 0", "1 retries.entry.pull_forward 0000000000010.x 5", "2 retries.cause.pause pause.order.panic 0"}
		if !slices.Equal(got, want) {
			t.Errorf("commands %q\nwant     %q", got, want)
		}
		if a := w.audit(); len(a) != 2 || a[0].What != "retries.pull-forward" || a[0].Key != "ord_1" || a[1].What != "retries.pause" || a[1].Target != "pause.order.panic" {
			t.Errorf("audit %+v", a)
		}
	})
}

func TestRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := client.PartitionOf("ord_1", nparts)
		d := w.desk("ann", w.net.DialContext)
		write := func(key, value, note string) {
			r := &kgo.Record{Topic: "red.order-table", Partition: p, Key: []byte(key)}
			if value != "" {
				r.Value = []byte(value)
			}
			if note != "" {
				r.Headers = []kgo.RecordHeader{{Key: "note", Value: []byte(note)}}
			}
			w.produce(r)
		}
		for _, c := range []struct{ value, note string }{{"a", ""}, {"b", "n"}, {"c", ""}, {"", "n"}, {"", ""}} {
			write("ord_1", c.value, c.note)
			write("ord_other", "x", "y")
			row, note, err := d.Row(t.Context(), "order", "ord_1")
			if err != nil || string(row) != c.value || string(note) != c.note || (row == nil) != (c.value == "") {
				t.Errorf("%q, %q, %v; want %+v", row, note, err, c)
			}
		}
		if _, _, err := d.Row(t.Context(), "nobody", "ord_1"); !errors.Is(err, ErrNoTable) {
			t.Error(err)
		}
	})
}
