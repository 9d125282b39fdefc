package kgoka

import (
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
		"nil":      {Config{Brokers: []string{"x"}, Instance: "y", NilHandling: 9}, goka.DefineGroup("g", in), "NilHandling"},
	} {
		if _, err := NewProcessor(c.cfg, c.g); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
