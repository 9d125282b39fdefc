package observability

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/app"
)

// orderlog is the program, and where one of it runs.
type orderlog struct {
	exe string
	at  app.Addresses
}

func build(t *testing.T, dir string) string {
	t.Helper()
	exe := filepath.Join(dir, "orderlog")
	if out, err := exec.Command("go", "build", "-o", exe, "github.com/orderlog/orderlog/cmd/orderlog").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return exe
}

// start runs it, with an endpoint that refuses the first webhooks.
func start(t *testing.T, dir string, args ...string) orderlog {
	t.Helper()
	o := orderlog{exe: build(t, dir)}
	var calls atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) <= 20 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(hook.Close)
	effects := filepath.Join(dir, "effects.yaml")
	text := "webhooks:\n  - name: erp\n    url: " + hook.URL + "\n    secrets: [whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=]\n"
	if err := os.WriteFile(effects, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(o.exe, append(args, "--data", filepath.Join(dir, "data"), "--http", "127.0.0.1:0", "--effects", effects, "--retry-schedule", "3s,3s,3s", "-o", "json")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin(t, cmd)
	if err := json.NewDecoder(out).Decode(&o.at); err != nil {
		t.Fatalf("orderlog %v: %v", args, err)
	}
	return o
}

// serveLag runs a lag exporter of its own, which looks every second, and says where
// it answers.
func (o orderlog) serveLag(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(o.exe, "lag", "--serve", "127.0.0.1:0", "--every", "1s", "-o", "json", "--brokers", strings.Join(o.at.Brokers, ","))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin(t, cmd)
	var said struct{ Metrics string }
	if err := json.NewDecoder(out).Decode(&said); err != nil {
		t.Fatalf("orderlog lag --serve: %v", err)
	}
	u, err := url.Parse(said.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// begin starts a command, and ends it with the test: politely, then by force.
func begin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(cmd.Path)+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		force := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		force.Stop()
		if t.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("%s said:\n%s", cmd.Path, text[max(0, len(text)-4000):])
			}
		}
		log.Close()
	})
}

// run has one of its commands done.
func (o orderlog) run(t *testing.T, args ...string) {
	t.Helper()
	args = append(args, "--brokers", strings.Join(o.at.Brokers, ","), "--registry", o.at.Registry)
	if out, err := exec.CommandContext(t.Context(), o.exe, args...).CombinedOutput(); err != nil {
		t.Fatalf("orderlog %v: %v\n%s", args, err, out)
	}
}
