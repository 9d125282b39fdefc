package dashboards

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const committed = "../../deploy/grafana/dashboards"

// The committed files are what the code says, and nothing else lies beside them.
func TestCommitted(t *testing.T) {
	var want []string
	for _, b := range Boards() {
		raw, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(committed, b.UID+".json")
		want = append(want, file)
		got, err := os.ReadFile(file)
		if err != nil || string(got) != string(raw) {
			t.Errorf("%s is stale (%v): make dashboards", file, err)
		}
	}
	got, err := filepath.Glob(filepath.Join(committed, "*"))
	if slices.Sort(want); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; expected %v", got, err, want)
	}
}

// Grafana's own schema takes every board, and knows every field in it.
func TestSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for _, b := range Boards() {
		raw, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := strict(raw); err != nil {
			t.Errorf("%s: %v", b.UID, err)
		}
		bad := strings.Replace(string(raw), `"drawStyle"`, `"drawnStyle"`, 1)
		if strict([]byte(bad)) == nil {
			t.Errorf("%s: the schema takes anything", b.UID)
		}
	}
}

// strict reads a dashboard, and tells what it has that the schema has not.
func strict(raw []byte) error {
	d := dashboard.NewDashboard() // the classic schema, which Grafana 10 reads, too
	err := d.UnmarshalJSONStrict(raw)
	if none, ok := err.(cog.BuildErrors); ok && len(none) == 0 { // it returns a nil of this type
		err = nil
	}
	return errors.Join(err, d.Validate())
}

// Panels neither overlap nor leave holes, and IDs are unique.
func TestGrid(t *testing.T) {
	for _, b := range Boards() {
		type cell struct{ x, y uint32 }
		taken, height, ids := map[cell]string{}, uint32(0), map[uint32]bool{}
		put := func(id uint32, title string, at dashboard.GridPos) {
			if ids[id] {
				t.Errorf("%s: two panels have ID %d", b.UID, id)
			}
			ids[id] = true
			if at.X+at.W > wide || at.W == 0 || at.H == 0 {
				t.Errorf("%s: %q does not fit: %+v", b.UID, title, at)
			}
			for x := at.X; x < at.X+at.W; x++ {
				for y := at.Y; y < at.Y+at.H; y++ {
					if other, yes := taken[cell{x, y}]; yes {
						t.Fatalf("%s: %q lies on %q", b.UID, title, other)
					}
					taken[cell{x, y}] = title
				}
			}
			height = max(height, at.Y+at.H)
		}
		for _, r := range b.place() {
			put(r.id, r.title, r.at)
			for _, p := range r.panels {
				put(p.id, p.Title, p.at)
			}
		}
		if full := int(wide * height); len(taken) != full {
			t.Errorf("%s: %d of %d cells are empty", b.UID, full-len(taken), full)
		}
	}
}

func each(do func(Board, Panel)) {
	for _, b := range Boards() {
		for _, r := range b.Rows {
			for _, p := range r.Panels {
				do(b, p)
			}
		}
	}
}

// Every panel says what it shows and what to do, in what unit, and is found by its
// title.
func TestPanels(t *testing.T) {
	units := regexp.MustCompile(`^(s|short|percentunit|bytes|Bps|suffix: \S+)$`)
	titles := map[string]bool{}
	each(func(b Board, p Panel) {
		name := b.UID + ": " + p.Title
		if titles[name] || p.Title == "" {
			t.Errorf("%s: a title twice, or none", name)
		}
		titles[name] = true
		if len(p.Says) < 60 || !strings.HasSuffix(p.Says, ".") {
			t.Errorf("%s says little: %q", name, p.Says)
		}
		if !units.MatchString(p.Unit) {
			t.Errorf("%s: unit %q", name, p.Unit)
		}
		if len(p.Queries) == 0 || p.Kind == Heat && len(p.Queries) > 1 {
			t.Errorf("%s: %d queries", name, len(p.Queries))
		}
		for _, q := range p.Queries {
			if q.Name == "" && p.Kind != Heat && p.Kind != Table {
				t.Errorf("%s: a series has no name: %s", name, q.Expr)
			}
			if q.Name != "" && p.Kind == Table && !units.MatchString(q.Unit) {
				t.Errorf("%s: column %s has unit %q", name, q.Name, q.Unit)
			}
		}
		for i := 1; i < len(p.Steps); i++ {
			if i > 1 && p.Steps[i].From <= p.Steps[i-1].From {
				t.Errorf("%s: steps do not rise: %v", name, p.Steps)
			}
		}
	})
}

// Each instance tells of the whole cluster: a sum over instances would count twice.
func TestTellsOfAll(t *testing.T) {
	twice := regexp.MustCompile(`sum(?: by \([^)]*\))? \(?(?:(?:rate|deriv|increase|clamp_min)\()*(?:kafka_|orderlog_dead_letters_)`)
	if !twice.MatchString(`sum by (x) (rate(kafka_y`) || twice.MatchString(`sum by (x) (max by (x, y) (kafka_y`) {
		t.Fatal("the rule sees nothing")
	}
	each(func(b Board, p Panel) {
		for _, q := range p.Queries {
			if twice.MatchString(q.Expr) {
				t.Errorf("%s: %s adds up what every instance tells: %s", b.UID, p.Title, q.Expr)
			}
		}
	})
}

// Colours of series and of steps are those that colour-blind people tell apart, and
// no name has two.
func TestColors(t *testing.T) {
	known := []string{blue, orange, vermilion, green, sky, pink, yellow, grey}
	names := map[string]string{}
	for _, c := range fixed {
		for _, n := range c.names {
			if names[n] != "" {
				t.Errorf("%s is %s and %s", n, names[n], c.color)
			}
			names[n] = c.color
		}
	}
	for _, b := range Boards() {
		raw, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range regexp.MustCompile(`#[0-9A-Fa-f]{6}`).FindAllString(string(raw), -1) {
			if !slices.Contains(known, c) {
				t.Errorf("%s: colour %s", b.UID, c)
			}
		}
		if named := regexp.MustCompile(`(?i)"(dark-|light-|semi-dark-|super-light-)?(red|green|yellow|blue|orange|purple)"`).FindString(string(raw)); named != "" {
			t.Errorf("%s: colour %s", b.UID, named)
		}
	}
}

// Boards lead to each other, and what they lead to outside is there.
func TestLinks(t *testing.T) {
	for _, b := range Boards() {
		linked := map[string]bool{}
		for _, l := range links(b.UID) {
			linked[*l.Url] = true
			if path, ok := strings.CutPrefix(*l.Url, repo); ok {
				path, _, _ = strings.Cut(path, "#")
				if _, err := os.Stat(filepath.Join("../..", path)); err != nil {
					t.Errorf("%s links to %v", b.UID, err)
				}
			}
		}
		for _, other := range Boards() {
			if url := "/d/" + other.UID; linked[url] != (other.UID != b.UID) {
				t.Errorf("%s links to %s: %t", b.UID, url, linked[url])
			}
		}
	}
}

// Variables that queries use are there, and none is there that nobody uses.
func TestVariables(t *testing.T) {
	for _, b := range Boards() {
		names := []string{"job"}
		for _, v := range b.Variables {
			names = append(names, v.Name)
		}
		used := map[string]bool{}
		var text strings.Builder
		for _, r := range b.Rows {
			fmt.Fprintln(&text, r.Title)
			for _, p := range r.Panels {
				for _, q := range p.Queries {
					fmt.Fprintln(&text, q.Expr)
				}
			}
		}
		for _, m := range regexp.MustCompile(`\$([a-z]+)`).FindAllStringSubmatch(text.String(), -1) {
			used[m[1]] = true
			if !slices.Contains(names, m[1]) {
				t.Errorf("%s: nothing chooses $%s", b.UID, m[1])
			}
		}
		for _, n := range names {
			if !used[n] {
				t.Errorf("%s: nothing uses $%s", b.UID, n)
			}
		}
	}
}

// Every metric that boards and rules ask for is on the page of metrics, which is held
// to what is served; or it is recorded by a rule.
func TestMetrics(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	page, rules := read("docs/metrics.md"), read("deploy/prometheus/rules.yml")
	all := rules + read("deploy/prometheus/alerts.yml")
	each(func(_ Board, p Panel) {
		for _, q := range p.Queries {
			all += q.Expr + "\n"
		}
	})
	names := map[string]bool{}
	for _, name := range regexp.MustCompile(`\b(?:[a-z_]+:)?(?:orderlog|kafka)_[a-z0-9_]+(?::[a-z0-9_]+)?`).FindAllString(all, -1) {
		names[name] = true
	}
	if len(names) < 50 {
		t.Fatalf("only %d metrics were found", len(names))
	}
	for name := range names {
		plain := name
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			plain = strings.TrimSuffix(plain, suffix)
		}
		switch {
		case strings.Contains(name, ":") && strings.Contains(rules, "record: "+name+"\n"):
		case strings.Contains(page, "| `"+plain+"` |"), strings.Contains(page, "| `"+name+"` |"):
		default:
			t.Errorf("nobody tells %s", name)
		}
	}
}
