package verify

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Verdict writes for a person what holds and what does not.
func (r Report) Verdict(out io.Writer, color bool) error {
	p := printer{out: out, color: color}
	p.verdict(r)
	for _, c := range r.Checks {
		p.check(c)
	}
	return p.err
}

// Text writes the whole report for a person.
func (r Report) Text(out io.Writer, color bool) error {
	if err := r.Verdict(out, color); err != nil {
		return err
	}
	p := printer{out: out, color: color}
	p.line("")
	p.summary(r.Summary)
	p.line("")
	p.offsets(r)
	return p.err
}

type printer struct {
	out   io.Writer
	color bool
	err   error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, format+"\n", args...)
	}
}

const (
	green  = "32"
	red    = "31"
	yellow = "33"
)

func (p *printer) paint(code, s string) string {
	if !p.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *printer) verdict(r Report) {
	verdict := p.paint(green, "the log holds")
	if !r.OK {
		verdict = p.paint(red, "the log does NOT hold")
	}
	p.line("%s  (%s records read in %s)", verdict, count(r.Records), r.Took.Round(time.Millisecond))
	if r.Since != nil {
		p.line("what stood before %s was folded by an earlier run", r.Since.UTC().Format(time.RFC3339))
	}
	switch {
	case r.At != nil:
		p.line("%s", p.paint(yellow, "as of "+r.At.UTC().Format(time.RFC3339)+", give or take half a minute: balances were compared with what they could be"))
	case !r.Still:
		p.line("%s", p.paint(yellow, fmt.Sprintf("in flight: %s orders and records; balances were compared with what they can still become", count(r.InFlight))))
	}
	p.line("")
}

func (p *printer) check(c Check) {
	if c.Skipped != "" {
		p.line("%s  %-12s not checked: %s", p.paint(yellow, "--  "), c.Name, c.Skipped)
		return
	}
	mark := p.paint(green, "ok  ")
	if !c.OK {
		mark = p.paint(red, "FAIL")
	}
	text := fmt.Sprintf("%s  %-12s %10s checked", mark, c.Name, count(c.Checked))
	if c.Failed > 0 {
		text += fmt.Sprintf(", %s wrong", count(c.Failed))
	}
	if c.Gone > 0 {
		text += fmt.Sprintf(", %s gone since and not compared", count(c.Gone))
	}
	if c.Note != "" {
		text += "  (" + c.Note + ")"
	}
	p.line("%s", text)
	for _, v := range c.Violations {
		p.line("        %s: %s", v.What, strings.Join(slices.Concat(v.Keys, v.Orders), " "))
		if v.Detail != "" {
			p.line("          %s", v.Detail)
		}
	}
	if more := c.Failed - int64(len(c.Violations)); more > 0 {
		p.line("        and %s more", count(more))
	}
}

func (p *printer) summary(s Summary) {
	p.line("orders     %s", counts(s.Orders))
	if len(s.Reasons) > 0 {
		p.line("reasons    %s", counts(s.Reasons))
	}
	if s.Repeated+s.Conflicting+s.Refused > 0 {
		p.line("commands   %s placed again, %s with another body, %s refused", count(s.Repeated), count(s.Conflicting), count(s.Refused))
	}
	for _, currency := range sortedKeys(s.Turnover) {
		m := s.Turnover[currency]
		p.line("turnover   %s %s gross = %s net + %s VAT", amount(m.Gross), currency, amount(m.Net), amount(m.VAT))
	}
	p.line("documents  %s invoices, %s credit notes, %s vouchers", count(s.Invoices), count(s.CreditNotes), count(s.Vouchers))
	p.line("resources  %s products, %s units on hand, %s customers", count(s.Products), count(s.OnHand), count(s.Customers))
}

func (p *printer) offsets(r Report) {
	p.line("this is so up to these offsets (partition:offset):")
	for _, topic := range sortedKeys(r.Offsets) {
		var ends []string
		for _, part := range slices.Sorted(maps.Keys(r.Offsets[topic])) {
			ends = append(ends, fmt.Sprintf("%d:%d", part, r.Offsets[topic][part]))
		}
		p.line("  %-20s %s", topic, strings.Join(ends, " "))
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func counts(m map[string]int64) string {
	if len(m) == 0 {
		return "none"
	}
	var parts []string
	for _, k := range sortedKeys(m) {
		parts = append(parts, count(m[k])+" "+k)
	}
	return strings.Join(parts, ", ")
}

// count writes a number with separators: 12,345.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// amount writes minor units with two decimals.
func amount(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	return fmt.Sprintf("%s%s.%02d", sign, count(n/100), n%100)
}
