package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/mend"
)

type redriveFlags struct {
	pick
	act
	canary int
	rate   float64
	wait   time.Duration
}

func (f *redriveFlags) checkWait(cmd *cobra.Command) error {
	switch {
	case f.rate < 0:
		return usagef("--rate %v: at least 0, which is as fast as possible", f.rate)
	case f.canary < 0:
		return usagef("--canary %d: at least 0, which is none", f.canary)
	case f.wait < 0:
		return usagef("--wait %v: at least 0, which is not at all", f.wait)
	case f.wait == 0 && f.canary > 0 && cmd.Flags().Changed("canary"):
		return usagef("--canary without --wait: it is what becomes of canaries that is waited for")
	case f.wait == 0:
		f.canary = 0
	}
	return nil
}

func waitFlag(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", defaultWait, "how long to wait until it is handled, 0 for not at all")
}

func newDLQRedrive(s *session) *cobra.Command {
	var f redriveFlags
	cmd := &cobra.Command{
		Use:   "redrive [LETTER...]",
		Short: "Bring dead letters back to their processors",
		Long: `Brings dead letters back to their processors, by the loop, as if they came anew. They
wait behind what is parked of their row, and keep their attempts: one that fails
again is a dead letter again, without days in between.

Some of each kind go first as canaries; if one of them comes back, the others stay
as they are. One that has to wait has not come back. A letter goes back once: the
record and what the audit says of it are one transaction, so that a redrive that was
interrupted can be run again for the rest. More than one are only shown unless there
is --yes.`,
		Args: cobra.ArbitraryArgs,
		Example: example("orderlog dlq redrive 2/17", "",
			"# All of that kind, two of them first", `orderlog dlq redrive --cause panic --error "index out of range" --canary 2 --rate 500 --yes`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.checkWait(cmd); err != nil {
				return err
			}
			return s.actOnLetters(cmd, &f.pick, &f.act, args, func(ctx context.Context, d *mend.Desk, some []mend.Item, out *acted) error {
				return s.redrive(ctx, d, some, f, out)
			})
		},
	}
	f.actFlags(cmd, &f.act)
	f.letterFlags(cmd.Flags())
	cmd.Flags().IntVar(&f.canary, "canary", 1, "so many of each kind go first, `N`")
	cmd.Flags().Float64Var(&f.rate, "rate", 0, "dead letters per second, `R`; 0 is as fast as possible")
	waitFlag(cmd, &f.wait)
	return cmd
}

// redrive brings some back and tells what became of them.
func (s *session) redrive(ctx context.Context, d *mend.Desk, some []mend.Item, f redriveFlags, out *acted) error {
	var can []mend.Item
	for _, it := range some {
		if _, err := d.Again(it); err == nil {
			can = append(can, it)
		} else if out.Left = append(out.Left, it.ID); len(some) == 1 {
			return hinted(fmt.Errorf("%s: %w", it.ID, err), "`orderlog dlq edit %s` gives it another body", it.ID)
		}
	}
	b := s.bar("dead letters", int64(len(can)))
	rep, err := d.Redrive(ctx, can, mend.Redrive{Canaries: f.canary, Rate: f.rate, Wait: f.wait, Why: f.reason, Progress: func(n, total int) { b.at(int64(n), int64(total)) }})
	b.end()
	out.Done, out.Canaries, out.Handled, out.Behind, out.Taken = rep.Done, rep.Canaries, rep.Handled, rep.Behind, rep.Taken
	for _, c := range rep.Back {
		out.CameBack = append(out.CameBack, back{c.ID, c.As, c.Cause, c.Error})
	}
	shown := s.show(out, func(w io.Writer) error { return out.redriven(w, s.outStyle()) })
	if err == nil && len(rep.Back) > 0 {
		err = hinted(fmt.Errorf("%s came back", letters(len(rep.Back))), "`orderlog dlq groups` tells why; `orderlog retries list` shows what is parked")
	}
	return cmp.Or(err, shown)
}

func (a *acted) redriven(w io.Writer, st style) error {
	fmt.Fprintf(w, "redriven: %d of %s", a.Done, letters(a.Selected))
	if a.Canaries > 0 {
		fmt.Fprintf(w, ", %d of them first", a.Canaries)
	}
	if a.Handled > 0 {
		fmt.Fprintf(w, "; %d handled, %d came back", a.Handled-len(a.CameBack), len(a.CameBack))
	}
	fmt.Fprintln(w)
	for _, b := range a.CameBack[:min(mostShown, len(a.CameBack))] {
		fmt.Fprintf(w, "%s %s, now %s: %s: %s\n", st.bad("came back:"), b.ID, cmp.Or(b.As, "in the calendar"), line(b.Cause), line(b.Error))
	}
	notDone(w, "wait behind what is parked of their rows", letters, a.Behind)
	notDone(w, "dealt with by somebody else meanwhile", letters, a.Taken)
	notDone(w, "cannot be redriven as they are", letters, a.Left)
	return nil
}

// notDone names things that were left as they are, and says why.
func notDone(w io.Writer, why string, number func(n int) string, ids []string) {
	if n := len(ids); n > 0 {
		fmt.Fprintf(w, "%s: %s: %s\n", why, number(n), strings.Join(ids[:min(n, mostShown)], " "))
	}
}

func newDLQDiscard(s *session) *cobra.Command {
	var f pick
	var a act
	cmd := &cobra.Command{
		Use:   "discard [LETTER...]",
		Short: "Close dead letters without doing anything about them",
		Long: `Says on the audit that nothing will be done about dead letters, and why. They are
listed no more; nothing else changes. More than one are only shown unless there is --yes.`,
		Args:    cobra.ArbitraryArgs,
		Example: example(`orderlog dlq discard 2/17 --reason "sent by a test"`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.reason == "" {
				return hinted(usagef("%s needs --reason", cmd.CommandPath()), "who looks at the audit wants to know why")
			}
			return s.actOnLetters(cmd, &f, &a, args, func(ctx context.Context, d *mend.Desk, some []mend.Item, out *acted) error {
				rep, err := d.Discard(ctx, some, a.reason)
				out.Done, out.Taken = rep.Done, rep.Taken
				shown := s.show(out, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "discarded: %d of %s\n", out.Done, letters(out.Selected))
					return err
				})
				return cmp.Or(err, shown)
			})
		},
	}
	f.actFlags(cmd, &a)
	f.letterFlags(cmd.Flags())
	return cmd
}

// actOnLetters does something to open dead letters.
func (s *session) actOnLetters(cmd *cobra.Command, f *pick, a *act, ids []string, do func(ctx context.Context, d *mend.Desk, some []mend.Item, out *acted) error) error {
	read := func(ctx context.Context, d *mend.Desk) ([]mend.Item, error) {
		some, _, err := f.letters(ctx, d, false)
		return some, err
	}
	return s.actOn(cmd, f, a, ids, action{letters, read, do})
}

func newDLQEdit(s *session) *cobra.Command {
	var a act
	var file string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "edit LETTER",
		Short: "Give a dead letter another body, and redrive it",
		Long: `Opens a dead letter's body as JSON in $VISUAL or $EDITOR, or takes it from --file,
checks it against its schema and redrives the record with it. "type" is the message
type. The key follows from the body. The audit keeps the bytes as they were and as
they are. An empty file, or one that was not changed, does nothing.`,
		Args:    exactly("LETTER"),
		Example: example("orderlog dlq edit 2/17", `orderlog dlq edit 2/17 --file mended.json --reason "the shop sent a price as text"`),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.actOnLetters(cmd, new(pick), &a, args, func(ctx context.Context, d *mend.Desk, some []mend.Item, out *acted) error {
				edited, err := s.edit(ctx, d, some[0], file)
				if err != nil {
					return err
				}
				if was, is := some[0].Letter.Key, edited.Letter.Key; !bytes.Equal(was, is) {
					fmt.Fprintf(s.env.Stderr, "its key was %s and is %s\n", word(string(was)), word(string(is)))
				}
				return s.redrive(ctx, d, []mend.Item{edited}, redriveFlags{act: a, wait: wait}, out)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the body as JSON from a `FILE`, - for standard input")
	a.flags(cmd)
	waitFlag(cmd, &wait)
	return cmd
}

// edit has a person write another body.
func (s *session) edit(ctx context.Context, d *mend.Desk, it mend.Item, file string) (edited mend.Item, err error) {
	if file != "" {
		text, err := s.readFile(file)
		if err != nil {
			return it, fmt.Errorf("reading the body: %w", err)
		}
		edited, err = d.Edit(it, text)
		return edited, hinted(err, "`orderlog dlq show %s` shows what there is", it.ID)
	}
	text, err := d.Text(ctx, it)
	if err != nil {
		return it, err
	}
	path, changed, err := s.editor(text)
	if err != nil {
		return it, err
	}
	if edited, err = d.Edit(it, changed); err != nil {
		return it, hinted(err, "your text is kept: `orderlog dlq edit %s --file %s`", it.ID, path)
	}
	return edited, os.Remove(path)
}

func (s *session) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(s.env.Stdin)
	}
	return os.ReadFile(s.env.path(name))
}

// editor has a person change a text in a file, which stays where it is.
func (s *session) editor(text []byte) (path string, changed []byte, err error) {
	words := strings.Fields(cmp.Or(s.env.Getenv("VISUAL"), s.env.Getenv("EDITOR"), "vi"))
	f, err := os.CreateTemp("", "orderlog-*.json")
	if err != nil {
		return "", nil, fmt.Errorf("a file to edit: %w", err)
	}
	var shown bytes.Buffer
	if json.Indent(&shown, text, "", "  ") != nil {
		shown.Reset()
		shown.Write(text)
	}
	shown.WriteString("\n")
	before := bytes.Clone(shown.Bytes())
	if _, err = f.Write(before); err == nil {
		err = f.Close()
	}
	if err != nil {
		return "", nil, fmt.Errorf("a file to edit: %w", err)
	}
	ed := exec.Command(words[0], append(words[1:], f.Name())...)
	ed.Stdin, ed.Stdout, ed.Stderr = s.env.Stdin, s.env.Stderr, s.env.Stderr
	if err := ed.Run(); err != nil {
		return "", nil, hinted(fmt.Errorf("editor %q: %w", strings.Join(words, " "), err), "name one with EDITOR, or give the body with --file")
	}
	if changed, err = os.ReadFile(f.Name()); err != nil {
		return "", nil, fmt.Errorf("what was edited: %w", err)
	}
	if len(bytes.TrimSpace(changed)) == 0 || bytes.Equal(changed, before) {
		os.Remove(f.Name())
		return "", nil, hinted(fmt.Errorf("nothing was changed: nothing is done"), "`orderlog dlq redrive` brings it back as it is")
	}
	return f.Name(), changed, nil
}
