// Package group asks a cluster about consumer groups, in spite of a coordinator
// that has just died.
package group

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// patience is how long a coordinator that cannot be reached is waited for: until a
// broker is given up (broker.session.timeout.ms, 9 s by default) and another
// coordinates its groups.
const patience = 20 * time.Second

// undecided is how long the end of a transaction is waited for: longer than any timeout
// of ours, after which brokers end it.
const undecided = 2 * time.Minute

// Offsets returns what the group has committed, nothing if it is not there. Where stable
// ones are asked for (kadm.RequireStable), it waits until whoever had some in a
// transaction has ended it.
func Offsets(ctx context.Context, adm *kadm.Client, name string) (kadm.OffsetResponses, error) {
	for began := time.Now(); ; {
		at, err := adm.FetchOffsets(ctx, name)
		if err == nil {
			err = at.Error() // of any partition
		}
		switch {
		case errors.Is(err, kerr.GroupIDNotFound):
			return nil, nil
		case err == nil:
			return at, nil
		case errors.Is(err, kerr.UnstableOffsetCommit) && time.Since(began) <= undecided:
			select {
			case <-time.After(20 * time.Millisecond):
				continue
			case <-ctx.Done():
				return nil, fmt.Errorf("offsets of group %q: %w", name, err)
			}
		case !errors.As(err, new(*net.OpError)) || time.Since(began) > patience:
			return nil, fmt.Errorf("offsets of group %q: %w", name, err)
		}
		relocate(ctx, adm, name)
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("offsets of group %q: %w", name, err)
		}
	}
}

// relocate has the client look for the group's coordinator anew, which franz-go 1.22
// does not do for requests that may concern several groups. That somebody leaves who
// cannot be a member concerns one, and is harmless.
func relocate(ctx context.Context, adm *kadm.Client, name string) {
	_, _ = adm.LeaveGroup(ctx, kadm.LeaveGroup(name).InstanceIDs("no name of an instance"))
}
