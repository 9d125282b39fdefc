package observability

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// prometheus is a real one.
type prometheus struct {
	url   string
	began time.Time
}

// scrape runs one that asks each job's only target every second, with the committed
// rules: all as they are, only sooner.
func scrape(t *testing.T, dir string, jobs map[string]string) prometheus {
	t.Helper()
	config := "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml, alerts.yml]\nscrape_configs:\n"
	for job, at := range jobs {
		config += fmt.Sprintf("  - {job_name: %s, static_configs: [{targets: [%q]}]}\n", job, at)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("prometheus.yml", config)
	sooner := map[string]*regexp.Regexp{"interval: 1s": regexp.MustCompile(`interval: \d+[sm]`), "lag_seconds:max > 5\n        for: 3s": regexp.MustCompile(`lag_seconds:max > 60\n        for: 2m`)}
	for _, name := range []string{"rules.yml", "alerts.yml"} {
		text, err := os.ReadFile(rules + name)
		if err != nil {
			t.Fatal(err)
		}
		for by, what := range sooner {
			text = what.ReplaceAll(text, []byte(by))
		}
		write(name, string(text))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that was free a moment ago
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	begin(t, exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address="+address))
	p := prometheus{"http://" + address, time.Now()}
	for job := range jobs {
		if job != "node" { // which has nothing to tell yet
			p.until(t, job+" is scraped", `up{job="`+job+`"} == 1`, true)
		}
	}
	return p
}

type series struct {
	Metric map[string]string
	Value  [2]any
	Values [][2]any
}

// ask queries Prometheus's API.
func (p prometheus) ask(ctx context.Context, path string, q url.Values, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return nil
}

func (p prometheus) now(ctx context.Context, query string) ([]series, error) {
	var d struct{ Result []series }
	err := p.ask(ctx, "/api/v1/query", url.Values{"query": {query}}, &d)
	return d.Result, err
}

// ever is what a query said at any second since Prometheus began.
func (p prometheus) ever(ctx context.Context, query string) ([]series, error) {
	var d struct{ Result []series }
	err := p.ask(ctx, "/api/v1/query_range", url.Values{"query": {query}, "step": {"1"},
		"start": {strconv.FormatInt(p.began.Unix(), 10)}, "end": {strconv.FormatInt(time.Now().Unix()+1, 10)}}, &d)
	return d.Result, err
}

// until waits until a query has an answer, or none.
func (p prometheus) until(t *testing.T, what, query string, some bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		got, err := p.now(t.Context(), query)
		if err == nil && len(got) > 0 == some {
			t.Logf("%5.1f s: %s", time.Since(p.began).Seconds(), what)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s: %v, %v", what, query, got, err)
		}
	}
}

func (p prometheus) number(t *testing.T, query string) float64 {
	t.Helper()
	got, err := p.now(t.Context(), query)
	if err != nil || len(got) != 1 {
		t.Fatalf("%s: %v, %v", query, got, err)
	}
	v, err := strconv.ParseFloat(fmt.Sprint(got[0].Value[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
