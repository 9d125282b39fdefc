package mend

import (
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/processors/retry"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// PullForward has an entry be due at that time (Unix ms), or as soon as it can be.
func (d *Desk) PullForward(it Item, due int64, why string) (Deed, error) {
	return d.ofEntry("retries.pull-forward", schemas.RetriesPullForward, it, schemas.RetryCommand{Due: due, Reason: why})
}

// Cancel has an entry not be tried again: it becomes a dead letter when it is its
// turn. A deadline is just gone, until something happens to what it is for.
func (d *Desk) Cancel(it Item, why string) (Deed, error) {
	return d.ofEntry(schemas.EntryCancelled, schemas.RetriesCancel, it, schemas.RetryCommand{Reason: why})
}

func (d *Desk) ofEntry(what, kind string, it Item, c schemas.RetryCommand) (Deed, error) {
	c.Entry = it.Entry
	deed := Deed{Audit: d.about(what, it, c.Reason)}
	return deed, d.command(&deed, kind, it.Partition, c)
}

// Pause has all entries of a group and a cause wait until Resume; "" stands for
// every one.
func (d *Desk) Pause(group, cause, why string) (Deed, error) {
	return d.everywhere("retries.pause", schemas.RetriesPause, group, cause, why)
}

// Resume lifts the Pause of the same group and cause, and no other.
func (d *Desk) Resume(group, cause, why string) (Deed, error) {
	return d.everywhere("retries.resume", schemas.RetriesResume, group, cause, why)
}

func (d *Desk) everywhere(what, kind, group, cause, why string) (Deed, error) {
	c := schemas.RetryCommand{Entry: retry.PauseKey(group, cause), Group: group, Cause: cause, Reason: why}
	deed := Deed{Audit: schemas.Audited{What: what, Why: why, Target: c.Entry, Group: group}}
	for p := range d.partitions[topics.RetryCommands] {
		if err := d.command(&deed, kind, int32(p), c); err != nil {
			return deed, err
		}
	}
	return deed, nil
}

// command adds what the calendar is told, on the partition where the entry stands.
func (d *Desk) command(deed *Deed, kind string, partition int32, c schemas.RetryCommand) error {
	c.Who = d.cfg.Who
	at := d.cfg.Now().UnixMilli()
	r, err := d.record(topics.RetryCommands, partition, flow.Message{ID: flow.NewID("evt", at, c.Entry+"/"+kind, int(partition)), Type: kind, At: at}, &c)
	deed.Records = append(deed.Records, r)
	return err
}
