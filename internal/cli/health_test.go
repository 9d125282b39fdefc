package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			http.Error(w, "order: not ready", http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path == "/livez" {
			w.Write([]byte("ok\n"))
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	at := server.Listener.Addr().String()
	_, port, _ := strings.Cut(at, ":")
	env := func(name string) string {
		if name == "ORDERLOG_HTTP" {
			return "0.0.0.0:" + port
		}
		return ""
	}
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"alive", []string{"--live", "--http", at}, exitDone, "ok\n"},
		{"alive, no host", []string{"--live", "--http", ":" + port}, exitDone, "ok\n"},
		{"alive, said by a variable", []string{"--live"}, exitDone, "ok\n"},
		{"JSON", []string{"--live", "-o", "json"}, exitDone, "{\n  \"status\": \"ok\"\n}\n"},
		{"not ready", nil, exitFailed, "/readyz answers 503 Service Unavailable: order: not ready\n"},
		{"nobody", []string{"--http", "127.0.0.1:1"}, exitFailed, "hint: does `orderlog run` run there"},
		{"no address", []string{"--http", "8080"}, exitUsage, "want HOST:PORT or :PORT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := run(t, Env{Getenv: env}, append([]string{"health"}, tt.args...)...)
			if code != tt.code || !strings.Contains(out+errs, tt.want) {
				t.Errorf("exit code %d: %q, want %d: %q", code, out+errs, tt.code, tt.want)
			}
		})
	}
}
