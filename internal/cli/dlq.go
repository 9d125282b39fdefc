package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/processors/graph"
	"github.com/orderlog/orderlog/topics"
)

func newDLQ(s *session) *cobra.Command {
	cmd := needsVerb(&cobra.Command{
		Use:   "dlq",
		Short: "Look at dead letters, and redrive, edit or discard them",
		Long: `A dead letter is a record that no processor could handle, and why. Nothing is ever
taken out of dead-letter: what a person has done about a letter is on the audit, and
what nobody has dealt with is open. Letters are named by PARTITION/OFFSET of their
record, as the list shows it.`,
		Example: example("orderlog dlq groups", "orderlog dlq show 2/17 --what-if", "",
			"# The rule is mended: all of that kind, two of them first", `orderlog dlq redrive --group order --cause panic --canary 2 --rate 500 --yes`),
	})
	cmd.AddCommand(newDLQList(s), newDLQGroups(s), newDLQShow(s), newDLQRedrive(s), newDLQEdit(s), newDLQDiscard(s), newDLQExport(s))
	return cmd
}

// lettersCommand is what commands have in common that only read dead letters.
func (s *session) lettersCommand(f *pick, cmd *cobra.Command, show func(ctx context.Context, d *mend.Desk, some []mend.Item, rest int) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(s, args); err != nil {
			return err
		}
		return s.atDesk(cmd, "", func(ctx context.Context, d *mend.Desk) error {
			some, rest, err := f.letters(ctx, d, f.dealt || len(args) > 0)
			if err != nil {
				return err
			}
			return show(ctx, d, some, rest)
		})
	}
	return cmd
}

// readFlags say which letters, of a command that only reads.
func (f *pick) readFlags(cmd *cobra.Command, limit int) *cobra.Command {
	f.flags(cmd, limit)
	f.letterFlags(cmd.Flags())
	cmd.Flags().BoolVar(&f.dealt, "done", false, "also those that somebody has dealt with")
	return cmd
}

// letters reads what is picked; with dealt, also what somebody has dealt with.
func (f *pick) letters(ctx context.Context, d *mend.Desk, dealt bool) (some []mend.Item, rest int, err error) {
	items, err := d.Letters(ctx, f.Filter, dealt)
	if err != nil {
		return nil, 0, err
	}
	what := "open dead letter"
	if dealt {
		what = "dead letter"
	}
	return f.some(what, "dlq list --done", items)
}

func newDLQList(s *session) *cobra.Command {
	var f pick
	return f.readFlags(s.lettersCommand(&f, &cobra.Command{
		Use:     "list",
		Short:   "List dead letters, the oldest first",
		Args:    nothing(),
		Example: example("orderlog dlq list --group order --since -1h", "orderlog dlq list --done --limit 0 -o json"),
	}, func(_ context.Context, _ *mend.Desk, some []mend.Item, rest int) error {
		return s.show(failedAll(some), func(w io.Writer) error { return failedTable(w, some, rest) })
	}), mostShown)
}

// sum is how many dead letters are of one kind.
type sum struct {
	Count   int    `json:"count"`
	Group   string `json:"group"`
	Cause   string `json:"cause"`
	Error   string `json:"error"` // without what differs from one to the next
	First   string `json:"first"`
	Last    string `json:"last"`
	Example string `json:"example"` // ID of the last one
}

func newDLQGroups(s *session) *cobra.Command {
	var f pick
	return f.readFlags(s.lettersCommand(&f, &cobra.Command{
		Use:   "groups",
		Short: "Count dead letters by processor, cause and error",
		Long: `Counts dead letters of one kind: of one processor, with one cause, and one error but
for quoted texts, IDs and numbers in it. --error takes an error as it is shown here.`,
		Args:    nothing(),
		Example: example("orderlog dlq groups --since -24h"),
	}, func(_ context.Context, _ *mend.Desk, some []mend.Item, _ int) error {
		sums := []sum{}
		rows := [][]string{{"COUNT", "PROCESSOR", "CAUSE", "FIRST", "LAST", "EXAMPLE", "ERROR"}}
		for _, k := range mend.Sums(some) {
			sums = append(sums, sum{k.Count, k.Group, k.Cause, k.Error, rfc(k.First), rfc(k.Last), k.Example})
			rows = append(rows, []string{strconv.Itoa(k.Count), word(k.Group), line(k.Cause), moment(k.First), moment(k.Last), k.Example, line(k.Error)})
		}
		return s.show(sums, func(w io.Writer) error { return table(w, rows) })
	}), 0)
}

// shown is a dead letter with what it would come to.
type shown struct {
	failed
	WhatIf *whatIf `json:"what_if,omitempty"`
}

// whatIf is what a processor would do.
type whatIf struct {
	Row    json.RawMessage `json:"row"` // as it is now; null: none
	Writes []tailed        `json:"writes"`
}

func newDLQShow(s *session) *cobra.Command {
	var try bool
	var rules processors.Config
	cmd := s.lettersCommand(new(pick), &cobra.Command{
		Use:   "show LETTER",
		Short: "Show a dead letter with its record, decoded, and every attempt",
		Long: `Shows everything that is known of a dead letter. With --what-if the rule of this
build decides on it, beside the row as it is now, and what it would write is shown;
nothing is written.`,
		Args:    exactly("LETTER"),
		Example: example("orderlog dlq show 2/17", "orderlog dlq show 2/17 --what-if"),
	}, func(ctx context.Context, d *mend.Desk, some []mend.Item, _ int) error {
		out := shown{failed: detailed(ctx, d.Serde(), some[0])}
		if try {
			var err error
			if out.WhatIf, err = s.whatIf(ctx, d, rules, some[0]); err != nil {
				return err
			}
		}
		return s.show(out, func(w io.Writer) error {
			if err := out.text(w, s.outStyle()); err != nil || out.WhatIf == nil {
				return err
			}
			return out.WhatIf.text(w, s)
		})
	})
	cmd.Flags().BoolVar(&try, "what-if", false, "show what its processor would do if it came back now")
	ruleFlags(cmd.Flags(), &rules)
	settable(cmd, "series", "opening-credit")
	return cmd
}

// whatIf rehearses what a letter's processor would do with it.
func (s *session) whatIf(ctx context.Context, d *mend.Desk, rules processors.Config, it mend.Item) (*whatIf, error) {
	all := processors.All(rules)
	at := slices.IndexFunc(all, func(r graph.Rule) bool { return r.Name() == it.Letter.Group })
	if at < 0 {
		return nil, fmt.Errorf("processor %q has no rule that could be tried", it.Letter.Group)
	}
	rec, err := d.Again(it)
	if err != nil {
		return nil, hinted(err, "`orderlog dlq edit %s` gives it another body", it.ID)
	}
	row, note, err := d.Row(ctx, it.Letter.Group, string(rec.Key))
	if err != nil {
		return nil, err
	}
	env := graph.Env{Namespace: s.set.namespace, Partitions: d.Partitions(), Serde: d.Serde(), Now: s.env.Now, Log: s.log}
	written, err := all[at].Rehearse(ctx, env, rec, row, note)
	if err != nil {
		return nil, err
	}
	out := &whatIf{Row: describe(ctx, d.Serde(), &kgo.Record{Value: row}).Body, Writes: []tailed{}}
	for _, r := range written {
		out.Writes = append(out.Writes, describe(ctx, d.Serde(), r))
	}
	return out, nil
}

func (i *whatIf) text(w io.Writer, s *session) error {
	st := s.outStyle()
	fmt.Fprintf(w, "\n%s\n", st.bold("If it came back now, to the rules of this build"))
	if string(i.Row) == "null" {
		fmt.Fprintln(w, "the row: there is none")
	} else {
		fmt.Fprintf(w, "the row: %s\n", i.Row)
	}
	if len(i.Writes) == 0 {
		_, err := fmt.Fprintln(w, "nothing would be written")
		return err
	}
	for _, t := range i.Writes {
		var text string
		switch d := t.Dead; s.bare(t.Topic) {
		case topics.DeadLetter:
			text = fmt.Sprintf("%s a dead letter again: %s: %s", st.bad("would be"), line(d.Cause), line(d.Error))
		case topics.Retry:
			text = calendarText(st, t.Body)
		default:
			text = fmt.Sprintf("would write %s %s %s %s", s.bare(t.Topic), st.bold(word(t.Type)), word(t.Key), t.Body)
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

// calendarText says what an entry of the calendar would be.
func calendarText(st style, body json.RawMessage) string {
	var p *struct {
		Topic, Cause, Error string
		Due                 int64
	}
	switch {
	case json.Unmarshal(body, &p) != nil || p == nil:
		return "would take a deadline back"
	case p.Topic == "":
		return "would set a deadline, " + moment(p.Due)
	}
	return fmt.Sprintf("%s until %s: %s: %s", st.warn("would wait in the calendar"), moment(p.Due), line(p.Cause), line(p.Error))
}

func newDLQExport(s *session) *cobra.Command {
	var f pick
	var dir string
	cmd := f.readFlags(s.lettersCommand(&f, &cobra.Command{
		Use:   "export [LETTER...]",
		Short: "Write dead letters as JSON, one a line or one a file",
		Long: `Writes dead letters with everything that is known of them, as "show -o json" does:
one JSON document a line, or one file each in the folder --dir. "value" is the
record's value in base64, byte for byte.`,
		Args:    cobra.ArbitraryArgs,
		Example: example("orderlog dlq export --group order > letters.jsonl", "orderlog dlq export --dir letters 2/17 2/18"),
	}, func(ctx context.Context, d *mend.Desk, some []mend.Item, _ int) error {
		for _, it := range some {
			if err := s.export(detailed(ctx, d.Serde(), it), dir); err != nil {
				return err
			}
		}
		if dir != "" {
			fmt.Fprintf(s.env.Stderr, "%s in %s\n", letters(len(some)), dir)
		}
		return nil
	}), 0)
	cmd.Flags().StringVar(&dir, "dir", "", "`FOLDER` for one file each, made if it is not there")
	return cmd
}

func (s *session) export(f failed, dir string) error {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if dir != "" {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(f); err != nil {
		return err
	}
	if dir == "" {
		_, err := io.WriteString(s.env.Stdout, out.String())
		return err
	}
	if err := os.MkdirAll(s.env.path(dir), 0o700); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	path := filepath.Join(s.env.path(dir), strings.ReplaceAll(f.ID, "/", "-")+".json")
	if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	return nil
}
