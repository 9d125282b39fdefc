package app_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/status"
	"github.com/orderlog/orderlog/schemas"
)

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// get is what the process answers, in the form that is accepted; "": any.
func (w *world) get(dial dialer, path, accept string) string {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+w.Addresses().HTTP+path, nil)
	must(w.t, err)
	req.Header.Set("Accept", accept)
	cl := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := cl.Do(req)
	must(w.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(w.t, err)
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s answers %s: %s", path, resp.Status, text)
	}
	return string(text)
}

// What the processors tell Prometheus arrives in the picture that a process shows of
// itself: no figure that it needs has another name.
func TestStatusOfThePipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		cfg.HTTP = "127.0.0.1:80"
		w := start(t, cfg)
		w.tracker.Stop() // it would ask every five seconds
		w.send(price("sku_pen", 150), receive("sku_pen", 10), deliver("ord_none"))
		time.Sleep(time.Minute)
		read := func() (s status.Status) {
			must(t, json.Unmarshal([]byte(w.get(cfg.Dial, "/status.json?since=0", "")), &s))
			return s
		}
		read() // from here on somebody looks, each second
		time.Sleep(500 * time.Millisecond)
		line := schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}
		w.send(place("ord_a", "cus_a", line), place("ord_b", "cus_a", schemas.PlaceLine{SKU: "sku_none", Quantity: 1}))
		time.Sleep(10 * time.Second)
		s := read().Now
		if o := s.Orders; o.Placed != 0.2 || o.Invoiced != 0.1 || o.Rejected != 0.1 || !o.P50.Known() || o.P99 > 5 {
			t.Errorf("orders %+v, want two placed, one invoiced and one rejected within ten seconds", o)
		}
		time.Sleep(30 * time.Second)
		st := read()
		s = st.Now
		if n := len(st.Past); n < 30 || st.Past[n-1].At != s.At {
			t.Errorf("%d samples of the last half minute", n)
		}
		if !slices.Contains(s.States, status.State{Name: schemas.Invoiced, Orders: 1}) || !slices.Contains(s.States, status.State{Name: schemas.Rejected, Orders: 1}) {
			t.Errorf("states %+v", s.States)
		}
		var names []string
		for _, p := range s.Processors {
			names = append(names, p.Name)
			if !p.Here || p.State != "Stable" || p.Lag != 0 || p.Behind != 0 || !p.In.Known() {
				t.Errorf("%+v, want one that is here and at the end", p)
			}
		}
		if got := strings.Join(names, " "); got != "credit inventory invoicing order retry voucher" {
			t.Errorf("processors %s", got)
		}
		if s.DeadLetters.Open != 1 || s.Calendar != (status.Calendar{}) || s.Downtime == nil || s.Version == "" {
			t.Errorf("%+v, %+v, %+v, version %q", s.DeadLetters, s.Calendar, s.Downtime, s.Version)
		}
		if len(s.Problems) != 1 || !strings.HasPrefix(s.Problems[0].What, "1 dead letter waits for somebody") {
			t.Errorf("problems %+v", s.Problems)
		}
		if page := w.get(cfg.Dial, "/", ""); !strings.Contains(page, "1 dead letter waits for somebody") {
			t.Errorf("the page says\n%s", page)
		}
	})
}

// A port that is taken is no reason not to start where nobody has asked for it.
func TestHTTPElsewhere(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	for _, otherwise := range []bool{false, true} {
		cfg := config(t)
		cfg.HTTP, cfg.HTTPElse = taken.Addr().String(), otherwise
		a, err := app.New(cfg)
		must(t, err)
		err = a.Start(t.Context())
		if otherwise {
			must(t, err)
			if at := a.Addresses().HTTP; at == cfg.HTTP || !strings.HasPrefix(at, "127.0.0.1:") {
				t.Errorf("listens at %s, want another port of 127.0.0.1", at)
			}
		} else if err == nil {
			t.Error("listens where somebody else does")
		}
		must(t, a.Stop())
	}
}
