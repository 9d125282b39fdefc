// Package observability holds no code: its tests have a real Prometheus scrape
// orderlog while orders flow, a processor stands still and catches up, a record is
// given up and another is tried again, and then ask it every query that dashboards,
// alerts and rules have.
package observability

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/app"
	"github.com/orderlog/orderlog/internal/devbroker"
	"github.com/orderlog/orderlog/test/kafka"
)

// standing is the group that is stopped and caught up again.
const standing = "credit"

func TestEveryQuery(t *testing.T) {
	if os.Getenv("ORDERLOG_TEST_OBSERVABILITY") == "" {
		t.Skip("minutes with a real Prometheus: make test-observability")
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Fatal("prometheus is not there: Debian has it in the package of that name")
	}
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		everyQuery(t, dir, start(t, dir, "up", "--port", "0", "--registry-port", "0"))
	})
	t.Run("kafka", func(t *testing.T) {
		c := kafka.Run(t, kafka.Options{Own: true}) // whose topics are nobody else's
		registry, err := devbroker.Start(t.Context(), devbroker.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := registry.Stop(); err != nil {
				t.Error(err)
			}
		})
		dir, at := t.TempDir(), []string{"--brokers", strings.Join(c.Brokers(), ","), "--registry", registry.RegistryURL()}
		o := orderlog{exe: build(t, dir), at: app.Addresses{Brokers: c.Brokers(), Registry: registry.RegistryURL()}}
		o.run(t, "topics", "apply", "--partitions", "4")
		everyQuery(t, dir, start(t, dir, append([]string{"run", "all"}, at...)...))
	})
}

// everyQuery has something of everything happen, and asks.
func everyQuery(t *testing.T, dir string, o orderlog) {
	file := filepath.Join(dir, "node", "metrics")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	node := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file)))) // as node_exporter tells what stands in a file
	t.Cleanup(node.Close)
	p := scrape(t, dir, map[string]string{"orderlog": o.at.HTTP, "lag": o.serveLag(t), "node": strings.TrimPrefix(node.URL, "http://")})

	o.run(t, "produce", "--orders", "600", "--rate", "60", "--seed", "1", "--undecodable", "0.02", "--sold-out", "0.05", "--out-of-credit", "0.1", "--cancels", "0.05", "--deliver")
	t.Logf("placed to invoiced: p50 %.3f s", p.number(t, `histogram_quantile(0.5, sum by (le) (orderlog_order_invoice_duration_seconds_bucket))`))
	o.run(t, "replay", "pause", standing, "--reason", "a test")
	stopped := time.Now()
	o.run(t, "produce", "--orders", "300", "--seed", "2", "--no-setup")
	said := p.catchUp(t, o)
	o.run(t, "retries", "pause", "--group", "order", "--reason", "a test") // the deadlines of orders that wait for credit
	p.until(t, "deadlines are paused", `sum(orderlog_calendar_entries{paused="true"}) > 0`, true)
	o.run(t, "retries", "resume", "--group", "order")

	p.until(t, "the alert fires", `ALERTS{alertname="OrderlogLagSecondsHigh", alertstate="firing", job="orderlog", consumergroup="`+standing+`"}`, true)
	behind := p.number(t, `max(kafka_consumergroup_lag_seconds{consumergroup="`+standing+`"})`)
	if since := time.Since(stopped).Seconds(); behind > since+2 || behind < 5 {
		t.Errorf("%.1f s after %s was stopped it is %.1f s behind", since, standing, behind)
	}
	// It rises as the clock does: the record that waits was written when the lag was 0.
	written := fmt.Sprintf(`max(orderlog_lag_exporter_last_success_timestamp_seconds{job="orderlog"}) - max(kafka_consumergroup_lag_seconds{job="orderlog", consumergroup=%q})`, standing)
	look := `max(orderlog_lag_exporter_last_success_timestamp_seconds{job="orderlog"})`
	at, first := p.number(t, look), p.number(t, written)
	p.until(t, "another look at lags", fmt.Sprintf("%s > %f", look, at), true)
	if again := p.number(t, written); math.Abs(again-first) > 1 {
		t.Errorf("the record that waits was written at %.1f, and a look later at %.1f", first, again)
	}
	o.run(t, "replay", "resume", standing)
	p.until(t, "it has caught up", `max(kafka_consumergroup_lag_records{consumergroup="`+standing+`"}) == 0`, true)
	p.until(t, "the alert is over", `ALERTS{alertname="OrderlogLagSecondsHigh", consumergroup="`+standing+`"}`, false)
	p.until(t, "a dead letter", `max(orderlog_dead_letters_open) > 0`, true)
	p.until(t, "a retry has come back", `sum(orderlog_calendar_dispatched_total{kind="retry"}) > 0`, true)
	o.run(t, "verify", "--metrics-file", file)
	p.until(t, "what verify found", `orderlog_verify_ok == 1`, true)
	p.until(t, "rules of days have been computed", `job:orderlog_order_invoice_slow:ratio_rate30d`, true)
	said()

	p.rulesWork(t)
	p.answersRules(t)
	p.answersBoards(t)
}

// catchUp has a group of somebody else's read the orders, which are written, at a pace
// that it keeps: orderlog's own groups catch up faster than anybody could foretell it.
// What it returns waits for the end, and compares what was said on the way with it.
func (p prometheus) catchUp(t *testing.T, o orderlog) func() {
	t.Helper()
	const group, topic, each = "report", "order-commands", 200 * time.Millisecond
	cl, err := kgo.NewClient(kgo.SeedBrokers(o.at.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	adm := kadm.NewClient(cl)
	t.Cleanup(adm.Close)
	ends, err := adm.ListCommittedOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	const steps = 150 // 30 s
	done := make(chan error, 1)
	go func() {
		for i, tick := int64(0), time.Tick(each); i <= steps; i++ {
			at := kadm.Offsets{}
			ends.Each(func(l kadm.ListedOffset) { at.AddOffset(l.Topic, l.Partition, l.Offset*i/steps, -1) })
			if err := adm.CommitAllOffsets(t.Context(), group, at); err != nil {
				done <- err
				return
			}
			<-tick
		}
		done <- nil
	}()
	return func() {
		t.Helper()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		const estimate = `kafka_consumergroup_catch_up_seconds{job="lag", consumergroup="report"}`
		p.until(t, "the other group has caught up", estimate+` == 0`, true)
		got, err := p.ever(t.Context(), estimate)
		if err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		end, looked := 0.0, 0
		for _, v := range got[0].Values {
			if v[1] == "0" && looked > 0 {
				break
			}
			looked++
			end = v[0].(float64)
		}
		end++
		checked := 0
		for _, v := range got[0].Values {
			said, err := strconv.ParseFloat(v[1].(string), 64)
			if err != nil {
				t.Fatal(err)
			}
			// From when it has been watched for long enough, until there is not much to tell.
			if took := end - v[0].(float64); took < 20 && took > 8 {
				if checked++; said < 0.7*took || said > 1.3*took {
					t.Errorf("it was said that the group would catch up in %.1f s, and it took %.1f", said, took)
				}
			}
		}
		if checked < 5 {
			t.Errorf("only %d estimates were looked at: %v", checked, got[0].Values)
		}
		t.Logf("%d estimates of a catch-up are within 30 %%", checked)
	}
}
