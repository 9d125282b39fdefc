package snapshot

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/topics"
)

// sketch is a look at a cluster of one partition, drawn by hand: all ends are before
// offset 0 and behind all that is drawn.
type sketch struct{ *cut }

func newSketch() *sketch {
	c := &cut{partitions: 1, groups: members(), topics: map[string]*topic{}, byID: map[[16]byte]*topic{}, committed: map[string]map[string][]int64{}}
	for i, entry := range catalogue() {
		t := &topic{name: entry.Name, id: [16]byte{byte(i + 1)}, entry: entry}
		t.parts = []*part{{topic: entry.Name, id: t.id, compact: entry.Compact, kept: true, base: map[string]*kgo.Record{}, end: 100}}
		c.topics[t.name], c.byID[t.id] = t, t
	}
	for _, g := range c.groups {
		c.committed[g.name] = map[string][]int64{}
		for _, in := range g.inputs {
			c.committed[g.name][in] = []int64{0}
		}
	}
	return &sketch{c}
}

func (s *sketch) origin(topic string, offset int64) *kgoka.Origin {
	return &kgoka.Origin{TopicID: s.topics[topic].id, Offset: offset}
}

// put draws a record, written for another one, and returns what it is known by.
func (s *sketch) put(topic, key string, from *kgoka.Origin) *kgoka.Origin {
	p := s.topics[topic].parts[0]
	r := &kgo.Record{Topic: topic, Key: []byte(key), Offset: int64(len(p.recs)), Value: []byte("v")}
	known := s.origin(topic, r.Offset)
	if from != nil {
		r.Headers = []kgo.RecordHeader{{Key: kgoka.OriginHeader, Value: from.Append(nil)}}
	}
	p.recs = append(p.recs, r)
	p.txns = append(p.txns, p.nTxns)
	p.nTxns++
	return known
}

// row draws a row that has applied some origins, in a transaction of its own.
func (s *sketch) row(table, key string, seen ...*kgoka.Origin) {
	s.put(table, key, nil)
	p := s.topics[table].parts[0]
	var a kgoka.Applied
	for _, o := range seen {
		a = a.With(*o)
	}
	p.recs[len(p.recs)-1].Headers = []kgo.RecordHeader{{Key: kgoka.AppliedHeader, Value: a}}
}

// An order is placed, its stock asked for and granted, each in a transaction. Whatever
// of the rows a look has seen, the cut has no effect without its cause.
func TestCutHasNoEffectWithoutItsCause(t *testing.T) {
	for _, c := range []struct {
		placed, reserved, granted bool // whether the row that says so was seen

		order, stock int // rows that are left
	}{
		{false, false, false, 0, 0},
		{true, false, false, 1, 0},
		{true, true, false, 1, 1},
		{true, true, true, 2, 1},
		{true, false, true, 1, 0},  // granted by a row that was not seen
		{false, true, false, 0, 0}, // reserved for an order that was not seen
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			s := newSketch()
			command := s.put(topics.OrderCommands, "ord", nil)
			task := s.put(topics.InventoryTasks, "sku", command)
			s.put(topics.OrderReplies, "ord", task)
			if c.placed {
				s.row(topics.OrderTable, "ord", command)
			}
			if c.reserved {
				s.row(topics.InventoryTable, "sku", command) // a task is known by what it was written for
			}
			if c.granted {
				s.row(topics.OrderTable, "ord", command, task)
			}
			s.settle()
			left := func(group string) int { return s.units[group][0].n }
			if left("order") != c.order || left("inventory") != c.stock {
				t.Errorf("%d rows of the order and %d of the stock, want %d and %d", left("order"), left("inventory"), c.order, c.stock)
			}
			at := func(group, topic string) int64 {
				for _, g := range s.groups {
					if g.name == group {
						return s.offset(g, s.topics[topic].parts[0])
					}
				}
				return -2
			}
			want := [3]int64{int64(min(c.order, 1)), int64(c.stock), int64(c.order / 2)}
			if got := [3]int64{at("order", topics.OrderCommands), at("inventory", topics.InventoryTasks), at("order", topics.OrderReplies)}; got != want {
				t.Errorf("groups go on from %v, want %v", got, want)
			}
			kept := [2]int{len(s.records(s.topics[topics.InventoryTasks].parts[0])), len(s.records(s.topics[topics.OrderReplies].parts[0]))}
			if want := [2]int{min(c.order, 1) - c.stock, c.stock - c.order/2}; kept != want {
				t.Errorf("%v tasks and replies are under way, want %v", kept, want)
			}
		})
	}
}
