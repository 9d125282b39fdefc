package kgoka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// An instance that dies in a transaction leaves it open: its offsets are not told,
// its outputs and the end of its table not read, until the transaction's timeout,
// after which brokers look every 10 s. Who takes its partitions over ends it at
// once. Only members of the group produce, so an open transaction whose instance
// is no member is a dead one's, or a zombie's, which has to begin anew anyway.

// txnID is the transactional ID of one of an instance's two producers. Neither a
// group nor an instance has a slash in its name, so that it says whose it is.
func txnID(group, instance string, turn int) string {
	return fmt.Sprintf("%s/%s/%d", group, instance, turn)
}

// instanceOf returns the instance of the group that a transactional ID is of.
func instanceOf(group, id string) (instance string, ok bool) {
	if id, ok = strings.CutPrefix(id, group+"/"); !ok {
		return "", false
	}
	instance, _, ok = strings.Cut(id, "/")
	return instance, ok
}

// fence ends the transactions of instances that are gone, and returns when the
// broker has completed them. They are listed before the members are: an instance
// that comes meanwhile has none open yet.
func (m *membership) fence(ctx context.Context) error {
	open, err := kadm.NewClient(m.p.adm).ListTransactions(ctx, nil, []string{"Ongoing"})
	if err != nil {
		return fmt.Errorf("listing transactions: %w", err)
	}
	ours := map[string]string{} // instances by ID
	for id := range open {
		if instance, ok := instanceOf(m.p.group, id); ok {
			ours[id] = instance
		}
	}
	if len(ours) == 0 {
		return nil
	}
	alive, err := m.members(ctx)
	if err != nil {
		return err
	}
	for id, instance := range ours {
		if alive[instance] != "" {
			continue
		}
		if err := m.takeOver(ctx, id); fenced(err) {
			continue // another survivor was quicker
		} else if err != nil {
			return fmt.Errorf("ending the transaction of %q: %w", id, err)
		}
		m.p.cfg.Log.Info("ended the open transaction of an instance that is gone", "instance", instance, "transactional_id", id)
	}
	return nil
}

// fenced says whether err is about another one having taken a transactional ID.
func fenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch)
}

// takeOver asks for a producer of its own under a transactional ID: the broker
// aborts what is open under it and refuses whatever else its owner sends.
func (m *membership) takeOver(ctx context.Context, id string) error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = &id
	req.TransactionTimeoutMillis = int32(m.p.cfg.TransactionTimeout.Milliseconds())
	return retryTxn(ctx, func() error {
		resp, err := req.RequestWith(ctx, m.p.adm)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// fenceEvery is how often the dead are looked for while something is held back.
const fenceEvery = 500 * time.Millisecond

// tryFence is fence where the transactions' timeouts would do, only later.
func (m *membership) tryFence(ctx context.Context) {
	if err := m.fence(ctx); err != nil && ctx.Err() == nil && !m.warned.Swap(true) {
		m.p.cfg.Log.Warn("cannot end transactions of instances that are gone: taking over from one waits for their timeout", "error", err)
	}
}

// settle waits until the offsets of partitions just assigned are final: the dead
// are fenced, and the living complete what they committed before they gave them
// up. The client would ask only every second. It gives up before the group misses
// this member in a rebalance.
func (m *membership) settle(ctx context.Context, assign map[string][]int32) {
	ctx, cancel := context.WithTimeout(ctx, m.p.cfg.RebalanceTimeout/2)
	defer cancel()
	for ctx.Err() == nil {
		m.tryFence(ctx)
		for began := time.Now(); time.Since(began) < fenceEvery; pause(ctx, 5*time.Millisecond) {
			if !m.pending(ctx, assign) {
				return
			}
		}
	}
}

// pending says whether a transaction that is not complete holds offsets of these
// partitions. Errors are left to the client, which asks next.
func (m *membership) pending(ctx context.Context, assign map[string][]int32) bool {
	_, err := m.commits(ctx, assign)
	return errors.Is(err, kerr.UnstableOffsetCommit)
}

// fencing looks for the dead until stop is called: a zombie may still begin a
// transaction, and while it is open the end of a table is not to be had.
func (m *membership) fencing(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(ctx, fenceEvery); ctx.Err() == nil; pause(ctx, fenceEvery) {
			m.tryFence(ctx)
		}
	}()
	return func() { cancel(); <-done }
}
