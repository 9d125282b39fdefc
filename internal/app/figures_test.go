package app_test

import (
	"cmp"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/effect"
	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/schemas"
)

// What becomes of orders can be seen from outside, in real time, though they are of
// 2014; and every metric there is stands on the page about them.
func TestFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := virtual(t)
		cfg.HTTP = "127.0.0.1:80"
		cfg.Effects = &effect.Config{Webhooks: []effect.Webhook{{Name: "erp", URL: "http://127.0.0.1:81", Secrets: [][]byte{make([]byte, 32)}, Timeout: time.Second, Concurrency: 1}}}
		cfg.BeforeDecide = func(m flow.Message) {
			if m.Key == "ord_bug" || m.Key == "cus_slow" {
				panic("a bug in the rule")
			}
		}
		w := start(t, cfg)
		w.tracker.Stop() // it would ask every five seconds
		w.send(price("sku_pen", 5000), receive("sku_pen", 100), price("sku_rare", 1), receive("sku_rare", 3), price("sku_gone", 1), limit("cus_poor", 0))
		time.Sleep(time.Second)
		began := time.Now()
		old := func(m flow.Message) flow.Message {
			return at(time.Date(2014, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), m)
		}
		first := w.record(old(place("ord_1", "cus_a", schemas.PlaceLine{SKU: "sku_pen", Quantity: 2})))
		const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
		first.Headers = append(first.Headers, kgo.RecordHeader{Key: "traceparent", Value: []byte("00-" + trace + "-00f067aa0ba902b7-01")})
		w.produce(first)
		w.send(place("ord_bug", "cus_a", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}),
			place("ord_gone", "cus_a", schemas.PlaceLine{SKU: "sku_gone", Quantity: 1}), place("ord_poor", "cus_poor", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1}))
		time.Sleep(time.Minute)
		w.send(old(deliver("ord_1")))
		time.Sleep(time.Minute)

		got := w.scrape(cfg.Dial, "")
		for name, want := range map[string]float64{
			`orderlog_orders{state="placed"}`:                                                            0,
			`orderlog_orders{state="delivered"}`:                                                         1,
			`orderlog_orders{state="rejected"}`:                                                          2,
			`orderlog_products{stock="ok"}`:                                                              1,
			`orderlog_products{stock="low"}`:                                                             1,
			`orderlog_products{stock="out"}`:                                                             1,
			`orderlog_order_transitions_total{from="new",reason="",to="placed"}`:                         3,
			`orderlog_order_transitions_total{from="placed",reason="out_of_stock",to="rejected"}`:        1,
			`orderlog_order_transitions_total{from="placed",reason="insufficient_credit",to="rejected"}`: 1,
			`orderlog_order_value_total{currency="EUR",state="invoiced"}`:                                119,
			`orderlog_order_invoice_duration_seconds_count`:                                              1,
			`orderlog_order_invoice_duration_seconds_bucket{le="60"}`:                                    1,
			`orderlog_order_state_duration_seconds_bucket{state="invoiced",le="30"}`:                     0,
			`orderlog_order_state_duration_seconds_bucket{state="invoiced",le="300"}`:                    1,
			`orderlog_events_total{processor="voucher",type="voucher.granted"}`:                          1 + 1, // the voucher, and what the order is told
			`orderlog_events_total{processor="inventory",type="stock.reserved"}`:                         2,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s %v, want %v", name, v, want)
			}
		}
		rows := 0.0
		for name, n := range got {
			if strings.HasPrefix(name, "orderlog_table_rows") && strings.Contains(name, `role="active",table="order-table"`) {
				rows += n
			}
		}
		if rows != 4 { // that of ord_bug remembers what waits for it
			t.Errorf("%v rows of orders", rows)
		}
		for _, name := range []string{`orderlog_transaction_duration_seconds_count{processor="order"}`, `orderlog_transaction_records_count{processor="retry"}`,
			`orderlog_decide_duration_seconds_count{processor="credit"}`, `orderlog_rebalances_total{processor="effects"}`, `orderlog_commits_total{processor="voucher"}`,
			`orderlog_kafka_client_produce_records_total{processor="order",topic="order-table"}`, `orderlog_kafka_client_fetch_records_total{processor="order",topic="order-commands"}`} {
			if got[name] == 0 {
				t.Errorf("%s is 0", name)
			}
		}
		if _, open := got["orderlog_oldest_open_order_timestamp_seconds"]; open {
			t.Error("an order is open")
		}

		w.send(old(place("ord_2", "cus_slow", schemas.PlaceLine{SKU: "sku_pen", Quantity: 1})))
		time.Sleep(time.Minute)
		if at := w.scrape(cfg.Dial, "")["orderlog_oldest_open_order_timestamp_seconds"]; at < float64(began.Add(2*time.Minute).Unix()) || at > float64(began.Add(3*time.Minute).Unix()) {
			t.Errorf("the oldest open order is of %v, want two minutes after %d", at, began.Unix())
		}
		w.documented(cfg.Dial)
		text := w.get(cfg.Dial, "/metrics", "application/openmetrics-text; version=1.0.0")
		if !regexp.MustCompile(`(?m)^orderlog_order_state_duration_seconds_bucket.* # \{trace_id="` + trace + `"\}`).MatchString(text) {
			t.Error("no exemplar with the order's trace")
		}
	})
}

// documented compares what /metrics has with the table in docs/metrics.md.
func (w *world) documented(dial dialer) {
	w.t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	must(w.t, err)
	type row struct{ kind, labels string }
	known := map[string]row{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\w+) \\| ([^|]*) \\| [^|]+ \\|$").FindAllStringSubmatch(string(page), -1) {
		known[m[1]] = row{m[2], strings.ReplaceAll(m[3], "`", "")}
	}
	text := w.get(dial, "/metrics", "text/plain")
	kinds, labels, help := map[string]string{}, map[string]string{}, map[string]string{}
	var name string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case f[1] == "HELP":
			help[f[2]] = strings.Join(f[3:], " ")
		case f[1] == "TYPE":
			name = f[2]
			kinds[name] = f[3]
		default:
			var names []string
			for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(line, -1) {
				if l[1] != "le" {
					names = append(names, l[1])
				}
			}
			slices.Sort(names)
			labels[name] = cmp.Or(labels[name], strings.Join(names, ", "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		if r := (row{kinds[name], labels[name]}); known[name] != r {
			w.t.Errorf("docs/metrics.md has %v, want a row\n| `%s` | %s | %s | %s |", known[name], name, r.kind, r.labels, help[name])
		}
	}
}
