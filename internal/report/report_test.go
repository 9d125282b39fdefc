package report

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getsentry/sentry-go"
)

var failure = Failure{Kind: Panic, Processor: "order", Cause: "panic", Type: "runtime.boundsError", Stack: "goroutine 1 [running]:\nmain.main()",
	Topic: "order-commands", Partition: 3, Offset: 17, Order: "ord_1", TraceID: "0af7651916cd43dd8448eb211c80319c"}

// The whole way: what arrives says where it was and what it was, and nothing of this
// machine but its name.
func TestSentry(t *testing.T) {
	got := make(chan string, 10)
	project := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.URL.Path + "\n" + string(b)
	}))
	defer project.Close()
	env := map[string]string{"SENTRY_DSN": strings.Replace(project.URL, "//", "//public@", 1) + "/42", "SENTRY_ENVIRONMENT": "test"}
	s, err := FromEnv(func(name string) string { return env[name] }, "v1")
	if err != nil {
		t.Fatal(err)
	}
	s.Report(failure)
	s.Close()
	path, body, _ := strings.Cut(<-got, "\n")
	if path != "/api/42/envelope/" {
		t.Errorf("it went to %s", path)
	}
	var e map[string]any
	for line := range strings.Lines(body) {
		if strings.Contains(line, `"message"`) {
			json.Unmarshal([]byte(line), &e)
		}
	}
	for _, k := range []string{"event_id", "timestamp", "sdk", "platform", "server_name"} {
		if e[k] == nil {
			t.Errorf("no %s in %s", k, body)
		}
		delete(e, k)
	}
	delete(e, "user") // empty
	const want = `{"contexts":{"failure":{"like_this_not_reported":0,"record":"order-commands/3/17","stack":"goroutine 1 [running]:\nmain.main()","type":"runtime.boundsError"}},` +
		`"environment":"test","fingerprint":["panic","order","panic","runtime.boundsError"],"level":"error","message":"order: panic","release":"orderlog@v1",` +
		`"tags":{"cause":"panic","kind":"panic","order":"ord_1","processor":"order","topic":"order-commands","trace_id":"0af7651916cd43dd8448eb211c80319c"}}`
	if text, _ := json.Marshal(e); string(text) != want {
		t.Errorf("event %s\nwant  %s", text, want)
	}
}

func TestNobodyIsTold(t *testing.T) {
	s, err := FromEnv(func(string) string { return "" }, "v1")
	if s != nil || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	s.Close()
	if _, err := FromEnv(func(string) string { return "https://secret" }, "v1"); err == nil || !strings.HasPrefix(err.Error(), "SENTRY_DSN: ") || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// A flood of failures is told of now and then, and of many kinds not all.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := []*sentry.Event{}
		s, err := newSentry(sentry.ClientOptions{Transport: transport(func(e *sentry.Event) { told = append(told, e) })})
		if err != nil {
			t.Fatal(err)
		}
		for range 130 {
			s.Report(failure)
			time.Sleep(time.Second)
		}
		var more []any
		for _, e := range told {
			more = append(more, e.Contexts["failure"]["like_this_not_reported"])
		}
		if got := fmt.Sprint(more); got != "[0 59 59]" {
			t.Errorf("told with %s not reported", got)
		}
		told = nil
		for i := range 1000 {
			s.Report(Failure{Kind: DeadLetter, Processor: "order", Cause: fmt.Sprint(i)})
		}
		if len(told) != maxKinds-1 {
			t.Errorf("%d kinds", len(told))
		}
	})
}

// transport gives events to a test.
type transport func(*sentry.Event)

func (f transport) SendEvent(e *sentry.Event)           { f(e) }
func (transport) Flush(time.Duration) bool              { return true }
func (transport) FlushWithContext(context.Context) bool { return true }
func (transport) Configure(sentry.ClientOptions)        {}
func (transport) Close()                                {}
