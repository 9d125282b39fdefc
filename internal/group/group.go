// Package group asks a cluster about consumer groups, in spite of a coordinator
// that has just died.
package group

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
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

// atOnce is of how many groups a coordinator is asked in one request.
const atOnce = 500

// Offsets returns what the group has committed, nothing if it is not there. Where stable
// ones are asked for (kadm.RequireStable), it waits until whoever had some in a
// transaction has ended it.
func Offsets(ctx context.Context, adm *kadm.Client, name string) (kadm.OffsetResponses, error) {
	at, errs := Many(ctx, adm, name)
	return at[name], errors.Join(errs...)
}

// Many returns what groups have committed: nothing, if one is not there. Those of
// which it is not known are left out, and errs says why. It waits as Offsets does.
func Many(ctx context.Context, adm *kadm.Client, names ...string) (at map[string]kadm.OffsetResponses, errs []error) {
	at = make(map[string]kadm.OffsetResponses, len(names))
	for began := time.Now(); ; {
		var again []string
		wait := 20 * time.Millisecond
		fail := func(name string, err error) {
			errs = append(errs, fmt.Errorf("offsets of group %q: %w", name, err))
		}
		for some := range slices.Chunk(names, atOnce) {
			for name, got := range adm.FetchManyOffsets(ctx, some...) {
				err := got.Err
				if err == nil {
					err = got.Fetched.Error() // of any partition
				}
				switch {
				case errors.Is(err, kerr.GroupIDNotFound):
					at[name] = nil
				case err == nil:
					at[name] = got.Fetched
				case errors.Is(err, kerr.UnstableOffsetCommit) && time.Since(began) <= undecided:
					again = append(again, name)
				case !Away(err) || time.Since(began) > patience:
					fail(name, err)
				default:
					relocate(ctx, adm, name)
					again, wait = append(again, name), 250*time.Millisecond
				}
			}
		}
		if names = again; len(names) == 0 {
			return at, errs
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			fail(names[0], ctx.Err())
			return at, errs
		}
	}
}

// relocate has the client look for the group's coordinator anew, which franz-go 1.22
// does not do for requests that may concern several groups. That somebody leaves who
// cannot be a member concerns one, and is harmless.
func relocate(ctx context.Context, adm *kadm.Client, name string) {
	_, _ = adm.LeaveGroup(ctx, kadm.LeaveGroup(name).InstanceIDs("no name of an instance"))
}

// Away tells that an error is of a broker which cannot be reached, or which has closed the
// connection: it may be back in a moment.
func Away(err error) bool {
	return errors.As(err, new(*net.OpError)) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
