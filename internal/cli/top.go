package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/status"
)

func newTop(s *session) *cobra.Command {
	var cfg struct {
		url  string
		once bool
	}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the whole pipeline: flow, latency, lag, states, retries",
		Long: `Shows what the process at --url tells of itself and of the cluster, and goes on each
second until q is pressed: orders per second, how long they take, how many are in
each state, what each processor does and how far it is behind, and what waits for
its time or for a person. The same is at --url as a page. Rates and latencies are of
the last ten seconds; small charts go back five minutes.

Where no terminal is, one picture follows the other; -o json prints a line for each
second.`,
		Args:    nothing(),
		Example: example("orderlog top", "orderlog top --url http://orders-2:8080", "orderlog top --once -o json | jq .problems"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := statusURL(cfg.url)
			if err != nil {
				return err
			}
			t := &top{s: s, at: at, http: s.httpClient()}
			if !cfg.once {
				return s.watch(cmd.Context(), status.Every, t.look)
			}
			v, err := t.look(cmd.Context())
			if err != nil {
				return err
			}
			return s.show(v.value, func(w io.Writer) error { return v.text(w, 0) })
		},
	}
	cmd.Flags().StringVar(&cfg.url, "url", "http://"+statusAddress, "`URL` of a process of orderlog up or run with --http")
	cmd.Flags().BoolVar(&cfg.once, "once", false, "look once and end")
	settable(cmd, "url")
	return cmd
}

// statusAddress is where orderlog up shows how it is, by default.
const statusAddress = "127.0.0.1:8080"

// statusURL is where the figures are, of what a person types.
func statusURL(typed string) (string, error) {
	full := typed
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", hinted(usagef("--url %q: want a URL", typed), "e.g. --url http://%s", statusAddress)
	}
	if strings.HasPrefix(u.Host, ":") {
		u.Host = "127.0.0.1" + u.Host
	}
	return u.JoinPath("status.json").String(), nil
}

// top is what was seen of one process.
type top struct {
	s    *session
	at   string // URL of its figures
	http *http.Client
	past []status.Sample // oldest first
}

// look asks for what has come since the last look.
func (t *top) look(ctx context.Context) (view, error) {
	since := int64(0)
	if n := len(t.past); n > 0 {
		since = t.past[n-1].At.UnixMilli()
	}
	st, err := t.ask(ctx, since)
	if err != nil {
		return view{}, err
	}
	t.past = append(t.past, st.Past...)
	for len(t.past) > 0 && st.Now.At.Sub(t.past[0].At) >= status.Kept {
		t.past = t.past[1:]
	}
	p := picture{t.s.outStyle(), st.Now, t.past}
	return view{st.Now, p.write}, nil
}

func (t *top) ask(ctx context.Context, since int64) (st status.Status, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.at+"?since="+strconv.FormatInt(since, 10), nil)
	if err != nil {
		return st, err
	}
	resp, err := t.http.Do(req)
	if err != nil {
		return st, hinted(err, "does `orderlog up`, or `orderlog run --http`, run there?")
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, 64<<20)
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 300))
		return st, fmt.Errorf("%s answers %s: %s", t.at, resp.Status, strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(body).Decode(&st); err != nil {
		return st, fmt.Errorf("%s answers with something else than figures: %w", t.at, err)
	}
	return st, nil
}

// picture is a sample and its past, for a person.
type picture struct {
	style
	now  status.Sample
	past []status.Sample
}

// Widths, in columns, from which on there is room for more.
const (
	noTerminal = 100 // where there is none
	beside     = 80  // two parts beside each other, and all of a processor's columns
)

func (p picture) write(w io.Writer, width int) error {
	if width == 0 {
		width = noTerminal
	}
	head := []string{p.bold("orderlog")}
	if p.now.Version != "" {
		head = append(head, p.now.Version)
	}
	head = append(head, p.dim("up "+p.now.Uptime.Duration()), p.dim(p.now.At.Format(time.TimeOnly)+" UTC"))
	fmt.Fprintln(w, strings.Join(head, "  "))
	p.verdict(w)
	fmt.Fprintln(w)
	flow, states := p.flow(width), p.states(width)
	if width >= beside && len(states) > 1 {
		for len(flow) < len(states) {
			flow = append(flow, []cell{{}, {}, {}})
		}
		for i := range states {
			flow[i] = append(flow[i], states[i]...)
		}
		states = nil
	}
	for _, part := range [][][]cell{flow, states, p.processors(width), p.effects()} {
		if len(part) < 2 {
			continue // nothing but a heading
		}
		if err := grid(w, part); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return p.waiting(w, width)
}

func (p picture) verdict(w io.Writer) {
	for _, problem := range p.now.Problems {
		word := p.warn("look")
		if problem.Bad {
			word = p.bad("ACT ")
		}
		fmt.Fprintf(w, "%s  %s", word, problem.What)
		if problem.Do != "" {
			fmt.Fprint(w, p.dim("  "+problem.Do))
		}
		fmt.Fprintln(w)
	}
	if len(p.now.Problems) == 0 {
		fmt.Fprintln(w, p.good("All is well."))
	}
}

// flow is how orders go, and have gone.
func (p picture) flow(width int) [][]cell {
	columns := min(60, max(8, width-60))
	if width < beside {
		columns = min(60, max(8, width-24))
	}
	rows := [][]cell{heading(p.dim, "ORDERS", ">NOW", "LAST 5 MINUTES")}
	for _, f := range []struct {
		name  string
		paint func(string) string
		text  func(status.Figure) string
		of    func(status.Sample) status.Figure
	}{
		{"placed/s", p.good, status.Figure.Rate, func(s status.Sample) status.Figure { return s.Orders.Placed }},
		{"invoiced/s", p.good, status.Figure.Rate, func(s status.Sample) status.Figure { return s.Orders.Invoiced }},
		{"rejected/s", p.warn, status.Figure.Rate, func(s status.Sample) status.Figure { return s.Orders.Rejected }},
		{"half within", nil, status.Figure.Duration, func(s status.Sample) status.Figure { return s.Orders.P50 }},
		{"99% within", nil, status.Figure.Duration, func(s status.Sample) status.Figure { return s.Orders.P99 }},
		{"behind", p.warn, status.Figure.Duration, func(s status.Sample) status.Figure { return s.Behind() }},
		{"oldest open", nil, status.Figure.Duration, func(s status.Sample) status.Figure { return s.Orders.Oldest }},
	} {
		rows = append(rows, []cell{{text: f.name}, {text: f.text(f.of(p.now)), right: true, paint: p.bold}, {text: spark(thin(p.past, columns, f.of), columns), paint: f.paint}})
	}
	return rows
}

// thin takes one of every few samples, so that the time kept has room: the last of each
// stretch of the clock, so that what is drawn moves on and does not flicker.
func thin(past []status.Sample, columns int, of func(status.Sample) status.Figure) (values []float64) {
	stretch := max(1, int64(status.Kept/status.Every)/int64(columns))
	for i, s := range past {
		if i == len(past)-1 || s.At.Unix()/stretch != past[i+1].At.Unix()/stretch {
			values = append(values, float64(of(s)))
		}
	}
	return values
}

func (p picture) states(width int) [][]cell {
	rows := [][]cell{heading(p.dim, "STATE", ">ORDERS", "")}
	most := status.Figure(1)
	for _, s := range p.now.States {
		most = max(most, s.Orders)
	}
	for _, s := range p.now.States {
		rows = append(rows, []cell{{text: s.Name}, numeral(s.Orders.Count()), {text: meter(float64(s.Orders/most), min(24, max(6, width/8))), paint: p.good}})
	}
	return rows
}

func (p picture) processors(width int) [][]cell {
	some := func(all []cell) []cell { // what a narrow terminal has room for
		if width < beside {
			return []cell{all[0], all[1], all[2], all[6], all[7]}
		}
		return all
	}
	rows := [][]cell{some(heading(p.dim, "PROCESSOR", "GROUP", ">IN/s", ">OUT/s", ">TX/s", ">ABORTED", ">TO COME", ">BEHIND", ">CATCH-UP"))}
	for _, proc := range p.now.Processors {
		group := cell{text: proc.State}
		switch {
		case proc.Recovering > 0:
			group = cell{text: "recovering, " + proc.Left.Duration(), paint: p.warn}
		case !proc.Here:
			group = cell{text: strings.TrimSpace(proc.State + " away"), paint: p.dim}
		case proc.State == "":
			group = cell{text: "here", paint: p.dim}
		}
		behind := numeral(proc.Behind.Duration())
		if proc.Behind > status.BehindLong {
			behind.paint = p.bad
		}
		rows = append(rows, some([]cell{{text: proc.Name}, group, numeral(proc.In.Rate()), numeral(proc.Out.Rate()), numeral(proc.Transactions.Rate()), numeral(proc.Aborted.Count()),
			numeral(proc.Lag.Count()), behind, numeral(proc.CatchUp.Duration())}))
	}
	return rows
}

func (p picture) effects() [][]cell {
	rows := [][]cell{heading(p.dim, "MAILS AND WEBHOOKS", ">SENT/s", ">WAITING", ">OLDEST", ">FAILED")}
	for _, e := range p.now.Effects {
		row := []cell{{text: e.Name}}
		for _, text := range []string{e.Sent.Rate(), e.Pending.Count(), e.Oldest.Duration(), e.Failed.Count()} {
			row = append(row, numeral(text))
		}
		rows = append(rows, row)
	}
	return rows
}

// waiting is what comes later, or never by itself, in as many lines as it takes.
func (p picture) waiting(w io.Writer, width int) error {
	c, d := p.now.Calendar, p.now.DeadLetters
	since := func(n, oldest status.Figure) string {
		if n > 0 {
			return n.Count() + " for " + oldest.Duration()
		}
		return n.Count()
	}
	items := []string{"tried again " + c.Parked.Count(), "deadlines " + c.Deadlines.Count(), "paused " + c.Paused.Count(),
		"overdue " + since(c.Overdue, c.Oldest), "dead letters " + since(d.Open, d.Oldest)}
	if down := p.now.Downtime; down != nil {
		items = append(items, fmt.Sprintf("may stay down %s (%s)", down.Left.Duration(), down.Group))
	}
	line := p.dim("LATER") + "  " + items[0]
	used := len("LATER  ") + len(items[0])
	for _, item := range items[1:] {
		if used += len(item) + len(" · "); used > width {
			line, used = line+"\n       "+item, len("LATER  ")+len(item)
			continue
		}
		line += p.dim(" · ") + item
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
