// Package scenario runs rules through text files: messages in, and below each
// one what it led to. It is for tests.
//
// A file consists of comments (#), empty lines and steps. A step is a line at
// the margin, `[time] type key {body}`, with the body in YAML's flow style, and the
// indented lines that the answer renders to; of a Suite, the row and the messages:
//
//	10:00 inventory.stock.receive sku_a {quantity: 5}
//	  = on_hand: 5
//	10:01 inventory.stock.reserve sku_a {order_id: ord_1, quantity: 3}
//	  = on_hand: 2
//	  -> order-replies ord_1 stock.reserved {order_id: ord_1, sku: sku_a}
//
// A line `= same` says that the row was left alone. Zero fields are left out.
package scenario

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
)

// Suite is a rule and how to write its scenarios.
type Suite[S any] struct {
	Rule flow.Processor[S]
	ID   string                       // body field that the step's key fills in
	Show func(before, after S) string // the row as it is rendered; nil: its fields
	Day  time.Time                    // day of the steps' times; the zero value is 5 January 2026
}

// Run compares every file of testdata/*.txt with what the rule does; with
// update it rewrites them.
func (s Suite[S]) Run(t *testing.T, update bool) { Run(t, update, s.player) }

// Player answers the steps of one file, in their order: line is the step and n its
// number, and the answer whole lines.
type Player func(n int, line string) (answer string, err error)

// Run compares every file of testdata/*.txt with what a player of its own answers;
// with update it rewrites them.
func Run(t *testing.T, update bool, player func() Player) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding scenarios in testdata: %d files, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { compare(t, f, update, player()) })
	}
}

func compare(t *testing.T, path string, update bool, p Player) {
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.play(string(want))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if got == string(want) {
		return
	}
	if update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s differs:\n%s", path, firstDifference(string(want), got))
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d\n want %s\n got  %s", i+1, nth(w, i), nth(g, i))
		}
	}
	return ""
}

func nth(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(end)"
}

// play renders the file anew from its margin lines.
func (p Player) play(file string) (string, error) {
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(file, "\n"), "\n") {
		if strings.HasPrefix(line, " ") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || line[0] == '#' {
			continue
		}
		answer, err := p(i, line)
		if err != nil {
			return "", fmt.Errorf("line %d: %w", i+1, err)
		}
		out.WriteString(answer)
	}
	return out.String(), nil
}

func (s Suite[S]) player() Player {
	rows := map[string]S{}
	return func(n int, line string) (string, error) {
		m, err := Message(n, line, s.ID, s.Day)
		if err != nil {
			return "", err
		}
		var out strings.Builder
		before := rows[m.Key]
		after, outs := s.Rule.Decide(before, m)
		rows[m.Key] = after
		s.render(&out, before, after, outs)
		return out.String(), nil
	}
}

// Message reads a step. id names the field of the body that the key fills in, "" none; day
// is that of the time, as in a Suite.
func Message(n int, line, id string, day time.Time) (flow.Message, error) {
	head, body, _ := strings.Cut(line, "{")
	words := strings.Fields(head)
	if len(words) != 3 {
		return flow.Message{}, fmt.Errorf("%q is not a time, a type and a key", head)
	}
	clock, err := time.Parse("15:04", words[0])
	if err != nil {
		return flow.Message{}, err
	}
	m := flow.Message{ID: fmt.Sprintf("evt_line%d", n), Type: words[1], Key: words[2], At: at(day, clock)}
	r, ok := schemas.ForType(m.Type)
	if !ok {
		return m, fmt.Errorf("unknown message type %q", m.Type)
	}
	m.Body = r.New()
	fields := map[string]any{}
	if body != "" {
		if err := yaml.Unmarshal([]byte("{"+body), &fields); err != nil {
			return m, err
		}
	}
	if id != "" {
		fields[id] = m.Key
	}
	return m, fill(m.Body, fields)
}

func at(day, clock time.Time) int64 {
	if day.IsZero() {
		day = time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)
	}
	return day.Add(time.Duration(clock.Hour())*time.Hour + time.Duration(clock.Minute())*time.Minute).UnixMilli()
}

func fill(body any, fields map[string]any) error {
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	return d.Decode(body)
}

func (s Suite[S]) render(out *strings.Builder, before, after S, outs []flow.Message) {
	switch {
	case reflect.DeepEqual(before, after):
		fmt.Fprintln(out, "  = same")
	case s.Show != nil:
		for _, l := range strings.Split(s.Show(before, after), "\n") {
			fmt.Fprintln(out, "  = "+l)
		}
	default:
		fmt.Fprintln(out, "  = "+Fields(after))
	}
	for _, m := range outs {
		fmt.Fprintf(out, "  -> %s %s %s {%s}\n", m.Topic, m.Key, m.Type, Fields(m.Body))
	}
}

// Fields renders a struct, or a pointer to one, as "name: value, ...": JSON
// names, zero values left out.
func Fields(body any) string {
	v := reflect.Indirect(reflect.ValueOf(body))
	var parts []string
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0 {
			continue
		}
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "" {
			name = strings.ToLower(v.Type().Field(i).Name)
		}
		parts = append(parts, name+": "+text(f))
	}
	return strings.Join(parts, ", ")
}

func text(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Struct:
		return "{" + Fields(v.Interface()) + "}"
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = text(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
