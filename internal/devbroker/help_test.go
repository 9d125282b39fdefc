package devbroker

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// crash returns a copy of a running broker's folder: what a kill at this moment
// would leave, as long as no request is being handled.
func crash(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func partitionFile(t *testing.T, dir, topic string, p int, ext string) string {
	t.Helper()
	return filepath.Join(kafkaDir(dir), "partitions", fmt.Sprintf("%s-%d", topic, p), "0"+ext)
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func truncate(t *testing.T, name string, size int64) {
	t.Helper()
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
}

func appendRaw(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := appendFile(name, data); err != nil {
		t.Fatal(err)
	}
}

// txnClient produces to partitions by hand and never batches by time.
func txnClient(t *testing.T, b *Broker, id string) *kgo.Client {
	t.Helper()
	return client(t, b.Addr(), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.TransactionTimeout(6*time.Second), kgo.RequestRetries(2))
}

// write produces one value to each partition given, and the offset for a group,
// into the open transaction.
func write(t *testing.T, cl *kgo.Client, value string, partitions ...int32) {
	t.Helper()
	for _, p := range partitions {
		r := &kgo.Record{Topic: "orders", Partition: p, Value: fmt.Appendf(nil, "%s/%d", value, p)}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func stageOffset(t *testing.T, cl *kgo.Client, txid string, partition int32, offset int64) {
	t.Helper()
	if err := tryStageOffset(t.Context(), cl, txid, partition, offset); err != nil {
		t.Fatal(err)
	}
}

func tryStageOffset(ctx context.Context, cl *kgo.Client, txid string, partition int32, offset int64) error {
	pid, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	topics, err := kadm.NewClient(cl).ListTopics(ctx, "orders")
	if err != nil {
		return err
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = txid, "group", pid, epoch, -1
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic, rt.TopicID = "orders", topics["orders"].ID
	rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset = partition, offset
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := cl.Broker(0).Request(ctx, req)
	if err != nil {
		return err
	}
	if code := resp.(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
		return fmt.Errorf("staging an offset: code %d", code)
	}
	return nil
}

func begin(t *testing.T, cl *kgo.Client) {
	t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, cl *kgo.Client) {
	t.Helper()
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}

func groupOffset(t *testing.T, addr string, partition int32) int64 {
	t.Helper()
	cl := client(t, addr)
	defer cl.Close()
	got, err := kadm.NewClient(cl).FetchOffsets(t.Context(), "group")
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := got.Lookup("orders", partition); ok {
		return o.At
	}
	return -1
}

func wantValues(t *testing.T, b *Broker, want ...string) {
	t.Helper()
	got := readAll(t, b.Addr(), "orders")
	for v, n := range got {
		if n > 1 {
			t.Errorf("%s is there %d times", v, n)
		}
	}
	if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, slices.Sorted(slices.Values(want))) {
		t.Errorf("read  %v\nwant %v", have, want)
	}
}

func topicID(t *testing.T, cl *kgo.Client) [16]byte {
	t.Helper()
	topics, err := kadm.NewClient(cl).ListTopics(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	return topics["orders"].ID
}

func batchOf(pid int64, epoch int16, seq int32, txn bool, value string) []byte {
	r := kmsg.Record{Value: []byte(value)}
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	b := kmsg.RecordBatch{Magic: 2, PartitionLeaderEpoch: -1, ProducerID: pid, ProducerEpoch: epoch, FirstSequence: seq, NumRecords: 1, Records: r.AppendTo(nil)}
	if txn {
		b.Attributes = bitTxn
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], castagnoli))
	return raw
}

func produceRaw(t *testing.T, cl *kgo.Client, id [16]byte, partition int32, batch []byte) kmsg.ProduceResponseTopicPartition {
	t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID = "orders", id
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, batch
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := cl.Broker(0).Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
}
