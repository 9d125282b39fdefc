// Package hindsight asks what this build's rules would have decided: it takes the
// commands that there were, and what came of them, off the log, decides anew in memory
// and compares order by order. It writes nothing and joins no group.
//
// An order is decided anew twice. By itself: told and answered what it was, in the order
// in which it was, by resources that have what they had then, as far as reasons tell;
// what differs then is the rules' doing and nothing else's. And in a world of all
// commands (package sim), one after the other in event time. What differs only there
// comes of who came first, which need not be who came first in history, and of what
// became of others.
package hindsight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/sim"
	"github.com/orderlog/orderlog/schemas"
)

// Config says what is decided anew.
type Config struct {
	Opts      []kgo.Opt // brokers, dialer
	Serde     *schemas.Serde
	Namespace string

	OpeningLimit int64      // credit of a new customer, minor units
	Rules        []sim.Rule // nil: this build's

	Groups   []string  // list only what concerns decisions of these; none: all
	From, To time.Time // compare orders placed from then until before then; zero: no bound

	Progress func(done, total int64) // commands decided; may be nil
}

// Causes of a Difference.
const (
	ByRules    = "rules"    // they decide otherwise on it, though it meets all that it met
	ByOthers   = "others"   // they decide the same on what it met: others came first, or fared otherwise
	ByDeadline = "deadline" // it expired in history, where time passed
	ByFailure  = "failure"  // a command of it could not be handled in history
	Unclear    = "unclear"  // what it met is not known well enough
)

// Difference is an order that these rules would have brought elsewhere.
type Difference struct {
	Order    string   `json:"order"`
	PlacedAt int64    `json:"placed_at"`
	Cause    string   `json:"cause"`
	Kind     string   `json:"kind"`
	Groups   []string `json:"groups"` // whose decisions it concerns
	Before   *Outcome `json:"before"` // nil: there is no such order
	After    *Outcome `json:"after"`
}

// Stake is what differences change of money, in minor units of a currency.
type Stake struct {
	BilledBefore   int64 `json:"billed_before"` // gross of invoices less credit notes
	BilledAfter    int64 `json:"billed_after"`
	VouchersBefore int64 `json:"vouchers_before"`
	VouchersAfter  int64 `json:"vouchers_after"`
}

// Kind sums up differences of one cause and kind.
type Kind struct {
	Cause  string           `json:"cause"`
	Kind   string           `json:"kind"`
	Orders int              `json:"orders"`
	Stakes map[string]Stake `json:"stakes"` // by currency
}

// Report is what came of it.
type Report struct {
	Commands int `json:"commands"` // decided anew
	Compared int `json:"compared"` // orders
	Same     int `json:"same"`
	Open     int `json:"open"`    // orders not compared: under way, or something of them waits
	Unknown  int `json:"unknown"` // orders not compared: not all that was ordered is on the log

	Kinds       []Kind       `json:"kinds"` // by cause, then the most orders first
	Differences []Difference `json:"differences"`
	Notes       []string     `json:"notes"` // what the answer rests on
}

// Run reads the log and decides anew.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Rules == nil {
		cfg.Rules = sim.Rules(cfg.OpeningLimit)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(int64, int64) {}
	}
	h, err := read(ctx, cfg)
	if err != nil {
		return nil, err
	}
	d := &decider{ctx: ctx, cfg: cfg, commands: h.timed()}
	d.guard()
	world, err := d.world(1, func(int) int { return 0 })
	if err != nil {
		return nil, err
	}
	r := &Report{Commands: len(d.commands), Unknown: len(h.unknown), Notes: h.notes()}
	for _, id := range h.ids(world) {
		before, after := outcomeOf(h.orders[id]), outcomeOf(world[id])
		switch {
		case h.unknown[id] || !h.within(cfg, id, world[id]):
			continue
		case h.open[id]:
			r.Open++
			continue
		}
		r.Compared++
		own, sure, waits := before, true, false
		if is := h.orders[id]; is != nil {
			var o *schemas.Order
			o, sure = d.alone(is, h.placements[id])
			own, waits = outcomeOf(o), underWay(o)
		}
		diff := Difference{Order: id, PlacedAt: placedAt(h.orders[id], world[id]), Cause: ByRules, Before: before, After: after}
		switch {
		case !own.equal(before):
			if !waits || after.equal(before) { // else it asks for what history did not answer
				diff.After = own
			}
		case after.equal(before):
			r.Same++
			continue
		case h.failed[id]:
			diff.Cause = ByFailure
		case before != nil && before.State == schemas.Expired:
			diff.Cause = ByDeadline
		case before == nil || after == nil || !sure:
			diff.Cause = Unclear
		default:
			diff.Cause = ByOthers
		}
		r.Differences = append(r.Differences, diff)
	}
	r.group(cfg.Groups)
	if d.panics > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("a rule panicked %d times; what it was shown then was left out: %s", d.panics, d.panic))
	}
	return r, nil
}

// group sums differences up, and drops those that do not concern the groups asked for.
func (r *Report) group(of []string) {
	kinds := map[[2]string]*Kind{}
	var kept []Difference
	for _, d := range r.Differences {
		d.describe()
		if len(of) > 0 && !slices.ContainsFunc(d.Groups, func(g string) bool { return slices.Contains(of, g) }) {
			continue
		}
		kept = append(kept, d)
		k := kinds[[2]string{d.Cause, d.Kind}]
		if k == nil {
			k = &Kind{Cause: d.Cause, Kind: d.Kind, Stakes: map[string]Stake{}}
			kinds[[2]string{d.Cause, d.Kind}] = k
		}
		k.Orders++
		k.add(d.Before, func(s *Stake, billed, vouchers int64) { s.BilledBefore += billed; s.VouchersBefore += vouchers })
		k.add(d.After, func(s *Stake, billed, vouchers int64) { s.BilledAfter += billed; s.VouchersAfter += vouchers })
	}
	r.Differences = kept
	for _, k := range kinds {
		r.Kinds = append(r.Kinds, *k)
	}
	slices.SortFunc(r.Kinds, func(a, b Kind) int {
		if n := slices.Index(causes, a.Cause) - slices.Index(causes, b.Cause); n != 0 {
			return n
		}
		if a.Orders != b.Orders {
			return b.Orders - a.Orders
		}
		return strings.Compare(a.Kind, b.Kind)
	})
	slices.SortStableFunc(r.Differences, func(a, b Difference) int { return slices.Index(causes, a.Cause) - slices.Index(causes, b.Cause) })
}

// causes in the order in which they are told.
var causes = []string{ByRules, Unclear, ByFailure, ByDeadline, ByOthers}

func (k *Kind) add(o *Outcome, to func(s *Stake, billed, vouchers int64)) {
	if o == nil {
		return
	}
	s := k.Stakes[o.Currency]
	to(&s, o.billed(), o.vouchers())
	k.Stakes[o.Currency] = s
}

// ByTheRules counts the orders that differ by the rules for sure.
func (r *Report) ByTheRules() (n int) {
	for _, k := range r.Kinds {
		if k.Cause == ByRules {
			n += k.Orders
		}
	}
	return n
}
