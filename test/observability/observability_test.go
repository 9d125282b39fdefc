// Package observability holds no code: its tests have a real Prometheus scrape
// orderlog while orders flow, a processor stands still and catches up, a record is
// given up and another is tried again, and then ask it every query that dashboards,
// alerts and rules have.
package observability

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/test/kafka"
)

const boards = root + "/deploy/grafana/dashboards"

// mayBeEmpty are queries that may have no answer in this run, and why. Whoever is not
// here must have one.
var mayBeEmpty = map[string]string{
	"orderlog_transactions_aborted_total": "nothing is aborted when nothing fails",
}

// standing is the group that is stopped and caught up again.
const standing = "credit"

func TestEveryQuery(t *testing.T) {
	if os.Getenv("ORDERLOG_TEST_OBSERVABILITY") == "" {
		t.Skip("minutes with a real Prometheus: make test-observability")
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Fatal("prometheus is not there: Debian has it in the package of that name")
	}
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		everyQuery(t, dir, start(t, dir, "up", "--port", "0", "--registry-port", "0"))
	})
	t.Run("kafka", func(t *testing.T) {
		c := kafka.Run(t, kafka.Options{Own: true}) // whose topics are nobody else's
		registry, err := devbroker.Start(t.Context(), devbroker.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := registry.Stop(); err != nil {
				t.Error(err)
			}
		})
		dir, at := t.TempDir(), []string{"--brokers", strings.Join(c.Brokers(), ","), "--registry", registry.RegistryURL()}
		o := orderlog{exe: build(t, dir), at: app.Addresses{Brokers: c.Brokers(), Registry: registry.RegistryURL()}}
		o.run(t, "topics", "apply", "--partitions", "4")
		everyQuery(t, dir, start(t, dir, append([]string{"run", "all"}, at...)...))
	})
}

// everyQuery has something of everything happen, and asks.
func everyQuery(t *testing.T, dir string, o orderlog) {
	file := filepath.Join(dir, "node", "metrics")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	node := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file)))) // as node_exporter tells what stands in a file
	t.Cleanup(node.Close)
	p := scrape(t, dir, map[string]string{"orderlog": o.at.HTTP, "lag": o.serveLag(t), "node": strings.TrimPrefix(node.URL, "http://")})

	o.run(t, "produce", "--orders", "600", "--rate", "60", "--seed", "1", "--undecodable", "0.02", "--sold-out", "0.05", "--out-of-credit", "0.1", "--cancels", "0.05", "--deliver")
	t.Logf("placed to invoiced: p50 %.3f s", p.number(t, `histogram_quantile(0.5, sum by (le) (orderlog_order_invoice_duration_seconds_bucket))`))
	o.run(t, "replay", "pause", standing, "--reason", "a test")
	stopped := time.Now()
	o.run(t, "produce", "--orders", "300", "--seed", "2", "--no-setup")
	said := p.catchUp(t, o)
	o.run(t, "retries", "pause", "--group", "order", "--reason", "a test") // the deadlines of orders that wait for credit
	p.until(t, "deadlines are paused", `sum(orderlog_calendar_entries{paused="true"}) > 0`, true)
	o.run(t, "retries", "resume", "--group", "order")

	p.until(t, "the alert fires", `ALERTS{alertname="OrderlogLagSecondsHigh", alertstate="firing", job="orderlog", consumergroup="`+standing+`"}`, true)
	behind := p.number(t, `max(kafka_consumergroup_lag_seconds{consumergroup="`+standing+`"})`)
	if since := time.Since(stopped).Seconds(); behind > since+2 || behind < 5 {
		t.Errorf("%.1f s after %s was stopped it is %.1f s behind", since, standing, behind)
	}
	// It rises as the clock does: the record that waits was written when the lag was 0.
	written := fmt.Sprintf(`max(orderlog_lag_exporter_last_success_timestamp_seconds{job="orderlog"}) - max(kafka_consumergroup_lag_seconds{job="orderlog", consumergroup=%q})`, standing)
	look := `max(orderlog_lag_exporter_last_success_timestamp_seconds{job="orderlog"})`
	at, first := p.number(t, look), p.number(t, written)
	p.until(t, "another look at lags", fmt.Sprintf("%s > %f", look, at), true)
	if again := p.number(t, written); math.Abs(again-first) > 1 {
		t.Errorf("the record that waits was written at %.1f, and a look later at %.1f", first, again)
	}
	o.run(t, "replay", "resume", standing)
	p.until(t, "it has caught up", `max(kafka_consumergroup_lag_records{consumergroup="`+standing+`"}) == 0`, true)
	p.until(t, "the alert is over", `ALERTS{alertname="OrderlogLagSecondsHigh", consumergroup="`+standing+`"}`, false)
	p.until(t, "a dead letter", `max(orderlog_dead_letters_open) > 0`, true)
	p.until(t, "a retry has come back", `sum(orderlog_calendar_dispatched_total{kind="retry"}) > 0`, true)
	o.run(t, "verify", "--metrics-file", file)
	p.until(t, "what verify found", `orderlog_verify_ok == 1`, true)
	p.until(t, "rules of days have been computed", `job:orderlog_order_invoice_slow:ratio_rate30d`, true)
	said()

	p.rulesWork(t)
	p.answersRules(t)
	p.answersBoards(t)
}

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

// catchUp has a group of somebody else's read the orders, which are written, at a pace
// that it keeps: orderlog's own groups catch up faster than anybody could foretell it.
// What it returns waits for the end, and compares what was said on the way with it.
func (p prometheus) catchUp(t *testing.T, o orderlog) func() {
	t.Helper()
	const group, topic, each = "report", "order-commands", 200 * time.Millisecond
	cl, err := kgo.NewClient(kgo.SeedBrokers(o.at.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	adm := kadm.NewClient(cl)
	t.Cleanup(adm.Close)
	ends, err := adm.ListCommittedOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	const steps = 150 // 30 s
	done := make(chan error, 1)
	go func() {
		for i, tick := int64(0), time.Tick(each); i <= steps; i++ {
			at := kadm.Offsets{}
			ends.Each(func(l kadm.ListedOffset) { at.AddOffset(l.Topic, l.Partition, l.Offset*i/steps, -1) })
			if err := adm.CommitAllOffsets(t.Context(), group, at); err != nil {
				done <- err
				return
			}
			<-tick
		}
		done <- nil
	}()
	return func() {
		t.Helper()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		const estimate = `kafka_consumergroup_catch_up_seconds{job="lag", consumergroup="report"}`
		p.until(t, "the other group has caught up", estimate+` == 0`, true)
		got, err := p.ever(t.Context(), estimate)
		if err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		end, looked := 0.0, 0
		for _, v := range got[0].Values {
			if v[1] == "0" && looked > 0 {
				break
			}
			looked++
			end = v[0].(float64)
		}
		end++
		checked := 0
		for _, v := range got[0].Values {
			said, err := strconv.ParseFloat(v[1].(string), 64)
			if err != nil {
				t.Fatal(err)
			}
			// From when it has been watched for long enough, until there is not much to tell.
			if took := end - v[0].(float64); took < 20 && took > 8 {
				if checked++; said < 0.7*took || said > 1.3*took {
					t.Errorf("it was said that the group would catch up in %.1f s, and it took %.1f", said, took)
				}
			}
		}
		if checked < 5 {
			t.Errorf("only %d estimates were looked at: %v", checked, got[0].Values)
		}
		t.Logf("%d estimates of a catch-up are within 30 %%", checked)
	}
}

// rulesWork asks whether Prometheus could compute every rule, and what the alerts
// that fired say.
func (p prometheus) rulesWork(t *testing.T) {
	t.Helper()
	var d struct {
		Groups []struct {
			Rules []struct {
				Name, Health, LastError string
				Alerts                  []struct{ Annotations map[string]string }
			}
		}
	}
	if err := p.ask(t.Context(), "/api/v1/rules", nil, &d); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range d.Groups {
		for _, r := range g.Rules {
			n++
			if r.Health != "ok" {
				t.Errorf("rule %s: %s %s", r.Name, r.Health, r.LastError)
			}
			for _, a := range r.Alerts {
				t.Logf("%s says: %s", r.Name, a.Annotations["summary"])
				if text := fmt.Sprint(a.Annotations); strings.Contains(text, "error") || strings.Contains(text, "no value") {
					t.Errorf("%s says: %s", r.Name, text)
				}
			}
		}
	}
	if want := len(readRules(t, rules+"alerts.yml")) + len(readRules(t, rules+"rules.yml")); n != want {
		t.Errorf("Prometheus has %d rules of %d", n, want)
	}
}

// selector is a metric with its labels.
var selector = regexp.MustCompile(`\b(?:job:|job_consumergroup:)?(?:orderlog|kafka)_[a-z0-9_:]+(?:\{[^}]*\})?`)

// answersRules asks for every series that a rule looks at: an alert that does not
// fire is empty, but what it looks at must be there.
func (p prometheus) answersRules(t *testing.T) {
	t.Helper()
	for _, file := range []string{"alerts.yml", "rules.yml"} {
		for _, r := range readRules(t, rules+file) {
			found := selector.FindAllString(r.Expr, -1)
			if len(found) == 0 {
				t.Errorf("%s%s looks at nothing", r.Alert, r.Record)
			}
			for _, s := range found {
				p.answered(t, r.Alert+r.Record, s)
			}
			if _, err := p.ever(t.Context(), r.Expr); err != nil {
				t.Errorf("%s%s: %v", r.Alert, r.Record, err)
			}
		}
	}
}

// answered fails where a query errs, or never has an answer and should.
func (p prometheus) answered(t *testing.T, who, query string) {
	t.Helper()
	got, err := p.ever(t.Context(), query)
	if err != nil {
		t.Errorf("%s: %s: %v", who, query, err)
		return
	}
	for _, s := range got {
		for _, v := range s.Values {
			if v[1] != "NaN" {
				return
			}
		}
	}
	for part := range mayBeEmpty {
		if strings.Contains(query, part) {
			return
		}
	}
	t.Errorf("%s: nothing ever answers %s", who, query)
}

// board is what is asked of a dashboard's JSON.
type board struct {
	Title  string
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Annotations struct{ List []struct{ Name, Expr string } }
}

var labelValues = regexp.MustCompile(`^label_values\((.*), ([a-z_]+)\)$`)

// answersBoards runs every query of every panel, as Grafana would with everything
// chosen, and finds something to choose for every variable.
func (p prometheus) answersBoards(t *testing.T) {
	t.Helper()
	choose := strings.NewReplacer("$job", "orderlog", "$processor", "order", "$consumergroup", ".*", "$instance", ".*", "$__rate_interval", "10s")
	files, err := filepath.Glob(boards + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	queries := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, panel := range b.Panels {
			for _, q := range panel.Targets {
				queries++
				p.answered(t, b.Title+": "+panel.Title, choose.Replace(q.Expr))
			}
		}
		for _, v := range b.Templating.List {
			if v.Type != "query" {
				continue
			}
			m := labelValues.FindStringSubmatch(v.Query)
			if m == nil {
				t.Fatalf("%s: variable %s asks %s", b.Title, v.Name, v.Query)
			}
			got, err := p.ever(t.Context(), choose.Replace(m[1]))
			if err != nil || len(got) == 0 || got[0].Metric[m[2]] == "" {
				t.Errorf("%s: nothing to choose for %s: %v, %v", b.Title, v.Name, got, err)
			}
		}
		for _, a := range b.Annotations.List {
			p.answered(t, b.Title+": "+a.Name, a.Expr)
		}
	}
	t.Logf("%d queries of %d dashboards", queries, len(files))
}
