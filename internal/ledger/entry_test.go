package ledger

import (
	"reflect"
	"testing"
	"time"

	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
)

const at, now = 1000, 5000

// row is one that was entered, tried so often, and changed at the time at.
func row(state string, tries int64, more ...func(*schemas.LedgerEntry)) schemas.LedgerEntry {
	r := schemas.LedgerEntry{EffectID: "eff_1", Kind: schemas.KindEmail, Payload: "{}", State: state, Tries: tries, ChangedAt: at}
	for _, f := range more {
		f(&r)
	}
	return r
}

func due(ms int64) func(*schemas.LedgerEntry) { return func(r *schemas.LedgerEntry) { r.Due = ms } }

func changed(r *schemas.LedgerEntry) { r.ChangedAt = now }

func unsure(n int64) func(*schemas.LedgerEntry) { return func(r *schemas.LedgerEntry) { r.Unsure = n } }

func answered(code int64, text string) func(*schemas.LedgerEntry) {
	return func(r *schemas.LedgerEntry) { r.Code, r.Text = code, text }
}

func attempts(errs ...string) func(*schemas.LedgerEntry) {
	return func(r *schemas.LedgerEntry) {
		for _, e := range errs {
			r.Attempts = append(r.Attempts, schemas.Attempt{At: 4000, Error: e})
		}
	}
}

func TestBegun(t *testing.T) {
	mine := try{2, at}
	for name, c := range map[string]struct {
		row, want schemas.LedgerEntry
	}{
		"new":             {row(schemas.Pending, 0), row(schemas.Sending, 1, changed)},
		"again":           {row(schemas.Pending, 3), row(schemas.Sending, 4, changed)},
		"in the calendar": {row(schemas.Pending, 1, due(9)), schemas.LedgerEntry{}},
		"interrupted":     {row(schemas.Sending, 1), row(schemas.Sending, 2, changed, unsure(1))},
		"another's try":   {row(schemas.Sending, 2, changed, unsure(1)), row(schemas.Sending, 3, changed, unsure(2))},
		"under way":       {row(schemas.Sending, 2), schemas.LedgerEntry{}},
		"sent":            {row(schemas.Sent, 1), schemas.LedgerEntry{}},
		"failed":          {row(schemas.Failed, 1), schemas.LedgerEntry{}},
	} {
		got := begun(c.row, mine, now)
		if !reflect.DeepEqual(got.row, c.want) || (got.fate == moves) != (c.want.State != "") {
			t.Errorf("%s: %+v\nwant %+v", name, got, c.want)
		}
	}
}

func TestEnded(t *testing.T) {
	schedule := retry.Schedule{time.Second, time.Minute}
	out := func(c effect.Class, code int, text string) effect.Outcome {
		return effect.Outcome{Class: c, Code: code, Text: text, At: time.UnixMilli(4000)}
	}
	sick := out(effect.Away, 421, "busy")
	sick.Sick = true
	patient := out(effect.Transient, 429, "slow down")
	patient.RetryAfter = time.Hour
	decades := out(effect.Transient, 503, "never")
	decades.RetryAfter = 1 << 31 * time.Second
	for name, c := range map[string]struct {
		row  schemas.LedgerEntry
		o    effect.Outcome
		want change
	}{
		"sent":          {row(schemas.Sending, 2), out(effect.Sent, 250, "ok"), change{fate: moves, row: row(schemas.Sent, 2, changed, answered(250, "ok"), func(r *schemas.LedgerEntry) { r.Payload = "" })}},
		"refused":       {row(schemas.Sending, 2), out(effect.Permanent, 550, "no"), change{row(schemas.Failed, 2, changed, answered(550, "no"), attempts("permanent: 550 no")), buries, letter.Poison, causeRefused}},
		"away":          {row(schemas.Sending, 2, answered(4, "was")), sick, change{fate: moves, row: row(schemas.Pending, 1, changed, answered(421, "busy"))}},
		"not tried":     {row(schemas.Sending, 2, answered(4, "was")), out(effect.Away, 0, "not tried"), change{fate: moves, row: row(schemas.Pending, 1, changed, answered(4, "was"))}},
		"asks for more": {row(schemas.Sending, 2), patient, change{row(schemas.Pending, 2, changed, due(now+3600_000), answered(429, "slow down"), attempts("transient: 429 slow down")), parks, letter.Transient, causeFailed}},
		"asks for all":  {row(schemas.Sending, 2), decades, change{row(schemas.Pending, 2, changed, due(now+48*3600_000), answered(503, "never"), attempts("transient: 503 never")), parks, letter.Transient, causeFailed}},
		"the last time": {row(schemas.Sending, 2, attempts("a", "b")), out(effect.Transient, 451, "later"), change{row(schemas.Failed, 2, changed, answered(451, "later"), attempts("a", "b", "transient: 451 later")), buries, letter.Transient, causeFailed}},
		"another's try": {row(schemas.Sending, 3), out(effect.Permanent, 550, "no"), change{}},
		"begun again":   {row(schemas.Sending, 2, changed), out(effect.Permanent, 550, "no"), change{}},
		"ended before":  {row(schemas.Sent, 2), out(effect.Permanent, 550, "no"), change{}},
	} {
		if got := ended(c.row, try{2, at}, c.o, schedule, now); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v\nwant %+v", name, got, c.want)
		}
	}
	got := ended(row(schemas.Sending, 2, attempts("a")), try{2, at}, out(effect.Transient, 451, "later"), schedule, now)
	if wait := got.row.Due - now; got.fate != parks || wait < 60_000 || wait > 66_000 {
		t.Errorf("it waits %d ms: %+v", wait, got)
	}
}

func TestReturned(t *testing.T) {
	effect := schemas.Effect{Kind: schemas.KindEmail, To: "corrected", Payload: "again"}
	waiting := row(schemas.Pending, 2, due(9), answered(451, "later"))
	sent := row(schemas.Sent, 1, func(r *schemas.LedgerEntry) { r.Payload = "" })
	redriven := letter.Letter{Redriven: "0/1"}
	next := change{fate: moves, row: row(schemas.Pending, 2, changed, answered(451, "later"))}
	for name, c := range map[string]struct {
		row  schemas.LedgerEntry
		l    letter.Letter
		kind string
		want change
	}{
		"due":             {waiting, letter.Letter{Seq: 2}, "", next},
		"due before":      {waiting, letter.Letter{Seq: 1}, "", change{}},
		"not waiting":     {row(schemas.Pending, 2), letter.Letter{Seq: 2}, "", change{}},
		"under way":       {row(schemas.Sending, 2), letter.Letter{Seq: 2}, "", change{}},
		"cancelled":       {waiting, letter.Letter{Seq: 2, Cancel: "a test"}, "", change{row(schemas.Failed, 2, changed, answered(0, "a test")), buries, letter.Transient, causeCancelled}},
		"now":             {waiting, letter.Letter{}, schemas.NotificationsResend, next},
		"redriven":        {row(schemas.Failed, 1, attempts("a")), redriven, "", change{fate: moves, row: row(schemas.Pending, 1, changed, attempts("a"), func(r *schemas.LedgerEntry) { r.To, r.Payload = "corrected", "again" })}},
		"failed, and due": {row(schemas.Failed, 1), letter.Letter{Seq: 1}, "", change{}},
		"sent, redriven":  {sent, redriven, "", change{}},
		"sent, and due":   {sent, letter.Letter{Seq: 1}, "", change{}},
		"sent, resent":    {sent, letter.Letter{}, schemas.NotificationsResend, change{fate: moves, row: row(schemas.Pending, 1, changed, func(r *schemas.LedgerEntry) { r.Payload = "again" })}},
	} {
		if got := returned(c.row, c.l, c.kind, effect, now); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v\nwant %+v", name, got, c.want)
		}
	}
}
