package kgoka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/twmb/franz-go/pkg/kgo"
)

// viewing is a View at work.
type viewing struct {
	*View
	stop func()
}

func view(t *testing.T, cfg Config, topic goka.Table, c goka.Codec) *viewing {
	t.Helper()
	v, err := NewView(cfg, topic, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	stopped := false
	stop := func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Errorf("the view ended: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	if err := v.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &viewing{v, stop}
}

// all is what an iterator has to say.
func all(t *testing.T, it goka.Iterator, err error) (s string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Release()
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		s += fmt.Sprintf("%s=%v ", it.Key(), v)
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	return strings.TrimSpace(s)
}

// TestView: a view has the rows of a table, follows them, and goes on with the
// ones it has kept.
func TestView(t *testing.T) {
	for _, disk := range []bool{false, true} {
		t.Run(fmt.Sprintf("disk=%v", disk), func(t *testing.T) {
			b := newBed(t, "names")
			put := func(kvs ...string) {
				for i := 0; i < len(kvs); i += 2 {
					rec := &kgo.Record{Topic: "names", Key: []byte(kvs[i]), Value: []byte(kvs[i+1])}
					if kvs[i+1] == "" {
						rec.Value = nil
					}
					b.produce(rec)
				}
			}
			cfg := b.config("")
			if disk {
				cfg.Dir = t.TempDir()
			}
			put("a", "1", "b", "2", "c", "3", "d", "4", "c", "")
			v := view(t, cfg, "names", new(codec.String))
			if got, err := v.Get("a"); got != "1" || err != nil {
				t.Errorf("a: %v, %v", got, err)
			}
			if got, err := v.Get("c"); got != nil || err != nil {
				t.Errorf("c: %v, %v", got, err)
			}
			if yes, err := v.Has("b"); !yes || err != nil {
				t.Errorf("has b: %v, %v", yes, err)
			}
			put("b", "5", "e", "6", "a", "")
			until(t, "it is followed", func() bool { got, _ := v.Get("a"); e, _ := v.Get("e"); return got == nil && e == "6" })
			it, err := v.Iterator()
			if got := all(t, it, err); got != "b=5 d=4 e=6" {
				t.Errorf("all: %s", got)
			}
			it, err = v.IteratorWithRange("c", "e")
			if got := all(t, it, err); got != "d=4" {
				t.Errorf("range: %s", got)
			}
			it, err = v.Iterator()
			if err != nil || !it.Seek("c") || it.Key() != "d" || !it.Next() || it.Key() != "e" || it.Seek("x") {
				t.Errorf("seek: %v, at %q", err, it.Key())
			}
			v.stop() // with an iterator that nobody has released
			if it.Next() || it.Err() == nil {
				t.Error("an iterator outlives its view")
			}
			if _, err := v.Get("b"); err == nil || v.Recovered() {
				t.Error("a view can be read after its end")
			}
			put("f", "7")
			v = view(t, cfg, "names", new(codec.String))
			it, err = v.Iterator()
			if got := all(t, it, err); got != "b=5 d=4 e=6 f=7" {
				t.Errorf("after a restart: %s", got)
			}
			var records int64
			for _, st := range v.Stats() {
				records += st.Records
			}
			if disk && records != 1 || !disk && records != 9 {
				t.Errorf("%d records were read again", records)
			}
		})
	}
}

// TestViewOfAGroup: rows that a group with Origins has deleted are none.
func TestViewOfAGroup(t *testing.T) {
	b := newBed(t, "in", "a-table")
	p := start(t, b.config("a-1"), goka.DefineGroup("a", goka.Persist(Bytes{}), goka.Input("in", Bytes{}, func(ctx goka.Context, msg any) {
		if string(msg.([]byte)) == "-" {
			ctx.Delete()
			return
		}
		ctx.SetValue(msg)
	}))).waitReady()
	for _, kv := range []string{"a1", "b2", "a-", "c3"} {
		b.produce(&kgo.Record{Topic: "in", Key: []byte(kv[:1]), Value: []byte(kv[1:])})
	}
	b.caughtUp("a", "in")
	p.mustEnd()
	v := view(t, b.config(""), goka.GroupTable("a"), new(codec.String))
	it, err := v.Iterator()
	if got := all(t, it, err); got != "b=2 c=3" {
		t.Errorf("got %s", got)
	}
	if yes, err := v.Has("a"); yes || err != nil {
		t.Errorf("has a: %v, %v", yes, err)
	}
}

func TestViewOfNothing(t *testing.T) {
	b := newBed(t, "in")
	v, err := NewView(b.config(""), "nothing", Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("got %v", err)
	}
	if err := v.WaitReady(t.Context()); err == nil {
		t.Error("it is ready")
	}
}

func TestEmitter(t *testing.T) {
	b := newBed(t, "out")
	e, err := NewEmitter(b.config(""), "out", new(codec.String))
	if err != nil {
		t.Fatal(err)
	}
	kept := make(chan error, 1)
	promise, err := e.EmitWithHeaders("k", "1", goka.Headers{"h": []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	promise.Then(func(err error) { kept <- err })
	if err := <-kept; err != nil {
		t.Error(err)
	}
	if err := e.EmitSync("k", nil); err != nil {
		t.Error(err)
	}
	if _, err := e.Emit("k", 3); err == nil {
		t.Error("a value that the codec does not take was sent")
	}
	if _, err := e.Emit("k", "4"); err != nil {
		t.Error(err)
	}
	if err := e.Finish(); err != nil {
		t.Error(err)
	}
	if err := e.EmitSync("k", "5"); !errors.Is(err, goka.ErrEmitterAlreadyClosed) {
		t.Errorf("after the end: %v", err)
	}
	out := b.read("out")
	if len(out) != 3 || string(out[0].Value) != "1" || string(out[0].Headers[0].Value) != "v" || out[1].Value != nil || string(out[2].Value) != "4" {
		t.Fatalf("out: %v", out)
	}
	for _, r := range out {
		if r.Partition != Partition("k", nparts) {
			t.Errorf("on partition %d", r.Partition)
		}
	}
}
