package cli

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderlog/orderlog/internal/downtime"
	"github.com/orderlog/orderlog/internal/figure"
	"github.com/orderlog/orderlog/internal/lag"
)

// barWidth is how wide bars are, where there is room for them.
const barWidth = 12

// lagView is lagTables with bars, and what it is of.
func (s *session) lagView(w io.Writer, round *lag.Round, parts bool) error {
	head := fmt.Sprintf("%s  %d groups, %s records to come", round.At.Format(time.TimeOnly), len(round.Groups), counted(records(round), false))
	for _, err := range append(round.Faults, round.Unsafe) {
		if err != nil {
			head += "\n" + s.outStyle().bad("not all is known: "+strings.ReplaceAll(err.Error(), "\n", " "))
			break
		}
	}
	if _, err := fmt.Fprintf(w, "%s\n\n", head); err != nil {
		return err
	}
	return s.lagTables(w, round, parts, barWidth)
}

func records(round *lag.Round) (n int64) {
	for _, t := range round.Topics {
		n += t.Records
	}
	return n
}

// lagTables prints topics or partitions, with bars of so many columns.
func (s *session) lagTables(w io.Writer, round *lag.Round, parts bool, bars int) error {
	if parts {
		return grid(w, s.lagPartitions(round, bars))
	}
	return grid(w, s.lagTopics(round, bars))
}

// byNeed is the order in which one should look at them.
func byNeed(ts []lag.Topic) []lag.Topic {
	return slices.SortedStableFunc(slices.Values(ts), func(a, b lag.Topic) int {
		return cmp.Or(cmp.Compare(urgency(b.Seconds), urgency(a.Seconds)), cmp.Compare(b.Records, a.Records))
	})
}

// members of a group that could not be asked after are not 0.
func members(g lag.Group) cell {
	if g.State == "" {
		return numeral("–")
	}
	return numeral(strconv.Itoa(g.Members))
}

// urgency has what is not known come first.
func urgency(n figure.Figure) float64 {
	if !n.Known() {
		return math.Inf(1)
	}
	return float64(n)
}

func (s *session) lagTopics(round *lag.Round, bars int) [][]cell {
	st := s.outStyle()
	of := map[string]lag.Group{}
	idle := map[string]bool{}
	for _, g := range round.Groups {
		of[g.Group], idle[g.Group] = g, true
	}
	head := heading(nil, "GROUP", "STATE", ">MEMBERS", "TOPIC", ">PARTITIONS", ">LAG", ">RECORDS", ">SECONDS", ">IN/s", ">OUT/s", ">CATCH-UP", "SAFE")
	rows := [][]cell{barred(head, bars, 0)}
	most := int64(1)
	for _, t := range round.Topics {
		most = max(most, t.Records)
	}
	for _, t := range byNeed(round.Topics) {
		g := of[t.Group]
		delete(idle, t.Group)
		catch := numeral(t.CatchUp.Duration())
		if t.CatchUp.Endless() {
			catch.paint = st.bad
		}
		state := cell{text: g.State}
		if g.State != "Stable" && t.Records > 0 {
			state.paint = st.warn
		}
		behind := numeral(counted(t.Lag, false))
		if t.Beyond > 0 {
			behind = cell{text: "beyond end", right: true, paint: st.bad}
		}
		rows = append(rows, barred([]cell{{text: t.Group}, state, members(g), {text: t.Topic}, numeral(strconv.Itoa(t.Partitions)),
			behind, numeral(counted(t.Records, t.Estimated)), numeral(t.Seconds.Duration()), numeral(t.In.Rate()), numeral(t.Out.Rate()),
			catch, {text: safeText(t.Safe)}}, bars, float64(t.Records)/float64(most)))
	}
	for _, name := range sorted(idle) { // it reads nothing that is there
		rows = append(rows, []cell{{text: name}, {text: of[name].State}, members(of[name])})
	}
	return rows
}

func (s *session) lagPartitions(round *lag.Round, bars int) [][]cell {
	head := heading(nil, "GROUP", "TOPIC", ">PARTITION", ">COMMITTED", ">END", ">LAG", ">RECORDS", ">SECONDS", "SAFE")
	rows := [][]cell{barred(head, bars, 0)}
	most := int64(1)
	for _, p := range round.Partitions {
		most = max(most, p.Records)
	}
	ps := slices.SortedStableFunc(slices.Values(round.Partitions), func(a, b lag.Partition) int { return cmp.Compare(urgency(b.Seconds), urgency(a.Seconds)) })
	for _, p := range ps {
		committed, behind := figure.None, figure.None
		if p.Committed >= 0 {
			committed, behind = strconv.FormatInt(p.Committed, 10), counted(p.Lag, false)
		}
		rows = append(rows, barred([]cell{{text: p.Group}, {text: p.Topic}, numeral(strconv.Itoa(int(p.Partition))), numeral(committed), numeral(strconv.FormatInt(p.End, 10)),
			numeral(behind), numeral(counted(p.Records, p.Estimated)), numeral(p.Seconds.Duration()), {text: safeText(p.Safe)}}, bars, float64(p.Records)/float64(most)))
	}
	return rows
}

// barred puts a bar behind the records of a row, unless it has no columns.
func barred(row []cell, columns int, share float64) []cell {
	if columns == 0 {
		return row
	}
	const behind = 7 // in both tables
	return slices.Insert(row, behind, cell{text: meter(share, columns)})
}

func counted(n int64, estimated bool) string {
	if estimated {
		return "~" + figure.Figure(n).Count()
	}
	return figure.Figure(n).Count()
}

func safeText(safe *lag.Safe) string {
	switch {
	case safe == nil:
		return ""
	case safe.Loses == downtime.Records || !safe.Left.Known():
		return safe.Left.Duration()
	}
	return fmt.Sprintf("%s (%s)", safe.Left.Duration(), safe.Loses)
}
