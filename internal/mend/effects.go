package mend

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/ledger"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/processors/notification"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Effect is a row of the ledger. The row has no payload once it is sent: Payloads
// reads it back.
type Effect struct {
	schemas.LedgerEntry
	Partition int32
	Past      []schemas.LedgerEntry // versions of the row that the log still has, this one among them; of effects that are chosen by ID
}

// Lane is its endpoint: "email", or "webhook" and a name.
func (e Effect) Lane() string { return effect.Lane(e.Effect()) }

// Target is how the audit names the record that asked for it.
func (e Effect) Target() string {
	return letter.Target(topics.Effects, e.Partition, e.Offset, e.AskedAt)
}

// OnItsWay tells that it is sent next, or is being sent: nobody need ask for it.
func (e Effect) OnItsWay() bool {
	return e.State == schemas.Sending || e.State == schemas.Pending && e.Due == 0
}

// customer is who the order is of, as far as the payload is known and says it.
func (e Effect) customer() string {
	var n notification.Notice
	if json.Unmarshal([]byte(e.Payload), &n) != nil {
		return ""
	}
	return n.Data.CustomerID
}

// EffectFilter chooses effects; what is empty does not matter.
type EffectFilter struct {
	IDs           []string
	State         string
	Endpoint      string // a lane, or the name of a webhook
	Event         string // "order.invoiced", "order.*"
	Order         string
	Customer      string // of those whose payload is still there
	Since, Before int64  // Unix ms: whose state was entered then or later; earlier
}

// All tells that it chooses everything.
func (f EffectFilter) All() bool {
	return len(f.IDs) == 0 && f.State+f.Endpoint+f.Event+f.Order+f.Customer == "" && f.Since == 0 && f.Before == 0
}

// fits looks at all but the customer.
func (f EffectFilter) fits(e Effect) bool {
	switch {
	case len(f.IDs) > 0 && !slices.Contains(f.IDs, e.EffectID),
		f.State != "" && f.State != e.State,
		f.Endpoint != "" && f.Endpoint != e.Lane() && schemas.KindWebhook+" "+f.Endpoint != e.Lane(),
		f.Event != "" && !notification.Wants([]string{f.Event}, e.Event),
		f.Order != "" && f.Order != e.OrderID,
		f.Since != 0 && e.ChangedAt < f.Since,
		f.Before != 0 && e.ChangedAt >= f.Before:
		return false
	}
	return true
}

// Missing are the IDs that none of the effects has.
func (f EffectFilter) Missing(es []Effect) []string {
	return missing(f.IDs, es, func(e Effect) string { return e.EffectID })
}

// ErrUntold says that the group has never run here.
var ErrUntold = errors.New("nobody is told of anything here: there are no effects")

// Effects returns those of the ledger that fit, the one first that is in its state
// for longest. Where nobody ever ran the group, the error is ErrUntold.
func (d *Desk) Effects(ctx context.Context, f EffectFilter) ([]Effect, error) {
	rows := map[string]Effect{}
	err := d.each(ctx, topics.EffectsTable, func(r *kgo.Record) error {
		if len(r.Value) == 0 { // of a record that was no effect
			return nil
		}
		row, err := d.entry(ctx, r)
		if err != nil {
			return err
		}
		e := Effect{LedgerEntry: row, Partition: r.Partition}
		if slices.Contains(f.IDs, row.EffectID) {
			e.Past = append(rows[row.EffectID].Past, row)
		}
		rows[row.EffectID] = e
		return nil
	})
	if err == nil && len(rows) == 0 {
		err = d.told(ctx)
	}
	if err != nil {
		return nil, err
	}
	es := slices.DeleteFunc(slices.Collect(maps.Values(rows)), func(e Effect) bool { return !f.fits(e) })
	if f.Customer != "" {
		if err := d.Payloads(ctx, es); err != nil {
			return nil, err
		}
		es = slices.DeleteFunc(es, func(e Effect) bool { return e.customer() != f.Customer })
	}
	slices.SortFunc(es, func(a, b Effect) int {
		return cmp.Or(cmp.Compare(a.ChangedAt, b.ChangedAt), cmp.Compare(a.At, b.At), strings.Compare(a.EffectID, b.EffectID))
	})
	return es, nil
}

// entry decodes a record of the ledger.
func (d *Desk) entry(ctx context.Context, r *kgo.Record) (row schemas.LedgerEntry, err error) {
	if err = d.cfg.Serde.DecodeInto(ctx, topics.EffectsTable, r.Value, &row); err != nil {
		err = fmt.Errorf("row %q at %s/%d/%d: %w", r.Key, r.Topic, r.Partition, r.Offset, err)
	}
	return row, err
}

// told is ErrUntold if nobody ever ran the group.
func (d *Desk) told(ctx context.Context) error {
	name := d.name(ledger.Name)
	at, err := client.Committed(ctx, d.adm, name)
	if err != nil || len(at) > 0 {
		return err
	}
	groups, err := d.adm.DescribeGroups(ctx, name)
	if err != nil {
		return fmt.Errorf("describing group %q: %w", name, err)
	}
	if len(groups[name].Members) == 0 {
		return ErrUntold
	}
	return nil
}

// Payloads fills in what the rows of sent effects do not hold, from the records that
// asked for them. It stays empty where such a record is gone.
func (d *Desk) Payloads(ctx context.Context, es []Effect) error {
	type place struct {
		partition int32
		offset    int64
	}
	wanted := map[place]*Effect{}
	first, last := map[int32]int64{}, map[int32]int64{}
	for i := range es {
		e := &es[i]
		if e.Payload != "" {
			continue
		}
		wanted[place{e.Partition, e.Offset}] = e
		if from, ok := first[e.Partition]; !ok || e.Offset < from {
			first[e.Partition] = e.Offset
		}
		last[e.Partition] = max(last[e.Partition], e.Offset)
	}
	if len(wanted) == 0 {
		return nil
	}
	span, err := client.Whole(ctx, d.adm, d.name(topics.Effects), slices.Collect(maps.Keys(first))...)
	if err != nil {
		return err
	}
	for p, start := range span.From {
		span.From[p], span.To[p] = max(start, first[p]), min(span.To[p], last[p]+1)
	}
	return span.Read(ctx, d.cfg.Opts, func(r *kgo.Record) (bool, error) {
		var asked schemas.Effect
		e := wanted[place{r.Partition, r.Offset}]
		// A topic that was made anew has other effects there, or none.
		if e != nil && d.cfg.Serde.DecodeInto(ctx, topics.Effects, r.Value, &asked) == nil && asked.EffectID == e.EffectID {
			e.Payload = asked.Payload
		}
		return true, nil
	})
}

// About is what stands elsewhere of an effect.
type About struct {
	Entry   *Item              // in the calendar; nil: it does not wait there
	Letters []Item             // those that are done, too
	Deeds   []*schemas.Audited // what persons did, the first first
}

// About looks for it.
func (d *Desk) About(ctx context.Context, e Effect) (a About, err error) {
	f := Filter{Group: ledger.Name, Key: e.EffectID}
	if a.Letters, err = d.Letters(ctx, f, true); err != nil {
		return a, err
	}
	err = d.each(ctx, topics.Audit, func(r *kgo.Record) error {
		deed, err := Audited(ctx, d.cfg.Serde, r)
		if err == nil && deed.Group == ledger.Name && deed.Key == e.EffectID {
			a.Deeds = append(a.Deeds, deed)
		}
		return err
	})
	slices.SortStableFunc(a.Deeds, func(x, y *schemas.Audited) int { return cmp.Compare(x.At, y.At) })
	if err != nil || e.Due == 0 {
		return a, err
	}
	entries, _, err := d.Calendar(ctx)
	for _, it := range f.Select(entries) {
		if it.Letter.Seq == e.Tries { // one of an earlier try comes to nothing
			a.Entry = &it
		}
	}
	return a, err
}

// resend is the action by which an effect goes out once more under its ID, whatever
// became of it. It needs the payload.
func (d *Desk) resend(e Effect, why string) (Deed, error) {
	at := d.cfg.Now().UnixMilli()
	m := flow.Message{ID: flow.NewID("evt", at, d.cfg.Who+"/"+e.EffectID, 0), Type: schemas.NotificationsResend, At: at, Correlation: e.OrderID}
	body := e.Effect()
	r, err := d.record(topics.Effects, e.Partition, m, &body)
	if err != nil {
		return Deed{}, err
	}
	r.Topic = d.name(topics.EffectsLoop)
	return Deed{Records: []*kgo.Record{r}, Audit: schemas.Audited{What: "effects.resend", Why: why, Target: e.Target(), Group: ledger.Name, Key: e.EffectID}}, nil
}

// ResendAll has effects go out once more and returns how many; those that are on
// their way, and those without a payload, are not to be among them. Of two who do
// so at the same time the first ends with ErrTaken.
func (d *Desk) ResendAll(ctx context.Context, es []Effect, why string) (n int, err error) {
	if err := d.TakeOver(ctx, ledger.Name); err != nil {
		return 0, err
	}
	return ActAll(ctx, d, es, func(e Effect) (Deed, error) { return d.resend(e, why) })
}

// LedgerEnd is where the ledger is written next: what Outcome begins at.
func (d *Desk) LedgerEnd(ctx context.Context) (map[int32]int64, error) {
	return client.Written(ctx, d.adm, d.name(topics.EffectsTable))
}

// Outcome follows the ledger from there, until each of the effects has come to an
// end, in the calendar if nowhere else, or the wait is over. It returns those that
// have.
func (d *Desk) Outcome(ctx context.Context, from map[int32]int64, es []Effect, wait time.Duration) ([]Effect, error) {
	open := map[string]bool{}
	for _, e := range es {
		open[e.EffectID] = true
	}
	if len(open) == 0 {
		return nil, nil
	}
	waiting, stop := context.WithTimeout(ctx, wait)
	defer stop()
	var ended []Effect
	err := client.Span{Topic: d.name(topics.EffectsTable), From: from}.Read(waiting, d.cfg.Opts, func(r *kgo.Record) (bool, error) {
		if !open[string(r.Key)] || len(r.Value) == 0 {
			return true, nil
		}
		row, err := d.entry(ctx, r)
		if e := (Effect{LedgerEntry: row, Partition: r.Partition}); err == nil && !e.OnItsWay() {
			ended = append(ended, e)
			delete(open, row.EffectID)
		}
		return len(open) > 0, err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = nil
	}
	return ended, err
}
