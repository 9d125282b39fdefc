package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/topics"
)

// examineBrokers returns the brokers that the cluster counts as living.
func (s *session) examineBrokers(ctx context.Context, cl *kgo.Client, adm *kadm.Client, f *findings) (living []int32) {
	meta, err := adm.BrokerMetadata(ctx)
	if err != nil {
		f.fail("", "asking who the brokers are: %v", err)
		return nil
	}
	living = meta.Brokers.NodeIDs()
	down := downBrokers(ctx, cl)
	answers, err := adm.ApiVersions(ctx)
	answering := 0
	for _, v := range answers {
		if v.Err != nil {
			f.fail("is it running, and does its advertised address resolve here?", "broker %d does not answer: %v", v.NodeID, v.Err)
		} else {
			answering++
		}
	}
	if err != nil && len(answers) == 0 {
		f.fail("", "asking the brokers' versions: %v", err)
	}
	f.ok("%d of %d brokers answer, with the API of Kafka %s", answering, len(living)+len(down), kafkaVersions(answers))
	if len(down) > 0 {
		f.warn("start it again; the others serve what they have copies of", "down: broker %s", listed(down))
	}
	if s.access.sasl != nil && s.access.sasl.Name() == mechanismPlain && s.access.tls == nil {
		f.warn("add --tls, or use a SCRAM mechanism", "the password of --sasl-user goes over the network as it is")
	}
	return living
}

// kafkaVersions names the versions that the brokers' APIs are of.
func kafkaVersions(answers kadm.BrokersApiVersions) string {
	versions := map[string]bool{}
	for _, v := range answers {
		if v.Err == nil {
			versions[v.VersionGuess()] = true
		}
	}
	return strings.Join(sorted(versions), " and ")
}

// downBrokers are registered and fenced (KIP-1073). Kafka before 4.0 does not tell.
func downBrokers(ctx context.Context, cl *kgo.Client) (ids []int32) {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.IncludeFencedBrokers = true
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil
	}
	for _, b := range resp.Brokers {
		if b.IsFenced {
			ids = append(ids, b.NodeID)
		}
	}
	slices.Sort(ids)
	return ids
}

// voterLate is how far behind a controller may be: those that live fetch twice a second.
const voterLate = 10 * time.Second

// examineControllers looks at the quorum of a KRaft cluster. Who may not ask, or
// asks another kind of broker, is told nothing.
func examineControllers(ctx context.Context, cl *kgo.Client, f *findings) {
	p := kmsg.NewDescribeQuorumRequestTopicPartition()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic, t.Partitions = "__cluster_metadata", append(t.Partitions, p)
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil || kerr.ErrorForCode(resp.ErrorCode) != nil || len(resp.Topics) == 0 || len(resp.Topics[0].Partitions) == 0 {
		return
	}
	quorum := resp.Topics[0].Partitions[0]
	if quorum.LeaderID < 0 {
		f.fail("more than half of the controllers must run", "no controller leads: topics and leaders cannot change")
		return
	}
	var newest int64
	for _, v := range quorum.CurrentVoters {
		newest = max(newest, v.LastCaughtUpTimestamp)
	}
	var late []int32
	for _, v := range quorum.CurrentVoters {
		if time.Duration(newest-v.LastCaughtUpTimestamp)*time.Millisecond > voterLate {
			late = append(late, v.ReplicaID)
		}
	}
	voters := len(quorum.CurrentVoters)
	if len(late) == 0 {
		f.ok("controller %d leads, all %d controllers keep up", quorum.LeaderID, voters)
		return
	}
	hint := "start it again"
	if voters-len(late) == voters/2+1 {
		hint += ": if one more fails, topics and leaders cannot change"
	}
	f.warn(hint, "controller %d leads, of %d; down or behind: controller %s", quorum.LeaderID, voters, listed(late))
}

// examineLimits compares what orderlog asks for with what the brokers allow.
func examineLimits(ctx context.Context, adm *kadm.Client, f *findings, brokers []int32) {
	settings, err := adm.DescribeBrokerConfigs(ctx, brokers...)
	if err != nil {
		f.warn("the user needs DESCRIBE_CONFIGS on the cluster", "the brokers' settings cannot be read: %v", err)
		return
	}
	problems := 0
	check := func(setting string, bad func(int) bool, hint, what string) {
		by := map[int][]int32{} // value -> brokers
		for _, b := range settings {
			id, _ := strconv.ParseInt(b.Name, 10, 32)
			if value, ok := number(b, setting); ok && bad(value) {
				by[value] = append(by[value], int32(id))
			}
		}
		for _, value := range sorted(by) {
			problems++
			slices.Sort(by[value])
			f.fail(hint, "broker %s: %s=%d, %s", listed(by[value]), setting, value, what)
		}
	}
	session, transaction := int(kgoka.DefaultSessionTimeout.Milliseconds()), int(kgoka.DefaultTransactionTimeout.Milliseconds())
	check("group.min.session.timeout.ms", func(v int) bool { return v > session },
		fmt.Sprintf("set it to %d or less: members could not join", session), fmt.Sprintf("orderlog asks for %d", session))
	check("group.max.session.timeout.ms", func(v int) bool { return v < session },
		fmt.Sprintf("set it to %d or more: members could not join", session), fmt.Sprintf("orderlog asks for %d", session))
	check("transaction.max.timeout.ms", func(v int) bool { return v < transaction },
		fmt.Sprintf("set it to %d or more: no transaction could begin", transaction), fmt.Sprintf("orderlog asks for %d", transaction))
	if problems == 0 {
		f.ok("the brokers allow the timeouts that orderlog asks for")
	}
}

func number(of kadm.ResourceConfig, setting string) (int, bool) {
	for _, c := range of.Configs {
		if c.Key == setting {
			n, err := strconv.Atoi(c.MaybeValue())
			return n, err == nil
		}
	}
	return 0, false
}

// Kafka's own topics that orderlog depends on: made at first use, and their
// copies count as much as those of orders.
var internalTopics = []string{"__consumer_offsets", "__transaction_state"}

// copies is what can be wrong with topics' replicas.
type copies struct {
	leaderless, refusing, behind []string // partitions
	few, unsafe, unclean         []string // topics
	unwritable                   []string // topics
}

// examineCopies looks at the replicas of orderlog's topics and of Kafka's own.
func (s *session) examineCopies(ctx context.Context, adm *kadm.Client, f *findings, brokers int) {
	want := min(topicplan.Replicas, brokers)
	names := slices.Clone(internalTopics)
	for _, t := range topics.All() {
		names = append(names, s.name(t.Name))
	}
	details, err := adm.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		f.fail("", "asking for replicas: %v", err)
		return
	}
	maps.DeleteFunc(details, func(_ string, t kadm.TopicDetail) bool { return t.Err != nil }) // not made yet, or not ours to see
	configs, err := adm.DescribeTopicConfigs(ctx, details.Names()...)
	if err != nil {
		f.warn("the user needs DESCRIBE_CONFIGS on the topics", "topic settings cannot be read: %v", err)
	}
	var c copies
	for _, t := range details.Sorted() {
		settings, _ := configs.On(t.Topic, nil)
		c.look(t, settings, want)
	}
	before := len(*f)
	c.tell(f, want)
	if len(*f) == before && len(details) > 0 {
		f.ok("every partition of %d topics has all its copies in sync", len(details))
	}
}

func (c *copies) look(t kadm.TopicDetail, settings kadm.ResourceConfig, want int) {
	inSync, ok := number(settings, "min.insync.replicas")
	if !ok {
		inSync = 1
	}
	replicas := t.Partitions.NumReplicas()
	if replicas < inSync {
		c.unwritable = append(c.unwritable, t.Topic)
	}
	if replicas < want {
		c.few = append(c.few, fmt.Sprintf("%s (%d)", t.Topic, replicas))
	} else if slices.Contains(internalTopics, t.Topic) && inSync < topicplan.InSync(want) {
		c.unsafe = append(c.unsafe, t.Topic) // orderlog's own are compared with the catalogue
	}
	for _, s := range settings.Configs {
		if s.Key == "unclean.leader.election.enable" && s.MaybeValue() == "true" {
			c.unclean = append(c.unclean, t.Topic)
		}
	}
	for _, p := range t.Partitions.Sorted() {
		name := fmt.Sprintf("%s/%d", t.Topic, p.Partition)
		switch {
		case p.Leader < 0 || errors.Is(p.Err, kerr.LeaderNotAvailable):
			c.leaderless = append(c.leaderless, name)
		case len(p.ISR) < min(inSync, replicas):
			c.refusing = append(c.refusing, name)
		case len(p.ISR) < len(p.Replicas):
			c.behind = append(c.behind, name)
		}
	}
}

func (c *copies) tell(f *findings, want int) {
	if len(c.leaderless) > 0 {
		f.fail("start the brokers that have copies of them", "without a leader, neither read nor written: %s", some(c.leaderless))
	}
	if len(c.unwritable) > 0 {
		f.fail("copy them to more brokers with kafka-reassign-partitions, or lower min.insync.replicas, as `orderlog topics apply` does",
			"fewer replicas than min.insync.replicas, every write is refused: %s", some(c.unwritable))
	}
	if len(c.refusing) > 0 {
		f.fail("start the brokers that have copies of them", "fewer copies in sync than min.insync.replicas, writes are refused: %s", some(c.refusing))
	}
	if len(c.behind) > 0 {
		f.warn("start the brokers that have copies of them, or wait until these have caught up", "copies missing or behind: %s", some(c.behind))
	}
	if len(c.few) > 0 {
		f.warn("copy them to more brokers with kafka-reassign-partitions; offsets.topic.replication.factor and transaction.state.log.replication.factor are for Kafka's own",
			"fewer than %d replicas: %s", want, some(c.few))
	}
	if len(c.unsafe) > 0 {
		f.warn(fmt.Sprintf("set it to %d: kafka-configs --alter --entity-type topics --entity-name TOPIC --add-config min.insync.replicas=%d",
			topicplan.InSync(want), topicplan.InSync(want)), "min.insync.replicas is below %d: %s", topicplan.InSync(want), some(c.unsafe))
	}
	if len(c.unclean) > 0 {
		f.warn("set unclean.leader.election.enable=false", "a copy that is behind may become leader, which loses records: %s", some(c.unclean))
	}
}

// some shows the first of many.
func some(of []string) string {
	const most = 3
	if len(of) <= most+1 {
		return strings.Join(of, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(of[:most], ", "), len(of)-most)
}

func listed(ids []int32) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = strconv.Itoa(int(id))
	}
	return strings.Join(names, ", ")
}
