package group

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// The coordinator that the client knows dies, and another takes its place.
func TestOffsetsAfterTheCoordinatorDied(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	adm, err := kadm.NewOptClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(adm.Close)
	if at, err := Offsets(t.Context(), adm, "g"); err != nil || len(at) > 0 {
		t.Fatal(at, err)
	}
	for _, found := range adm.FindGroupCoordinators(t.Context(), "g") {
		if err := c.RemoveNode(found.NodeID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := adm.FetchOffsets(t.Context(), "g"); err == nil {
		t.Error("the client finds the other coordinator by itself: this package is not needed any more")
	}
	if _, err := Offsets(t.Context(), adm, "g"); err != nil {
		t.Error(err)
	}
}

// Offsets in a transaction that is not decided are not none.
func TestOffsetsInATransaction(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t", "out"))
	must(err)
	t.Cleanup(c.Close)
	opts := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	v := kversion.Stable()
	v.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 5) // 6 wants topic IDs
	cl, err := kgo.NewClient(append(slices.Clone(opts), kgo.MaxVersions(v), kgo.TransactionalID("x"), kgo.DefaultProduceTopic("out"))...)
	must(err)
	t.Cleanup(cl.Close)
	adm, err := kadm.NewOptClient(opts...)
	must(err)
	t.Cleanup(adm.Close)
	at := kadm.Offsets{}
	at.AddOffset("t", 0, 3, -1)
	must(adm.CommitAllOffsets(t.Context(), "g", at))

	must(cl.BeginTransaction())
	must(cl.ProduceSync(t.Context(), kgo.StringRecord("v")).FirstErr())
	id, epoch, err := cl.ProducerID(t.Context())
	must(err)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.Group, add.ProducerID, add.ProducerEpoch = "x", "g", id, epoch
	_, err = add.RequestWith(t.Context(), cl)
	must(err)
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = "x", "g", id, epoch, -1
	rt, rp := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rp.Offset, rt.Topic = 5, "t"
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(t.Context(), cl)
	must(err)
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("error code %d", code)
	}
	asked := make(chan bool, 100)
	c.ControlKey(int16(kmsg.OffsetFetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked <- true
		return nil, nil, false
	})
	ended := make(chan error, 1)
	go func() {
		<-asked
		select {
		case <-asked: // it asks again
		case <-time.After(5 * time.Second):
		}
		ended <- cl.EndTransaction(t.Context(), kgo.TryCommit)
	}()
	got, err := Offsets(kadm.RequireStable(t.Context()), adm, "g")
	must(err)
	must(<-ended)
	if o, _ := got.Lookup("t", 0); o.At != 5 || o.Err != nil {
		t.Errorf("offset %d, %v", o.At, o.Err)
	}
}
