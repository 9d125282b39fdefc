package observability

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const boards = root + "/deploy/grafana/dashboards"

// mayBeEmpty are queries that may have no answer in this run, and why. Whoever is not
// here must have one.
var mayBeEmpty = map[string]string{
	"orderlog_transactions_aborted_total": "nothing is aborted when nothing fails",
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
