package verify

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// bury has a group put the next record of a topic into dead-letter, and returns
// what the audit calls that.
func (f *fixture) bury(topic, key string) (target string) {
	p := partOf(key)
	offset := f.handled[topic][p]
	f.handled[topic][p]++
	f.park(f.log[topic][p][offset], topic, p, offset, "panic")
	return letter.Target(topics.DeadLetter, int32(p), int64(len(f.log[topics.DeadLetter][p])-1), f.now.UnixMilli())
}

// bring is a person's word about a dead letter.
func (f *fixture) bring(act schemas.Audited) {
	act.Who = "ann"
	f.write(topics.Audit, entry{key: act.Who, typ: schemas.ActionTaken, body: &act})
}

// come has a rule be shown what was brought back.
func (f *fixture) come(rule int, topic string, body any) {
	f.ids++
	m := flow.Message{ID: "evt_" + strconv.Itoa(f.ids), Type: schemas.TypeOf(body), Topic: topic, Key: schemas.KeyOf(body), At: 1_790_000_000_000 + int64(f.ids), Body: body}
	for _, out := range f.rules[rule].step(m) {
		f.write(out.Topic, entry{key: out.Key, typ: out.Type, body: out.Body})
	}
}

// onLoop writes what was brought back to a loop, which nobody has read yet.
func (f *fixture) onLoop(group, topic, key string, offset int, body any, raw []byte) {
	hs := []kgo.RecordHeader{{Key: letter.HeaderRedriven, Value: []byte("0/0")}}
	for _, h := range [][2]string{{letter.HeaderTopic, topic}, {letter.HeaderPartition, strconv.Itoa(partOf(key))}, {letter.HeaderOffset, strconv.Itoa(offset)}, {event.Type, schemas.TypeOf(body)}} {
		hs = append(hs, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	f.write(topics.Loop(group), entry{key: key, raw: raw, headers: hs})
}

// What a person has brought back is no dead letter any more: it is handled, or it is
// in flight, or it is a dead letter anew.
func TestBroughtBack(t *testing.T) {
	const id, sku, customer = "ord_1", "sku_1", "cus_1"
	other := "ord_2"
	for i := 3; partOf(other) == partOf(id); i++ {
		other = fmt.Sprint("ord_", i)
	}
	line := schemas.PlaceLine{SKU: sku, Quantity: 1, UnitPrice: 20_000}
	placement, another := place(id, customer, line), place(id, "cus_2", line)
	elsewhere := place(other, customer, line)
	serde := schemas.NewLocalSerde()
	bytes := func(body any) []byte {
		v, err := serde.Encode(nil, topics.OrderCommands, body)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	price := func(amount int64) *schemas.SetPrice {
		return &schemas.SetPrice{SKU: sku, Price: amount, Currency: "EUR"}
	}
	limit := func(amount int64) *schemas.SetLimit {
		return &schemas.SetLimit{CustomerID: customer, Limit: amount, Currency: "EUR"}
	}
	// buried is a shop whose placement is a dead letter.
	buried := func(body *schemas.PlaceOrder) (*fixture, string) {
		f := newFixture()
		f.send(topics.InventoryCommands, price(20_000))
		f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 5})
		f.settle(nil)
		f.send(topics.OrderCommands, body)
		return f, f.bury(topics.OrderCommands, id)
	}
	for _, c := range []struct {
		name     string
		make     func() *fixture
		ok       bool
		inFlight int64
		dead     int64
	}{
		{"it stands", func() *fixture { f, _ := buried(placement); return f }, true, 0, 1},
		{"it is discarded", func() *fixture {
			f, target := buried(placement)
			f.bring(schemas.Audited{What: schemas.Discarded, Target: target, Key: id})
			return f
		}, true, 0, 1},
		{"handled", func() *fixture {
			f, target := buried(placement)
			f.bring(schemas.Audited{What: schemas.Redriven, Target: target, Key: id})
			f.come(0, topics.OrderCommands, placement)
			f.settle(nil)
			return f
		}, true, 0, 0},
		{"handled, and nobody said so", func() *fixture {
			f, _ := buried(placement)
			f.come(0, topics.OrderCommands, placement)
			f.settle(nil)
			return f
		}, false, 0, 1},
		{"handled, and it was said of a topic that is gone", func() *fixture {
			f, target := buried(placement)
			f.bring(schemas.Audited{What: schemas.Redriven, Target: target + "0", Key: id})
			f.come(0, topics.OrderCommands, placement)
			f.settle(nil)
			return f
		}, false, 0, 1},
		{"lost", func() *fixture {
			f, target := buried(placement)
			f.bring(schemas.Audited{What: schemas.Redriven, Target: target, Key: id})
			return f
		}, false, 0, 0},
		{"on its way", func() *fixture {
			f, target := buried(placement)
			f.bring(schemas.Audited{What: schemas.Redriven, Target: target, Key: id})
			f.onLoop("order", topics.OrderCommands, id, 0, placement, bytes(placement))
			return f
		}, true, 2, 0},
		{"dead again", func() *fixture {
			f, target := buried(placement)
			f.bring(schemas.Audited{What: schemas.Redriven, Target: target, Key: id})
			f.handled[topics.OrderCommands][partOf(id)]--
			f.bury(topics.OrderCommands, id)
			return f
		}, true, 0, 1},
		{"dead again, and handled", func() *fixture {
			f, target := buried(placement)
			f.bring(schemas.Audited{What: schemas.Redriven, Target: target, Key: id})
			f.handled[topics.OrderCommands][partOf(id)]--
			f.bring(schemas.Audited{What: schemas.Redriven, Target: f.bury(topics.OrderCommands, id), Key: id})
			f.come(0, topics.OrderCommands, placement)
			f.settle(nil)
			return f
		}, true, 0, 0},
		{"edited", func() *fixture {
			f, target := buried(placement)
			f.bring(schemas.Audited{What: schemas.Edited, Target: target, Key: id, After: bytes(another)})
			f.come(0, topics.OrderCommands, another)
			f.settle(nil)
			return f
		}, true, 0, 0},
		{"edited, and something else was handled", func() *fixture {
			f, target := buried(placement)
			f.bring(schemas.Audited{What: schemas.Edited, Target: target, Key: other, After: bytes(elsewhere)})
			f.come(0, topics.OrderCommands, placement)
			f.settle(nil)
			return f
		}, false, 0, 0},
		{"edited, under another key", func() *fixture {
			f, target := buried(placement)
			f.bring(schemas.Audited{What: schemas.Edited, Target: target, Key: other, After: bytes(elsewhere)})
			f.come(0, topics.OrderCommands, elsewhere)
			f.settle(nil)
			return f
		}, true, 0, 0},
		{"a price, after a later one", func() *fixture {
			f, _ := buried(placement)
			f.send(topics.InventoryCommands, price(30_000))
			target := f.bury(topics.InventoryCommands, sku)
			f.send(topics.InventoryCommands, price(10_000))
			f.settle(nil)
			f.bring(schemas.Audited{What: schemas.Redriven, Target: target, Key: sku})
			f.come(1, topics.InventoryCommands, price(30_000))
			return f
		}, true, 0, 1},
		{"a price that is not the row's", func() *fixture {
			f, _ := buried(placement)
			f.send(topics.InventoryCommands, price(30_000))
			target := f.bury(topics.InventoryCommands, sku)
			f.bring(schemas.Audited{What: schemas.Redriven, Target: target, Key: sku})
			f.come(1, topics.InventoryCommands, price(40_000))
			return f
		}, false, 0, 1},
		{"goods received", func() *fixture {
			f, _ := buried(placement)
			f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 7})
			f.bring(schemas.Audited{What: schemas.Redriven, Target: f.bury(topics.InventoryCommands, sku), Key: sku})
			f.come(1, topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 7})
			return f
		}, true, 0, 1},
		{"goods received twice", func() *fixture {
			f, _ := buried(placement)
			f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 7})
			f.bring(schemas.Audited{What: schemas.Redriven, Target: f.bury(topics.InventoryCommands, sku), Key: sku})
			f.come(1, topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 7})
			f.come(1, topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 7})
			return f
		}, false, 0, 1},
		{"a limit, after a later one", func() *fixture {
			f, _ := buried(placement)
			f.send(topics.CreditCommands, limit(30_000))
			target := f.bury(topics.CreditCommands, customer)
			f.send(topics.CreditCommands, limit(10_000))
			f.settle(nil)
			f.bring(schemas.Audited{What: schemas.Redriven, Target: target, Key: customer})
			f.come(2, topics.CreditCommands, limit(30_000))
			return f
		}, true, 0, 1},
	} {
		f := c.make()
		cfg := f.config(cluster(t, ""), serde)
		cfg.StuckAfter = time.Hour
		f.store(t, cfg.Client, serde)
		cfg.Wait = 1500 * time.Millisecond // what is on its way stays there
		r := f.run(t, cfg)
		if r.OK != c.ok || r.InFlight != c.inFlight {
			t.Errorf("%s: OK %t, %d in flight, %v", c.name, r.OK, r.InFlight, failures(r))
		}
		var dead int64
		for _, n := range r.Summary.DeadLetters {
			dead += n
		}
		if dead != c.dead {
			t.Errorf("%s: %d dead letters, want %d", c.name, dead, c.dead)
		}
	}
}

// A dead letter that is brought back while the log is read is handled in the end.
func TestBroughtBackMeanwhile(t *testing.T) {
	serde := schemas.NewLocalSerde()
	f := newFixture()
	f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: "sku_1", Quantity: 5})
	target := f.bury(topics.InventoryCommands, "sku_1")
	cfg := f.config(cluster(t, ""), serde)
	cfg.Wait = 20 * time.Second
	f.store(t, cfg.Client, serde)
	cuts := 0
	cfg.Progress = func(done, total int64) {
		if cuts++; done == total && cuts > 0 && target != "" {
			f.bring(schemas.Audited{What: schemas.Redriven, Target: target, Key: "sku_1"})
			f.come(1, topics.InventoryCommands, &schemas.ReceiveStock{SKU: "sku_1", Quantity: 5})
			target = ""
			f.store(t, cfg.Client, serde)
		}
	}
	r := f.run(t, cfg)
	if !r.OK || !r.Still || len(r.Summary.DeadLetters) > 0 {
		t.Errorf("OK %t, still %t, %v, dead letters %v", r.OK, r.Still, failures(r), r.Summary.DeadLetters)
	}
	if target != "" {
		t.Error(fmt.Sprint("nothing was brought back, after ", cuts))
	}
}
