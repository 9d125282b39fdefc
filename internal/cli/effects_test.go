package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Commands of scripts about effects; see TestScripts.

// hooks are the webhooks' receivers of a script, by the last part of their address.
type hooks struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]int
	calls   map[string][]string // webhook-id of each
}

func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := path.Base(r.URL.Path)
	h.calls[name] = append(h.calls[name], r.Header.Get("webhook-id"))
	w.WriteHeader(h.answers[name])
}

type hooksKey struct{}

// newHooks opens them for a script.
func newHooks(env *testscript.Env) {
	h := &hooks{answers: map[string]int{}, calls: map[string][]string{}}
	h.Server = httptest.NewServer(h)
	env.Defer(h.Close)
	env.Setenv("HOOKS", h.URL)
	env.Values[hooksKey{}] = h
}

func hooksOf(ts *testscript.TestScript) *hooks { return ts.Value(hooksKey{}).(*hooks) }

func scriptAnswer(ts *testscript.TestScript, _ bool, args []string) {
	code, err := strconv.Atoi(args[1])
	ts.Check(err)
	h := hooksOf(ts)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[args[0]] = code
}

func scriptCalls(ts *testscript.TestScript, _ bool, args []string) {
	h := hooksOf(ts)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range h.calls[args[0]] {
		fmt.Fprintln(ts.Stdout(), id)
	}
}

// scriptShop runs all processors, and the broker and registry that the script goes on with.
func scriptShop(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(file, []byte(os.Expand(ts.ReadFile(file), ts.Getenv)), 0o600))
	cfg, err := effect.Load(file)
	ts.Check(err)
	a, err := app.New(app.Config{Partitions: 2, Dir: ts.MkAbs("data"), Effects: &cfg})
	ts.Check(err)
	ts.Check(a.Start(context.Background()))
	ts.Defer(func() { ts.Check(a.Stop()) })
	ts.Setenv("ORDERLOG_BROKERS", a.Addresses().Brokers[0])
	ts.Setenv("ORDERLOG_REGISTRY", a.Addresses().Registry)
}

// scriptSoon repeats a command until it has said something. Only what it said last is
// written.
func scriptSoon(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	env := Env{Stdin: strings.NewReader(""), Dir: ts.MkAbs("."), ConfigDir: ts.MkAbs("xdg"), Getenv: ts.Getenv, Now: time.Now}
	for up := time.Now().Add(30 * time.Second); ; {
		var out, errs shared
		env.Stdout, env.Stderr = &out, &errs
		Main(context.Background(), args[1:], env)
		if want.MatchString(out.String()) {
			fmt.Fprint(ts.Stdout(), out.String())
			return
		}
		if time.Now().After(up) {
			ts.Fatalf("never said %q, but\n%s%s", args[0], out.String(), errs.String())
		}
	}
}

func scriptLet(ts *testscript.TestScript, _ bool, args []string) {
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("nothing is like %q", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// jsonLines writes each line of a file as a record's body.
func jsonLines[T any](ts *testscript.TestScript, file, topic string) {
	for line := range strings.Lines(ts.ReadFile(file)) {
		body := new(T)
		ts.Check(json.Unmarshal([]byte(line), body))
		value, err := scriptSerde(ts).Encode(nil, topic, body)
		ts.Check(err)
		produce(ts, &kgo.Record{Topic: topic, Key: []byte(schemas.KeyOf(body)), Value: value})
	}
}

func scriptAsked(ts *testscript.TestScript, _ bool, args []string) {
	jsonLines[schemas.Effect](ts, args[0], topics.Effects)
}

func scriptLedger(ts *testscript.TestScript, _ bool, args []string) {
	jsonLines[schemas.LedgerEntry](ts, args[0], topics.EffectsTable)
}
