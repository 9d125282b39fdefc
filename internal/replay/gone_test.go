package replay

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/topics"
)

// Receipts that are on the log no more are not taken for none: a table is not computed
// without them.
func TestRebuildOfWhatHasGone(t *testing.T) {
	s := newShop(t)
	cl, err := kgo.NewClient(append(s.opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	must(t, err)
	defer cl.Close()
	adm, at := kadm.NewClient(cl), kadm.Offsets{}
	for range 3 {
		must(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topics.InventoryCommands, Partition: 1, Key: []byte("sku_1"), Value: []byte("v")}).FirstErr())
	}
	at.AddOffset(topics.InventoryCommands, 1, 3, -1)
	must(t, adm.CommitAllOffsets(t.Context(), "inventory", at))
	r := s.replayer(nil)
	spec := Spec{Groups: []string{"inventory"}, Mode: Rebuild, Target: Target{Kind: ToCurrent}}
	p, err := r.Plan(t.Context(), spec)
	must(t, err)
	if !p.OK() {
		t.Fatal(p.Groups[0].Problems)
	}
	_, err = adm.DeleteRecords(t.Context(), kadm.Offsets{topics.InventoryCommands: {1: {Topic: topics.InventoryCommands, Partition: 1, At: 2}}})
	must(t, err)
	if _, err := r.Run(t.Context(), spec, How{Hash: p.Hash}); !errors.Is(err, ErrProblem) || !strings.Contains(err.Error(), "begins at 2") {
		t.Errorf("%v: two receipts have gone", err)
	}
}
