package verify

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// Wherever a log stops, with verdicts that no order has heard of, releases that nobody
// has obeyed, and some of both given up, the rows that follow from it are those that
// the rules have written.
func TestRowsFollowFromTheLog(t *testing.T) {
	groups := map[string]string{"inventory": topics.InventoryTable, "credit": topics.CreditTable, "invoicing": topics.InvoicingTable}
	compared, buried, second := 0, 0, 0
	for seed := range uint64(80) {
		rng := rand.New(rand.NewPCG(seed, 2))
		f := busyLog(seed, 120, rng.IntN(450))
		for range rng.IntN(6) {
			buried += f.buryNext(topics.OrderReplies) + f.buryNext(topics.InventoryTasks) + f.buryNext(topics.CreditTasks)
		}
		second += f.secondVerdicts()
		opts, serde := cluster(t, ""), schemas.NewLocalSerde()
		f.store(t, opts, serde)
		for group, table := range groups {
			got, err := Rows(t.Context(), f.config(opts, serde), group)
			if err != nil {
				t.Fatal(err)
			}
			want := f.rowsOf(table)
			for _, key := range slices.Sorted(maps.Keys(want)) {
				compared++
				if text(got[key]) != text(want[key]) {
					t.Errorf("seed %d, %s: %s: %s, want %s", seed, table, key, text(got[key]), text(want[key]))
				}
			}
			for key, row := range got {
				if want[key] == nil {
					t.Errorf("seed %d, %s: %s: %s, want none", seed, table, key, text(row))
				}
			}
		}
	}
	if compared < 400 || buried < 40 || second == 0 {
		t.Errorf("%d rows compared, %d records given up, %d verdicts too late: the test shows little", compared, buried, second)
	}
}

// secondVerdicts has resources grant what they have refused, and no order has heard of:
// as those do that went back to a snapshot, and decide anew.
func (f *fixture) secondVerdicts() (n int) {
	for p, es := range f.log[topics.OrderReplies] {
		for _, e := range es[f.handled[topics.OrderReplies][p]:] {
			switch b := e.body.(type) {
			case *schemas.StockRefused:
				f.send(topics.OrderReplies, &schemas.StockReserved{OrderID: b.OrderID, Line: b.Line, SKU: b.SKU, UnitPrice: 1})
				n++
			case *schemas.CreditRefused:
				f.send(topics.OrderReplies, &schemas.CreditCharged{OrderID: b.OrderID, CustomerID: b.CustomerID, Amount: 1})
				n++
			}
		}
	}
	return n
}

// buryNext has the next record of a topic, wherever there is one, put into dead-letter.
func (f *fixture) buryNext(topic string) int {
	for p, es := range f.log[topic] {
		if n := f.handled[topic][p]; n < len(es) {
			f.bury(topic, es[n].key)
			return 1
		}
	}
	return 0
}

func (f *fixture) rowsOf(table string) map[string]any {
	rows := map[string]any{}
	for _, es := range f.log[table] {
		for _, e := range es {
			rows[e.key] = e.body
		}
	}
	return rows
}

func text(row any) string {
	b, _ := json.Marshal(row) // a row always can be
	return string(b)
}
