package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Values of --output.
const (
	outputText = "text"
	outputJSON = "json"
)

func (s *session) json() bool { return s.set.output == outputJSON }

// show prints v as one JSON document where that is asked for, else calls text.
func (s *session) show(v any, text func(w io.Writer) error) error {
	return s.write(v, "  ", text)
}

// line prints v as one line of a JSON stream where that is asked for, else calls
// text.
func (s *session) line(v any, text func(w io.Writer) error) error {
	return s.write(v, "", text)
}

func (s *session) write(v any, indent string, text func(w io.Writer) error) error {
	if !s.json() {
		return text(s.env.Stdout)
	}
	enc := json.NewEncoder(s.env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	return enc.Encode(v)
}

// table prints rows in columns. Cells must not be styled: their width is counted.
func table(w io.Writer, rows [][]string) error {
	var aligned strings.Builder
	tw := tabwriter.NewWriter(&aligned, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(aligned.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// style colours words for a terminal, or leaves them.
type style struct{ on bool }

// outStyle is for Stdout, errStyle for Stderr.
func (s *session) outStyle() style { return style{s.env.StdoutTerminal && s.colour()} }
func (s *session) errStyle() style { return style{s.env.StderrTerminal && s.colour()} }

func (s *session) colour() bool {
	return !s.set.noColor && !s.json() && s.env.Getenv("NO_COLOR") == "" && s.env.Getenv("TERM") != "dumb"
}

func (st style) paint(code, text string) string {
	if !st.on {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (st style) bad(text string) string  { return st.paint("31", text) }
func (st style) good(text string) string { return st.paint("32", text) }
func (st style) warn(text string) string { return st.paint("33", text) }
func (st style) dim(text string) string  { return st.paint("2", text) }
func (st style) bold(text string) string { return st.paint("1", text) }
