package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/credit"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/processors/invoicing"
	"github.com/orderlog/orderlog/processors/notification"
	saga "github.com/orderlog/orderlog/processors/order"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/processors/voucher"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const (
	fixtureParts = 2
	openingLimit = 50_000
)

// fixture is a log in memory, and the real rules to write it: an orderlog
// without Kafka, whose processors take their records in an order of our choice.
type fixture struct {
	log       map[string][][]entry // topic, partition
	handled   map[string][]int     // by topic that is read
	stored    map[string][]int     // on the cluster
	rules     []ruleAt
	ids       int
	now       time.Time // of every record
	namespace string
	told      bool          // notification and effects have read everything
	began     time.Duration // before now; 0: every record is of now
	handling  *coordinates
	topicIDs  map[string][16]byte
}

// entry is a record to be. Raw stands for a body that nobody can read.
type entry struct {
	key, typ string
	body     any
	raw      []byte
	json     bool
	headers  []kgo.RecordHeader
	age      time.Duration
	origin   *coordinates // by catalogue topic
}

type ruleAt struct {
	name   string
	inputs []string
	step   func(m flow.Message) []flow.Message
}

func newFixture() *fixture {
	f := &fixture{log: map[string][][]entry{}, handled: map[string][]int{}, stored: map[string][]int{}, now: time.UnixMilli(1_790_000_000_000)}
	for _, t := range topics.All() {
		f.log[t.Name] = make([][]entry, fixtureParts)
		f.handled[t.Name] = make([]int, fixtureParts)
		f.stored[t.Name] = make([]int, fixtureParts)
	}
	f.rules = []ruleAt{
		stepper(f, saga.New(saga.Config{})),
		stepper(f, inventory.New()),
		stepper(f, credit.New(credit.Config{OpeningLimit: openingLimit})),
		stepper(f, invoicing.New()),
		stepper(f, voucher.New()),
	}
	return f
}

// stepper runs one message through a rule, and writes the row that it makes.
func stepper[S any](f *fixture, p flow.Processor[S]) ruleAt {
	rows := map[string]S{}
	return ruleAt{p.Name, p.Inputs, func(m flow.Message) []flow.Message {
		old := rows[m.Key]
		next, outs := p.Decide(old, m)
		if fmt.Sprint(next) != fmt.Sprint(old) {
			rows[m.Key] = next
			f.write(p.Name+"-table", entry{key: m.Key, typ: p.RowType(next), body: &next})
			if p.Deadline != nil {
				wait, d, ok := p.Deadline(next)
				f.deadline(m.Key, wait, d, ok)
			}
		}
		return flow.Derive(m, outs)
	}}
}

// deadline sets that of a row, or takes it back. Those of one row have one key here.
func (f *fixture) deadline(key string, wait time.Duration, m flow.Message, ok bool) {
	due := f.now.Add(wait).UnixMilli()
	at := retry.Key(0, "deadline."+key)
	if !ok {
		f.log[topics.RetryTable][partOf(key)] = append(f.log[topics.RetryTable][partOf(key)], entry{key: at})
		return
	}
	f.log[topics.RetryTable][partOf(key)] = append(f.log[topics.RetryTable][partOf(key)], entry{key: at, typ: schemas.RecordParked,
		body: &schemas.Parked{To: m.Topic, Group: "order", Cause: "deadline", Due: due, Key: []byte(key)}})
}

func partOf(key string) int { return int(client.PartitionOf(key, fixtureParts)) }

func (f *fixture) write(topic string, e entry) {
	p := partOf(e.key)
	e.origin = f.handling
	if f.began > 0 {
		f.began -= time.Second
		e.age = f.began
	}
	f.log[topic][p] = append(f.log[topic][p], e)
}

// send writes a command.
func (f *fixture) send(topic string, body any) {
	f.write(topic, entry{key: schemas.KeyOf(body), typ: schemas.TypeOf(body), body: body})
}

// step lets one record be handled, and tells whether there was any. A nil rng
// takes the first.
func (f *fixture) step(rng *rand.Rand) bool {
	type place struct {
		r     ruleAt
		topic string
		p     int
	}
	var ready []place
	for _, r := range f.rules {
		for _, topic := range r.inputs {
			for p := range fixtureParts {
				if f.handled[topic][p] < len(f.log[topic][p]) {
					ready = append(ready, place{r, topic, p})
				}
			}
		}
	}
	if len(ready) == 0 {
		return false
	}
	at := ready[0]
	if rng != nil {
		at = ready[rng.IntN(len(ready))]
	}
	f.handle(at.r, at.topic, at.p)
	return true
}

func (f *fixture) handle(r ruleAt, topic string, p int) {
	offset := f.handled[topic][p]
	f.handled[topic][p]++
	f.handling = &coordinates{topic, int32(p), int64(offset)}
	defer func() { f.handling = nil }()
	e := f.log[topic][p][offset]
	if e.body == nil || schemas.KeyOf(e.body) != e.key {
		f.park(e, topic, p, offset, "undecodable")
		return
	}
	f.ids++
	m := flow.Message{ID: "evt_" + strconv.Itoa(f.ids), Type: e.typ, Topic: topic, Key: e.key, At: f.now.Add(-f.began).UnixMilli() + int64(f.ids), Body: e.body}
	for _, out := range r.step(m) {
		if _, ok := out.Body.(*flow.Refusal); ok {
			f.park(e, topic, p, offset, "refused")
			continue
		}
		f.write(out.Topic, entry{key: out.Key, typ: out.Type, body: out.Body})
	}
}

func (f *fixture) park(e entry, topic string, p, offset int, cause string) {
	for _, h := range [][2]string{{letter.HeaderTopic, topics.Prefixed(f.namespace, topic)}, {letter.HeaderPartition, strconv.Itoa(p)}, {letter.HeaderOffset, strconv.Itoa(offset)}, {letter.HeaderCause, cause}} {
		e.headers = append(e.headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	f.write(topics.DeadLetter, e)
}

// tell has everybody told of what is in the order log: mails, all of them sent.
func (f *fixture) tell() {
	rule := notification.New(notification.Config{Mail: "all@shop.example"})
	step := stepper(f, rule)
	for _, es := range f.log[topics.OrderTable] {
		for _, e := range es {
			for _, out := range step.step(flow.Message{ID: "evt_x", Type: e.typ, Key: e.key, At: 1, Body: e.body}) {
				b := out.Body.(*schemas.Effect)
				f.write(topics.Effects, entry{key: out.Key, typ: out.Type, body: b})
				f.write(topics.EffectsTable, entry{key: out.Key, typ: schemas.EffectSent, body: &schemas.LedgerEntry{EffectID: b.EffectID, OrderID: b.OrderID, Event: b.Event, State: schemas.Sent}})
			}
		}
	}
	f.told = true
	for p, es := range f.log[topics.Effects] {
		f.handled[topics.Effects][p] = len(es)
	}
}

// effect is the ID of one of an order.
func (f *fixture) effect(order string) string {
	for _, es := range f.log[topics.EffectsTable] {
		for _, e := range es {
			if e.body.(*schemas.LedgerEntry).OrderID == order {
				return e.key
			}
		}
	}
	panic("no effect of " + order)
}

func (f *fixture) settle(rng *rand.Rand) {
	for f.step(rng) {
	}
}

// last returns the last record of a key, to be read or changed.
func (f *fixture) last(topic, key string) *entry {
	es := f.log[topic][partOf(key)]
	for i := len(es) - 1; i >= 0; i-- {
		if es[i].key == key {
			return &es[i]
		}
	}
	panic("no record of " + key + " on " + topic)
}

// change edits a copy of the last record of a key in place.
func change[T any](f *fixture, topic, key string, edit func(*T)) {
	e := f.last(topic, key)
	b := *e.body.(*T)
	edit(&b)
	e.body = &b
}

func (f *fixture) orderNow(id string) schemas.Order {
	return *f.last(topics.OrderTable, id).body.(*schemas.Order)
}

// changeLine edits a line of an order, whose slices its versions share.
func (f *fixture) changeLine(id string, i int, edit func(*schemas.Line)) {
	change(f, topics.OrderTable, id, func(o *schemas.Order) {
		o.Lines = slices.Clone(o.Lines)
		edit(&o.Lines[i])
	})
}

// drop removes the records of a key.
func (f *fixture) drop(topic, key string) {
	p := partOf(key)
	f.log[topic][p] = slices.DeleteFunc(f.log[topic][p], func(e entry) bool { return e.key == key })
}

// cluster starts a broker with the topics of the catalogue.
func cluster(t testing.TB, namespace string) []kgo.Opt {
	t.Helper()
	_, opts := broker(t, namespace)
	return opts
}

func broker(t testing.TB, namespace string) (*kfake.Cluster, []kgo.Opt) {
	t.Helper()
	seeds := []kfake.Opt{kfake.NumBrokers(1)}
	for _, topic := range topics.All() {
		seeds = append(seeds, kfake.SeedTopics(fixtureParts, topics.Prefixed(namespace, topic.Name)))
	}
	c, err := kfake.NewCluster(seeds...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
}

// store puts what is new in the log on a cluster, and commits what each group
// has handled.
func (f *fixture) store(t testing.TB, opts []kgo.Opt, serde *schemas.Serde) {
	t.Helper()
	cl, err := kgo.NewClient(append(slices.Clone(opts), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(1<<20))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	md, err := kadm.NewClient(cl).Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.topicIDs = map[string][16]byte{}
	for _, topic := range topics.All() {
		f.topicIDs[topic.Name] = md.Topics[topics.Prefixed(f.namespace, topic.Name)].ID
	}
	var all []*kgo.Record
	for topic, parts := range f.log {
		for p, es := range parts {
			for _, e := range es[f.stored[topic][p]:] {
				all = append(all, f.record(t, serde, topic, int32(p), e))
			}
			f.stored[topic][p] = len(es)
		}
	}
	if err := cl.ProduceSync(t.Context(), all...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	readers := f.rules
	if f.told {
		readers = append(slices.Clone(readers), ruleAt{name: "notification", inputs: []string{topics.OrderTable}}, ruleAt{name: "effects", inputs: []string{topics.Effects}})
	}
	for _, r := range readers {
		var done kadm.Offsets
		for _, topic := range r.inputs {
			for p, n := range f.handled[topic] {
				done.AddOffset(topics.Prefixed(f.namespace, topic), int32(p), int64(n), -1)
			}
		}
		if err := kadm.NewClient(cl).CommitAllOffsets(t.Context(), topics.Prefixed(f.namespace, r.name), done); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *fixture) record(t testing.TB, serde *schemas.Serde, topic string, p int32, e entry) *kgo.Record {
	t.Helper()
	r := &kgo.Record{Topic: topics.Prefixed(f.namespace, topic), Partition: p, Key: []byte(e.key), Value: e.raw, Timestamp: f.now.Add(-e.age)}
	r.Headers = append([]kgo.RecordHeader{{Key: event.Type, Value: []byte(e.typ)}}, e.headers...)
	if e.origin != nil {
		o := kgoka.Origin{TopicID: f.topicIDs[e.origin.topic], Partition: e.origin.partition, Offset: e.origin.offset}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: kgoka.OriginHeader, Value: o.Append(nil)})
	}
	if e.json {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: event.ContentType, Value: []byte(event.JSON)})
	}
	if e.raw != nil || e.body == nil {
		return r
	}
	var err error
	if topic == topics.DeadLetter {
		first := strings.TrimPrefix(event.Header(r, letter.HeaderTopic), topics.Prefixed(f.namespace, ""))
		if r.Value, err = serde.Encode(nil, first, e.body); err != nil {
			r.Value = []byte("as it came")
		}
	} else if r.Value, err = serde.Encode(nil, topic, e.body); err != nil {
		t.Fatalf("%s %s: %v", topic, e.key, err)
	}
	return r
}

// verdict stores the log on a new cluster and verifies it.
func (f *fixture) verdict(t testing.TB) Report {
	t.Helper()
	opts, serde := cluster(t, f.namespace), schemas.NewLocalSerde()
	f.store(t, opts, serde)
	return f.run(t, f.config(opts, serde))
}

func (f *fixture) config(opts []kgo.Opt, serde *schemas.Serde) Config {
	return Config{Client: opts, Serde: serde, Namespace: f.namespace, OpeningLimit: openingLimit,
		StuckAfter: time.Minute, Now: func() time.Time { return f.now }}
}

func (f *fixture) run(t testing.TB, cfg Config) Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
