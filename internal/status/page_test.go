package status

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestChart(t *testing.T) {
	at := time.Unix(1000, 0)
	samples := []*Sample{}
	for i, v := range []Figure{unknown, 2, 4, unknown, 3} {
		samples = append(samples, &Sample{At: at.Add(time.Duration(i) * Kept / 4), Orders: Orders{Placed: v}})
	}
	c := newChart("id", "title", rates, samples, series{"placed", true, func(s *Sample) Figure { return s.Orders.Placed }})
	l := c.Lines[0]
	if c.Top != "5.0" || c.Half != "2.5" || l.Now != "3.0" || l.Most != "4.0" {
		t.Errorf("%+v", c)
	}
	if l.Path != "M250 120.0L500 40.0M1000 80.0" || l.Area != "M250 200L250 120.0L500 40.0L500 200ZM1000 200L1000 80.0L1000 200Z" {
		t.Errorf("path %s, area %s", l.Path, l.Area)
	}
	for _, c := range []struct {
		nice    func(float64) float64
		v, want float64
	}{
		{nice, 0, 1}, {nice, 1, 1}, {nice, 1.1, 2}, {nice, 3, 5}, {nice, 6, 10}, {nice, 0.03, 0.05}, {nice, 1204, 2000},
		{niceTime, 0, 1}, {niceTime, 0.07, 0.1}, {niceTime, 21, 60}, {niceTime, 61, 120}, {niceTime, 2000, 3600}, {niceTime, 90000, 172800}, {niceTime, 200000, 432000},
	} {
		if got := c.nice(c.v); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("the edge above %v is %v, want %v", c.v, got, c.want)
		}
	}
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.rec.Handler()
		for _, path := range []string{"/", "/status.json"} {
			if got := get(h, path); got.Code != 503 {
				t.Errorf("%s answers %d before the first sample", path, got.Code)
			}
		}
		w.letters.WithLabelValues("order", "refused").Set(1)
		w.pending.WithLabelValues("<script>alert(1)</script>").Set(1)
		for range 20 {
			w.second(5, 5)
		}
		var st Status
		body := get(h, "/status.json")
		if err := json.Unmarshal(body.Body.Bytes(), &st); err != nil || body.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%v in %s", err, body.Body)
		}
		if len(st.Past) != 0 || !st.Now.At.Equal(w.rec.Now().At) || !near(st.Now.Orders.Placed, 5, 1e-9) {
			t.Errorf("now %+v", st)
		}
		last := get(h, "/status.json?since="+strconv.FormatInt(st.Now.At.Add(-3*Every).UnixMilli(), 10))
		if err := json.Unmarshal(last.Body.Bytes(), &st); err != nil || len(st.Past) != 3 {
			t.Errorf("%d samples of the last three seconds: %v", len(st.Past), err)
		}
		if bad := get(h, "/status.json?since=yesterday"); bad.Code != 400 {
			t.Errorf("yesterday is answered with %d", bad.Code)
		}
		if other := get(h, "/other"); other.Code != 404 {
			t.Errorf("/other is answered with %d", other.Code)
		}

		page := get(h, "/")
		text := page.Body.String()
		for _, want := range []string{"1 dead letter waits for somebody", "orderlog dlq groups", "<title>! orderlog</title>", "&lt;script&gt;alert(1)", `<path class="line1" d="M`, "<th scope=\"row\">order</th>"} {
			if !strings.Contains(text, want) {
				t.Errorf("the page does not say %q", want)
			}
		}
		// The policy names by its hash what the page has inline, and nothing else is there.
		csp := page.Header().Get("Content-Security-Policy")
		for tag, hash := range map[string]string{"style": between(text, "<style>", "</style>"), "script": between(text, "<script>", "</script>")} {
			if !strings.Contains(csp, tag+"-src 'sha256-"+digest(hash)+"'") {
				t.Errorf("the policy does not let the page's %s be: %s", tag, csp)
			}
		}
		for _, never := range []string{" style=", " onclick=", "http://", "https://", "ZgotmplZ", "%!"} {
			if strings.Contains(text, never) {
				t.Errorf("the page has %q", never)
			}
		}
	})
}

func between(text, begin, end string) string {
	_, text, _ = strings.Cut(text, begin)
	text, _, _ = strings.Cut(text, end)
	return text
}
