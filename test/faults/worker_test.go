package faults

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lovoo/goka"

	"github.com/orderlog/orderlog/kgoka"
)

// A worker is this test binary run again with the variable set: one process with
// one instance of both hops. It ends on SIGTERM.
const workerVar = "ORDERLOG_TEST_FAULTS_WORKER"

func TestMain(m *testing.M) {
	text := os.Getenv(workerVar)
	switch {
	case os.Getenv(orderlogVar) != "":
		go withTest()
		os.Exit(orderlog())
	case text == "":
		os.Exit(m.Run())
	}
	go withTest()
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		panic(err)
	}
	if err := j.run(); err != nil {
		os.Exit(1) // the last report says it
	}
}

// withTest ends the process with the test, which holds the other end of its
// standard input.
func withTest() { _, _ = io.Copy(io.Discard, os.Stdin); os.Exit(3) }

// job is what a worker is told.
type job struct {
	Brokers     []string
	Name        string // of the scene: prefix of topics and groups
	Instance    string
	Dir         string // the scene's folder
	Session     time.Duration
	Transaction time.Duration
	Standby     bool
	Dump        bool // consume nothing: report all rows and end
}

// The two hops, as topics and groups of a scene.
var hops = []struct{ group, in, out string }{{"a", "in", "mid"}, {"b", "mid", "out"}}

const nparts = 8

func (j job) topic(name string) string { return j.Name + "-" + name }

// report is a line of a worker's standard output: where it stands, some times a
// second and once more at its end.
type report struct {
	Hops  []hopReport
	Rows  []map[string][]byte `json:",omitempty"` // by hop, at the end of a Dump
	Error string              `json:",omitempty"` // why it ended
	Ended bool                `json:",omitempty"`
}

type hopReport struct {
	Here  []int32 // partitions that it works on
	Stats kgoka.Stats
}

func (j job) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	out := json.NewEncoder(os.Stdout)
	end := report{Ended: true}
	procs, err := j.processors()
	if err == nil {
		end.Rows, err = j.serve(ctx, procs, out)
	}
	end.Hops = j.hops(procs)
	if err != nil {
		end.Error = err.Error()
	}
	return errors.Join(err, out.Encode(end))
}

func (j job) processors() ([]*kgoka.Processor, error) {
	var ps []*kgoka.Processor
	for i, h := range hops {
		p, err := kgoka.NewProcessor(kgoka.Config{
			Brokers: j.Brokers, Instance: j.Instance, Dir: filepath.Join(j.Dir, "tables"),
			SessionTimeout: j.Session, RebalanceTimeout: j.Session, TransactionTimeout: j.Transaction, Standby: j.Standby,
			Origins: true, Coalesce: i == 1, // one of each kind
			Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}, j.hop(h.group, h.in, h.out))
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// hop folds each input into its key's row and sends it on with the row.
func (j job) hop(group, in, out string) *goka.GroupGraph {
	return goka.DefineGroup(goka.Group(j.topic(group)), goka.Persist(kgoka.Bytes{}),
		goka.Output(goka.Stream(j.topic(out)), kgoka.Bytes{}),
		goka.Input(goka.Stream(j.topic(in)), kgoka.Bytes{}, func(ctx goka.Context, msg any) {
			c := kgoka.From(ctx)
			m := parseMessage(msg.([]byte))
			m.row = parseRow(c.Row()).add(m.number)
			c.SetRow(m.row.wide(), nil)
			c.EmitRecord(j.topic(out), c.Key(), m.bytes(), nil)
			if m.hang {
				j.hang()
			}
		}))
}

// hang sleeps as long as the scene's file says, once: whoever takes the file away
// is the one.
func (j job) hang() {
	mine := filepath.Join(j.Dir, hangFile+"."+j.Instance)
	if os.Rename(filepath.Join(j.Dir, hangFile), mine) != nil {
		return
	}
	text, err := os.ReadFile(mine)
	if err != nil {
		panic(err)
	}
	d, err := time.ParseDuration(string(text))
	if err != nil {
		panic(err)
	}
	time.Sleep(d) // the fault itself
}

const hangFile = "hang"

// serve runs the processors until ctx ends or one of them does; with Dump, until
// the rows of all partitions can be had, which it returns.
func (j job) serve(ctx context.Context, procs []*kgoka.Processor, out *json.Encoder) (rows []map[string][]byte, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	errs := make([]error, len(procs), len(procs)+1)
	for i, p := range procs {
		running.Go(func() { errs[i] = p.Run(ctx); cancel() })
	}
	beat := time.NewTicker(100 * time.Millisecond)
	defer beat.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-beat.C:
			r := report{Hops: j.hops(procs)}
			if err := out.Encode(r); err != nil {
				errs = append(errs, err)
				cancel()
			}
			if j.Dump && r.whole() {
				for _, p := range procs {
					rows = append(rows, dump(p))
				}
				cancel()
			}
		}
	}
	running.Wait()
	return rows, errors.Join(errs...)
}

func (j job) hops(procs []*kgoka.Processor) (hs []hopReport) {
	for _, p := range procs {
		h := hopReport{Stats: p.Stats()}
		for num, key := range probes {
			if _, err := p.Get(key); err == nil {
				h.Here = append(h.Here, int32(num))
			}
		}
		hs = append(hs, h)
	}
	return hs
}

// dump reads the rows of all keys.
func dump(p *kgoka.Processor) map[string][]byte {
	rows := map[string][]byte{}
	for k := range nkeys {
		if row, err := p.Get(keyOf(k)); err != nil {
			rows[keyOf(k)] = []byte(err.Error()) // is no row, and will be shown as wrong
		} else if row != nil {
			rows[keyOf(k)] = parseRow(row).bytes()
		}
	}
	return rows
}

// whole says whether the worker has all partitions of both hops.
func (r report) whole() bool {
	for _, h := range r.Hops {
		if len(h.Here) < nparts {
			return false
		}
	}
	return len(r.Hops) == len(hops)
}

// probes is a key of each partition.
var probes = func() (keys [nparts]string) {
	for k := range nkeys {
		keys[kgoka.Partition(keyOf(k), nparts)] = keyOf(k)
	}
	return keys
}()
