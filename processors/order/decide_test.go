package order

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/orderlog/orderlog/internal/scenario"
	"github.com/orderlog/orderlog/schemas"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

func TestScenarios(t *testing.T) {
	scenario.Suite[schemas.Order]{Rule: New(Config{Series: "A"}), ID: "order_id", Show: show}.Run(t, *update)
}

// show renders what a step did to an order: where it stands, its asks and
// amounts, and what is new in its timeline and its reasons.
func show(before, after schemas.Order) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s v%d", after.State, after.Version)
	if after.EnteredBy != after.Version {
		fmt.Fprintf(&b, " (since v%d)", after.EnteredBy)
	}
	for _, l := range after.Lines {
		fmt.Fprintf(&b, " | %s %s", l.SKU, l.Stock)
		if l.UnitPrice != 0 {
			fmt.Fprintf(&b, " %d+%d", l.Net, l.VAT)
		}
	}
	ask := func(name, state, value string) {
		if state != schemas.AskNone {
			fmt.Fprintf(&b, " | %s %s %s", name, state, value)
		}
	}
	ask("credit", after.Credit.Ask, fmt.Sprint(after.Credit.Amount))
	ask("invoice", after.Invoice.Ask, after.Invoice.Number)
	ask("credit note", after.CreditNote.Ask, after.CreditNote.Number)
	if after.Gross != before.Gross {
		fmt.Fprintf(&b, "\ntotal %d + %d = %d", after.Net, after.VAT, after.Gross)
	}
	for _, e := range after.Timeline[len(before.Timeline):] {
		fmt.Fprintf(&b, "\n%s %s", e.Type, e.Detail)
	}
	for _, r := range after.Reasons[len(before.Reasons):] {
		fmt.Fprintf(&b, "\nbecause %s", r)
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
