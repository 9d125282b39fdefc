package metric

import (
	"maps"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Clients are figures of Kafka clients, told by the processor that has them. Names and
// meanings are those of franz-go's plugin kprom, which keeps one set for each client:
// a processor has several, and makes them anew. It is a prometheus.Collector.
type Clients struct {
	connects, connectErrors, disconnects           *prometheus.CounterVec // by processor and node_id
	writeBytes, writeErrors, readBytes, readErrors *prometheus.CounterVec
	took                                           *prometheus.HistogramVec // by node_id and request
	throttled                                      *prometheus.HistogramVec // by node_id
	produceRecords, produceBatches                 *prometheus.CounterVec   // by processor and topic
	produceBytes, produceCompressed                *prometheus.CounterVec
	fetchRecords, fetchBatches                     *prometheus.CounterVec
	fetchBytes, fetchCompressed                    *prometheus.CounterVec

	mu   sync.Mutex
	live map[*kgo.Client]string // and whose they are
}

const clientPrefix = "orderlog_kafka_client_"

// NewClients returns figures of clients that are yet to be made.
func NewClients() *Clients {
	by := func(label string) func(name, help string) *prometheus.CounterVec {
		return func(name, help string) *prometheus.CounterVec {
			return prometheus.NewCounterVec(prometheus.CounterOpts{Name: clientPrefix + name + "_total", Help: help}, []string{"processor", label})
		}
	}
	node, topic := by("node_id"), by("topic")
	return &Clients{
		connects:      node("connects", "Connections opened."),
		connectErrors: node("connect_errors", "Connections that could not be opened."),
		disconnects:   node("disconnects", "Connections closed."),
		writeBytes:    node("write_bytes", "Bytes written to the broker, compressed."),
		writeErrors:   node("write_errors", "Requests that could not be written."),
		readBytes:     node("read_bytes", "Bytes read from the broker, compressed."),
		readErrors:    node("read_errors", "Answers that could not be read."),
		took: Histogram(prometheus.HistogramOpts{Name: clientPrefix + "request_duration_e2e_seconds",
			Help:    "Time from a request's first byte until its answer is read. A fetch waits at the broker for records.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}, "node_id", "request"),
		throttled: Histogram(prometheus.HistogramOpts{Name: clientPrefix + "request_throttled_seconds",
			Help:    "How long the broker has told a client to wait, because of a quota.",
			Buckets: []float64{.01, .1, .5, 1, 5, 30}}, "node_id"),
		produceRecords:    topic("produce_records", "Records produced, those of aborted transactions among them."),
		produceBatches:    topic("produce_batches", "Batches produced."),
		produceBytes:      topic("produce_bytes", "Bytes of the batches produced, before compression."),
		produceCompressed: topic("produce_compressed_bytes", "Bytes of the batches produced, compressed."),
		fetchRecords:      topic("fetch_records", "Records fetched."),
		fetchBatches:      topic("fetch_batches", "Batches fetched."),
		fetchBytes:        topic("fetch_bytes", "Bytes of the batches fetched, decompressed."),
		fetchCompressed:   topic("fetch_compressed_bytes", "Bytes of the batches fetched, compressed."),
		live:              map[*kgo.Client]string{},
	}
}

// buffered is what clients hold just now.
var buffered = []struct {
	desc *prometheus.Desc
	of   func(*kgo.Client) int64
}{
	{bufferedDesc("produce_records", "Records that wait to be produced."), (*kgo.Client).BufferedProduceRecords},
	{bufferedDesc("produce_bytes", "Bytes of the records that wait to be produced."), (*kgo.Client).BufferedProduceBytes},
	{bufferedDesc("fetch_records", "Records that are fetched and not handled yet."), (*kgo.Client).BufferedFetchRecords},
	{bufferedDesc("fetch_bytes", "Bytes of the records that are fetched and not handled yet."), (*kgo.Client).BufferedFetchBytes},
}

func bufferedDesc(what, help string) *prometheus.Desc {
	return prometheus.NewDesc(clientPrefix+"buffered_"+what, help, []string{"processor"}, nil)
}

func (c *Clients) vectors() []prometheus.Collector {
	return []prometheus.Collector{c.connects, c.connectErrors, c.disconnects, c.writeBytes, c.writeErrors, c.readBytes, c.readErrors, c.took, c.throttled,
		c.produceRecords, c.produceBatches, c.produceBytes, c.produceCompressed, c.fetchRecords, c.fetchBatches, c.fetchBytes, c.fetchCompressed}
}

// Describe makes Clients a prometheus.Collector.
func (c *Clients) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range c.vectors() {
		v.Describe(ch)
	}
	for _, b := range buffered {
		ch <- b.desc
	}
}

// Collect makes Clients a prometheus.Collector.
func (c *Clients) Collect(ch chan<- prometheus.Metric) {
	for _, v := range c.vectors() {
		v.Collect(ch)
	}
	c.mu.Lock()
	live := maps.Clone(c.live)
	c.mu.Unlock()
	for _, b := range buffered {
		sums := map[string]int64{}
		for cl, name := range live {
			sums[name] += b.of(cl)
		}
		for name, n := range sums {
			ch <- prometheus.MustNewConstMetric(b.desc, prometheus.GaugeValue, float64(n), name)
		}
	}
}

// Hook counts what the clients of a processor do.
func (c *Clients) Hook(processor string) kgo.Hook { return &clientHook{c, processor} }

type clientHook struct {
	*Clients
	name string
}

var _ interface {
	kgo.HookNewClient
	kgo.HookClientClosed
	kgo.HookBrokerConnect
	kgo.HookBrokerDisconnect
	kgo.HookBrokerE2E
	kgo.HookBrokerThrottle
	kgo.HookProduceBatchWritten
	kgo.HookFetchBatchRead
} = (*clientHook)(nil)

func (h *clientHook) OnNewClient(cl *kgo.Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live[cl] = h.name
}

func (h *clientHook) OnClientClosed(cl *kgo.Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.live, cl)
}

func node(m kgo.BrokerMetadata) string { return kgo.NodeName(m.NodeID) }

func (h *clientHook) OnBrokerConnect(m kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil {
		h.connectErrors.WithLabelValues(h.name, node(m)).Inc()
		return
	}
	h.connects.WithLabelValues(h.name, node(m)).Inc()
}

func (h *clientHook) OnBrokerDisconnect(m kgo.BrokerMetadata, _ net.Conn) {
	h.disconnects.WithLabelValues(h.name, node(m)).Inc()
}

func (h *clientHook) OnBrokerThrottle(m kgo.BrokerMetadata, d time.Duration, _ bool) {
	h.throttled.WithLabelValues(node(m)).Observe(d.Seconds())
}

func (h *clientHook) OnBrokerE2E(m kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	n := node(m)
	if e.WriteErr != nil {
		h.writeErrors.WithLabelValues(h.name, n).Inc()
		return
	}
	h.writeBytes.WithLabelValues(h.name, n).Add(float64(e.BytesWritten))
	if e.ReadErr != nil {
		h.readErrors.WithLabelValues(h.name, n).Inc()
		return
	}
	h.readBytes.WithLabelValues(h.name, n).Add(float64(e.BytesRead))
	h.took.WithLabelValues(n, request(key)).Observe(e.DurationE2E().Seconds())
}

// request names the requests that a transaction is made of.
func request(key int16) string {
	switch k := kmsg.Key(key); k {
	case kmsg.Produce, kmsg.Fetch, kmsg.InitProducerID, kmsg.OffsetCommit, kmsg.TxnOffsetCommit, kmsg.EndTxn:
		return k.Name()
	}
	return "other"
}

func (h *clientHook) OnProduceBatchWritten(_ kgo.BrokerMetadata, topic string, _ int32, b kgo.ProduceBatchMetrics) {
	h.produceRecords.WithLabelValues(h.name, topic).Add(float64(b.NumRecords))
	h.produceBatches.WithLabelValues(h.name, topic).Inc()
	h.produceBytes.WithLabelValues(h.name, topic).Add(float64(b.UncompressedBytes))
	h.produceCompressed.WithLabelValues(h.name, topic).Add(float64(b.CompressedBytes))
}

func (h *clientHook) OnFetchBatchRead(_ kgo.BrokerMetadata, topic string, _ int32, b kgo.FetchBatchMetrics) {
	h.fetchRecords.WithLabelValues(h.name, topic).Add(float64(b.NumRecords))
	h.fetchBatches.WithLabelValues(h.name, topic).Inc()
	h.fetchBytes.WithLabelValues(h.name, topic).Add(float64(b.UncompressedBytes))
	h.fetchCompressed.WithLabelValues(h.name, topic).Add(float64(b.CompressedBytes))
}
