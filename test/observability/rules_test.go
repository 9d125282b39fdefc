package observability

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/orderlog/orderlog/internal/cli"
)

const (
	root     = "../.."
	rules    = root + "/deploy/prometheus/"
	runbooks = root + "/docs/runbooks/"
	repo     = "https://github.com/orderlog/orderlog/blob/main/"
)

// rule is one of Prometheus's rule files: an alert, or what is recorded.
type rule struct {
	Alert, Record, Expr string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T, file string) (all []rule) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for _, g := range f.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// promtool runs Prometheus's own checks and tests of the rules.
func TestPromtool(t *testing.T) {
	exe, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not there: Debian has it in the package prometheus")
	}
	for _, args := range [][]string{
		{"check", "config", rules + "prometheus.yml"},
		{"test", "rules", rules + "alerts_test.yml", rules + "alerts_days_test.yml"},
	} {
		if out, err := exec.CommandContext(t.Context(), exe, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// Every alert says what is the matter, has a page that says what to do, a dashboard
// that is there, and tests of it firing and of it not firing.
func TestAlerts(t *testing.T) {
	var tests string
	for _, f := range []string{"alerts_test.yml", "alerts_days_test.yml"} {
		text, err := os.ReadFile(rules + f)
		if err != nil {
			t.Fatal(err)
		}
		tests += string(text)
	}
	index, err := os.ReadFile(runbooks + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{"README.md": true}
	for _, a := range readRules(t, rules+"alerts.yml") {
		if !strings.HasPrefix(a.Alert, "Orderlog") || len(a.Annotations["summary"]) < 20 {
			t.Errorf("%q: summary %q", a.Alert, a.Annotations["summary"])
		}
		if s := a.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		page, ok := strings.CutPrefix(a.Annotations["runbook_url"], repo+"docs/runbooks/")
		text, err := os.ReadFile(runbooks + page)
		if !ok || err != nil || !strings.Contains(string(text), "`"+a.Alert+"`") || !strings.Contains(string(index), "`"+a.Alert+"` | "+a.Labels["severity"]+" | ") {
			t.Errorf("%s: its runbook %s: %v; it and the index must name it and %s", a.Alert, a.Annotations["runbook_url"], err, a.Labels["severity"])
		}
		used[page] = true
		board, _, _ := strings.Cut(strings.TrimPrefix(a.Annotations["dashboard"], "/d/"), "?")
		if _, err := os.Stat(filepath.Join(boards, board+".json")); err != nil {
			t.Errorf("%s: %v", a.Alert, err)
		}
		name := `alertname="` + a.Alert + `"`
		fires := regexp.MustCompile(regexp.QuoteMeta(name)+`[^\n]*exp_samples: \[\{`).FindAllString(tests, -1)
		rests := regexp.MustCompile(regexp.QuoteMeta(name)+`[^\n]*exp_samples: \[\]`).FindAllString(tests, -1)
		if len(fires) < 1 || len(rests) < 1 {
			t.Errorf("%s: %d tests where it fires, %d where it does not", a.Alert, len(fires), len(rests))
		}
	}
	pages, err := filepath.Glob(runbooks + "*.md")
	if err != nil || len(pages) < 2 {
		t.Fatal(pages, err)
	}
	for _, p := range pages {
		if !used[filepath.Base(p)] {
			t.Errorf("%s: no alert leads there", p)
		}
	}
}

// Each runbook has its four parts, and the commands in it are those that there are.
func TestRunbooks(t *testing.T) {
	pages, err := filepath.Glob(runbooks + "*.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	stand := strings.NewReplacer("TIME", "2026-01-31T08:00:00Z", `"..."`, "why")
	for _, p := range pages {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(p) != "README.md" {
			var heads []string
			for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(string(text), -1) {
				heads = append(heads, m[1])
			}
			if want := []string{"What it means", "What to look at", "What to do", "How to tell it is over"}; !slices.Equal(heads, want) {
				t.Errorf("%s has the parts %v", p, heads)
			}
		}
		for _, m := range regexp.MustCompile("`orderlog ([^`]+)`").FindAllStringSubmatch(string(text), -1) {
			commands++
			if err := check(strings.Fields(stand.Replace(m[1]))); err != nil {
				t.Errorf("%s: orderlog %s: %v", p, m[1], err)
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(runbooks, m[1])); err != nil {
				t.Errorf("%s links to %v", p, err)
			}
		}
	}
	if commands < 30 {
		t.Errorf("only %d commands were looked at", commands)
	}
}

// check says what is wrong with a command line; words that stand for something are
// taken as they are.
func check(args []string) error {
	for i, a := range args {
		if a == ">" {
			args = args[:i]
			break
		}
	}
	return cli.Check(args, nil)
}
