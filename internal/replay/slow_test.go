package replay

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/snapshot"
	"github.com/orderlog/orderlog/internal/topicplan"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// slow is a store that is far away.
type slow struct{ snapshot.Store }

func (s slow) Get(ctx context.Context, name string) ([]byte, error) {
	time.Sleep(2 * txnTimeout)
	return s.Store.Get(ctx, name)
}

// A store takes longer to read than brokers wait for the end of a transaction.
func TestASlowStore(t *testing.T) {
	store := snapshot.Folder(t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		var net kfake.VirtualNetwork
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(net.Listen))
		must(t, err)
		defer c.Close()
		opts := []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.Dialer(net.DialContext)}
		cl, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
		must(t, err)
		defer cl.Close()
		adm := kadm.NewClient(cl)
		changes, err := topicplan.Plan(t.Context(), adm, "", 2, 1)
		must(t, err)
		must(t, topicplan.Apply(t.Context(), adm, changes))
		write := func(value string) {
			for p := range int32(2) {
				row := &kgo.Record{Topic: topics.VoucherTable, Partition: p, Key: []byte{byte('a' + p)}, Value: []byte(value)}
				must(t, cl.ProduceSync(t.Context(), row).FirstErr())
			}
		}
		write("then")
		at := kadm.Offsets{}
		u, err := unitOf("voucher")
		must(t, err)
		for _, in := range u.Inputs {
			at.AddOffset(in, 0, 0, -1)
			at.AddOffset(in, 1, 0, -1)
		}
		must(t, adm.CommitAllOffsets(t.Context(), "voucher", at))
		m, err := snapshot.Create(t.Context(), snapshot.Config{Opts: opts}, store, "voucher")
		must(t, err)
		write("now")

		r, err := New(Config{Opts: opts, Serde: schemas.NewLocalSerde(), Who: "ann", Store: slow{store}})
		must(t, err)
		defer r.Close()
		spec, err := ToSnapshot(t.Context(), slow{store}, m.ID, "", "voucher")
		must(t, err)
		res, err := r.Run(t.Context(), spec, How{Wait: time.Minute})
		must(t, err)
		rows, _, err := r.rows(t.Context(), &Group{Table: topics.VoucherTable})
		must(t, err)
		if n := res.Groups[0].Rows; n != 2 || len(rows) != 2 || slices.ContainsFunc([]string{"a", "b"}, func(k string) bool { return string(rows[k].Value) != "then" }) {
			t.Errorf("%d rows written: %v", n, rows)
		}
	})
}
