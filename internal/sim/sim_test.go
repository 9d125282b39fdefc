package sim

import (
	"flag"
	"testing"

	"pgregory.net/rapid"
)

var (
	firstSeed = flag.Uint64("seed", 1, "first seed of TestSeeds")
	seeds     = flag.Int("seeds", 1000, "how many seeds TestSeeds runs")
)

// history is the plan and the world that a seed stands for: no two alike, from
// one partition to one per key, with and without broken promises.
func history(pick func(n int) int) (Config, Plan) {
	cfg := Config{Partitions: []int{1, 2, 4, 32}[pick(4)], Pick: pick, Guard: true, Compact: pick(2) == 0}
	plan := Plan{
		Orders: 1 + pick(6), Products: 1 + pick(3), Customers: 1 + pick(2), Actions: 20 + pick(60),
		OpeningLimit: int64(1+pick(10)) * 10_000,
	}
	if pick(2) == 0 {
		plan.Duplicates, plan.Rewinds = pick(30), pick(3)
	}
	return cfg, plan
}

func TestSeeds(t *testing.T) {
	states := map[string]int{}
	for seed := *firstSeed; seed < *firstSeed+uint64(*seeds); seed++ {
		f, _ := Play(history(Seeded(seed)))
		if bad := f.Unsettled(); len(bad) > 0 {
			t.Fatalf("go test ./internal/sim -run TestSeeds -seed %d -seeds 1\n%v", seed, bad)
		}
		for _, o := range f.Orders {
			states[o.State]++
			if o.CreditNote.Number != "" {
				states["with credit note"]++
			}
			if len(o.Vouchers) > 0 {
				states["with voucher"]++
			}
		}
	}
	t.Log(states)
	for _, s := range []string{"invoiced", "delivered", "rejected", "cancelled", "expired", "with credit note", "with voucher"} {
		if *seeds >= 1000 && states[s] < *seeds/100 {
			t.Errorf("only %d orders %s: the plans do not reach it", states[s], s)
		}
	}
}

// The same with choices that rapid can shrink; it prints the seed of a failure.
func TestInterleavings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
		f, _ := Play(history(pick))
		if bad := f.Unsettled(); len(bad) > 0 {
			t.Fatal(bad)
		}
	})
}
