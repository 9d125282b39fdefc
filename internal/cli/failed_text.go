package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// failed is an entry of the calendar or a dead letter as commands print it.
type failed struct {
	ID       string    `json:"id"` // partition/offset of its record
	At       string    `json:"at"` // when that was written
	Due      string    `json:"due,omitempty"`
	To       string    `json:"to,omitempty"`
	Group    string    `json:"group"`
	Key      string    `json:"key"`
	Type     string    `json:"type"`
	Class    string    `json:"class"`
	Cause    string    `json:"cause"`
	Error    string    `json:"error"`
	Attempts []attempt `json:"attempts"`
	Redriven string    `json:"redriven,omitempty"` // ID as a dead letter before
	Done     *done     `json:"done,omitempty"`

	// Where one is shown, or exported.
	From     *place            `json:"from,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	Stack    string            `json:"stack,omitempty"`
	Cut      int               `json:"cut,omitempty"`   // length of the value, of which only a part was kept
	Value    []byte            `json:"value,omitempty"` // base64
	Original *tailed           `json:"original,omitempty"`
}

type attempt struct {
	At    string `json:"at"`
	Error string `json:"error"`
}

type place struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// done is what a person did about a dead letter.
type done struct {
	What string `json:"what"`
	Who  string `json:"who"`
	At   string `json:"at"`
	Why  string `json:"why,omitempty"`
}

func doneOf(a *schemas.Audited) done { return done{a.What, a.Who, rfc(a.At), a.Why} }

func (d done) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s by %s, %s %s", d.What, word(d.Who), d.At, line(d.Why)))
}

func attemptsOf(all []schemas.Attempt) []attempt {
	as := make([]attempt, len(all))
	for i, a := range all {
		as[i] = attempt{rfc(a.At), a.Error}
	}
	return as
}

func rfc(ms int64) string { return string(event.AppendTime(nil, ms)) }

func failedOf(it mend.Item) failed {
	l := it.Letter
	f := failed{ID: it.ID, At: rfc(it.At), To: it.To, Group: l.Group, Key: string(l.Key), Type: event.Header(l.Original(), event.Type),
		Class: l.Class, Cause: l.Cause, Error: l.Error, Attempts: attemptsOf(l.Attempts), Redriven: l.Redriven}
	if it.Topic == topics.RetryTable {
		f.Due = rfc(it.Due)
	}
	if it.Done != nil {
		d := doneOf(it.Done)
		f.Done = &d
	}
	return f
}

func failedAll(items []mend.Item) []failed {
	fs := make([]failed, 0, len(items))
	for _, it := range items {
		fs = append(fs, failedOf(it))
	}
	return fs
}

func detailed(ctx context.Context, serde *schemas.Serde, it mend.Item) failed {
	f := failedOf(it)
	l := it.Letter
	if l.Topic != "" {
		f.From = &place{l.Topic, l.Partition, l.Offset}
	}
	was := describe(ctx, serde, l.Original())
	f.Headers, f.Stack, f.Cut, f.Value, f.Original = map[string]string{}, l.Stack, l.Cut, l.Value, &was
	for _, h := range l.Own {
		f.Headers[h.Key] = string(h.Value)
	}
	return f
}

// failedTable prints one line each, and how many are left away.
func failedTable(w io.Writer, items []mend.Item, rest int) error {
	head := []string{"ID", "WRITTEN", "PROCESSOR", "KEY", "TYPE", "ATTEMPTS", "CAUSE", "ERROR"}
	closed := slices.ContainsFunc(items, func(it mend.Item) bool { return it.Done != nil })
	if closed {
		head = slices.Insert(head, 2, "STATE")
	}
	if len(items) > 0 && items[0].Topic == topics.RetryTable {
		head[1] = "DUE"
	}
	rows := [][]string{head}
	for _, it := range items {
		l, at := it.Letter, it.At
		if it.Topic == topics.RetryTable {
			at = it.Due
		}
		row := []string{it.ID, moment(at), word(l.Group), word(string(l.Key)), word(event.Header(l.Original(), event.Type)), strconv.Itoa(len(l.Attempts)), line(l.Cause), brief(l.Error)}
		if closed {
			row = slices.Insert(row, 2, state(it))
		}
		rows = append(rows, row)
	}
	if err := table(w, rows); err != nil || rest == 0 {
		return err
	}
	_, err := fmt.Fprintf(w, "and %d more: --limit 0 shows all\n", rest)
	return err
}

func state(it mend.Item) string {
	if it.Done == nil {
		return "open"
	}
	return map[string]string{schemas.Redriven: "redriven", schemas.Edited: "edited", schemas.Discarded: "discarded"}[it.Done.What] + " by " + word(it.Done.Who)
}

// brief is the first line of an error, as much as fits beside other columns.
func brief(s string) string {
	const most = 60
	first, _, _ := strings.Cut(s, "\n")
	if r := []rune(first); len(r) > most {
		first = string(r[:most-1]) + "…"
	}
	return line(first)
}

// fields are what is known of one thing, by name.
type fields [][]string

// add leaves out what is not known.
func (f *fields) add(name, value string) {
	if value != "" {
		*f = append(*f, []string{name, value})
	}
}

// text is one of them for a person.
func (f failed) text(w io.Writer, st style) error {
	what := "dead letter"
	if f.Due != "" {
		what = "entry of the calendar"
	}
	fmt.Fprintf(w, "%s  %s of %s\n\n", st.bold(f.ID), what, word(f.Group))
	rows := fields{{"key", word(f.Key)}, {"type", word(f.Type)}}
	rows.add("due", f.Due)
	rows.add("goes to", f.To)
	rows.add("cause", strings.TrimSpace(line(f.Cause)+" "+parenthesised(f.Class)))
	rows.add("error", line(f.Error))
	if f.From != nil {
		rows.add("came from", fmt.Sprintf("%s %d/%d, %s", word(f.From.Topic), f.From.Partition, f.From.Offset, f.Original.Time))
	}
	rows.add("written", f.At)
	rows.add("redriven", parenthesised(f.Redriven))
	for i, a := range f.Attempts {
		rows.add(fmt.Sprintf("attempt %d", i+1), a.At+"  "+brief(a.Error))
	}
	if f.Done != nil {
		rows.add("done", f.Done.String())
	}
	if f.Cut > 0 {
		rows.add("cut", fmt.Sprintf("%d of %d bytes were kept", len(f.Value), f.Cut))
	}
	if err := table(w, rows); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", f.body(st))
	if len(f.Headers) > 0 {
		var hs [][]string
		for _, k := range sorted(f.Headers) {
			hs = append(hs, []string{word(k), line(f.Headers[k])})
		}
		fmt.Fprintf(w, "\n%s\n", st.dim("headers"))
		if err := table(w, hs); err != nil {
			return err
		}
	}
	if f.Stack != "" {
		fmt.Fprintf(w, "\n%s\n%s\n", st.dim("stack"), printable(f.Stack))
	}
	return nil
}

func parenthesised(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

func (f failed) body(st style) string {
	o := f.Original
	if o.Error != "" {
		return fmt.Sprintf("%s %s (%d bytes: %s)", st.bad("undecodable:"), o.Error, o.Bytes, o.Head)
	}
	return o.Record + " " + indented(o.Body)
}

func indented(body json.RawMessage) string {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if enc.Encode(body) != nil {
		return string(body)
	}
	return strings.TrimRight(out.String(), "\n")
}

// printable shows text of several lines that anyone may have written.
func printable(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = "  " + line(strings.ReplaceAll(l, "\t", "  "))
	}
	return strings.Join(lines, "\n")
}

// many says how many of something there are.
func many(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}

func letters(n int) string { return many(n, "dead letter", "dead letters") }
func entries(n int) string { return many(n, "entry", "entries") }
