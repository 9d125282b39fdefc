package schemas

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderlog/orderlog/topics"
)

// fakeRegistry is a registry reached without a network, which can be taken away.
type fakeRegistry struct {
	*srfake.Registry
	away     func() error // nil or nil error: there
	requests atomic.Int64
}

func newFakeRegistry() *fakeRegistry { return &fakeRegistry{Registry: srfake.NewRegistry()} }

func (f *fakeRegistry) RoundTrip(r *http.Request) (*http.Response, error) {
	f.requests.Add(1)
	if f.away != nil {
		if err := f.away(); err != nil {
			return nil, err
		}
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	f.Handler().ServeHTTP(rec, r)
	return rec.Result(), nil
}

func (f *fakeRegistry) config() SerdeConfig {
	return SerdeConfig{Registry: "http://registry.test:8081", HTTPClient: &http.Client{Transport: f}, Namespace: "ns"}
}

func (f *fakeRegistry) serde(t *testing.T, cfg SerdeConfig) *Serde {
	t.Helper()
	s, err := NewSerde(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var errNoRoute = errors.New("no route to host")

func TestSerdeRegistersEveryRecordOfEveryTopic(t *testing.T) {
	reg := newFakeRegistry()
	first := reg.serde(t, reg.config())
	for _, top := range topics.All() {
		for _, name := range top.Records {
			r, _ := Find(name)
			got, ok := reg.GetSchema("ns."+top.Name+"-orderlog."+name, 1)
			if !ok || got.Schema.Schema != r.Avsc {
				t.Errorf("%s on %s: registered %v %+v", name, top.Name, ok, got)
			}
			if id := first.slots[slotKey{top.Name, r.pointer}].id; int(id) != got.ID {
				t.Errorf("%s on %s: written with id %d, registered as %d", name, top.Name, id, got.ID)
			}
		}
	}
	second := reg.serde(t, reg.config())
	if !reflect.DeepEqual(first.slots, second.slots) {
		t.Error("a second start gets other ids")
	}
	if _, ok := reg.GetSchema("ns.order-table-orderlog.Order", 2); ok {
		t.Error("a second start registers again")
	}
	// Nothing of it is shared but the registry: one's bytes are the other's.
	value, err := first.Encode(nil, topics.OrderTable, sampleOf("Order"))
	if err != nil {
		t.Fatal(err)
	}
	before := reg.requests.Load()
	body, err := second.Decode(t.Context(), topics.OrderTable, value)
	if err != nil || !reflect.DeepEqual(body, sampleOf("Order")) {
		t.Errorf("%+v, error %v", body, err)
	}
	if n := reg.requests.Load() - before; n != 0 {
		t.Errorf("%d requests for a known id", n)
	}
}

func TestSerdeWaitsForARegistryThatIsAway(t *testing.T) {
	status := func(code int) roundTripper {
		return func(*http.Request) (*http.Response, error) {
			rec := httptest.NewRecorder()
			rec.WriteHeader(code)
			return rec.Result(), nil
		}
	}
	for name, away := range map[string]roundTripper{
		"unreachable": func(*http.Request) (*http.Response, error) { return nil, errNoRoute },
		"starting up": status(http.StatusServiceUnavailable),
		"busy":        status(http.StatusTooManyRequests),
		"a web page":  status(http.StatusOK),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg, start, tries := newFakeRegistry(), time.Now(), 0
				cfg := reg.config()
				cfg.HTTPClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
					if time.Since(start) < 7*time.Second {
						tries++
						return away(r)
					}
					return reg.RoundTrip(r)
				})
				reg.serde(t, cfg)
				if d := time.Since(start); d < 7*time.Second || d > 10*time.Second {
					t.Errorf("ready after %v of 7 s away", d)
				}
				if tries < 4 || tries > 10 {
					t.Errorf("%d tries in 7 s", tries)
				}
			})
		})
	}
}

func TestSerdeGivesUp(t *testing.T) {
	for _, c := range []struct {
		name string
		away func(context.Context) error
		wait time.Duration
	}{
		{"refused connections", func(context.Context) error { return errNoRoute }, 0},
		{"silence", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 0},
		{"a patience of its own", func(context.Context) error { return errNoRoute }, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) { return nil, c.away(r.Context()) })}
				s, err := NewSerde(t.Context(), SerdeConfig{Registry: "http://u:secret@registry.test:8081", HTTPClient: client, Wait: c.wait})
				if !errors.Is(err, ErrRegistry) || s != nil {
					t.Fatalf("serde %v, error %v", s, err)
				}
				want := 15 * time.Second
				if c.wait > 0 {
					want = c.wait
				}
				if d := time.Since(start); d != want {
					t.Errorf("gave up after %v, want %v", d, want)
				}
				if !strings.Contains(err.Error(), "http://registry.test:8081") || strings.Contains(err.Error(), "secret") {
					t.Errorf("error must name the URL and hide the password: %v", err)
				}
			})
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestSerdeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		reg := newFakeRegistry()
		reg.away = func() error { cancel(); return errNoRoute }
		if _, err := NewSerde(ctx, reg.config()); !errors.Is(err, context.Canceled) || errors.Is(err, ErrRegistry) {
			t.Errorf("error %v", err)
		}
	})
}

func TestSerdeFailsAtOnceWhereWaitingIsNoUse(t *testing.T) {
	for _, c := range []struct {
		name   string
		url    string
		status int
		code   int
		want   string
	}{
		{"incompatible with the registered schema", "http://registry.test", 409, 409, `"ns.order-commands-orderlog.PlaceOrder"`},
		{"not permitted", "http://registry.test", 401, 40101, "http://registry.test"},
		{"no URL", "", 0, 0, "want one like http://"},
		{"no host", "registry:8081", 0, 0, "want one like http://"},
		{"nonsense", "http://u:secret@a b", 0, 0, "want one like http://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg, start := newFakeRegistry(), time.Now()
				reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
					w.WriteHeader(c.status)
					fmt.Fprintf(w, `{"error_code":%d,"message":"so it is"}`, c.code)
					return true
				})
				cfg := reg.config()
				cfg.Registry = c.url
				_, err := NewSerde(t.Context(), cfg)
				if err == nil || errors.Is(err, ErrRegistry) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
					t.Errorf("error %v", err)
				}
				if d := time.Since(start); d != 0 {
					t.Errorf("it took %v", d)
				}
			})
		})
	}
}

func TestSerdeSendsThePassword(t *testing.T) {
	reg := newFakeRegistry()
	reg.Registry = srfake.NewRegistry(srfake.WithAuth("Basic dTpzZWNyZXQ=")) // u:secret
	cfg := reg.config()
	cfg.Registry = "http://u:secret@registry.test:8081"
	reg.serde(t, cfg)
}

// later is PlaceOrder as a build of tomorrow may write it: fields in another
// order, two more, a narrower number, and without discount_bp, which then takes
// its default here.
const later = `{"type":"record","name":"PlaceOrder","namespace":"orderlog","fields":[
	{"name":"note","type":["null","string"],"default":null},
	{"name":"lines","type":{"type":"array","items":{"type":"record","name":"PlaceLine","fields":[
		{"name":"quantity","type":"int"},{"name":"gift","type":"boolean","default":false},{"name":"sku","type":"string"},{"name":"unit_price","type":"long"}]}}},
	{"name":"currency","type":"string"},{"name":"customer_id","type":"string"},{"name":"order_id","type":"string"}]}`

var laterBody = []byte("\x02\x08note" + "\x02\x06\x01\x0asku_1\x14\x00" + "\x06EUR" + "\x0acus_1" + "\x0aord_1")

func TestDecodeWhatAnotherVersionWrote(t *testing.T) {
	reg := newFakeRegistry()
	s := reg.serde(t, reg.config())
	id, _, err := reg.RegisterSchema("elsewhere", sr.Schema{Schema: later})
	if err != nil {
		t.Fatal(err)
	}
	want := &PlaceOrder{OrderID: "ord_1", CustomerID: "cus_1", Currency: "EUR", Lines: []PlaceLine{{SKU: "sku_1", Quantity: 3, UnitPrice: 10}}}
	before := reg.requests.Load()
	for range 3 {
		body, err := s.Decode(t.Context(), topics.OrderCommands, append(appendHead(nil, uint32(id)), laterBody...))
		if err != nil || !reflect.DeepEqual(body, want) {
			t.Fatalf("%+v, error %v, want %+v", body, err, want)
		}
	}
	if n := reg.requests.Load() - before; n != 1 {
		t.Errorf("%d requests for one new id", n)
	}
	if _, err := s.Decode(t.Context(), topics.OrderTable, append(appendHead(nil, uint32(id)), laterBody...)); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("on another topic: %v", err)
	}
	short := append(appendHead(nil, uint32(id)), laterBody[:len(laterBody)-1]...)
	if _, err := s.Decode(t.Context(), topics.OrderCommands, short); !errors.Is(err, ErrBody) {
		t.Errorf("cut: %v", err)
	}
}

func TestDecodeWhatIsNotOurs(t *testing.T) {
	reg := newFakeRegistry()
	s := reg.serde(t, reg.config())
	for name, schema := range map[string]sr.Schema{
		"another record":     {Schema: `{"type":"record","name":"Gift","namespace":"orderlog","fields":[]}`},
		"another namespace":  {Schema: `{"type":"record","name":"DeliverOrder","namespace":"shop","fields":[{"name":"order_id","type":"string"}]}`},
		"not a record":       {Schema: `"string"`},
		"a field of another": {Schema: `{"type":"record","name":"DeliverOrder","namespace":"orderlog","fields":[{"name":"order_id","type":"long"}]}`},
		"a field missing":    {Schema: `{"type":"record","name":"DeliverOrder","namespace":"orderlog","fields":[]}`},
		"JSON schema":        {Schema: `{"type":"object"}`, Type: sr.TypeJSON},
		"with references":    {Schema: `{"type":"record","name":"DeliverOrder","namespace":"orderlog","fields":[{"name":"order_id","type":"string"}]}`, References: []sr.SchemaReference{{Name: "Order", Subject: "ns.order-table-orderlog.Order", Version: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			id, _, err := reg.RegisterSchema(strings.ReplaceAll(name, " ", "-"), schema)
			if err != nil {
				t.Fatal(err)
			}
			before := reg.requests.Load()
			for range 3 {
				if body, err := s.Decode(t.Context(), topics.OrderCommands, append(appendHead(nil, uint32(id)), 2, 'a')); !errors.Is(err, ErrIncompatible) {
					t.Errorf("body %v, error %v", body, err)
				}
			}
			if n := reg.requests.Load() - before; n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestUnknownIDIsRememberedForAWhile(t *testing.T) {
	reg := newFakeRegistry()
	now := time.Unix(1e9, 0)
	cfg := reg.config()
	cfg.Now = func() time.Time { return now }
	s := reg.serde(t, cfg)
	value := append(appendHead(nil, 4711), laterBody...)
	ask := func() (requests int64, err error) {
		before := reg.requests.Load()
		_, err = s.Decode(t.Context(), topics.OrderCommands, value)
		return reg.requests.Load() - before, err
	}
	for _, c := range []struct {
		pass     time.Duration
		requests int64
	}{{0, 1}, {0, 0}, {forget - 1, 0}, {1, 1}, {0, 0}} {
		now = now.Add(c.pass)
		if n, err := ask(); !errors.Is(err, ErrUnknownSchema) || errors.Is(err, ErrRegistry) || n != c.requests {
			t.Errorf("after %v more: %d requests, error %v", c.pass, n, err)
		}
	}
	reg.SeedSchema("elsewhere", 1, 4711, sr.Schema{Schema: later})
	now = now.Add(forget)
	if n, err := ask(); err != nil || n != 1 {
		t.Errorf("once it is registered: %d requests, error %v", n, err)
	}
	for id := range uint32(3 * maxMissing) {
		s.Decode(t.Context(), topics.OrderCommands, appendHead(nil, 1e6+id))
	}
	if n := len(s.reg.missing); n > maxMissing {
		t.Errorf("%d unknown ids are kept", n)
	}
}

// A registry that is away later says nothing about the record: ErrRegistry, and
// the record decodes once it is back. Known ids do not notice.
func TestRegistryAwayLater(t *testing.T) {
	for _, c := range []struct {
		name string
		away func(reg *fakeRegistry)
	}{
		{"unreachable", func(reg *fakeRegistry) { reg.away = func() error { return errNoRoute } }},
		{"broken", func(reg *fakeRegistry) { answer(reg, 500, `{"error_code":50001,"message":"store"}`) }},
		{"locked", func(reg *fakeRegistry) { answer(reg, 401, `{"error_code":40101,"message":"who are you"}`) }},
		{"somebody else's web server", func(reg *fakeRegistry) { answer(reg, 404, `<html>not found</html>`) }},
		{"a web page", func(reg *fakeRegistry) { answer(reg, 200, `<html>hello</html>`) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := newFakeRegistry()
			s := reg.serde(t, reg.config())
			id, _, err := reg.RegisterSchema("elsewhere", sr.Schema{Schema: later})
			if err != nil {
				t.Fatal(err)
			}
			value := append(appendHead(nil, uint32(id)), laterBody...)
			c.away(reg)
			_, err = s.Decode(t.Context(), topics.OrderCommands, value)
			if !errors.Is(err, ErrRegistry) || errors.Is(err, ErrUnknownSchema) {
				t.Errorf("decode: %v", err)
			}
			if _, _, err = s.Describe(t.Context(), value); !errors.Is(err, ErrRegistry) {
				t.Errorf("describe: %v", err)
			}
			known, err := s.Encode(nil, topics.OrderTable, sampleOf("Order"))
			if err != nil {
				t.Error(err)
			}
			if _, err := s.Decode(t.Context(), topics.OrderTable, known); err != nil {
				t.Errorf("known id: %v", err)
			}
			reg.away = nil
			reg.ClearInterceptors()
			if _, err := s.Decode(t.Context(), topics.OrderCommands, value); err != nil {
				t.Errorf("back again: %v", err)
			}
		})
	}
}

func answer(reg *fakeRegistry, status int, body string) {
	reg.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
		return true
	})
}

// One request for an id, however many ask; those who wait leave when told to.
func TestManyAskForOneID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		s := reg.serde(t, reg.config())
		id, _, err := reg.RegisterSchema("elsewhere", sr.Schema{Schema: later})
		if err != nil {
			t.Fatal(err)
		}
		value := append(appendHead(nil, uint32(id)), laterBody...)
		release := make(chan struct{})
		reg.away = func() error { <-release; return nil }
		before := reg.requests.Load()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := s.Decode(t.Context(), topics.OrderCommands, value); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Decode(impatient, topics.OrderCommands, value); !errors.Is(err, ErrRegistry) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient: %v", err)
		}
		close(release)
		wg.Wait()
		if n := reg.requests.Load() - before; n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// A registry that accepts the request and never answers does not hold a caller
// for longer than one try.
func TestDecodeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		cfg := reg.config()
		s := reg.serde(t, cfg)
		cfg.HTTPClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		start := time.Now()
		_, err := s.Decode(t.Context(), topics.OrderCommands, appendHead(nil, 4711))
		if !errors.Is(err, ErrRegistry) || time.Since(start) != tryTimeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}
