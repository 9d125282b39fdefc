package topicplan

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Apply makes the changes that are not blocked and waits until every partition
// of the topics concerned has a leader that answers for it. What is blocked, and what the broker
// refuses, is in the error; the rest is done all the same. Doing it again does
// no harm.
func Apply(ctx context.Context, adm *kadm.Client, changes []Change) error {
	var errs []error
	blocked := make(map[string][]string) // reason -> topics, as one error each
	expect := make(map[string]int32)     // topic -> partitions to wait for
	for _, c := range changes {
		if c.Blocked != "" {
			blocked[c.Blocked] = append(blocked[c.Blocked], c.Topic)
			continue
		}
		if err := applyOne(ctx, adm, c); err != nil {
			errs = append(errs, fmt.Errorf("topic %q: %s: %w", c.Topic, c.What, err))
			continue
		}
		switch c.What {
		case Create:
			expect[c.Topic] = c.Partitions
		case Partitions:
			n, _ := strconv.Atoi(c.To)
			expect[c.Topic] = int32(n)
		}
	}
	for _, why := range sortedKeys(blocked) {
		errs = append(errs, fmt.Errorf("topics left as they are: %s: %s", strings.Join(blocked[why], ", "), why))
	}
	if err := waitForLeaders(ctx, adm, expect); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func applyOne(ctx context.Context, adm *kadm.Client, c Change) error {
	switch c.What {
	case Create:
		return create(ctx, adm, c)
	case Partitions:
		n, err := strconv.Atoi(c.To)
		if err != nil {
			return err
		}
		rs, err := adm.UpdatePartitions(ctx, n, c.Topic)
		if err == nil {
			err = withMessage(rs[c.Topic].Err, rs[c.Topic].ErrMessage)
		}
		return err
	}
	rs, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: c.What, Value: &c.To}}, c.Topic)
	if err != nil {
		return err
	}
	r, err := rs.On(c.Topic, nil)
	if err != nil {
		return err
	}
	return withMessage(r.Err, r.ErrMessage)
}

// create is content with a topic that somebody else has made meanwhile: the
// next plan tells whether it is as it should be.
func create(ctx context.Context, adm *kadm.Client, c Change) error {
	settings := make(map[string]*string, len(c.Settings))
	for k, v := range c.Settings {
		settings[k] = &v
	}
	rs, err := adm.CreateTopics(ctx, c.Partitions, c.Replication, settings, c.Topic)
	if err != nil {
		return err
	}
	r := rs[c.Topic]
	if errors.Is(r.Err, kerr.TopicAlreadyExists) {
		return nil
	}
	return withMessage(r.Err, r.ErrMessage)
}

func withMessage(err error, message string) error {
	if err == nil || message == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, message)
}

const (
	leaderPoll = 50 * time.Millisecond
	leaderWait = 30 * time.Second
)

func waitForLeaders(ctx context.Context, adm *kadm.Client, expect map[string]int32) error {
	if len(expect) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	names := sortedKeys(expect)
	for {
		details, err := adm.ListTopics(uncached(ctx), names...)
		var missing string
		if err == nil {
			if missing = leaderless(details, names, expect); missing == "" {
				// One broker says so; the leaders must know it, too.
				ends, e := adm.ListEndOffsets(uncached(ctx), names...)
				if err = errors.Join(e, ends.Error()); err == nil {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			if missing == "" {
				return fmt.Errorf("waiting for the leaders of new topics: %w", errors.Join(err, ctx.Err()))
			}
			return fmt.Errorf("waiting for the leaders of topic %q: %w", missing, ctx.Err())
		case <-time.After(leaderPoll):
		}
	}
}

// leaderless names the first topic that cannot be used yet.
func leaderless(details kadm.TopicDetails, names []string, expect map[string]int32) string {
	for _, name := range names {
		d, ok := details[name]
		if !ok || d.Err != nil || int32(len(d.Partitions)) < expect[name] {
			return name
		}
		for _, p := range d.Partitions {
			if p.Err != nil || p.Leader < 0 {
				return name
			}
		}
	}
	return ""
}
