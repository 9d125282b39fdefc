// Package devbroker runs a Kafka broker and a schema registry inside this
// process: kfake and srfake on listeners of our own. With a data folder both
// survive a stop and a kill -9; without one they live in memory. It is made for
// demos, development and tests; it creates no topics and knows no schema.
//
// Known gaps, all kfake's: nothing is compacted and nothing expires, whatever
// the topic says. A member killed while it joins a group stalls the group for
// its rebalance timeout. Commits of clients older than EndTxn version 5 may be
// halved by a kill. A partition whose records were all deleted (DeleteRecords)
// starts at offset 0 again after a restart.
package devbroker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/orderlog/orderlog/internal/folder"
)

// Config says where a broker keeps its data and where it listens. The zero
// value is a broker in memory on free ports of 127.0.0.1.
type Config struct {
	// Dir is the data folder, made if it is missing; "" keeps all in memory.
	Dir string

	// Port and RegistryPort are where to listen. 0 means a free port: with Dir
	// the one of last time if it can be had, so that addresses stay.
	Port, RegistryPort int

	// Listen opens the two listeners; nil is net.Listen. A network that knows
	// no free ports (kfake.VirtualNetwork) gets 9092 and 8081 for port 0.
	Listen func(network, address string) (net.Listener, error)

	// Sync writes every batch through to the disk. Without it a crash of the
	// process loses nothing, a crash of the machine may.
	Sync bool

	// Log receives what the broker has to say; nil is silence.
	Log *slog.Logger

	// Partitions is the number a topic gets that is created without one; 0 is 8.
	Partitions int
}

// Broker is a running broker with its registry.
type Broker struct {
	cfg      Config
	cluster  *kfake.Cluster
	guard    *commitGuard
	lock     folder.Lock
	kafka    *listener
	registry *registry
	server   *http.Server
	addr     string
	url      string
	log      *watchLog
	serving  sync.WaitGroup

	stop    sync.Once
	stopErr error
}

// Start opens the data folder, mends what a kill may have left half done, and
// returns when broker and registry answer. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (_ *Broker, err error) {
	b := &Broker{cfg: cfg, log: newWatchLog(cfg.Log)}
	defer func() {
		if err != nil {
			b.release()
		}
	}()
	if cfg.Dir != "" {
		if b.lock, err = folder.Take(cfg.Dir); err != nil {
			return nil, err
		}
		if err = repairFolder(cfg.Dir, b.log.out); err != nil {
			return nil, fmt.Errorf("mending data folder %q: %w", cfg.Dir, err)
		}
	}
	if err = ctx.Err(); err != nil {
		return nil, err
	}
	kafkaLn, registryLn, err := listenBoth(cfg)
	if err != nil {
		return nil, err
	}
	b.kafka = newListener(kafkaLn)
	b.addr, b.url = hostPort(kafkaLn), "http://"+hostPort(registryLn)
	if err = b.startRegistry(registryLn); err != nil {
		registryLn.Close()
		return nil, err
	}
	if err = b.startCluster(); err != nil {
		return nil, err
	}
	if err = ctx.Err(); err != nil {
		return nil, err
	}
	return b, nil
}

// Addr is the broker's bootstrap address, host:port.
func (b *Broker) Addr() string { return b.addr }

// RegistryURL is the schema registry's base URL.
func (b *Broker) RegistryURL() string { return b.url }

// Failed is closed when the broker could not write its data folder any more.
// It has then dropped every connection before it could answer what it had not
// written, and serves nobody: stop it, end the process, start again. What was
// acknowledged is on the disk. Err says what happened.
func (b *Broker) Failed() <-chan struct{} { return b.log.failed }

// Err is the failure that closed Failed, or nil.
func (b *Broker) Err() error { return b.log.err() }

// Stop closes all connections and writes what is left to write. It is safe to
// call twice, and answers the same again.
func (b *Broker) Stop() error {
	b.stop.Do(func() { b.stopErr = b.release() })
	return b.stopErr
}

func kafkaDir(dataDir string) string { return filepath.Join(dataDir, "kafka") }

// forever switches kfake's own clean-up off: its compaction ignores
// min.compaction.lag, lets a record of an open transaction supersede a committed
// one, and rewrites segments in place, where a kill loses them; its retention
// goes by record time and would drop imported history. (A ticker of 285 years.)
const forever = "9000000000000"

func (b *Broker) startCluster() error {
	partitions := b.cfg.Partitions
	if partitions == 0 {
		partitions = 8
	}
	opts := []kfake.Opt{
		kfake.Ports(0), // one broker; the listener is there already
		kfake.ListenFn(func(string, string) (net.Listener, error) { return b.kafka, nil }),
		kfake.WithLogger(b.log),
		kfake.ClusterID("orderlog-dev"),
		kfake.DefaultNumPartitions(partitions),
		kfake.GroupMinSessionTimeout(100 * time.Millisecond),
		kfake.BrokerConfigs(map[string]string{
			"log.cleaner.backoff.ms":         forever,
			"offsets.retention.minutes":      "2147483647",
			"transactional.id.expiration.ms": "2147483647",
		}),
	}
	var err error
	if b.cfg.Dir != "" {
		opts = append(opts, kfake.DataDir(kafkaDir(b.cfg.Dir)))
		if b.cfg.Sync {
			opts = append(opts, kfake.SyncWrites())
		}
	}
	if b.cluster, err = kfake.NewCluster(opts...); err != nil {
		return fmt.Errorf("starting broker: %w", err)
	}
	b.log.watch(b.kafka.abort)
	WantNoMetrics(b.cluster)
	if b.cfg.Dir == "" {
		return nil
	}
	b.guard, err = guardCommits(b.cluster, b.cfg)
	return err
}

// WantNoMetrics has a cluster answer clients as Apache Kafka does where nobody has
// subscribed to their metrics (KIP-714). kfake by itself wants all of them, each half
// minute and when a client closes, and drops them.
func WantNoMetrics(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.GetTelemetrySubscriptions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.GetTelemetrySubscriptionsResponse)
		resp.ClientInstanceID = kreq.(*kmsg.GetTelemetrySubscriptionsRequest).ClientInstanceID
		if resp.ClientInstanceID == [16]byte{} {
			rand.Read(resp.ClientInstanceID[:])
		}
		resp.PushIntervalMillis = int32((5 * time.Minute).Milliseconds())
		return resp, nil, true
	})
}

func (b *Broker) startRegistry(ln net.Listener) error {
	inner := srfake.NewRegistry().Handler()
	var file string
	if b.cfg.Dir != "" {
		file = filepath.Join(b.cfg.Dir, "registry.log")
	}
	var err error
	if b.registry, err = openRegistry(file, inner); err != nil {
		return err
	}
	b.server = &http.Server{Handler: b.registry, ErrorLog: slog.NewLogLogger(b.log.out.Handler(), slog.LevelDebug)}
	b.serving.Go(func() { b.server.Serve(ln) }) // returns when release closes it
	return nil
}

// release undoes Start, last first; every part may be missing.
func (b *Broker) release() error {
	var errs []error
	if b.server != nil {
		// Not Shutdown: it waits seconds for connections that never asked anything.
		errs = append(errs, b.registry.close(), b.server.Close())
		b.serving.Wait()
	}
	if b.kafka != nil {
		b.kafka.abort()
	}
	if b.cluster != nil {
		errs = append(errs, b.log.stop(b.cluster.Close))
	}
	if b.guard != nil {
		errs = append(errs, b.guard.file.Close())
	}
	if b.lock != nil {
		errs = append(errs, b.lock.Release())
	}
	return errors.Join(errs...)
}
