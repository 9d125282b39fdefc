package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/orderlog/orderlog/internal/mend"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// told is an effect as commands print it.
type told struct {
	ID        string    `json:"id"`
	Endpoint  string    `json:"endpoint"`
	To        string    `json:"to"`
	Event     string    `json:"event"`
	EventTime string    `json:"event_time"`
	Order     string    `json:"order_id"`
	State     string    `json:"state"`
	Changed   string    `json:"changed_at"` // when it became so
	Due       string    `json:"due,omitempty"`
	Tries     int64     `json:"tries"`
	Unsure    int64     `json:"unsure"` // of them, those whose end nobody knows
	Code      int64     `json:"code"`
	Text      string    `json:"text"`
	Attempts  []attempt `json:"attempts"` // that failed

	// Where one is shown.
	Asked   *asking         `json:"asked,omitempty"`
	History []tellState     `json:"history,omitempty"`
	Entry   string          `json:"entry,omitempty"` // ID in the calendar
	Letters []failed        `json:"dead_letters,omitempty"`
	Deeds   []done          `json:"actions,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"` // what a webhook's body is, and a mail is made of; missing: it is kept no more
}

// asking is the record that asked for an effect.
type asking struct {
	place
	At string `json:"at"`
}

// tellState is an effect as it was for a while.
type tellState struct {
	At    string `json:"at"`
	State string `json:"state"`
	Tries int64  `json:"tries"`
	Due   string `json:"due,omitempty"`
	Code  int64  `json:"code"`
	Text  string `json:"text"`
}

func toldOf(e mend.Effect) told {
	return told{ID: e.EffectID, Endpoint: e.Lane(), To: e.To, Event: e.Event, EventTime: rfc(e.At), Order: e.OrderID, State: e.State, Changed: rfc(e.ChangedAt),
		Due: dueOf(e.LedgerEntry), Tries: e.Tries, Unsure: e.Unsure, Code: e.Code, Text: e.Text, Attempts: attemptsOf(e.Attempts)}
}

func dueOf(row schemas.LedgerEntry) string {
	if row.Due == 0 {
		return ""
	}
	return rfc(row.Due)
}

func toldAll(es []mend.Effect) []told {
	ts := make([]told, 0, len(es))
	for _, e := range es {
		ts = append(ts, toldOf(e))
	}
	return ts
}

func toldInFull(e mend.Effect, about mend.About) told {
	t := toldOf(e)
	t.Asked = &asking{place{topics.Effects, e.Partition, e.Offset}, rfc(e.AskedAt)}
	for _, row := range e.Past {
		t.History = append(t.History, tellState{rfc(row.ChangedAt), row.State, row.Tries, dueOf(row), row.Code, row.Text})
	}
	t.History = slices.Compact(t.History) // a broker may show a record again
	if about.Entry != nil {
		t.Entry, t.Due = about.Entry.ID, rfc(about.Entry.Due) // it may have been pulled forward
	}
	if len(about.Letters) > 0 {
		t.Letters = failedAll(about.Letters)
	}
	for _, a := range about.Deeds {
		t.Deeds = append(t.Deeds, doneOf(a))
	}
	switch {
	case json.Valid([]byte(e.Payload)):
		t.Payload = json.RawMessage(e.Payload)
	case e.Payload != "":
		t.Payload, _ = json.Marshal(e.Payload)
	}
	return t
}

// effectSums counts effects.
type effectSums struct {
	States map[string]int `json:"states"`
	Later  int            `json:"in_calendar"` // of the pending ones
	Unsure int            `json:"unsure"`      // those that may have been sent more often than once
}

func sumEffects(es []mend.Effect) effectSums {
	s := effectSums{States: map[string]int{schemas.Pending: 0, schemas.Sending: 0, schemas.Sent: 0, schemas.Failed: 0}}
	for _, e := range es {
		s.States[e.State]++
		if e.Due != 0 {
			s.Later++
		}
		if e.Unsure > 0 {
			s.Unsure++
		}
	}
	return s
}

func (s effectSums) String() string {
	all := 0
	for _, n := range s.States {
		all += n
	}
	text := fmt.Sprintf("%s: %d pending, %d sending, %d sent, %d failed", effects(all), s.States[schemas.Pending], s.States[schemas.Sending], s.States[schemas.Sent], s.States[schemas.Failed])
	if s.Later > 0 {
		text += fmt.Sprintf("; %d of the pending in the calendar", s.Later)
	}
	if s.Unsure > 0 {
		text += fmt.Sprintf("; %d may have been sent more often than once", s.Unsure)
	}
	return text
}

func effects(n int) string { return many(n, "effect", "effects") }

// effectsTable prints one line each.
func effectsTable(w io.Writer, es []mend.Effect) error {
	rows := [][]string{{"ID", "CHANGED", "STATE", "ENDPOINT", "EVENT", "ORDER", "TRIES", "ANSWER"}}
	for _, e := range es {
		t := toldOf(e)
		rows = append(rows, []string{word(e.EffectID), moment(e.ChangedAt), word(e.State), t.party(), word(e.Event), word(e.OrderID), t.tries(), brief(t.answer())})
	}
	return table(w, rows)
}

// party is who is told, by an endpoint that may tell several.
func (t told) party() string {
	if t.Endpoint == schemas.KindEmail {
		return t.Endpoint + " " + word(t.To)
	}
	return line(t.Endpoint)
}

func (t told) tries() string {
	n := strconv.FormatInt(t.Tries, 10)
	if t.Unsure > 0 {
		n += fmt.Sprintf(" (%d unsure)", t.Unsure)
	}
	return n
}

func (t told) answer() string { return answer(t.Code, t.Text) }

func answer(code int64, text string) string {
	if code == 0 {
		return text
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, text))
}

// waits says what an effect waits for, "" if it does not.
func (t told) waits() string {
	switch {
	case t.State == schemas.Sending:
		return "for an answer, since " + t.Changed
	case t.State != schemas.Pending:
		return ""
	case t.Due == "":
		return "for its turn at the endpoint"
	case t.Entry == "":
		return "in the calendar until " + t.Due
	}
	return fmt.Sprintf("in the calendar until %s: entry %s", t.Due, t.Entry)
}

// text is one of them for a person.
func (t told) text(w io.Writer, st style) error {
	fmt.Fprintf(w, "%s  %s\n\n", st.bold(word(t.ID)), stateOfEffect(st, t.State))
	var rows fields
	rows.add("to", t.party())
	rows.add("event", word(t.Event)+" of "+word(t.Order)+", "+t.EventTime)
	rows.add("asked for", fmt.Sprintf("%s %d/%d, %s", word(t.Asked.Topic), t.Asked.Partition, t.Asked.Offset, t.Asked.At))
	rows.add("tries", t.tries())
	if t.Unsure > 0 {
		rows.add("unsure", fmt.Sprintf("nobody knows the end of %s: it may have been sent more often than once, under the same ID", many(int(t.Unsure), "try", "tries")))
	}
	rows.add("answer", line(t.answer()))
	rows.add("waits", t.waits())
	for i, a := range t.Attempts {
		rows.add(fmt.Sprintf("failed %d", i+1), a.At+"  "+brief(a.Error))
	}
	for _, l := range t.Letters {
		state := "open"
		if l.Done != nil {
			state = fmt.Sprintf("%s by %s", l.Done.What, word(l.Done.Who))
		}
		rows.add("dead letter", fmt.Sprintf("%s, %s: %s: %s", l.ID, state, line(l.Cause), brief(l.Error)))
	}
	for _, d := range t.Deeds {
		rows.add("done", d.String())
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if err := t.history(w, st); err != nil {
		return err
	}
	what := st.warn("what is sent is not kept any more")
	if t.Payload != nil {
		what = indented(t.Payload)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", what)
	return err
}

func (t told) history(w io.Writer, st style) error {
	fmt.Fprintf(w, "\n%s\n", st.dim("history"))
	var rows [][]string
	for _, h := range t.History {
		what := ""
		switch h.State {
		case schemas.Sending:
			what = fmt.Sprintf("try %d", h.Tries)
		case schemas.Pending:
			if h.Due != "" {
				what = "until " + h.Due + ": "
			}
			what += answer(h.Code, h.Text)
		default:
			what = answer(h.Code, h.Text)
		}
		rows = append(rows, []string{h.At, word(h.State), line(what)})
	}
	return table(w, rows)
}

func stateOfEffect(st style, state string) string {
	switch state {
	case schemas.Sent:
		return st.good(state)
	case schemas.Failed:
		return st.bad(state)
	}
	return st.warn(word(state))
}
