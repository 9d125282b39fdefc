package app_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/orderlog/orderlog/internal/content"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// An hour of orders on a virtual clock and a virtual network, twice: the
// business comes out the same, whatever the goroutines did.
func TestAnHourOfOrdersTwice(t *testing.T) {
	if testing.Short() {
		t.Skip("a virtual hour, twice")
	}
	const orders, seed = 720, 11
	first, second := virtualHour(t, orders, seed), virtualHour(t, orders, seed)
	for _, d := range content.Diff(first, second, 5) {
		t.Errorf("seed %d: the second hour differs: %s", seed, d)
	}
	if n := len(first[topics.OrderTable]); n != orders {
		t.Errorf("%d orders in the log, want %d", n, orders)
	}
}

func virtualHour(t *testing.T, orders int, seed uint64) (c content.Content) {
	synctest.Test(t, func(t *testing.T) {
		var net kfake.VirtualNetwork
		cfg := config(t)
		cfg.Listen, cfg.Dial = net.Listen, net.DialContext
		w := start(t, cfg)
		began := time.Now()
		rng := rand.New(rand.NewPCG(seed, 0))
		for i := range 20 {
			w.send(price(fmt.Sprint("sku_", i), 500+rng.Int64N(20_000)), receive(fmt.Sprint("sku_", i), 1_000_000),
				limit(fmt.Sprint("cus_", i), 1_000_000_000))
		}
		tick := time.NewTicker(time.Hour / time.Duration(orders))
		defer tick.Stop()
		for i := range orders {
			<-tick.C
			var lines []schemas.PlaceLine
			for range 1 + rng.IntN(5) {
				lines = append(lines, schemas.PlaceLine{SKU: fmt.Sprint("sku_", rng.IntN(20)), Quantity: 1 + rng.Int64N(4)})
			}
			m := place(fmt.Sprint("ord_", i), fmt.Sprint("cus_", rng.IntN(20)), lines...)
			m.At = day0 + int64(i)*1000
			w.send(m)
			if late := i - 5; late >= 0 && late%2 == 0 {
				w.send(at(m.At, deliver(fmt.Sprint("ord_", late))))
			}
		}
		w.settled(orders)
		w.quiet()
		if d := time.Since(began); d < time.Hour {
			t.Errorf("the hour took %v on its own clock", d)
		}
		c = w.content()
	})
	return c
}

func at(ms int64, m flow.Message) flow.Message {
	m.At = ms
	return m
}
