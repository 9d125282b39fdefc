package metric

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// told is what c tells, by name and label values: of a histogram how many.
func told(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	if bad, err := testutil.GatherAndLint(reg); err != nil || len(bad) > 0 {
		t.Errorf("%v, %v", bad, err)
	}
	fs, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range fs {
		for _, m := range f.GetMetric() {
			key := strings.TrimPrefix(f.GetName(), clientPrefix)
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			got[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return got
}

// Clients of one name may come and go, and be there at the same time.
func TestClients(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	c := NewClients()
	client := func(opts ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(broker.ListenAddrs()...), kgo.WithHooks(c.Hook("order")), kgo.DefaultProduceTopic("in"), kgo.ManualFlushing(), kgo.ClientID("x"))...)
		if err != nil {
			t.Fatal(err)
		}
		return cl
	}
	a, b := client(), client()
	for _, cl := range []*kgo.Client{a, b} {
		for range 3 {
			cl.Produce(t.Context(), &kgo.Record{Value: []byte("four")}, nil)
		}
	}
	if got := told(t, c); got["buffered_produce_records order"] != 6 || got["buffered_produce_bytes order"] != 24 {
		t.Errorf("before: %v", got)
	}
	for _, cl := range []*kgo.Client{a, b} {
		if err := cl.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a.Close()
	r := client(kgo.ConsumeTopics("in"))
	defer r.Close()
	for n := 0; n < 6; {
		n += r.PollFetches(t.Context()).NumRecords()
	}
	b.Close()
	got := told(t, c)
	for name, want := range map[string]float64{"produce_records_total order in": 6, "produce_batches_total order in": 2, "fetch_records_total order in": 6, "buffered_produce_records order": 0} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s %v, want %v", name, v, want)
		}
	}
	for _, name := range []string{"connects_total seed_0 order", "connects_total 0 order", "write_bytes_total 0 order", "read_bytes_total 0 order", "produce_bytes_total order in", "produce_compressed_bytes_total order in",
		"fetch_bytes_total order in", "fetch_compressed_bytes_total order in", "request_duration_e2e_seconds 0 Produce", "request_duration_e2e_seconds 0 Fetch", "request_duration_e2e_seconds seed_0 other"} {
		if got[name] == 0 {
			t.Errorf("%s is 0 or not there", name)
		}
	}
	r.Close()
	if n, ok := told(t, c)["buffered_fetch_records order"]; ok {
		t.Errorf("%v records are with clients that are closed", n)
	}
}

// What goes wrong is counted, too.
func TestClientErrors(t *testing.T) {
	c := NewClients()
	h := c.Hook("credit").(*clientHook)
	at := kgo.BrokerMetadata{NodeID: 7}
	h.OnBrokerConnect(at, 0, nil, errors.New("refused"))
	h.OnBrokerDisconnect(at, nil)
	h.OnBrokerE2E(at, kmsg.EndTxn.Int16(), kgo.BrokerE2E{WriteErr: errors.New("reset")})
	h.OnBrokerE2E(at, kmsg.EndTxn.Int16(), kgo.BrokerE2E{BytesWritten: 10, ReadErr: errors.New("reset")})
	h.OnBrokerE2E(at, kmsg.EndTxn.Int16(), kgo.BrokerE2E{BytesWritten: 10, BytesRead: 5})
	h.OnBrokerThrottle(at, time.Second, false)
	want := map[string]float64{"connect_errors_total 7 credit": 1, "disconnects_total 7 credit": 1, "write_errors_total 7 credit": 1, "read_errors_total 7 credit": 1,
		"write_bytes_total 7 credit": 20, "read_bytes_total 7 credit": 5, "request_duration_e2e_seconds 7 EndTxn": 1, "request_throttled_seconds 7": 1}
	if got := told(t, c); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
