package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderlog/orderlog/schemas"
)

// Status is how a group stands.
type Status struct {
	Group   string                `json:"group"`
	State   string                `json:"state"`
	Members []string              `json:"members"`
	Paused  *schemas.GroupControl `json:"paused,omitempty"`
	Open    bool                  `json:"open_transaction"` // of a replay that lives, or died before its end
	Last    *Event                `json:"last,omitempty"`   // run or undoing
}

// Half says that a replay was begun and has changed nothing yet: what it changes, and
// that the group goes on, are one transaction.
func (s *Status) Half() bool { return s.Paused != nil && s.Paused.Replay != "" }

// Status looks at groups; it changes nothing.
func (r *Replayer) Status(ctx context.Context, groups []string) ([]*Status, error) {
	var ids []string
	for _, name := range groups {
		ids = append(ids, r.name(TransactionalID(name)))
	}
	txns, err := r.transactions(ctx, ids)
	if err != nil {
		return nil, err
	}
	said, err := r.controls(ctx)
	if err != nil {
		return nil, err
	}
	events, err := r.events(ctx)
	if err != nil {
		return nil, err
	}
	var all []*Status
	for i, name := range groups {
		g := &Group{Name: name, full: r.name(name)}
		if err := r.describe(ctx, g); err != nil {
			return nil, err
		}
		s := &Status{Group: name, State: g.State, Members: g.Members, Open: txns[ids[i]].State == "Ongoing"}
		if c := said[name]; c != nil && c.Paused {
			s.Paused = c
		}
		if es := events[name]; len(es) > 0 {
			s.Last = es[len(es)-1]
		}
		all = append(all, s)
	}
	return all, nil
}

// transactions describes them when none is between its end and the markers of it, which
// readers of committed records wait for.
func (r *Replayer) transactions(ctx context.Context, ids []string) (txns kadm.DescribedTransactions, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = poll(ctx, func() (bool, error) {
		txns, err = r.adm.DescribeTransactions(ctx, ids...)
		if err != nil {
			return false, fmt.Errorf("describing transactions: %w", err)
		}
		return !slices.ContainsFunc(txns.Sorted(), func(t kadm.DescribedTransaction) bool {
			return strings.HasPrefix(t.State, "Prepare")
		}), nil
	})
	return txns, err
}
