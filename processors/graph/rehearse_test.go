package graph

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors/inventory"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// A rehearsal says what the group would do, with the row as it is.
func TestRehearse(t *testing.T) {
	serde := schemas.NewLocalSerde()
	encode := func(topic string, body any) []byte {
		v, err := serde.Encode(nil, topic, body)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	value := encode(topics.InventoryCommands, &schemas.ReceiveStock{SKU: "sku_1", Quantity: 5})
	stock := encode(topics.InventoryTable, &schemas.Stock{SKU: "sku_1", OnHand: 2})
	home := kgoka.Partition("sku_1", 4)
	for _, c := range []struct {
		name      string
		edit      func(l *letter.Letter)
		row, note []byte
		partition int32
		panics    bool
		want      string
	}{
		{"no row", nil, nil, nil, home, false, "red.inventory-table stock.changed 5"},
		{"a row", nil, stock, nil, home, false, "red.inventory-table stock.changed 7"},
		{"it stood on a wrong partition", func(l *letter.Letter) { l.Partition = home + 1 }, nil, nil, home, false, "red.inventory-table stock.changed 5"},
		{"it stands on a wrong partition", nil, nil, nil, home + 1, false, "red.dead-letter inventory.stock.receive wrong partition"},
		{"poison", func(l *letter.Letter) { l.Value = []byte("garbage") }, nil, nil, home, false, "red.dead-letter inventory.stock.receive undecodable"},
		{"a bug", nil, nil, nil, home, true, "red.retry record.parked"},
		{"a bug, for the last time", func(l *letter.Letter) { l.Attempts = make([]schemas.Attempt, 6) }, nil, nil, home, true, "red.dead-letter inventory.stock.receive panic"},
		{"others wait", nil, stock, note{first: 3, next: 4, due: 9}.encode(), home, false, "red.retry record.parked"},
		{"a row that cannot be read", nil, []byte("garbage"), nil, home, false, "error"},
		{"a note that cannot be read", nil, nil, []byte("garbage"), home, false, "error"},
	} {
		l := letter.Of(&kgo.Record{Topic: "red." + topics.InventoryCommands, Partition: home, Key: []byte("sku_1"), Value: value,
			Headers: event.Append(nil, event.DefaultSource, event.Avro, flow.Message{ID: "evt_1", Type: schemas.InventoryStockReceive, At: 1})})
		if c.edit != nil {
			c.edit(&l)
		}
		env := Env{Namespace: "red", Partitions: 4, Serde: serde, Log: slog.New(slog.DiscardHandler)}
		if c.panics {
			env.BeforeDecide = func(flow.Message) { panic("a bug in the rule") }
		}
		l = l.Redrive("1/2")
		rec := &kgo.Record{Topic: "red." + topics.InventoryLoop, Partition: c.partition, Key: l.Key, Value: l.Value, Headers: l.Headers()}
		written, err := Of(inventory.New()).Rehearse(t.Context(), env, rec, c.row, c.note)
		var got []string
		for _, w := range written {
			words := []string{w.Topic, event.Header(w, event.Type), event.Header(w, letter.HeaderCause)}
			if w.Topic == "red."+topics.InventoryTable {
				var s schemas.Stock
				if err := serde.DecodeInto(t.Context(), topics.InventoryTable, w.Value, &s); err != nil {
					t.Fatal(err)
				}
				words[2] = string(rune('0' + s.OnHand))
			}
			got = append(got, strings.TrimSpace(strings.Join(words, " ")))
		}
		if err != nil {
			got = append(got, "error")
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, text, err, c.want)
		}
	}
}
