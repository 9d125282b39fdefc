package kgoka

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestGokaGraph uses what goka's own Context offers: codecs, a loop that does
// not exist yet, a joined table, a lookup, values without headers.
func TestGokaGraph(t *testing.T) {
	b := newBed(t, "in", "out", "prices", "names")
	b.produce(&kgo.Record{Topic: "prices", Key: []byte("k1"), Value: []byte("7")}, &kgo.Record{Topic: "prices", Key: []byte("k2"), Value: []byte("8")},
		&kgo.Record{Topic: "names", Key: []byte("seven"), Value: []byte("sieben")})
	var mu sync.Mutex
	var looped []string
	str := new(codec.String)
	g := goka.DefineGroup("a", goka.Persist(new(codec.Int64)), goka.Output("out", str), goka.Join("prices", str), goka.Lookup("names", str),
		goka.Input("in", str, func(ctx goka.Context, msg any) {
			n, _ := ctx.Value().(int64)
			ctx.SetValue(n + 1)
			price, _ := ctx.Join("prices").(string)
			name, _ := ctx.Lookup("names", "seven").(string)
			ctx.Emit("out", ctx.Key(), msg.(string)+" "+price+" "+name)
			ctx.Loopback("other-"+ctx.Key(), msg)
		}),
		goka.Loop(str, func(ctx goka.Context, msg any) {
			mu.Lock()
			defer mu.Unlock()
			looped = append(looped, ctx.Key()+" "+msg.(string)+" "+string(ctx.Group())+" "+string(ctx.Topic()))
		}))
	p := start(t, b.config("a-1"), g).waitReady()
	b.produce(&kgo.Record{Topic: "in", Key: []byte("k1"), Value: []byte("hello")})
	b.caughtUp("a", "in", "a-loop")
	p.mustEnd()
	out := b.read("out")
	if len(out) != 1 || string(out[0].Value) != "hello 7 sieben" {
		t.Errorf("out: %v", out)
	}
	if got := rows(b.read("a-table")); got["k1"] != "1" {
		t.Errorf("table: %v", got)
	}
	if len(looped) != 1 || looped[0] != "other-k1 hello a a-loop" {
		t.Errorf("looped: %q", looped)
	}
}

func TestRefusedGraphsAndConfigs(t *testing.T) {
	cb := func(goka.Context, any) {}
	in := goka.Input("in", Bytes{}, cb)
	ok := Config{Brokers: []string{"x"}, Instance: "y"}
	for name, c := range map[string]struct {
		cfg Config
		g   *goka.GroupGraph
		say string
	}{
		"visitor":  {ok, goka.DefineGroup("g", in, goka.Visitor("v", cb)), "visitor"},
		"no input": {ok, goka.DefineGroup("g", goka.Persist(Bytes{})), "input"},
		"brokers":  {Config{Instance: "y"}, goka.DefineGroup("g", in), "Brokers"},
		"instance": {Config{Brokers: []string{"x"}}, goka.DefineGroup("g", in), "Instance"},
		"path":     {Config{Brokers: []string{"x"}, Instance: ".."}, goka.DefineGroup("g", in), "Instance"},
		"slash":    {Config{Brokers: []string{"x"}, Instance: "a/b"}, goka.DefineGroup("g", in), "Instance"},
		"group":    {ok, goka.DefineGroup("g/h", in), "group"},
		"negative": {Config{Brokers: []string{"x"}, Instance: "y", Linger: -1}, goka.DefineGroup("g", in), "Linger"},
		"poll":     {Config{Brokers: []string{"x"}, Instance: "y", MaxPoll: -1}, goka.DefineGroup("g", in), "MaxPoll"},
		"output":   {Config{Brokers: []string{"x"}, Instance: "y", SamePartition: []string{"in"}}, goka.DefineGroup("g", in), `SamePartition names "in"`},
		"nil":      {Config{Brokers: []string{"x"}, Instance: "y", NilHandling: 9}, goka.DefineGroup("g", in), "NilHandling"},
	} {
		if _, err := NewProcessor(c.cfg, c.g); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTopicsThatDoNotFit: what a group consumes, joins and writes must have the
// same number of partitions; the error names the topics and numbers.
func TestTopicsThatDoNotFit(t *testing.T) {
	cb := func(goka.Context, any) {}
	for name, c := range map[string]struct {
		odd   string // has 3 partitions
		edges goka.Edges
		say   []string
	}{
		"input":   {"other", goka.Edges{goka.Input("in", Bytes{}, cb), goka.Input("other", Bytes{}, cb)}, []string{`"other" has 3`, `"in" has 4`}},
		"join":    {"prices", goka.Edges{goka.Input("in", Bytes{}, cb), goka.Join("prices", Bytes{})}, []string{`"prices" has 3`, `"in" has 4`}},
		"table":   {"a-table", goka.Edges{goka.Input("in", Bytes{}, cb), goka.Persist(Bytes{})}, []string{`"a-table"`, "3 partitions, not 4", `"in"`}},
		"loop":    {"a-loop", goka.Edges{goka.Input("in", Bytes{}, cb), goka.Loop(Bytes{}, cb)}, []string{`"a-loop"`, "3 partitions, not 4", `"in"`}},
		"output":  {"out", goka.Edges{goka.Input("in", Bytes{}, cb), goka.Output("out", Bytes{})}, []string{`"out" has 3`, `"in" has 4`}},
		"missing": {"", goka.Edges{goka.Input("in", Bytes{}, cb), goka.Join("nowhere", Bytes{})}, []string{`"nowhere"`, "UNKNOWN_TOPIC"}},
	} {
		t.Run(name, func(t *testing.T) {
			parallel(t)
			b := newBed(t, "in")
			if c.odd != "" {
				b.remove(c.odd)
				b.create(3, c.odd)
			}
			cfg := b.config("a-1")
			if name == "output" {
				cfg.SamePartition = []string{c.odd}
			}
			p, err := NewProcessor(cfg, goka.DefineGroup("a", c.edges...))
			if err != nil {
				t.Fatal(err)
			}
			err = p.Run(t.Context())
			for _, say := range c.say {
				if err == nil || !strings.Contains(err.Error(), say) {
					t.Errorf("it does not say %s: %v", say, err)
				}
			}
		})
	}
}

// TestSamePartition: what goes to such an output stays on the partition of the
// input, or the visited row; all else goes where its key belongs.
func TestSamePartition(t *testing.T) {
	b := newBed(t, "in", "same", "other", "a-table")
	cfg := b.config("a-1")
	cfg.SamePartition = []string{"same"}
	emit := func(ctx goka.Context) {
		key := "of " + ctx.Key()
		From(ctx).EmitRecord("same", key, []byte("1"), nil)
		ctx.Emit("same", key, []byte("2"))
		ctx.Emit("other", key, []byte("3"))
	}
	p := start(t, cfg, goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Output("same", Bytes{}), goka.Output("other", Bytes{}),
		goka.Visitor("v", func(ctx goka.Context, _ any) { emit(ctx) }),
		goka.Input("in", Bytes{}, func(ctx goka.Context, msg any) { ctx.SetValue(msg); emit(ctx) }))).waitReady()
	byHand := b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	const keys = 12
	at := map[string]int32{}
	for k := range keys {
		r := &kgo.Record{Topic: "in", Partition: int32(k % nparts), Key: fmt.Append(nil, k), Value: []byte("x")}
		at["of "+string(r.Key)] = r.Partition
		if err := byHand.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	b.caughtUp("a", "in")
	if n, err := p.VisitAll(t.Context(), "v", nil); n != keys || err != nil {
		t.Fatalf("%d rows visited, %v", n, err)
	}
	p.mustEnd()
	same, other := b.read("same"), b.read("other")
	if len(same) != 4*keys || len(other) != 2*keys {
		t.Errorf("%d and %d records", len(same), len(other))
	}
	for _, r := range same {
		if r.Partition != at[string(r.Key)] {
			t.Errorf("%q is on partition %d, its input was on %d", r.Key, r.Partition, at[string(r.Key)])
		}
	}
	for _, r := range other {
		if r.Partition != Partition(string(r.Key), nparts) {
			t.Errorf("%q is on partition %d, not its key's", r.Key, r.Partition)
		}
	}
}

// TestTombstones: a row that is deleted is gone from the table, from its log and
// from what a restart makes of either.
func TestTombstones(t *testing.T) {
	b := newBed(t, "in", "a-table")
	graph := func() *goka.GroupGraph {
		return goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Input("in", Bytes{}, func(ctx goka.Context, msg any) {
			if string(msg.([]byte)) == "-" {
				ctx.Delete(goka.WithCtxEmitHeaders(goka.Headers{"why": []byte("asked")}))
				return
			}
			ctx.SetValue(msg)
		}))
	}
	cfg := b.config("a-1")
	cfg.Origins = false
	for i, dir := range []string{"", t.TempDir(), ""} {
		cfg.Dir = dir
		p := start(t, cfg, graph()).waitReady()
		if i == 0 {
			for _, v := range []string{"1", "-", "2", "-"} {
				b.produce(&kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte(v)}, &kgo.Record{Topic: "in", Key: []byte("l"), Value: []byte("1")})
			}
			b.caughtUp("a", "in")
		}
		for key, want := range map[string]string{"k": "", "l": "1"} {
			until(t, fmt.Sprintf("start %d: %s is %q", i, key, want), func() bool { return string(must(p.Get(key))(t)) == want })
		}
		p.mustEnd()
	}
	var last *kgo.Record
	for _, r := range b.read("a-table") {
		if string(r.Key) == "k" {
			last = r
		}
	}
	if last.Value != nil || len(last.Headers) != 1 || last.Headers[0].Key != "why" {
		t.Errorf("the log ends with %q, %v", last.Value, last.Headers)
	}
}
