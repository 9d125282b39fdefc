package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/orderlog/orderlog/internal/replay"
)

func offsetText(n int64) string {
	if n < 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func planText(w io.Writer, st style, p *replay.Plan) error {
	rows := [][]string{{"GROUP", "TOPIC", "PARTITION", "COMMITTED", "TARGET", "START", "END", "AGAIN", "FROM", ""}}
	for _, g := range p.Groups {
		for _, part := range g.Parts {
			from := ""
			if part.From > 0 {
				from = moment(part.From)
			}
			rows = append(rows, []string{g.Name, part.Topic, strconv.Itoa(int(part.Partition)), offsetText(part.Committed), offsetText(part.Target),
				offsetText(part.Start), offsetText(part.End), strconv.FormatInt(part.Again(), 10), from, part.Note})
		}
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, g := range p.Groups {
		fmt.Fprintf(w, "\n%s: %s, table %s\n", st.bold(g.Name), planState(g), g.Table)
		fmt.Fprintf(w, "  reads %d offsets again", g.Again)
		if g.Rate > 0 {
			fmt.Fprintf(w, ", in %v at least: a sample came at %.0f/s", (time.Duration(g.Seconds * float64(time.Second))).Round(time.Millisecond), g.Rate)
		}
		fmt.Fprintln(w)
		for _, n := range g.Notes {
			fmt.Fprintf(w, "  %s\n", n)
		}
		for _, n := range g.Warnings {
			fmt.Fprintf(w, "  %s %s\n", st.warn("warning:"), n)
		}
		for _, n := range g.Problems {
			fmt.Fprintf(w, "  %s %s\n", st.bad("error:"), n)
		}
	}
	_, err := fmt.Fprintf(w, "\n%s, %s: nothing is changed; --plan %s has replay run do this\n", p.Mode, p.Target, p.Hash)
	return err
}

func planState(g *replay.Group) string {
	switch {
	case g.Paused != nil:
		return "paused by " + word(g.Paused.Who)
	case len(g.Members) > 0:
		return "run by " + strings.Join(g.Members, ", ")
	}
	return "nobody is in it"
}

func replayStatusText(w io.Writer, all []*replay.Status) error {
	rows := [][]string{{"GROUP", "STATE", "MEMBERS", "PAUSED BY", "SINCE", "WHY", "LAST REPLAY", "TARGET", "AT"}}
	var half []string
	for _, s := range all {
		row := []string{s.Group, s.State, strconv.Itoa(len(s.Members)), "", "", "", "", "", ""}
		if c := s.Paused; c != nil {
			row[3], row[4], row[5] = word(c.Who), moment(c.At), line(c.Why)
		}
		if e := s.Last; e != nil {
			undone := ""
			if e.Undone {
				undone = " (undone)"
			}
			row[6], row[7], row[8] = e.What+" "+e.ID+undone, e.Target, moment(e.At)
		}
		rows = append(rows, row)
		switch {
		case s.Half():
			half = append(half, fmt.Sprintf("%s: replay %s has begun and changed nothing yet: `orderlog replay run` with its target and --plan %.12s goes on with it, `orderlog replay undo %[1]s` forgets it",
				s.Group, s.Paused.Replay, s.Paused.Replay))
		case s.Open:
			half = append(half, fmt.Sprintf("%s: a replay is writing, or died before its end: it has changed nothing yet", s.Group))
		}
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, text := range half {
		if _, err := fmt.Fprintln(w, "\n"+text); err != nil {
			return err
		}
	}
	return nil
}
