package sim

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// tally counts the records of every topic.
func tally(w *World) map[string]int {
	n := map[string]int{}
	for _, t := range topics.All() {
		n[t.Name] = len(w.Records(t.Name))
	}
	return n
}

// A settled world in which every record appears once more, and in which every
// group then reads everything from the start, stays as it is.
func TestEverythingTwiceChangesNothing(t *testing.T) {
	for seed := uint64(1); seed <= 300; seed++ {
		cfg, plan := history(Seeded(seed))
		before, w := Play(cfg, plan)
		compare := func(what string, added map[string]int, now map[string]int) {
			f := Look(w)
			f.Received, f.TopLimit, f.Placed = before.Received, before.TopLimit, before.Placed
			if !reflect.DeepEqual(before, f) {
				t.Fatalf("seed %d: %s changed the facts\n%+v\n%+v", seed, what, before, f)
			}
			if !reflect.DeepEqual(added, now) {
				t.Fatalf("seed %d: %s wrote records\n%v\n%v", seed, what, added, now)
			}
		}
		w.DuplicateAll()
		doubled := tally(w)
		w.Settle()
		compare("every record twice", doubled, tally(w))
		w.Rewind("")
		w.Settle()
		compare("a rewind", doubled, tally(w))
	}
}

// Without the guard the same must be seen to fail, or it proves nothing.
func TestWithoutGuardDuplicatesDoHarm(t *testing.T) {
	harmed := map[string]int{}
	for seed := uint64(1); seed <= 100; seed++ {
		cfg, plan := history(Seeded(seed))
		cfg.Guard = false
		plan.Duplicates, plan.Rewinds = 20, 0
		if f, _ := Play(cfg, plan); len(f.Unsettled()) > 0 {
			harmed["duplicates"]++
		}
		plan.Duplicates, plan.Rewinds = 0, 2
		if f, _ := Play(cfg, plan); len(f.Unsettled()) > 0 {
			harmed["rewinds"]++
		}
	}
	if harmed["duplicates"] < 20 || harmed["rewinds"] < 20 {
		t.Errorf("of 100 seeds, harm was seen in %v", harmed)
	}
}

func TestSameSeedSameHistory(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		_, a := Play(history(Seeded(seed)))
		_, b := Play(history(Seeded(seed)))
		for _, topic := range topics.All() {
			if x, y := fmt.Sprintf("%+v", messages(a, topic.Name)), fmt.Sprintf("%+v", messages(b, topic.Name)); x != y {
				t.Fatalf("seed %d: %s differs:\n%s\n%s", seed, topic.Name, x, y)
			}
		}
	}
}

func messages(w *World, topic string) (all []string) {
	for _, r := range w.Records(topic) {
		m := r.Message
		all = append(all, fmt.Sprintf("%s %s %s %d %+v", m.ID, m.Type, m.Key, m.At, reflect.ValueOf(m.Body).Elem()))
	}
	return all
}

// spoil returns orderlog's rules with Decide of one of them replaced.
func spoil(openingLimit int64, name string, with func(r Rule) Rule) []Rule {
	rules := Rules(openingLimit)
	for i, r := range rules {
		if r.Name == name {
			rules[i] = with(r)
		}
	}
	return rules
}

// without drops the messages of one type that a rule sends.
func without(messageType string) func(Rule) Rule {
	return func(r Rule) Rule {
		decide := r.Decide
		r.Decide = func(row any, m flow.Message) (any, []flow.Message, bool) {
			next, outs, changed := decide(row, m)
			var kept []flow.Message
			for _, o := range outs {
				if o.Type != messageType {
					kept = append(kept, o)
				}
			}
			return next, kept, changed
		}
		return r
	}
}

// deaf drops an input of one type if the row is one that when accepts.
func deaf[S any](messageType string, when func(S) bool) func(Rule) Rule {
	return func(r Rule) Rule {
		decide := r.Decide
		r.Decide = func(row any, m flow.Message) (any, []flow.Message, bool) {
			if m.Type == messageType && when(row.(S)) {
				return row, nil, false
			}
			return decide(row, m)
		}
		return r
	}
}

// forgetful changes the row behind a rule's back.
func forgetful[S any](change func(before S, m flow.Message, after *S)) func(Rule) Rule {
	return func(r Rule) Rule {
		decide := r.Decide
		r.Decide = func(row any, m flow.Message) (any, []flow.Message, bool) {
			next, outs, _ := decide(row, m)
			s := next.(S)
			change(row.(S), m, &s)
			return s, outs, !reflect.DeepEqual(row, any(s))
		}
		return r
	}
}

// Each fault that a rule could have is noticed: the invariants can fail.
func TestInvariantsNoticeFaults(t *testing.T) {
	isDead := func(o schemas.Order) bool { return dead(o) }
	for _, c := range []struct {
		fault, rule string
		with        func(Rule) Rule
	}{
		{"stock is not released", "order", without(schemas.InventoryStockRelease)},
		{"credit is not refunded", "order", without(schemas.CreditAccountRefund)},
		{"no credit note", "order", without(schemas.InvoicingCreditNoteIssue)},
		{"credit is not asked", "order", without(schemas.CreditAccountCharge)},
		{"late stock is forgotten", "order", deaf(schemas.StockReservedEvent, isDead)},
		{"late credit is forgotten", "order", deaf(schemas.CreditChargedEvent, isDead)},
		{"late refusals are forgotten", "order", deaf(schemas.StockRefusedEvent, isDead)},
		{"late invoices are forgotten", "order", deaf(schemas.InvoiceIssuedEvent, isDead)},
		{"vouchers are forgotten", "order", deaf(schemas.VoucherGrantedEvent, func(schemas.Order) bool { return true })},
		{"a deadline counts in any state", "order", forgetful(func(before schemas.Order, m flow.Message, after *schemas.Order) {
			if m.Type == schemas.OrdersOrderExpire && before.State == schemas.Invoiced {
				after.State = schemas.Expired
			}
		})},
		{"stock is reserved and not counted", "inventory", forgetful(func(before schemas.Stock, m flow.Message, after *schemas.Stock) {
			if m.Type == schemas.InventoryStockReserve {
				after.OnHand = before.OnHand
			}
		})},
		{"an account forgets a refund", "credit", deaf(schemas.CreditAccountRefund, func(schemas.Account) bool { return true })},
		{"an account forgets its limit", "credit", forgetful(func(_ schemas.Account, _ flow.Message, after *schemas.Account) {
			if after.CustomerID != "" {
				after.Limit = 1 << 40
			}
		})},
		{"a series leaves a gap", "invoicing", forgetful(func(before schemas.Series, _ flow.Message, after *schemas.Series) {
			if before.Last == 1 {
				after.Last = 3
			}
		})},
		{"an invoice is not sent", "invoicing", without(schemas.InvoiceIssuedEvent)},
		{"a voucher is granted again", "voucher", forgetful(func(_ schemas.Grants, _ flow.Message, after *schemas.Grants) { after.Granted = nil })},
	} {
		found := false
		for seed := uint64(1); seed <= 400 && !found; seed++ {
			cfg, plan := history(Seeded(seed))
			cfg.Rules = spoil(plan.OpeningLimit, c.rule, c.with)
			f, _ := Play(cfg, plan)
			found = len(f.Unsettled()) > 0
		}
		if !found {
			t.Errorf("%s: not noticed in 400 seeds", c.fault)
		}
	}
}

// What every call of a rule must keep, looked at in every call of many
// histories: the same arguments give the same answer and stay as they were, and
// what a rule skips by its type is nothing to it.
func TestRulesArePure(t *testing.T) {
	text := func(vs ...any) string {
		s := ""
		for _, v := range vs {
			s += fmt.Sprintf("%+v\n", v)
		}
		return s
	}
	skipped := 0
	watch := func(r Rule) Rule {
		decide, skip := r.Decide, r.Skip
		r.Skip = func(string) bool { return false }
		r.Decide = func(row any, m flow.Message) (any, []flow.Message, bool) {
			body := func() string { return text(reflect.ValueOf(m.Body).Elem()) }
			before := text(row) + body()
			next, outs, changed := decide(row, m)
			once := text(next, changed) + bodies(outs)
			if now := text(row) + body(); now != before {
				t.Fatalf("%s changed its arguments on %s:\n%s\n%s", r.Name, m.Type, before, now)
			}
			again, outs2, changed2 := decide(row, m)
			if twice := text(again, changed2) + bodies(outs2); once != twice {
				t.Fatalf("%s answers %s differently:\n%s\n%s", r.Name, m.Type, once, twice)
			}
			if skip(m.Type) {
				skipped++
				if changed || len(outs) > 0 {
					t.Fatalf("%s skips %s, which means something to it: %s", r.Name, m.Type, once)
				}
			}
			return next, outs, changed
		}
		return r
	}
	for seed := uint64(1); seed <= 100; seed++ {
		cfg, plan := history(Seeded(seed))
		for _, r := range Rules(plan.OpeningLimit) {
			cfg.Rules = append(cfg.Rules, watch(r))
		}
		Play(cfg, plan)
	}
	if skipped == 0 {
		t.Error("nothing was skipped")
	}
}

func bodies(ms []flow.Message) string {
	s := ""
	for _, m := range ms {
		s += fmt.Sprintf("%s %s %s %s %+v\n", m.ID, m.Topic, m.Key, m.Type, reflect.ValueOf(m.Body).Elem())
	}
	return s
}
