package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/topics"
)

func (s *session) examineKafka(ctx context.Context, f *findings) {
	adm, err := s.admin(ctx)
	if err != nil {
		f.fail(cmp.Or(s.access.hint(err), noBrokerHint), "%v", err)
		return
	}
	defer adm.Close()
	brokers := s.examineBrokers(ctx, adm, f)
	if missing := s.examineTopics(ctx, adm, f, brokers); missing {
		return
	}
	s.examineGroups(ctx, f)
	s.examineDeadLetters(ctx, adm, f)
}

func (s *session) examineBrokers(ctx context.Context, adm *kadm.Client, f *findings) (count int) {
	meta, err := adm.BrokerMetadata(ctx)
	if err != nil {
		f.fail("", "asking who the brokers are: %v", err)
		return 0
	}
	versions := map[string]bool{}
	answers, err := adm.ApiVersions(ctx)
	for _, v := range answers {
		if v.Err == nil {
			versions[v.VersionGuess()] = true
		} else {
			f.fail("is it running, and does its advertised address resolve here?", "broker %d does not answer: %v", v.NodeID, v.Err)
		}
	}
	if err != nil && len(answers) == 0 {
		f.fail("", "asking the brokers' versions: %v", err)
	}
	f.ok("%d of %d brokers answer, with the API of Kafka %s", len(answers), len(meta.Brokers), strings.Join(sorted(versions), " and "))
	return len(meta.Brokers)
}

// examineTopics says whether topics are missing, which makes the rest pointless.
func (s *session) examineTopics(ctx context.Context, adm *kadm.Client, f *findings, brokers int) (missing bool) {
	found, err := topicplan.Look(ctx, adm, s.set.namespace)
	if err != nil {
		f.fail("", "%v", err)
		return true
	}
	changes, err := topicplan.Plan(ctx, adm, s.set.namespace, 0, -1)
	if err != nil {
		f.fail("", "%v", err)
		return true
	}
	before := len(*f)
	var absent []string
	for _, c := range changes {
		switch {
		case c.Missing():
			absent = append(absent, c.Topic)
		case c.What == topicplan.Partitions:
			f.fail(hintFor(c), "topic %s has %s partitions and others %s: equal keys do not meet", c.Topic, c.From, c.To)
		case c.What == "cleanup.policy" && c.To == "compact":
			f.fail(hintFor(c), "topic %s is not compacted (%s=%s): rows will be lost by retention", c.Topic, c.What, c.From)
		case c.What == "cleanup.policy":
			f.fail(hintFor(c), "topic %s is compacted (%s=%s): records of one key will be lost", c.Topic, c.What, c.From)
		default:
			f.warn(hintFor(c), "topic %s has %s=%s, the catalogue says %s", c.Topic, c.What, c.From, c.To)
		}
	}
	if len(absent) > 0 {
		f.fail("`orderlog topics apply` makes them; is --namespace right?", "%d of %d topics are missing: %s",
			len(absent), len(found), strings.Join(absent, ", "))
	}
	if brokers > 1 {
		warnSingleCopies(found, f)
	}
	if len(*f) == before {
		f.ok("%d topics are as the catalogue says, with %d partitions each", len(found), found[0].Partitions)
	}
	return len(absent) > 0
}

func hintFor(c topicplan.Change) string {
	if c.Blocked != "" {
		return c.Blocked
	}
	return "`orderlog topics apply` sets it"
}

func warnSingleCopies(found []topicplan.Found, f *findings) {
	var single []string
	for _, t := range found {
		if t.Exists && t.Replicas < 2 {
			single = append(single, t.FullName)
		}
	}
	if len(single) > 0 {
		f.warn("reassign them with your Kafka tools to 3 replicas", "%d topics have one replica: %s", len(single), strings.Join(single, ", "))
	}
}

// examineGroups looks for groups that nobody runs and for positions that the log
// does not have any more, or not yet.
func (s *session) examineGroups(ctx context.Context, f *findings) {
	lags, err := s.lag(ctx, nil, false)
	if err != nil {
		f.fail("", "%v", err)
		return
	}
	var idle []string
	for _, l := range lags {
		if l.State != "Stable" && !slices.Contains(idle, l.Group) {
			idle = append(idle, l.Group)
		}
		where := fmt.Sprintf("group %s on %s/%d", l.Group, l.Topic, l.Partition)
		switch {
		case l.Committed < 0:
		case l.Committed < l.Start:
			f.fail("records were deleted before they were handled: was the group down for longer than the topic's retention?",
				"%s stands at %d, the log starts at %d", where, l.Committed, l.Start)
		case l.Committed > l.End:
			f.fail("was the topic made anew, or the broker's data restored? the group's offsets and tables belong to another log",
				"%s stands at %d, the log ends at %d", where, l.Committed, l.End)
		}
	}
	if len(idle) > 0 {
		f.warn("`orderlog run all` runs them", "nobody runs, or all are just joining: %s", strings.Join(idle, ", "))
	} else {
		f.ok("every group has members and a stable assignment")
	}
}

func (s *session) examineDeadLetters(ctx context.Context, adm *kadm.Client, f *findings) {
	span, err := client.Whole(ctx, adm, s.name(topics.DeadLetter))
	if err != nil {
		f.fail("", "%v", err)
		return
	}
	var n int64
	for p, first := range span.From {
		n += span.To[p] - first
	}
	if n > 0 {
		f.warn("`orderlog tail dead-letter` shows them", "there are dead letters (at most %d, markers counted)", n)
		return
	}
	f.ok("no dead letters")
}
