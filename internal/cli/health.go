package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthWait is how long a process may take to say how it is.
const healthWait = 3 * time.Second

func newHealth(s *session) *cobra.Command {
	var cfg struct {
		http string
		live bool
	}
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a process of orderlog run whether it is ready",
		Long: `Asks the process that listens at --http whether all its processors have what they
need, as /readyz says, and fails if not. It is what a container's health check
runs, where there is neither a shell nor curl.`,
		Args:    nothing(),
		Example: example("orderlog health --http :8080", "orderlog health --live"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/readyz"
			if cfg.live {
				path = "/livez"
			}
			text, err := s.probe(cmd.Context(), cfg.http, path)
			if err != nil {
				return err
			}
			return s.show(map[string]string{"status": "ok"}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, text)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&cfg.http, "http", ":8080", "`ADDRESS` that orderlog run listens at, without a host: on this machine")
	cmd.Flags().BoolVar(&cfg.live, "live", false, "ask only whether it does anything at all, as /livez says")
	settable(cmd, "http")
	return cmd
}

// probe returns what the process at address says about itself.
func (s *session) probe(ctx context.Context, address, path string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", hinted(usagef("--http %q: want HOST:PORT or :PORT", address), "e.g. --http :8080")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return "", &usageError{err}
	}
	resp, err := s.httpClient().Do(req)
	if err != nil {
		return "", hinted(err, "does `orderlog run` run there, with --http?")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s: %s", path, resp.Status, text)
	}
	return text, nil
}
