package kgoka

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A group consumes from its committed offsets, and from the start of a log of
// which it has committed nothing. There is no third way: an offset that the log
// does not have any more, or that is of another log, ends Run. Going on
// somewhere else would pass records over or handle others in their place, and
// that is for somebody to decide.

// A commit's metadata says of which topics it is: topic-id=X for the one consumed,
// table-id=Y for the group's table, whose rows are as of that offset; IDs as
// Kafka's tools print them. Without, a topic made anew would be consumed from where
// the one before was left, and a table made anew would be taken for all rows.
const (
	topicKey = "topic-id="
	tableKey = "table-id="
)

func commitMeta(topic, table kadm.TopicID) *string {
	s := topicKey + topicIDString(topic)
	if table != (kadm.TopicID{}) {
		s += " " + tableKey + topicIDString(table)
	}
	return &s
}

// CommitMetadata is what a group's commit says of the topic that it is of, and of the
// group's table. Who sets a group's offsets from outside, says so, too: rows and
// offsets belong together.
func CommitMetadata(topic, table [16]byte) string { return *commitMeta(topic, table) }

func topicIDString(id kadm.TopicID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// otherID returns the ID that a commit's metadata has under key, if it is not id.
func otherID(meta, key string, id kadm.TopicID) (string, bool) {
	for _, field := range strings.Fields(meta) {
		if was, ok := strings.CutPrefix(field, key); ok && was != topicIDString(id) {
			return was, true
		}
	}
	return "", false
}

// OfOthers says whether a commit's metadata is of another topic than this one, or of
// other rows than this table's: one of them has been made anew since.
func OfOthers(meta string, topic, table [16]byte) (otherLog, otherRows bool) {
	_, otherLog = otherID(meta, topicKey, topic)
	_, otherRows = otherID(meta, tableKey, table)
	return otherLog, otherRows
}

// extent is what a partition's log holds, and what the group has committed of it.
type extent struct {
	id, table  kadm.TopicID // of the topic, and of the group's table; zero for none
	start, end int64        // first offset, and the one after the last

	commit   int64  // -1: none
	epoch    int32  // of the leader that wrote the record before the commit; -1: not known
	epochEnd int64  // where the log of that epoch ends; -1: not known
	meta     string // of the commit

	rows    bool // the table has records of this partition, and no input of it a commit
	origins bool // rows know what they have seen
}

// first returns the offset to consume from, or what is wrong with the commit.
func (x extent) first() (int64, error) {
	topic, anew := otherID(x.meta, topicKey, x.id)
	table, empty := otherID(x.meta, tableKey, x.table)
	switch {
	case x.commit < 0 && x.rows && x.end > 0 && (!x.origins || x.start > 0):
		return 0, fmt.Errorf("the group's table has rows, but its offsets are gone (they expire, or were deleted): from the log's start, offset %d, records may be handled again or be missing", x.start)
	case x.commit < 0:
		return x.start, nil
	case anew:
		return 0, fmt.Errorf("the topic has been deleted and made anew: offset %d was committed for topic ID %s, and now it is %s", x.commit, topic, topicIDString(x.id))
	case empty && x.table != (kadm.TopicID{}):
		return 0, fmt.Errorf("the group's table has been deleted and made anew: the rows as of offset %d are those of topic ID %s, and now it is %s", x.commit, table, topicIDString(x.table))
	case x.commit < x.start:
		return 0, fmt.Errorf("the log has lost records before the group came to them: offset %d is next, and the log begins at %d", x.commit, x.start)
	case x.commit > x.end:
		return 0, fmt.Errorf("the log is shorter than what the group has consumed of it: offset %d is next, and the log ends at %d", x.commit, x.end)
	case x.epochEnd >= 0 && x.commit > x.epochEnd:
		return 0, fmt.Errorf("the log is not the one that the group has consumed: offset %d is next, and what was written in leader epoch %d ends at %d now", x.commit, x.epoch, x.epochEnd)
	}
	return x.commit, nil
}

// OffsetError is what Run ends with where a partition cannot be consumed from where the
// group is.
type OffsetError struct {
	Group, Topic string
	Partition    int32
	Err          error // why
}

func (e *OffsetError) Unwrap() error { return e.Err }

// Error says what to do, too, with Kafka's own tools.
func (e *OffsetError) Error() string {
	return fmt.Sprintf("group %q cannot go on with %s/%d: %v; to go on all the same, stop the group and say from where: "+
		"kafka-consumer-groups --reset-offsets --group %s --topic %s:%d --to-offset N --execute", e.Group, e.Topic, e.Partition, e.Err, e.Group, e.Topic, e.Partition)
}

func (m *membership) offsetError(topic string, num int32, err error) error {
	return localError{&OffsetError{m.p.group, topic, num, err}}
}

// positions returns the offsets to consume from.
func (m *membership) positions(ctx context.Context, assign map[string][]int32) (offsets, error) {
	if err := m.sameTopics(ctx); err != nil {
		return nil, err
	}
	xs, err := m.extents(ctx, assign)
	if err != nil {
		return nil, err
	}
	if err := m.epochEnds(ctx, xs); err != nil {
		return nil, err
	}
	rows, err := m.uncommitted(ctx, xs)
	if err != nil {
		return nil, err
	}
	at := offsets{}
	for topic, parts := range xs {
		at[topic] = map[int32]kgo.EpochOffset{}
		for num, x := range parts {
			x.rows, x.origins = rows[num], m.p.cfg.Origins
			first, err := x.first()
			if err != nil {
				return nil, m.offsetError(topic, num, err)
			}
			if x.rows && x.end > 0 {
				m.p.cfg.Log.Warn("the group's offsets are gone, its rows are not: starting at the first record, and skipping what rows have seen",
					"topic", topic, "partition", num)
			}
			if x.commit < 0 && first > 0 {
				m.p.cfg.Log.Warn("nothing committed yet, and the log's first records are gone: starting at the first that is left",
					"topic", topic, "partition", num, "offset", first)
			}
			at[topic][num] = kgo.EpochOffset{Epoch: x.epoch, Offset: first}
		}
	}
	return at, nil
}

// extents returns what logs and commits say, without epochEnd and rows.
func (m *membership) extents(ctx context.Context, assign map[string][]int32) (map[string]map[int32]*extent, error) {
	adm := kadm.NewClient(m.p.adm)
	topics := slices.Sorted(maps.Keys(assign))
	commits, err := m.commits(ctx, assign)
	if err != nil {
		return nil, err
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	xs := map[string]map[int32]*extent{}
	for topic, nums := range assign {
		xs[topic] = map[int32]*extent{}
		for _, num := range nums {
			start, ok1 := starts.Lookup(topic, num)
			end, ok2 := ends.Lookup(topic, num)
			if !ok1 || !ok2 {
				return nil, kerr.UnknownTopicOrPartition
			}
			if err := errors.Join(start.Err, end.Err); err != nil {
				return nil, fmt.Errorf("offsets of %s/%d: %w", topic, num, err)
			}
			x := &extent{id: m.ids[topic], table: m.ids[m.p.tableTopic], start: start.Offset, end: end.Offset, commit: -1, epoch: -1, epochEnd: -1}
			c, ok := commits[place{topic, num}]
			if !ok {
				return nil, fmt.Errorf("committed offset of %s/%d: %w", topic, num, kerr.UnknownTopicOrPartition)
			}
			if c.Offset >= 0 {
				x.commit, x.epoch = c.Offset, c.LeaderEpoch
				if c.Metadata != nil {
					x.meta = *c.Metadata
				}
			}
			xs[topic][num] = x
		}
	}
	return xs, nil
}

// commits returns what the group has committed of these partitions. They are asked
// for one by one: of an answer that is about all, a broker that has just come back
// may leave out what it does not know yet, which would look like no commit.
func (m *membership) commits(ctx context.Context, assign map[string][]int32) (map[place]kmsg.OffsetFetchResponseGroupTopicPartition, error) {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = m.p.group
	for topic, nums := range assign {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.TopicID, t.Partitions = topic, m.ids[topic], nums
		g.Topics = append(g.Topics, t)
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups, req.RequireStable = []kmsg.OffsetFetchRequestGroup{g}, true
	resp, err := req.RequestWith(ctx, m.p.adm)
	if err == nil && len(resp.Groups) == 1 {
		err = kerr.ErrorForCode(resp.Groups[0].ErrorCode)
	}
	if err != nil {
		m.relocate(ctx)
		return nil, fmt.Errorf("committed offsets: %w", err)
	}
	commits := map[place]kmsg.OffsetFetchResponseGroupTopicPartition{}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("committed offset of %s/%d: %w", cmp.Or(t.Topic, topicIDString(t.TopicID)), p.Partition, err)
				}
				commits[place{t.Topic, p.Partition}] = p
			}
		}
	}
	return commits, nil
}

// epochEnds asks where the logs of the commits' leader epochs end.
func (m *membership) epochEnds(ctx context.Context, xs map[string]map[int32]*extent) error {
	var of kadm.OffsetForLeaderEpochRequest
	for topic, parts := range xs {
		for num, x := range parts {
			if x.epoch >= 0 {
				of.Add(topic, num, x.epoch)
			}
		}
	}
	if len(of) == 0 {
		return nil
	}
	ends, err := kadm.NewClient(m.p.adm).OffsetForLeaderEpoch(ctx, of)
	if err != nil {
		return err
	}
	for topic, parts := range ends {
		for num, e := range parts {
			if e.Err != nil {
				return fmt.Errorf("leader epochs of %s/%d: %w", topic, num, e.Err)
			}
			xs[topic][num].epochEnd = e.EndOffset
		}
	}
	return nil
}

// uncommitted returns the partitions of which the group has committed nothing,
// though its table has records of them. Both come in one transaction.
func (m *membership) uncommitted(ctx context.Context, xs map[string]map[int32]*extent) (map[int32]bool, error) {
	rows := map[int32]bool{}
	if m.p.tableTopic == "" {
		return nil, nil
	}
	for _, parts := range xs {
		for num, x := range parts {
			all, known := rows[num]
			rows[num] = (all || !known) && x.commit < 0
		}
	}
	maps.DeleteFunc(rows, func(_ int32, is bool) bool { return !is })
	if len(rows) == 0 {
		return nil, nil
	}
	return m.p.written(ctx, m.p.tableTopic, slices.Collect(maps.Keys(rows)))
}

// written says in which partitions of a topic there are committed records. A log
// with an end may hold none: its first transaction may have been aborted.
func (b *base) written(ctx context.Context, topic string, nums []int32) (map[int32]bool, error) {
	adm := kadm.NewClient(b.adm)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err = errors.Join(err, starts.Error(), ends.Error()); err != nil {
		return nil, err
	}
	is, last, from := map[int32]bool{}, map[int32]int64{}, map[int32]kgo.Offset{}
	for _, num := range nums {
		start, end := starts[topic][num].Offset, ends[topic][num].Offset
		if start < end {
			last[num], from[num] = end-1, kgo.NewOffset().At(start)
		}
	}
	if len(last) == 0 {
		return is, nil
	}
	cl, err := kgo.NewClient(append(b.clientOpts("reader"), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	for len(last) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := fs.Err(); err != nil && !passing(err) {
			return nil, err
		}
		fs.EachRecord(func(r *kgo.Record) {
			if end, due := last[r.Partition]; due && !r.Attrs.IsControl() {
				is[r.Partition] = true
				delete(last, r.Partition)
			} else if due && r.Offset >= end {
				delete(last, r.Partition)
			}
		})
	}
	return is, nil
}

// sameTopics sees to it that the topics that the group consumes, and its table, are
// those that it began with: rows and origins are of these.
func (m *membership) sameTopics(ctx context.Context) error {
	topics := m.topics
	if m.p.tableTopic != "" {
		topics = append(topics[:len(topics):len(topics)], m.p.tableTopic)
	}
	var ts map[string]kadm.TopicDetail
	err := retry(ctx, func(ctx context.Context) (err error) {
		ts, err = topicIDs(ctx, m.p.adm, topics...)
		return err
	})
	switch {
	case ctx.Err() != nil: // before retry could tell a topic that is gone from one that a broker does not know yet
		return ctx.Err()
	case errors.Is(err, kerr.UnknownTopicOrPartition) && m.ids != nil:
		return localError{fmt.Errorf("a topic of group %q is gone: of %q, only %q are there", m.p.group, topics, known(ts))}
	case err != nil:
		return err
	case m.ids == nil:
		m.ids = map[string]kadm.TopicID{}
		for topic, t := range ts {
			m.ids[topic] = t.ID
		}
	}
	for topic, t := range ts {
		if err := m.sameTopic(topic, t.ID); err != nil {
			return err
		}
	}
	return nil
}

func known(ts map[string]kadm.TopicDetail) (topics []string) {
	for topic, t := range ts {
		if t.Err == nil {
			topics = append(topics, topic)
		}
	}
	return slices.Sorted(slices.Values(topics))
}

func (m *membership) sameTopic(topic string, id kadm.TopicID) error {
	if was := m.ids[topic]; was != id {
		return localError{fmt.Errorf("topic %q was deleted and made anew while group %q worked with it: its ID was %s and is %s; "+
			"start the group again to go on with the new one", topic, m.p.group, topicIDString(was), topicIDString(id))}
	}
	return nil
}

// fetchError returns what a fetch cannot get over. Leaving the group is not: the
// client joins again.
func (c *clients) fetchError(fs kgo.Fetches) (err error) {
	fs.EachTopic(func(t kgo.FetchTopic) {
		if err == nil && t.TopicID != [16]byte{} {
			err = c.sameTopic(t.Topic, t.TopicID)
		}
	})
	fs.EachError(func(topic string, num int32, e error) {
		if err == nil {
			err = c.partitionError(topic, num, e)
		}
	})
	return err
}

func (c *clients) partitionError(topic string, num int32, e error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	loss := (*kgo.ErrDataLoss)(nil)
	switch {
	case errors.Is(e, context.Canceled), errors.As(e, new(*kgo.ErrGroupSession)):
		return nil
	case errors.Is(e, kgo.ErrClientClosed):
		return doubt{e}
	case errors.As(e, &loss):
		return c.offsetError(topic, num, fmt.Errorf("the log has lost records after the group has consumed them: offset %d was next, and the log of that leader epoch ends at %d now", loss.ConsumedTo, loss.ResetTo))
	case errors.Is(e, kerr.OffsetOutOfRange):
		if _, err := c.positions(ctx, map[string][]int32{topic: {num}}); err != nil && !passing(err) {
			return err
		}
		return doubt{fmt.Errorf("fetching %s/%d: %w", topic, num, e)} // of the position only: the commit says where to go on
	case errors.Is(e, kerr.UnknownTopicID), errors.Is(e, kerr.UnknownTopicOrPartition):
		if err := c.sameTopics(ctx); err != nil && !passing(err) {
			return err
		}
		return nil
	case !passing(e):
		return fmt.Errorf("fetching %s/%d: %w", topic, num, e)
	}
	return nil
}

// withTopicIDs makes a plain commit say which topics it is of.
func (m *membership) withTopicIDs(ctx context.Context) context.Context {
	return kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			t := &req.Topics[i]
			for j := range t.Partitions {
				t.Partitions[j].Metadata = commitMeta(m.ids[t.Topic], m.ids[m.p.tableTopic])
			}
		}
		return nil
	})
}
