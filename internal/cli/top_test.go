package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/orderlog/orderlog/internal/status"
)

// figures answers as a process that runs since the epoch does: it gives the samples
// asked for, up to the second at hand, and tells each request's since.
type figures struct {
	now   int64
	since []string
}

func (f *figures) sample(second int64) status.Sample {
	return status.Sample{At: time.Unix(second, 0).UTC(), Version: "1.2.3", Uptime: status.Figure(second),
		Orders: status.Orders{Placed: status.Figure(second), Invoiced: 498.2, P50: 0.045, P99: 1.2, Oldest: 61},
		States: []status.State{{Name: "placed", Orders: 12}, {Name: "delivered", Orders: 4120}},
		Processors: []status.Processor{{Name: "order", Here: true, State: "Stable", In: 2048, Out: 4096, Transactions: 20, Lag: 7, Behind: 0.02},
			{Name: "voucher", State: "Empty", Lag: 1204, Behind: 95, CatchUp: 3}},
		Calendar: status.Calendar{Parked: 3, Deadlines: 12}, DeadLetters: status.DeadLetters{Open: 2, Oldest: 7200},
		Effects:  []status.Endpoint{{Name: "mail", Sent: 4, Pending: 1}},
		Downtime: &status.Downtime{Group: "order", Topic: "order-commands", Left: 604000},
		Problems: []status.Problem{{What: "voucher is 1m 35s behind", Do: "orderlog lag voucher"}}}
}

func (f *figures) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.since = append(f.since, r.FormValue("since"))
	since, _ := strconv.ParseInt(r.FormValue("since"), 10, 64)
	st := status.Status{Now: f.sample(f.now)}
	for s := max(since/1000+1, f.now-299); s <= f.now; s++ {
		st.Past = append(st.Past, f.sample(s))
	}
	f.now++
	json.NewEncoder(w).Encode(st)
}

func TestTopOnce(t *testing.T) {
	f := &figures{now: 1000}
	srv := httptest.NewServer(f)
	defer srv.Close()
	code, out, errs := run(t, Env{}, "top", "--once", "--url", srv.URL)
	if code != 0 {
		t.Fatalf("code %d: %s", code, errs)
	}
	for _, want := range []string{
		"orderlog  1.2.3  up 16m 40s  00:16:40 UTC\n",
		"look  voucher is 1m 35s behind  orderlog lag voucher\n",
		"placed/s      1,000  ", "half within    45ms  ", "99% within     1.2s  ",
		"delivered   4,120  ████████████",
		"order      Stable      2,048  4,096    20        0        7    20ms        0s\n",
		"voucher    Empty away      0      0     0        0    1,204  1m 35s      3.0s\n",
		"mail                   4.0        1      0s       0\n",
		"tried again 3 · deadlines 12 · paused 0 · overdue 0 · dead letters 2 for 2h\n       may stay down 7d (order)\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("colours without a terminal: %q", out)
	}

	code, out, _ = run(t, Env{}, "top", "--once", "--url", srv.URL, "-o", "json")
	var s status.Sample
	if err := json.Unmarshal([]byte(out), &s); code != 0 || err != nil || s.Orders.Placed != 1001 || s.Processors[1].Name != "voucher" {
		t.Errorf("code %d, %v, %s", code, err, out)
	}
}

// Only what has come since the last look is asked for, and what is old is let go.
func TestTopGoesOn(t *testing.T) {
	f := &figures{now: 1000}
	srv := httptest.NewServer(f)
	defer srv.Close()
	s := watcher(nil, nil, false, outputText)
	p := &top{s: s, at: srv.URL, http: srv.Client()}
	for range 3 {
		if _, err := p.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(f.since, " "); got != "0 1000000 1001000" {
		t.Errorf("asked for what came since %s", got)
	}
	if n := len(p.past); n != 300 || p.past[0].At.Unix() != 703 || p.past[n-1].At.Unix() != 1002 {
		t.Errorf("%d samples, from %v to %v", n, p.past[0].At, p.past[n-1].At)
	}
}

var colours = regexp.MustCompile(`\x1b\[[0-9]*m`)

// However narrow the terminal, lines fit but for sentences; NO_COLOR is obeyed.
func TestTopWidths(t *testing.T) {
	f := &figures{now: 1000}
	srv := httptest.NewServer(f)
	defer srv.Close()
	for _, width := range []int{52, 60, 79, 80, 100, 160} {
		for _, colour := range []bool{false, true} {
			s := watcher(nil, nil, true, outputText)
			s.set.noColor = !colour
			v, err := (&top{s: s, at: srv.URL, http: srv.Client()}).look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			if err := v.text(&b, width); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(b.String(), "\x1b"); got != colour {
				t.Errorf("width %d: coloured is %v, want %v", width, got, colour)
			}
			plain := colours.ReplaceAllString(b.String(), "")
			for line := range strings.Lines(plain) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, " \n")); n > width && !strings.HasPrefix(line, "look") {
					t.Errorf("width %d: %d columns in %q", width, n, line)
				}
			}
			for _, want := range []string{"placed/s", "voucher", "TO COME", "1m 35s", "delivered", "may stay down"} {
				if !strings.Contains(plain, want) {
					t.Errorf("width %d: no %q in\n%s", width, want, plain)
				}
			}
		}
	}
}

func TestTopFails(t *testing.T) {
	starting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "starting: wait", http.StatusServiceUnavailable)
	}))
	defer starting.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<!DOCTYPE html>")) }))
	defer page.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, c := range []struct {
		url  string
		code int
		says string
	}{
		{starting.URL, exitFailed, "503 Service Unavailable: starting: wait"},
		{page.URL, exitFailed, "something else than figures"},
		{gone.URL, exitFailed, "hint: does `orderlog up`"},
		{"ftp://there", exitUsage, `--url "ftp://there": want a URL`},
		{"http://", exitUsage, "hint: e.g. --url http://127.0.0.1:8080"},
	} {
		for _, once := range []string{"--once", "--once=false"} {
			code, out, errs := run(t, Env{}, "top", once, "--url", c.url)
			if code != c.code || !strings.Contains(errs, c.says) || out != "" {
				t.Errorf("%s %s: code %d, %q, %q; want %d and %q", c.url, once, code, out, errs, c.code, c.says)
			}
		}
	}
}

func TestStatusURL(t *testing.T) {
	for typed, want := range map[string]string{
		"http://127.0.0.1:8080":   "http://127.0.0.1:8080/status.json",
		":8080":                   "http://127.0.0.1:8080/status.json",
		"orders-2:8080":           "http://orders-2:8080/status.json",
		"https://there/orderlog/": "https://there/orderlog/status.json",
	} {
		if got, err := statusURL(typed); err != nil || got != want {
			t.Errorf("%s is at %s, %v; want %s", typed, got, err, want)
		}
	}
}
