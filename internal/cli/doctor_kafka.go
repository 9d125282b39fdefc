package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/lag"
	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/topics"
)

func (s *session) examineKafka(ctx context.Context, f *findings, floor time.Duration) {
	cl, err := s.connect(ctx)
	if err != nil {
		f.fail(cmp.Or(s.access.hint(err), noBrokerHint), "%v", err)
		return
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	brokers := s.examineBrokers(ctx, cl, adm, f)
	examineControllers(ctx, cl, f)
	examineLimits(ctx, adm, f, brokers)
	s.examineCopies(ctx, adm, f, len(brokers))
	if missing := s.examineTopics(ctx, adm, f); missing {
		return
	}
	s.examineGroups(ctx, f, floor)
	s.examineDeadLetters(ctx, adm, f)
}

// examineTopics says whether topics are missing, which makes the rest pointless.
func (s *session) examineTopics(ctx context.Context, adm *kadm.Client, f *findings) (missing bool) {
	found, err := topicplan.Look(ctx, adm, s.set.namespace)
	if err != nil {
		f.fail("", "%v", err)
		return true
	}
	changes, err := topicplan.Plan(ctx, adm, s.set.namespace, 0, 0)
	if err != nil {
		f.fail("", "%v", err)
		return true
	}
	before := len(*f)
	var absent []string
	differ := map[finding][]string{} // the rest of the sentence -> topics
	for _, c := range changes {
		switch {
		case c.Missing():
			absent = append(absent, c.Topic)
		case c.What == topicplan.Replication: // examineCopies has told
		case c.What == topicplan.Partitions:
			f.fail(hintFor(c), "topic %s has %s partitions and others %s: equal keys do not meet", c.Topic, c.From, c.To)
		case c.What == "cleanup.policy" && c.To == "compact":
			f.fail(hintFor(c), "topic %s is not compacted (%s=%s): rows will be lost by retention", c.Topic, c.What, c.From)
		case c.What == "cleanup.policy":
			f.fail(hintFor(c), "topic %s is compacted (%s=%s): records of one key will be lost", c.Topic, c.What, c.From)
		default:
			same := finding{Hint: hintFor(c), What: fmt.Sprintf("%s=%s, the catalogue says %s", c.What, c.From, c.To)}
			differ[same] = append(differ[same], c.Topic)
		}
	}
	for _, same := range slices.SortedFunc(maps.Keys(differ), func(a, b finding) int { return cmp.Compare(a.What, b.What) }) {
		f.warn(same.Hint, "%s: %s", same.What, some(differ[same]))
	}
	if len(absent) > 0 {
		f.fail("`orderlog topics apply` makes them; is --namespace right?", "%d of %d topics are missing: %s",
			len(absent), len(found), strings.Join(absent, ", "))
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

// examineGroups looks for groups that nobody runs and for positions that the log
// does not have any more, or not yet.
func (s *session) examineGroups(ctx context.Context, f *findings, floor time.Duration) {
	round, err := s.lag(ctx, lag.Pipeline(s.set.namespace))
	if err != nil {
		f.fail("", "%v", err)
		return
	}
	for _, fault := range round.Faults {
		f.fail("", "%v", fault)
	}
	var idle []string
	for _, g := range round.Groups {
		if g.State != "Stable" {
			idle = append(idle, g.Group)
		}
	}
	for _, l := range round.Partitions {
		where := fmt.Sprintf("group %s on %s/%d", l.Group, l.Topic, l.Partition)
		switch {
		case l.Committed < 0:
		case l.Lost():
			f.fail("records were deleted before they were handled: was the group down for longer than the topic's retention?",
				"%s stands at %d, the log starts at %d", where, l.Committed, l.Start)
		case l.Beyond():
			f.fail("was the topic made anew, or the broker's data restored? the group's offsets and tables belong to another log",
				"%s stands at %d, the log ends at %d", where, l.Committed, l.End)
		}
	}
	if len(idle) > 0 {
		f.warn("`orderlog run all` runs them", "nobody runs, or all are just joining: %s", strings.Join(idle, ", "))
	} else {
		f.ok("every group has members and a stable assignment")
	}
	examineDowntime(f, round, floor)
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
