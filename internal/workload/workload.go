// Package workload makes up the messages of a shop from a seed: the prices,
// stock and limits it starts with, then any number of orders, with whatever
// faults are asked for. The same configuration gives the same bytes. Sending
// them, and how fast, is left to others.
package workload

import (
	"fmt"
	"iter"
	"strconv"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

const currency = "EUR"

// Item is a message to be sent.
type Item struct {
	flow.Message
	Raw []byte // the value of an undecodable record; Body is nil then, and only then
}

// Workload is a shop and its customers. It does not change: it may be iterated
// any number of times, by several goroutines at once, always with the same result.
type Workload struct {
	cfg       Config
	name      string // what IDs derive from
	products  []product
	customers []string

	customerShare, productShare       shares
	lineCounts, quantities, discounts values

	broke, soldOut           rate
	brokePhase, soldOutPhase uint32
}

type product struct {
	sku, name string
	price     int64
}

// New makes a workload. Its products and their prices do not depend on the seed,
// so that workloads of several seeds can share a shop.
func New(cfg Config) (*Workload, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r := newRand(cfg.Seed, setupStream)
	w := &Workload{
		cfg: cfg, name: "workload " + strconv.FormatUint(cfg.Seed, 10),
		products: newProducts(cfg.Products), customers: make([]string, cfg.Customers),
		customerShare: zipf(cfg.Customers), productShare: zipf(cfg.Products),
		lineCounts: newValues([]int64{1, 2, 3, 4, 5, 6, 7, 8}, 24, 23, 21, 13, 8, 5, 3, 3), // 3 on average
		quantities: newValues([]int64{1, 2, 3, 4, 5, 6, 10, 12, 24}, 52, 20, 10, 6, 5, 3, 2, 1, 1),
		discounts:  newValues([]int64{0, 500, 1000, 1500, 2000, 1234}, 85, 5, 5, 2, 2, 1),
		broke:      newRate(cfg.Faults.Broke), brokePhase: r.Uint32(),
		soldOut: newRate(cfg.Faults.SoldOut), soldOutPhase: r.Uint32(),
	}
	for i := range w.customers {
		w.customers[i] = fmt.Sprintf("cus_%04d", i)
	}
	return w, nil
}

// newProducts makes up a catalogue: product i is the same in any of its sizes.
// Prices are 1.00 to 499.99, mostly 10 to 100.
func newProducts(n int) []product {
	materials := []string{"Steel", "Oak", "Linen", "Glass", "Cork", "Wool", "Copper", "Paper"}
	things := []string{"Lamp", "Chair", "Folder", "Mug", "Shelf", "Clock", "Tray", "Desk", "Binder", "Basket", "Stool"}
	euros := []int64{1, 2, 5, 10, 20, 50, 100, 200, 500}
	bands := newValues([]int64{0, 1, 2, 3, 4, 5, 6, 7}, 1, 2, 3, 4, 4, 3, 2, 1)
	cents := []int64{99, 99, 95, 50, 49, 0, 90, 17}
	r := newRand(0, productStream)
	ps := make([]product, n)
	for i := range ps {
		b := bands.draw(r)
		ps[i] = product{
			sku:   fmt.Sprintf("sku_%05d", i),
			name:  fmt.Sprintf("%s %s %d", materials[r.IntN(len(materials))], things[r.IntN(len(things))], i),
			price: 100*(euros[b]+r.Int64N(euros[b+1]-euros[b])) + cents[r.IntN(len(cents))],
		}
	}
	return ps
}

const (
	brokeLimit   = 1 // no order is as cheap as that
	soldOutStock = 1
)

// Setups is how many items Setup yields.
func (w *Workload) Setups() int { return 2*len(w.products) + len(w.customers) }

// Setup yields what the shop starts with: each product's price and stock, each
// customer's limit.
func (w *Workload) Setup() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		n := 0
		send := func(topic, messageType, key string, body any) bool {
			n++
			return yield(Item{Message: flow.Message{
				ID:    flow.NewID("evt", w.cfg.Start, w.name+" setup", n),
				Topic: topic, Type: messageType, Key: key, At: w.cfg.Start, Body: body,
			}})
		}
		for i, p := range w.products {
			stock := w.cfg.Stock
			if w.soldOut.among(i, w.soldOutPhase) {
				stock = soldOutStock
			}
			if !send(topics.InventoryCommands, schemas.InventoryPriceSet, p.sku,
				&schemas.SetPrice{SKU: p.sku, Name: p.name, Price: p.price, Currency: currency}) ||
				!send(topics.InventoryCommands, schemas.InventoryStockReceive, p.sku, &schemas.ReceiveStock{SKU: p.sku, Quantity: stock}) {
				return
			}
		}
		for i, c := range w.customers {
			limit := w.cfg.Credit
			if w.broke.among(i, w.brokePhase) {
				limit = brokeLimit
			}
			if !send(topics.CreditCommands, schemas.CreditLimitSet, c, &schemas.SetLimit{CustomerID: c, Limit: limit, Currency: currency}) {
				return
			}
		}
	}
}

// Messages leaves out the undecodable.
func Messages(items iter.Seq[Item]) iter.Seq[flow.Message] {
	return func(yield func(flow.Message) bool) {
		for it := range items {
			if it.Raw == nil && !yield(it.Message) {
				return
			}
		}
	}
}
