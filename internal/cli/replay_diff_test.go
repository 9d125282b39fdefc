package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/hindsight"
	"github.com/orderlog/orderlog/internal/replay"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

func TestReplayDiff(t *testing.T) {
	s, a := open(t, app.Config{Partitions: 2})
	s.run("", "produce", "--orders", "20", "--seed", "5")
	s.run("", "verify")
	if out := s.run("", "replay", "diff"); !strings.Contains(out, "GROUP") || strings.Contains(out, "must be") {
		t.Errorf("right tables:\n%s", out)
	}
	if out := s.run("", "replay", "diff", "order"); !strings.Contains(out, "its rows are the truth") {
		t.Errorf("of the order log:\n%s", out)
	}

	cl, err := kgo.NewClient(append(a.ClientOpts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	value, err := a.Serde().Encode(nil, topics.InventoryTable, &schemas.Stock{SKU: "sku_nobody", OnHand: 3})
	if err != nil {
		t.Fatal(err)
	}
	r := &kgo.Record{Topic: topics.InventoryTable, Partition: client.PartitionOf("sku_nobody", 2), Key: []byte("sku_nobody"), Value: value}
	if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	at := []string{"--brokers", s.at.Brokers[0], "--registry", s.at.Registry}
	code, out, _ := run(t, Env{}, append(at, "replay", "diff", "inventory", "credit")...)
	if code != exitFailed || !strings.Contains(out, `sku_nobody  only here  currency "", name "", on_hand 3`) {
		t.Errorf("exit code %d\n%s", code, out)
	}
	code, out, _ = run(t, Env{}, append(at, "replay", "diff", "inventory", "-o", "json")...)
	var all []replay.Compared
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != exitFailed || len(all) != 1 || all[0].OnlyHere != 1 || all[0].Same == 0 {
		t.Errorf("exit code %d, %v\n%s", code, err, out)
	}
}

func TestReplayDiffRules(t *testing.T) {
	s, _ := open(t, app.Config{Partitions: 2, Rules: processors.Config{OpeningLimit: 100_000}})
	s.run("", "produce", "--orders", "20", "--seed", "5")
	s.run("", "order", "place", "--id", "ord_new", "--customer", "cus_new", "--line", "sku_00001:1", "--wait=20s")
	s.run("", "verify")
	if out := s.run("", "replay", "diff", "--rules"); !strings.Contains(out, "21 orders compared") || !strings.Contains(out, " 0 decided otherwise by the rules") {
		t.Errorf("the same rules:\n%s", out)
	}
	if out := s.run("", "replay", "diff", "--rules", "--to", "1990-01-01"); !strings.Contains(out, " 0 orders compared") {
		t.Errorf("of another time:\n%s", out)
	}

	// A new customer has less credit, which is a setting of the rule.
	at := []string{"--brokers", s.at.Brokers[0], "--registry", s.at.Registry}
	code, out, _ := run(t, Env{}, append(at, "replay", "diff", "--rules", "--opening-credit", "0.01", "credit")...)
	if code != exitFailed || !strings.Contains(out, " 1 decided otherwise by the rules") || !strings.Contains(out, "1 orders: invoiced -> rejected (insufficient_credit)") || !strings.Contains(out, "ord_new  invoiced ") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	code, out, _ = run(t, Env{}, append(at, "replay", "diff", "--rules", "--opening-credit", "0.01", "-o", "json")...)
	var r hindsight.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitFailed || len(r.Differences) != 1 || r.Differences[0].Order != "ord_new" || r.Kinds[0].Stakes["EUR"].BilledAfter != 0 {
		t.Errorf("exit code %d, %v\n%s", code, err, out)
	}
	for _, args := range [][]string{{"--from", "2026-01-01"}, {"--rules", "--from", "soon"}, {"--limit", "-1"}} {
		if code, out, _ := run(t, Env{}, append(append(at, "replay", "diff"), args...)...); code != exitUsage {
			t.Errorf("%v: exit code %d\n%s", args, code, out)
		}
	}
}
