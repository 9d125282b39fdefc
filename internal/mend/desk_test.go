package mend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
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

// A letter goes back to where its row is, as its group wants it, and is open no more.
func TestRedriveOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.letter("ord_1")
		l.Partition = (l.Partition + 1) % nparts // its producer was wrong
		w.bury(l, w.letter("ord_2"))
		d := w.desk("ann", w.net.DialContext)
		items := d.letters(t, Filter{Key: "ord_1"})
		if len(items) != 1 {
			t.Fatalf("letters %v", ids(items))
		}
		rep, err := d.Redrive(t.Context(), items, Redrive{Why: "a test"})
		if err != nil || rep.Done != 1 {
			t.Fatalf("%+v, %v", rep, err)
		}
		loop := w.read(topics.OrderLoop)
		if len(loop) != 1 || loop[0].Partition != client.PartitionOf("ord_1", nparts) || string(loop[0].Key) != "ord_1" {
			t.Fatalf("on the loop are %v", loop)
		}
		got := letter.Parse(loop[0])
		if got.Redriven != items[0].ID || got.Topic != "red.order-commands" || got.Partition != l.Partition || len(got.Attempts) != 1 || string(got.Value) != string(l.Value) {
			t.Errorf("it is %+v", got)
		}
		a := w.audit()
		if len(a) != 1 || a[0].Who != "ann" || a[0].What != schemas.Redriven || a[0].Why != "a test" || a[0].Target != items[0].Target() || a[0].Group != "order" || a[0].Key != "ord_1" || a[0].At == 0 {
			t.Errorf("audit %+v", a)
		}
		if open := d.letters(t, Filter{}); len(open) != 1 || string(open[0].Letter.Key) != "ord_2" {
			t.Errorf("open are %v", ids(open))
		}
		all, err := d.Letters(t.Context(), Filter{Key: "ord_1"}, true)
		if err != nil || len(all) != 1 || all[0].Done == nil || all[0].Done.Who != "ann" {
			t.Errorf("%+v, %v", all, err)
		}
		// Who has not looked since does not do it again.
		rep, err = d.Redrive(t.Context(), items, Redrive{})
		if err != nil || rep.Done != 0 || !slices.Equal(rep.Taken, ids(items)) || len(w.read(topics.OrderLoop)) != 1 {
			t.Errorf("again: %+v, %v", rep, err)
		}
	})
}

// An audit record of a topic that is gone says nothing about the letters of the one
// that was made anew, though they have the same offsets.
func TestTopicMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.desk("ann", w.net.DialContext)
		w.bury(w.letter("ord_1"))
		_, err := d.Discard(t.Context(), d.letters(t, Filter{}), "a test")
		must(t, err)
		if open := d.letters(t, Filter{}); len(open) > 0 {
			t.Fatalf("open are %v", ids(open))
		}
		adm := kadm.NewClient(w.cl)
		_, err = adm.DeleteTopic(t.Context(), "red.dead-letter")
		must(t, err)
		_, err = adm.CreateTopic(t.Context(), nparts, 1, nil, "red.dead-letter")
		must(t, err)
		time.Sleep(time.Second)
		w.cl.PurgeTopicsFromClient("red.dead-letter")
		w.bury(w.letter("ord_1"))
		if open := d.letters(t, Filter{}); len(open) != 1 {
			t.Errorf("open are %v, want the new one", ids(open))
		}
	})
}

// Of two who act on the same, the second ends the first, between two of its
// transactions.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 40 {
			w.bury(w.letter(fmt.Sprint("ord_", i)))
		}
		ann, bob := w.desk("ann", w.net.DialContext), w.desk("bob", w.net.DialContext)
		items := ann.letters(t, Filter{})
		var once sync.Once
		var second Report
		var err2 error
		first, err := ann.Redrive(t.Context(), items, Redrive{Rate: 40, Progress: func(int, int) {
			once.Do(func() { second, err2 = bob.Redrive(t.Context(), items, Redrive{}) })
		}})
		if !errors.Is(err, ErrTaken) || first.Done != 10 {
			t.Errorf("ann: %+v, %v", first, err)
		}
		if err2 != nil || second.Done != 30 || len(second.Taken) != 10 {
			t.Errorf("bob: %+v, %v", second, err2)
		}
		w.once(40)
	})
}

// once checks that so many letters went back, each once, and that the audit says so.
func (w *world) once(letters int) {
	w.t.Helper()
	loop, audit := map[string]int{}, map[string]int{}
	for _, r := range w.read(topics.OrderLoop) {
		loop[string(r.Key)]++
	}
	for _, a := range w.audit() {
		audit[a.Key]++
	}
	for name, times := range map[string]map[string]int{"the loop": loop, "the audit": audit} {
		if len(times) != letters {
			w.t.Errorf("%d letters on %s, want %d", len(times), name, letters)
		}
		for key, n := range times {
			if n != 1 {
				w.t.Errorf("%s is on %s %d times", key, name, n)
			}
		}
	}
}

// A redrive that dies at any request, before or after the broker has it, can be run
// again for the rest: no letter goes twice, none is missed.
func TestInterruptedRedrive(t *testing.T) {
	const letters = 40 // ten a transaction
	died := 0
	for at := 1; at <= 24; at++ {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				for i := range letters {
					w.bury(w.letter(fmt.Sprint("ord_", i)))
				}
				line := &wire.Wire{Dial: w.net.DialContext, Counts: wire.Transaction}
				d := w.desk("ann", line.Connect)
				items := d.letters(t, Filter{})
				line.CutAt(at, after)
				rep, err := d.Redrive(t.Context(), items, Redrive{Rate: 40})
				if err != nil {
					died++
				}
				if err == nil && line.IsCut() {
					t.Errorf("request %d, after %v: cut, and %+v without an error", at, after, rep)
				}
				next := w.desk("bob", w.net.DialContext)
				if _, err := next.Redrive(t.Context(), next.letters(t, Filter{}), Redrive{}); err != nil {
					t.Errorf("request %d, after %v: %v", at, after, err)
				}
				w.once(letters)
			})
		}
	}
	if died < 16 {
		t.Errorf("only %d redrives died", died)
	}
}

// group handles what is on a loop, as a test says: what it is not to handle it puts
// elsewhere.
func (w *world) group(fate func(l letter.Letter) (topic string)) {
	w.t.Helper()
	adm := kadm.NewClient(w.cl)
	var offsets kadm.Offsets
	for _, r := range w.read(topics.OrderLoop) {
		l := letter.Parse(r)
		switch fate(l) {
		case topics.DeadLetter:
			w.bury(l.Failed(1, letter.Transient, "panic", "again", ""))
		case topics.Retry:
			l.Due = 5
			w.produce(&kgo.Record{Topic: "red.retry", Partition: r.Partition, Key: []byte(retry.Key(l.Due, "x")), Value: w.encode(topics.Retry, l.Failed(1, letter.Transient, "panic", "later", "").Parked(topics.OrderLoop))})
		}
		offsets.AddOffset(r.Topic, r.Partition, r.Offset+1, -1)
	}
	must(w.t, adm.CommitAllOffsets(w.t.Context(), "red.order", offsets))
}

// Canaries go first, and what becomes of them decides about the rest.
func TestCanariesDecide(t *testing.T) {
	for name, c := range map[string]struct {
		fate     string // of canaries
		err      error
		redriven int
		back     string
	}{
		"all is well":       {"", nil, 10, ""},
		"dead again":        {topics.DeadLetter, ErrCanary, 2, "panic: again"},
		"parked":            {topics.Retry, ErrCanary, 2, "panic: later"},
		"nobody is at work": {"nobody", ErrIdle, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				for i := range 10 {
					w.bury(w.letter(fmt.Sprint("ord_", i)))
				}
				ctx, stop := context.WithCancel(t.Context())
				var at sync.WaitGroup
				at.Go(func() {
					for seen := 0; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
						if n := len(w.read(topics.OrderLoop)); c.fate != "nobody" && n > seen {
							w.group(func(letter.Letter) string {
								if seen > 0 {
									return ""
								}
								return c.fate
							})
							seen = n
						}
					}
				})
				d := w.desk("ann", w.net.DialContext)
				rep, err := d.Redrive(t.Context(), d.letters(t, Filter{}), Redrive{Canaries: 2, Wait: 5 * time.Second})
				stop()
				at.Wait()
				if !errors.Is(err, c.err) || rep.Done != c.redriven || (err == nil) != (rep.Handled == 10) {
					t.Errorf("%+v, %v", rep, err)
				}
				var back []string
				for _, b := range rep.Back {
					back = append(back, b.Cause+": "+b.Error)
					if (b.As != "") != (c.fate == topics.DeadLetter) {
						t.Errorf("it is %q now", b.As)
					}
				}
				want := []string{c.back, c.back}
				if c.back == "" {
					want = nil
				}
				if !slices.Equal(back, want) {
					t.Errorf("came back: %q, want %q", back, want)
				}
			})
		})
	}
}

// Of a group without a loop the record stands where it stood.
func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.desk("ann", w.net.DialContext)
		for _, c := range []struct {
			name  string
			edit  func(*letter.Letter)
			topic string
		}{
			{"a group", func(l *letter.Letter) {}, "red.order-loop"},
			{"another", func(l *letter.Letter) { l.Group = "effects" }, "red.effects-loop"},
			{"the calendar", func(l *letter.Letter) { l.Group, l.Topic = "retry", "red.retry-commands" }, "red.retry-commands"},
			{"nobody", func(l *letter.Letter) { l.Group, l.Topic = "x", "red.y" }, ""},
			{"a partition that is not there", func(l *letter.Letter) { l.Group, l.Topic, l.Partition = "retry", "red.retry", 99 }, ""},
			{"a part", func(l *letter.Letter) { l.Cut = 1e6 }, ""},
		} {
			l := w.letter("ord_1")
			c.edit(&l)
			r, err := d.Again(Item{ID: "1/2", Letter: l})
			switch {
			case c.topic == "":
				if !errors.Is(err, ErrCannot) {
					t.Errorf("%s: %v, %v", c.name, r, err)
				}
			case err != nil || r.Topic != c.topic || string(r.Key) != "ord_1":
				t.Errorf("%s: %v, %v", c.name, r, err)
			case l.Group == "retry" && (letter.Parse(r).Topic != "" || r.Partition != l.Partition):
				t.Errorf("%s: %v is not as it stood", c.name, r)
			}
		}
	})
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
			deed, err := d.Redriven(edited, "")
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
