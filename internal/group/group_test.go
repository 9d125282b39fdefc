package group

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
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
