package compose

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// inside is where a path of a service lies in this folder.
func inside(t *testing.T, s types.ServiceConfig, path string) string {
	t.Helper()
	for _, v := range s.Volumes {
		if rest, ok := strings.CutPrefix(path, v.Target); ok && v.Type == types.VolumeTypeBind {
			return filepath.Join(v.Source, rest)
		}
	}
	t.Fatalf("%s: nothing is mounted at %s", s.Name, path)
	return ""
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// Prometheus asks every instance, where it answers, and reads rules that are there.
func TestPrometheus(t *testing.T) {
	all := services(t)
	s := all["prometheus"]
	var config struct {
		Rules   []string `yaml:"rule_files"`
		Scrapes []struct {
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	file := inside(t, s, strings.TrimPrefix(s.Command[0], "--config.file="))
	readYAML(t, file, &config)
	for _, r := range config.Rules {
		if _, err := os.Stat(filepath.Join(filepath.Dir(file), r)); err != nil {
			t.Error(err)
		}
	}
	var want, got []string
	for name, s := range all {
		if ours(s) && lasting(s) {
			want = append(want, name+environment(s)["ORDERLOG_HTTP"])
		}
	}
	for _, c := range config.Scrapes {
		for _, static := range c.Static {
			got = append(got, static.Targets...)
		}
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) || len(got) == 0 || len(config.Rules) == 0 {
		t.Errorf("it asks %v and reads %v, expected %v and rules", got, config.Rules, want)
	}
}

// Grafana finds Prometheus, the dashboards, and the first of them.
func TestGrafana(t *testing.T) {
	all := services(t)
	s := all["grafana"]
	provisioning := inside(t, s, "/etc/grafana/provisioning")
	var sources struct {
		Sources []struct{ Type, URL string } `yaml:"datasources"`
	}
	readYAML(t, filepath.Join(provisioning, "datasources/prometheus.yml"), &sources)
	for _, d := range sources.Sources {
		u, err := url.Parse(d.URL)
		if err != nil || !slices.Contains(listening(t, all[u.Hostname()]), u.Port()) {
			t.Errorf("nothing listens at %s", d.URL)
		}
	}
	if len(sources.Sources) != 1 || sources.Sources[0].Type != "prometheus" {
		t.Errorf("data sources: %+v", sources)
	}
	var boards struct {
		Providers []struct{ Options struct{ Path string } }
	}
	readYAML(t, filepath.Join(provisioning, "dashboards/orderlog.yml"), &boards)
	for _, p := range boards.Providers {
		files, err := filepath.Glob(filepath.Join(inside(t, s, p.Options.Path), "*.json"))
		if err != nil || len(files) != 5 {
			t.Errorf("%s has the dashboards %v, %v", p.Options.Path, files, err)
		}
	}
	home, err := os.ReadFile(inside(t, s, environment(s)["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]))
	if err != nil || !json.Valid(home) {
		t.Errorf("the first dashboard: %v, JSON: %t", err, json.Valid(home))
	}
}
