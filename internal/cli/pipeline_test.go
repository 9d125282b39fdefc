package cli

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/lag"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/test/kafka"
	"github.com/orderlog/orderlog/topics"
)

// TestPipeline runs command lines against processors that obey.
func TestPipeline(t *testing.T) {
	a, err := app.New(app.Config{Partitions: 2, Namespace: "cli", Rules: processors.Config{OpeningLimit: 100_000}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	}()
	stock(t, a)

	at := a.Addresses()
	orderlog := func(wantCode int, args ...string) (stdout, stderr string) {
		t.Helper()
		code, stdout, stderr := run(t, Env{}, append(args, "--brokers", at.Brokers[0], "--registry", at.Registry, "--namespace", "cli")...)
		if code != wantCode {
			t.Fatalf("orderlog %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, wantCode, stdout, stderr)
		}
		return stdout, stderr
	}
	contains := func(got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}

	out, _ := orderlog(exitDone, "order", "place", "--id", "ord_1", "--customer", "cus_1", "--line", "sku_1:2:12.50", "--line", "sku_2:1", "--wait=20s")
	contains(out, "ord_1  invoiced")
	contains(out, "gross") // 2 x 12.50 + 7.00 = 32.00, and 19 %
	contains(out, "38.08 EUR")

	_, refused := orderlog(exitUsage, "bench")
	contains(refused, "there are records in topic cli.")

	// Again, the same and another one.
	out, _ = orderlog(exitDone, "order", "place", "--id", "ord_1", "--customer", "cus_1", "--line", "sku_1:2:12.50", "--line", "sku_2:1", "--wait=20s", "-o", "json")
	var o schemas.Order
	if err := json.Unmarshal([]byte(out), &o); err != nil || o.Gross != 3808 || o.State != schemas.Invoiced {
		t.Errorf("placed again: %+v, %v", o, err)
	}
	_, errs := orderlog(exitFailed, "order", "place", "--id", "ord_1", "--customer", "cus_1", "--line", "sku_1:9", "--wait=20s")
	contains(errs, "ord_1 is another order already")

	out, errs = orderlog(exitFailed, "order", "place", "--id", "ord_2", "--customer", "cus_1", "--line", "sku_unknown:1", "--wait=20s")
	contains(out, "ord_2  rejected")
	contains(errs, "unknown_product")

	out, _ = orderlog(exitDone, "order", "deliver", "ord_1", "--wait=20s")
	contains(out, "ord_1  delivered")
	_, errs = orderlog(exitFailed, "order", "cancel", "ord_1", "--wait=20s")
	contains(errs, "orders.order.cancel was refused")
	if strings.Count(errs, "orders.order.cancel") != 1 {
		t.Errorf("the command is named more than once: %s", errs)
	}
	out, _ = orderlog(exitDone, "order", "place", "--id", "ord_1", "--customer", "cus_1", "--line", "sku_1:2:12.50", "--line", "sku_2:1", "--wait=20s")
	contains(out, "ord_1  delivered") // as it is now, not as it was once

	orderlog(exitDone, "order", "place", "--id", "ord_3", "--customer", "cus_2", "--line", "sku_1:1", "--wait=20s")
	out, _ = orderlog(exitDone, "order", "cancel", "ord_3", "--reason", "no more", "--wait=20s")
	contains(out, "ord_3  cancelled")

	out, _ = orderlog(exitDone, "order", "list")
	for _, want := range []string{"ord_1", "ord_2", "ord_3", "delivered", "rejected", "cancelled"} {
		contains(out, want)
	}
	out, _ = orderlog(exitDone, "verify")
	contains(out, "the log holds")
	out, _ = orderlog(exitDone, "doctor")
	contains(out, "every group has members and a stable assignment")
	contains(out, "nothing is wrong")

	// Everything is handled, though markers make the offsets differ.
	out, _ = orderlog(exitDone, "lag", "-o", "json")
	var lags lag.Round
	if err := json.Unmarshal([]byte(out), &lags); err != nil || len(lags.Topics) == 0 || len(lags.Groups) == 0 {
		t.Fatalf("lag: %v\n%s", err, out)
	}
	for _, g := range lags.Groups {
		if g.State != "Stable" || g.Members != 1 || g.CatchUp != 0 {
			t.Errorf("%+v, want a group that has read all", g)
		}
	}
	for _, l := range lags.Topics {
		if l.Records != 0 || l.Seconds != 0 || l.Estimated {
			t.Errorf("%+v, want nothing left", l)
		}
	}
}

// stock makes two products known.
func stock(t *testing.T, a *app.App) {
	t.Helper()
	c, err := client.New(client.Config{Opts: a.ClientOpts(), Serde: a.Serde(), Namespace: "cli"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send := func(key, typ string, body any) {
		t.Helper()
		m := flow.Message{ID: "evt_" + key + typ, Topic: topics.InventoryCommands, Key: key, Type: typ, At: 1767323045007, Body: body}
		if err := c.Command(context.Background(), m); err != nil {
			t.Fatal(err)
		}
	}
	for sku, price := range map[string]int64{"sku_1": 1250, "sku_2": 700} {
		send(sku, schemas.InventoryPriceSet, &schemas.SetPrice{SKU: sku, Name: sku, Price: price, Currency: "EUR"})
		send(sku, schemas.InventoryStockReceive, &schemas.ReceiveStock{SKU: sku, Quantity: 100})
	}
	if err := c.WaitRead(t.Context(), "inventory"); err != nil {
		t.Fatal(err)
	}
}

// shop is running processors and a way to run commands on them.
type shop struct {
	t  *testing.T
	at app.Addresses
}

func openShop(t *testing.T) shop {
	t.Helper()
	s, _ := open(t, app.Config{Partitions: 2})
	return s
}

// open runs the processors of cfg, on Apache Kafka where tests are to have it.
func open(t *testing.T, cfg app.Config) (shop, *app.App) {
	t.Helper()
	if kafka.Wanted() {
		registry, err := devbroker.Start(t.Context(), devbroker.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = registry.Stop() })
		cfg.Brokers, cfg.Registry, cfg.ApplyTopics = kafka.Run(t, kafka.Options{Own: true}).Brokers(), registry.RegistryURL(), true
	}
	a, err := app.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	})
	return shop{t, a.Addresses()}, a
}

// run wants exit code 0.
func (s shop) run(stdin string, args ...string) string {
	s.t.Helper()
	args = append(args, "--brokers", s.at.Brokers[0], "--registry", s.at.Registry)
	code, stdout, stderr := run(s.t, Env{Stdin: strings.NewReader(stdin)}, args...)
	if code != exitDone {
		s.t.Fatalf("orderlog %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

func (s shop) read(into any, args ...string) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.run("", append(args, "-o", "json")...)), into); err != nil {
		s.t.Fatal(err)
	}
}

// states is what became of every order.
func (s shop) states() map[string]string {
	s.t.Helper()
	var orders []schemas.Order
	s.read(&orders, "order", "list", "--limit", "0")
	m := map[string]string{}
	for _, o := range orders {
		m[o.OrderID] = o.State + " " + o.Invoice.Number
	}
	return m
}

// TestProduce sends a shop's worth of trouble through the processors; the same
// again must change nothing.
func TestProduce(t *testing.T) {
	s := openShop(t)
	trouble := []string{"produce", "--orders", "300", "--seed", "11", "--deliver", "--duplicates", "0.1", "--conflicts", "0.1",
		"--unknown-products", "0.1", "--out-of-credit", "0.1", "--sold-out", "0.1", "--cancels", "0.1", "--undecodable", "0.1", "--out-of-order", "0.1"}
	var first, again produced
	s.read(&first, trouble...)
	if first.Delivered == 0 || first.Undelivered == 0 || first.Delivered+first.Undelivered != 300 {
		t.Errorf("%d delivered and %d not, of 300", first.Delivered, first.Undelivered)
	}
	s.run("", "verify")
	before := s.states()
	s.read(&again, append(trouble, "--no-setup")...)
	if again.Delivered != first.Delivered || again.Undelivered != first.Undelivered {
		t.Errorf("again: %d delivered and %d not, first %d and %d", again.Delivered, again.Undelivered, first.Delivered, first.Undelivered)
	}
	s.run("", "verify")
	if !maps.Equal(before, s.states()) {
		t.Error("the same orders again changed what became of them")
	}
}

// TestImportDelivers imports a file whose second order wants more than there is.
func TestImportDelivers(t *testing.T) {
	s := openShop(t)
	const file = `Order ID,Order Date,Ship Date,Customer ID,Product ID,Product Name,Sales,Quantity,Discount
O-1,2014-01-03,2014-01-07,C-1,P-1,Chair,20.00,2,0.2
O-2,2014-01-04,2014-01-05,C-2,P-1,Chair,50.00,4,0
`
	out := s.run(file, "produce", "--from", "-", "--stock", "3", "--deliver")
	if !strings.Contains(out, "1 delivered, 1 not invoiced") {
		t.Errorf("got:\n%s", out)
	}
	want := map[string]string{"ord_O-1": "delivered A-2014-000001", "ord_O-2": "rejected "}
	if got := s.states(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	var o schemas.Order
	s.read(&o, "order", "get", "ord_O-1")
	if got := moment(o.ChangedAt); o.Net != 2000 || got != "2014-01-07 00:00:00.000Z" {
		t.Errorf("net %d, last changed %s; want 2000, at the ship date", o.Net, got)
	}
	s.run("", "verify")
}
