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
	compared, buried := 0, 0
	for seed := range uint64(80) {
		rng := rand.New(rand.NewPCG(seed, 2))
		f := busyLog(seed, 120, rng.IntN(450))
		for range rng.IntN(6) {
			buried += f.buryNext(topics.OrderReplies) + f.buryNext(topics.InventoryTasks) + f.buryNext(topics.CreditTasks)
		}
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
	if compared < 400 || buried < 40 {
		t.Errorf("%d rows compared, %d records given up: the test shows little", compared, buried)
	}
}

// Of two answers that wait for an order, the first one counts, as it will for the order.
func TestTheFirstAnswerCounts(t *testing.T) {
	const id, sku, customer = "ord_1", "sku_1", "cus_1"
	no := []any{&schemas.StockRefused{OrderID: id, SKU: sku, Reason: "out_of_stock"},
		&schemas.CreditRefused{OrderID: id, CustomerID: customer, Reason: "insufficient_credit", Opened: openingLimit}}
	for _, c := range []struct {
		name            string
		refused         func(replies []entry) []entry
		onHand, charged int64
	}{
		{"granted, then refused", func(replies []entry) []entry { return append(replies, entries(no)...) }, 3, 47_600},
		{"refused, then granted", func(replies []entry) []entry { return append(entries(no), replies...) }, 5, 0},
	} {
		f := newFixture()
		f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: sku, Price: 20_000, Currency: "EUR"})
		f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 5})
		f.settle(nil)
		f.send(topics.OrderCommands, place(id, customer, schemas.PlaceLine{SKU: sku, Quantity: 2, UnitPrice: 20_000}))
		for _, r := range f.rules[:3] {
			for _, in := range r.inputs {
				for p := range fixtureParts {
					for in != topics.OrderReplies && f.handled[in][p] < len(f.log[in][p]) {
						f.handle(r, in, p)
					}
				}
			}
		}
		replies := &f.log[topics.OrderReplies][partOf(id)]
		*replies = c.refused(*replies)
		opts, serde := cluster(t, ""), schemas.NewLocalSerde()
		f.store(t, opts, serde)
		stock, err := Rows(t.Context(), f.config(opts, serde), "inventory")
		if err != nil {
			t.Fatal(err)
		}
		accounts, err := Rows(t.Context(), f.config(opts, serde), "credit")
		if err != nil {
			t.Fatal(err)
		}
		if got := stock[sku].(*schemas.Stock).OnHand; len(*replies) != 4 || got != c.onHand {
			t.Errorf("%s: %d on hand after %d answers, want %d", c.name, got, len(*replies), c.onHand)
		}
		if got := accounts[customer].(*schemas.Account).Charged; got != c.charged {
			t.Errorf("%s: charged %d, want %d", c.name, got, c.charged)
		}
	}
}

// entries are of answers.
func entries(bodies []any) (es []entry) {
	for _, b := range bodies {
		es = append(es, entry{key: schemas.KeyOf(b), typ: schemas.TypeOf(b), body: b})
	}
	return es
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
