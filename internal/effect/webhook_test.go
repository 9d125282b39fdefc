package effect

import (
	"bytes"
	"crypto/hmac"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orderlog/orderlog/processors/notification"
	"github.com/orderlog/orderlog/schemas"
)

// The vector is the one that the specification's own libraries are tested with.
func TestSignature(t *testing.T) {
	const id, at, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, `{"test": 2432232314}`
	key, err := decodeSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := signature([][]byte{key}, id, at, body); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	old := []byte("another secret, which is old now")
	if got := signature([][]byte{key, old}, id, at, body); !strings.HasPrefix(got, want+" v1,") || strings.Count(got, " ") != 1 {
		t.Errorf("with two secrets: %s", got)
	}
}

// receiver takes webhooks, and checks them as the specification tells receivers to.
type receiver struct {
	t      *testing.T
	secret []byte
	answer func(w http.ResponseWriter, r *http.Request) // nil: 200

	mu    sync.Mutex
	calls map[string]int    // by webhook-id
	first map[string]string // webhook-id -> body
	last  time.Time         // when the last one came
}

func (v *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	id, at := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
	seconds, _ := strconv.ParseInt(at, 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age < 0 || age > time.Second {
		v.t.Errorf("%s is %v old, error %v", id, age, err)
	}
	good := false
	for s := range strings.FieldsSeq(r.Header.Get("webhook-signature")) {
		good = good || hmac.Equal([]byte(s), []byte(signature([][]byte{v.secret}, id, seconds, string(body))))
	}
	if !good || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || !json.Valid(body) {
		v.t.Errorf("%s %v %s: signed: %v", r.Method, r.Header, body, good)
	}
	v.mu.Lock()
	v.calls[id]++
	if was, again := v.first[id]; again && was != string(body) {
		v.t.Errorf("%s came with another body", id)
	}
	v.first[id] = string(body)
	v.last = time.Now()
	v.mu.Unlock()
	if v.answer != nil {
		v.answer(w, r)
	}
}

// serve runs the receiver until the test ends.
func (v *receiver) serve(n *network, address string) {
	v.calls, v.first = map[string]int{}, map[string]string{}
	s := &http.Server{Handler: v, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	l := n.listen(address)
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	v.t.Cleanup(func() {
		s.Close()
		<-done
	})
}

var testSecret = bytes.Repeat([]byte{7}, 32)

func hook(name string) Webhook {
	return Webhook{Name: name, URL: "http://" + name + ".example/hooks?key=geheim", Secrets: [][]byte{bytes.Repeat([]byte{8}, 24), testSecret}, Timeout: 20 * time.Second, Concurrency: 4}
}

// endpoints are webhooks on a network, and mails in a folder.
func endpoints(t *testing.T, n *network, webhooks ...Webhook) (*Endpoints, notification.Config) {
	t.Helper()
	c := Default()
	c.Mail.To, c.Webhooks = "", webhooks
	es, err := New(c, Options{Dial: n.dial, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(es.Close)
	return es, c.Rule()
}

func TestHTTPClasses(t *testing.T) {
	status := func(code int, header ...string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			io.WriteString(w, "so\nit \x00is")
		}
	}
	soon := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(90*time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(503)
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(bytes.Repeat([]byte("no end "), 1000)); err != nil {
				return
			}
		}
	}
	for _, c := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request)
		class  Class
		code   int
		after  time.Duration
		sick   bool
		says   string
	}{
		{"200", status(200), Sent, 200, 0, false, "so it is"},
		{"202", status(202), Sent, 202, 0, false, "so it is"},
		{"204", status(204), Sent, 204, 0, false, ""},
		{"an answer without an end", endless, Sent, 200, 0, false, "no end no end"},
		{"redirect", status(307, "Location", "https://new.example/"), Transient, 307, 0, true, `configure "https://new.example/"`},
		{"400", status(400), Permanent, 400, 0, false, "so it is"},
		{"404", status(404), Permanent, 404, 0, false, ""},
		{"408", status(408), Transient, 408, 0, false, ""},
		{"410", status(410), Permanent, 410, 0, false, "wants no more"},
		{"425", status(425, "Retry-After", "7"), Transient, 425, 7 * time.Second, false, ""},
		{"429", status(429, "Retry-After", "120"), Transient, 429, 2 * time.Minute, true, ""},
		{"429 with nonsense", status(429, "Retry-After", "-5 minutes"), Transient, 429, 0, true, ""},
		{"500", status(500), Transient, 500, 0, true, "so it is"},
		{"503 until a time", soon, Transient, 503, 90 * time.Second, true, ""},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, Transient, 0, 0, true, "no answer in time"},
		{"closes", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Transient, 0, 0, true, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n network
				(&receiver{t: t, secret: testSecret, answer: c.answer}).serve(&n, "erp.example:80")
				es, rule := endpoints(t, &n, hook("erp"))
				o := es.Send(t.Context(), about(t, effects(t, rule, "ord_1"), schemas.OrderInvoiced))
				if o.Class != c.class || o.Code != c.code || o.Sick != c.sick || o.RetryAfter != c.after || !strings.Contains(o.Text, c.says) || len(o.Text) > maxText {
					t.Errorf("got %v, sick: %v, retry after %v", o, o.Sick, o.RetryAfter)
				}
				if strings.Contains(o.Text, "geheim") {
					t.Errorf("the answer shows the URL: %v", o)
				}
			})
		})
	}
}

// Nobody there, or not whom we trust: the endpoint was not told of the effect.
func TestHTTPAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		server, client := certificate(t)
		v := &receiver{t: t, secret: testSecret}
		v.calls, v.first = map[string]int{}, map[string]string{}
		l := n.listen("shop.example:443")
		s := &http.Server{Handler: v, ErrorLog: log.New(io.Discard, "", 0)}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Serve(tls.NewListener(l, server))
		}()
		secure, gone, full := hook("secure"), hook("gone"), hook("full")
		secure.URL, full.URL = "https://shop.example/", "http://full.example/"
		f := n.listen("full.example:80") // nobody accepts
		e := schemas.Effect{EffectID: "eff_1", Kind: schemas.KindWebhook, Payload: "{}"}
		for _, c := range []struct {
			to    string
			tls   *tls.Config
			class Class
			says  string
		}{
			{"secure", client, Sent, ""},
			{"secure", nil, Away, "certificate"},
			{"gone", client, Away, "connection refused"},
			{"full", client, Away, "no answer in time"},
		} {
			es, err := New(Config{Mail: Default().Mail, Webhooks: []Webhook{secure, gone, full}}, Options{Dial: n.dial, TLS: c.tls, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			e.To = c.to
			if o := es.Send(t.Context(), e); o.Class != c.class || !strings.Contains(o.Text, c.says) || o.Sick != (c.class == Away) {
				t.Errorf("%s: %v", c.to, o)
			}
			es.Close()
		}
		f.Close()
		s.Close()
		<-done
	})
}

// A receiver that answers 500 for ten hours, hangs for ten and breaks off for
// ten: nothing is lost, each comes with one ID and one body, and the other
// receiver has all of its webhooks at once.
func TestReceiverInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		began := time.Now()
		const period = 10 * time.Hour
		sick := &receiver{t: t, secret: testSecret, answer: func(w http.ResponseWriter, r *http.Request) {
			switch time.Since(began) / period {
			case 0:
				w.WriteHeader(http.StatusInternalServerError)
			case 1:
				<-r.Context().Done()
			case 2:
				panic(http.ErrAbortHandler)
			}
		}}
		well := &receiver{t: t, secret: testSecret}
		sick.serve(&n, "sick.example:80")
		well.serve(&n, "well.example:80")
		es, rule := endpoints(t, &n, hook("sick"), hook("well"))
		var all []schemas.Effect
		for i := range 20 {
			all = append(all, effects(t, rule, fmt.Sprint("ord_", i))...)
		}
		ends := deliverAll(t.Context(), es, all)
		for _, e := range all {
			v := sick
			if e.To == "well" {
				v = well
			}
			if o := ends[e.EffectID]; o.Class != Sent || v.calls[e.EffectID] == 0 || v.first[e.EffectID] != e.Payload {
				t.Errorf("%s for %s: %v, came %d times", e.EffectID, e.To, o, v.calls[e.EffectID])
			}
			if e.To == "well" && well.calls[e.EffectID] != 1 {
				t.Errorf("%s came %d times to a receiver that is well", e.EffectID, well.calls[e.EffectID])
			}
		}
		if d := well.last.Sub(began); d > 0 {
			t.Errorf("the receiver that is well waited %v", d)
		}
		total := 0
		for _, c := range sick.calls {
			total += c
		}
		// At first four and the troubles that close the gate, then one a pause.
		if most := len(sick.calls) + maxTroubles + 4 + 10 + int(3*period/lastPause); total > most {
			t.Errorf("the receiver in trouble was called %d times for %d webhooks, want at most %d", total, len(sick.calls), most)
		}
	})
}
