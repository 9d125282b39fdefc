package ledger

import (
	"time"

	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
)

// Causes of letters.
const (
	causeRefused   = "endpoint refused"
	causeFailed    = "endpoint failed"
	causeCancelled = "cancelled"
)

// maxHint is how long an endpoint can have an effect left alone.
const maxHint = 48 * time.Hour

// change is what becomes of a row. The zero value: nothing.
type change struct {
	row          schemas.LedgerEntry
	fate         fate
	class, cause string // of the letter, if there is one
}

// fate says what is written in the transaction.
type fate int

const (
	stays  fate = iota // nothing
	moves              // the row
	parks              // the row, and an entry of the calendar for row.Due
	buries             // the row, and a dead letter
)

// try names one try of an effect. What came of it is written only to a row that
// still shows it: another instance may have taken the row over, and tried since.
type try struct{ n, at int64 }

func tryOf(row schemas.LedgerEntry) try { return try{row.Tries, row.ChangedAt} }

// entered is the row of an effect that is new; where and when it was asked for, its
// record says.
func entered(e schemas.Effect, offset, asked, now int64) change {
	return change{fate: moves, row: schemas.LedgerEntry{EffectID: e.EffectID, Kind: e.Kind, Event: e.Event, OrderID: e.OrderID, To: e.To, At: e.At, Payload: e.Payload,
		State: schemas.Pending, ChangedAt: now, Offset: offset, AskedAt: asked}}
}

// begun is a row before its effect is sent. One of which a try is shown that
// nobody is at any more was interrupted: that one counts as unsure.
func begun(row schemas.LedgerEntry, mine try, now int64) change {
	switch {
	case row.State == schemas.Pending && row.Due == 0:
	case row.State == schemas.Sending && tryOf(row) != mine:
		row.Unsure++
	default:
		return change{}
	}
	row.State, row.ChangedAt = schemas.Sending, now
	row.Tries++
	return change{row: row, fate: moves}
}

// ended is a row after its try t, of which o came.
func ended(row schemas.LedgerEntry, t try, o effect.Outcome, s retry.Schedule, now int64) change {
	if row.State != schemas.Sending || tryOf(row) != t {
		return change{}
	}
	row.ChangedAt = now
	if o.Class == effect.Away {
		row.State = schemas.Pending
		row.Tries--
		if o.Sick { // it was tried: that says more than that it was not
			row.Code, row.Text = int64(o.Code), o.Text
		}
		return change{row: row, fate: moves}
	}
	row.Code, row.Text = int64(o.Code), o.Text
	if o.Class == effect.Sent {
		row.State, row.Payload = schemas.Sent, ""
		return change{row: row, fate: moves}
	}
	row.Attempts = append(row.Attempts[:len(row.Attempts):len(row.Attempts)], schemas.Attempt{At: o.At.UnixMilli(), Error: o.String()})
	wait, again := s.Next(len(row.Attempts), row.EffectID)
	switch {
	case o.Class == effect.Permanent:
		row.State = schemas.Failed
		return change{row, buries, letter.Poison, causeRefused}
	case !again:
		row.State = schemas.Failed
		return change{row, buries, letter.Transient, causeFailed}
	}
	row.State, row.Due = schemas.Pending, now+max(wait, min(o.RetryAfter, maxHint)).Milliseconds()
	return change{row, parks, letter.Transient, causeFailed}
}

// returned is a row whose letter comes back: out of the calendar, or because a
// person wants it. Body is what the letter holds; a person may have corrected it. What
// was sent is sent again only if the message says so by its type.
func returned(row schemas.LedgerEntry, l letter.Letter, kind string, body schemas.Effect, now int64) change {
	waits := row.State == schemas.Pending && row.Due != 0
	anew := l.Redriven != "" || kind == schemas.NotificationsResend
	switch {
	case waits && l.Seq == row.Tries && l.Cancel != "":
		row.State, row.Due, row.Code, row.Text, row.ChangedAt = schemas.Failed, 0, 0, l.Cancel, now
		return change{row, buries, letter.Transient, causeCancelled}
	case waits && (l.Seq == row.Tries || anew):
		row.Due = 0
	case row.State == schemas.Failed && anew:
	case row.State == schemas.Sent && kind == schemas.NotificationsResend:
		row.Payload = body.Payload
	default:
		return change{}
	}
	if l.Redriven != "" {
		row.Kind, row.To, row.Payload = body.Kind, body.To, body.Payload
	}
	row.State, row.ChangedAt = schemas.Pending, now
	return change{row: row, fate: moves}
}
