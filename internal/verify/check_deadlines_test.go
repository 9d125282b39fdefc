package verify

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	saga "github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// An order that waits has its deadline, wherever that is on its way; taken out of
// the calendar by nobody, it is missed.
func TestDeadlines(t *testing.T) {
	const id = "ord_1"
	serde := schemas.NewLocalSerde()
	key := retry.Key(0, "deadline."+id)
	gone := func(f *fixture) {
		f.log[topics.RetryTable][partOf(id)] = append(f.log[topics.RetryTable][partOf(id)], entry{key: key})
	}
	var placed *entry
	noted := func(f *fixture) { // the group remembers it
		placed = f.last(topics.OrderTable, id)
		f.write(topics.OrderTable, entry{key: id, body: placed.body})
	}
	parked := func(f *fixture) *schemas.Parked {
		return &schemas.Parked{To: topics.OrderReplies, Group: "order", Cause: "deadline", Due: f.now.Add(time.Hour).UnixMilli(), Key: []byte(id)}
	}
	for _, c := range []struct {
		name string
		do   func(f *fixture)
		ok   bool
	}{
		{"in the calendar", func(*fixture) {}, true},
		{"taken out", gone, false},
		{"another order's", func(f *fixture) {
			gone(f)
			p := parked(f)
			p.Key = []byte("ord_2")
			f.log[topics.RetryTable][partOf(id)] = append(f.log[topics.RetryTable][partOf(id)], entry{key: key + "x", typ: schemas.RecordParked, body: p})
		}, false},
		{"on its way there", func(f *fixture) {
			gone(f)
			f.log[topics.Retry][partOf(id)] = append(f.log[topics.Retry][partOf(id)], entry{key: key, typ: schemas.RecordParked, body: parked(f)})
		}, true},
		{"due, and not handled", func(f *fixture) { gone(f); f.expire(id) }, true},
		{"due, and parked", func(f *fixture) {
			gone(f)
			f.expire(id)
			f.setAside(t, serde, topics.RetryTable, "order", topics.OrderReplies, id, f.now.Add(time.Hour))
		}, true},
		{"taken out by a person", func(f *fixture) {
			gone(f)
			f.bring(schemas.Audited{What: schemas.EntryCancelled, Group: "order", Key: id})
			noted(f)
		}, true},
		{"taken out by a person, and the order went on", func(f *fixture) {
			gone(f)
			f.bring(schemas.Audited{What: schemas.EntryCancelled, Group: "order", Key: id})
			noted(f)
			f.write(topics.OrderTable, *placed)
		}, false},
		{"another's by a person", func(f *fixture) {
			gone(f)
			f.bring(schemas.Audited{What: schemas.EntryCancelled, Group: "credit", Key: id})
			noted(f)
		}, false},
		{"it came", func(f *fixture) {
			gone(f)
			f.expire(id)
			f.settle(nil)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture()
			f.rules = f.rules[:1] // nobody answers
			f.send(topics.OrderCommands, place(id, "cus_1", schemas.PlaceLine{SKU: "sku_1", Quantity: 1, UnitPrice: 20_000}))
			f.settle(nil)
			if _, _, waits := saga.Deadline(f.orderNow(id)); !waits {
				t.Fatal("the order does not wait")
			}
			c.do(f)
			opts := cluster(t, "")
			f.store(t, opts, serde)
			cfg := f.config(opts, serde)
			r, from := f.run(t, cfg), checkpointed(t, cfg)
			f.run(t, from)
			same(t, 0, f.run(t, from), r)
			at := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == "deadlines" })
			if got := r.Checks[at]; got.OK != c.ok {
				t.Errorf("OK %t: %+v", got.OK, got.Violations)
			}
		})
	}
}

// A transaction ends on one partition before it does on another: an order that comes
// while the last ends are listed may be below that of its topic, and its deadline not.
func TestDeadlineOfAnOrderThatComes(t *testing.T) {
	const id = "ord_1"
	serde := schemas.NewLocalSerde()
	f := newFixture()
	f.rules = f.rules[:1] // nobody answers
	c, opts := broker(t, "")
	const last = 4 // two cuts, of tables and of logs
	listings := 0
	c.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if r := req.(*kmsg.ListOffsetsRequest); r.IsolationLevel == 0 {
			return nil, nil, false
		}
		if listings++; listings == last {
			f.send(topics.OrderCommands, place(id, "cus_1", schemas.PlaceLine{SKU: "sku_1", Quantity: 1, UnitPrice: 20_000}))
			f.settle(nil)
			c.SleepControl(func() { f.store(t, opts, serde) })
		}
		return nil, nil, false
	})
	if r := f.run(t, f.config(opts, serde)); !r.OK || r.Still || r.Summary.Orders[schemas.Placed] != 1 {
		t.Errorf("still %t, %v, %v", r.Still, r.Summary.Orders, failures(r))
	}
	if listings != last {
		t.Errorf("%d listings of what is committed", listings)
	}
}
