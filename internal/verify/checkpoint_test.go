package verify

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

func checkpointed(t testing.TB, cfg Config) Config {
	cfg.Checkpoint = &Checkpoint{Path: filepath.Join(t.TempDir(), "checkpoint"), Key: testKey}
	return cfg
}

// same compares what two runs over one log say.
func same(t *testing.T, seed uint64, got, whole Report) {
	t.Helper()
	for _, r := range []*Report{&got, &whole} {
		r.Since, r.Records, r.Took = nil, 0, 0
	}
	a, _ := json.MarshalIndent(got, "", " ")
	b, _ := json.MarshalIndent(whole, "", " ")
	if string(a) != string(b) {
		t.Fatalf("seed %d: from a checkpoint\n%s\nas a whole\n%s", seed, a, b)
	}
}

// spoil writes something that must not be, or has a group forget a command.
func (f *fixture) spoil(rng *rand.Rand) {
	tables := []string{topics.InventoryTable, topics.CreditTable, topics.OrderTable, topics.Invoices, topics.VoucherTable, topics.Vouchers, topics.InvoicingTable}
	topic := tables[rng.IntN(len(tables))]
	es := f.log[topic][rng.IntN(fixtureParts)]
	if len(es) == 0 {
		return
	}
	e := es[rng.IntN(len(es))] // an old version, once more
	e.origin = nil
	f.write(topic, e)
	f.handledUnseen(&schemas.DeliverOrder{OrderID: "ord_unseen"})
}

// A run that goes on from a checkpoint says what one over the whole log says: of
// whatever log, whenever it is looked at, right or wrong.
func TestCheckpoints(t *testing.T) {
	var sound, unsound, still, records, all int64
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		f, opts, serde := newFixture(), cluster(t, ""), schemas.NewLocalSerde()
		cfg := f.config(opts, serde)
		from := checkpointed(t, cfg)
		for look := range 5 {
			steps := -1
			if rng.IntN(2) == 0 {
				steps = rng.IntN(400)
			}
			f.busy(seed<<8+uint64(look), 60, steps)
			if seed%2 == 1 && rng.IntN(3) == 0 {
				f.spoil(rng)
			}
			if rng.IntN(3) == 0 {
				f.tell()
			}
			f.store(t, opts, serde)
			got, whole := f.run(t, from), f.run(t, cfg)
			if (got.Since != nil) != (look > 0) {
				t.Fatalf("seed %d, look %d: since %v", seed, look, got.Since)
			}
			sound, unsound, still = sound+one(whole.OK), unsound+one(!whole.OK), still+one(whole.Still)
			records, all = records+got.Records, all+whole.Records
			same(t, seed, got, whole)
		}
	}
	if sound == 0 || unsound == 0 || still == 0 || still == 100 || records > all*2/3 {
		t.Errorf("the test shows little: %d right, %d wrong, %d still, %d records read of %d", sound, unsound, still, records, all)
	}
}

// What a group gave up, and a person brought back after a checkpoint, is handled.
func TestCheckpointAndDeadLetters(t *testing.T) {
	f, opts, serde := newFixture(), cluster(t, ""), schemas.NewLocalSerde()
	cfg := f.config(opts, serde)
	from := checkpointed(t, cfg)
	f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: nut, Price: 1, Currency: "EUR"})
	f.settle(nil)
	f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 10})
	target := f.bury(topics.InventoryCommands, nut)
	f.store(t, opts, serde)
	same(t, 0, f.run(t, from), f.run(t, cfg))
	f.bring(schemas.Audited{What: schemas.Redriven, Target: target, Key: nut})
	f.come(1, topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 10})
	f.store(t, opts, serde)
	r := f.run(t, from)
	if !r.OK || r.Summary.OnHand != 10 {
		t.Errorf("on hand %d: %v", r.Summary.OnHand, failures(r))
	}
	same(t, 0, r, f.run(t, cfg))
}

// So is what was parked, and came back.
func TestCheckpointAndParked(t *testing.T) {
	f, opts, serde := newFixture(), cluster(t, ""), schemas.NewLocalSerde()
	cfg := f.config(opts, serde)
	from := checkpointed(t, cfg)
	f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: nut, Price: 1, Currency: "EUR"})
	f.settle(nil)
	f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 10})
	f.setAside(t, serde, topics.RetryTable, "inventory", topics.InventoryCommands, nut, f.now)
	f.store(t, opts, serde)
	r := f.run(t, from)
	if !r.OK || r.Still {
		t.Errorf("parked: still %t, %v", r.Still, failures(r))
	}
	same(t, 0, r, f.run(t, cfg))
	p := partOf(nut)
	f.log[topics.RetryTable][p] = append(f.log[topics.RetryTable][p], entry{key: f.log[topics.RetryTable][p][0].key})
	f.come(1, topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 10})
	f.store(t, opts, serde)
	r = f.run(t, from)
	if !r.OK || !r.Still || r.Summary.OnHand != 10 {
		t.Errorf("come back: still %t, on hand %d: %v", r.Still, r.Summary.OnHand, failures(r))
	}
	same(t, 0, r, f.run(t, cfg))
}

// All that is folded comes back as it was.
func TestMemory(t *testing.T) {
	f, opts, serde := newFixture(), cluster(t, ""), schemas.NewLocalSerde()
	f.small()
	f.tell()
	f.bring(schemas.Audited{What: schemas.Edited, Target: "x", Before: []byte{0}, After: []byte{1, 2}})
	f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: nut, Quantity: 1})
	f.setAside(t, serde, topics.RetryTable, "inventory", topics.InventoryCommands, nut, f.now)
	f.store(t, opts, serde)
	cfg, err := checkpointed(t, f.config(opts, serde)).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	worlds := make([]*world, 2)
	for i := range worlds {
		r, err := newReader(t.Context(), cl, "")
		if err != nil {
			t.Fatal(err)
		}
		worlds[i] = newWorld(t.Context(), cfg, r)
		if i == 1 {
			if _, err := worlds[i].resume(cfg, r); err != nil {
				t.Fatal(err)
			}
			break
		}
		if err := follow(t.Context(), cfg, r, worlds[i]); err != nil {
			t.Fatal(err)
		}
		if err := worlds[i].leave(cfg, r); err != nil {
			t.Fatal(err)
		}
	}
	was, is := worlds[0].folded(), worlds[1].folded()
	full := 0
	for i := range was {
		a, b := reflect.ValueOf(was[i]).Elem(), reflect.ValueOf(is[i]).Elem()
		if empty(a) && empty(b) {
			continue
		}
		full++
		if !reflect.DeepEqual(was[i], is[i]) {
			t.Errorf("part %d of type %T: %+v, was %+v", i, was[i], b, a)
		}
	}
	if full < 30 {
		t.Errorf("only %d parts of %d had anything", full, len(was))
	}
}

func empty(v reflect.Value) bool {
	return v.IsZero() || (v.Kind() == reflect.Map || v.Kind() == reflect.Slice) && v.Len() == 0
}

func TestCheckpointIsRefused(t *testing.T) {
	f, opts, serde := newFixture(), cluster(t, ""), schemas.NewLocalSerde()
	f.small()
	f.store(t, opts, serde)
	cfg := checkpointed(t, f.config(opts, serde))
	f.run(t, cfg)
	good, err := os.ReadFile(cfg.Checkpoint.Path)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int) []byte {
		b := append([]byte(nil), good...)
		b[(at+len(b))%len(b)] ^= 1
		return b
	}
	other := cluster(t, "")
	f.stored = newFixture().stored
	f.store(t, other, serde)
	for _, c := range []struct {
		name string
		data []byte
		edit func(*Config)
		want string
	}{
		{"as it was", good, nil, ""},
		{"a bit at its end", changed(-1), nil, "changed"},
		{"a bit in its middle", changed(len(good) / 2), nil, "changed"},
		{"a bit of its signature", changed(len(shape)), nil, "changed"},
		{"a bit of its name", changed(0), nil, "form"},
		{"half of it", good[:len(good)/2], nil, "changed"},
		{"nothing", nil, nil, "form"},
		{"another key", good, func(c *Config) { c.Checkpoint.Key = []byte(strings.Repeat("x", 32)) }, "another key"},
		{"another cluster", good, func(c *Config) { c.Client = other }, "made anew"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := checkpointed(t, f.config(opts, serde))
			if c.edit != nil {
				c.edit(&cfg)
			}
			if err := os.WriteFile(cfg.Checkpoint.Path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Run(t.Context(), cfg)
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrCheckpoint) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, wanted %q", err, c.want)
			}
		})
	}
	cfg.Checkpoint.Key = cfg.Checkpoint.Key[:31]
	if _, err := Run(t.Context(), cfg); err == nil {
		t.Error("a short key will do")
	}
	cfg.Checkpoint.Key, cfg.At = testKey, &At{Time: time.Now()}
	if _, err := Run(t.Context(), cfg); err == nil {
		t.Error("a checkpoint of the past")
	}
}

// A checkpoint of a build that folds otherwise is refused before it is read.
func TestFormTellsTypesApart(t *testing.T) {
	type a struct{ X, Y int64 }
	type b struct{ X, Z int64 }
	type c struct{ Y, X int64 }
	type d struct{ X, Y int32 }
	forms := map[string]bool{}
	for _, typ := range []reflect.Type{reflect.TypeFor[a](), reflect.TypeFor[b](), reflect.TypeFor[c](), reflect.TypeFor[d](), reflect.TypeFor[[]a](), reflect.TypeFor[map[string]*a](), reflect.TypeFor[map[string]a]()} {
		forms[form(typ)] = true
	}
	if len(forms) != 7 {
		t.Error(forms)
	}
}
