package devbroker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/folder"
)

const childEnv = "DEVBROKER_TEST_DIR"

// TestMain is also the child: a broker that runs until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		b, err := Start(context.Background(), Config{Dir: dir})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(b.Addr(), b.RegistryURL())
		io.Copy(io.Discard, os.Stdin) // ends with the parent
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child is a broker in a process of its own.
type child struct {
	cmd       *exec.Cmd
	in        io.Closer
	addr, url string
}

func spawn(t *testing.T, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, in: in}
	t.Cleanup(c.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) != 2 {
		t.Fatalf("broker did not start: %q, %v", line, err)
	}
	c.addr, c.url = fields[0], fields[1]
	return c
}

// kill is a kill -9; safe twice.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
	c.in.Close()
}

// load writes to a broker that is killed under it and notes what it was told.
type load struct {
	addr, url string
	plain     []string       // acknowledged
	txns      []int          // committed, by number
	schemas   map[string]int // subject to id
	next      struct{ plain, txn, schema int }
}

const txnPartitions = 4

// run produces until ctx is done, through clients that outlive a broker.
func (l *load) run(ctx context.Context, t *testing.T) {
	var wg sync.WaitGroup
	wg.Go(func() { l.producePlain(ctx, t) })
	wg.Go(func() { l.produceTxns(ctx, t) })
	wg.Go(func() { l.registerSchemas(ctx, t) })
	wg.Wait()
}

func loadClient(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(20 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond })}, opts...)...)
	if err != nil {
		t.Error(err)
	}
	return cl
}

func (l *load) producePlain(ctx context.Context, t *testing.T) {
	cl := loadClient(t, l.addr)
	defer cl.Close()
	for ctx.Err() == nil {
		v := strconv.Itoa(l.next.plain)
		l.next.plain++
		r := &kgo.Record{Topic: "plain", Partition: int32(l.next.plain % 2), Value: []byte(v)}
		if cl.ProduceSync(ctx, r).FirstErr() == nil {
			l.plain = append(l.plain, v)
		}
	}
}

// produceTxns writes one record to each partition and the next offset in each
// transaction; after an error it goes on as a restarted process would.
func (l *load) produceTxns(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		cl := loadClient(t, l.addr, kgo.TransactionalID("tx"), kgo.TransactionTimeout(5*time.Second))
		for ctx.Err() == nil {
			n := l.next.txn
			l.next.txn++
			if err := l.transact(ctx, t, cl, n); err != nil {
				break
			}
			l.txns = append(l.txns, n)
		}
		cl.Close()
	}
}

func (l *load) transact(ctx context.Context, t *testing.T, cl *kgo.Client, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	var records []*kgo.Record
	for p := range int32(txnPartitions) {
		records = append(records, &kgo.Record{Topic: "orders", Partition: p, Value: fmt.Appendf(nil, "%d/%d", n, p)})
	}
	err := cl.ProduceSync(ctx, records...).FirstErr()
	if err == nil {
		err = tryStageOffset(ctx, cl, "tx", 0, int64(n))
	}
	if err != nil {
		return errors.Join(err, cl.EndTransaction(ctx, kgo.TryAbort))
	}
	return cl.EndTransaction(ctx, kgo.TryCommit)
}

// registerSchemas stays within 150: srfake compares each new one with all.
func (l *load) registerSchemas(ctx context.Context, t *testing.T) {
	cl := registryClient(t, l.url)
	for until := l.next.schema + 30; ctx.Err() == nil && l.next.schema < min(until, 150); {
		subject := fmt.Sprint("s", l.next.schema)
		l.next.schema++
		if s, err := cl.CreateSchema(ctx, subject, avroSchema(fmt.Sprint("R", l.next.schema/2))); err == nil {
			l.schemas[subject] = s.ID
		}
	}
}

// check compares what was acknowledged with what is there.
func (l *load) check(t *testing.T) {
	plain := readAll(t, l.addr, "plain")
	for v, n := range plain {
		if n != 1 {
			t.Errorf("plain record %s is there %d times", v, n)
		}
	}
	for _, v := range l.plain {
		if plain[v] == 0 {
			t.Errorf("plain record %s was acknowledged and is lost", v)
		}
	}
	seen := map[int]int{}
	last := -1
	for v, n := range readAll(t, l.addr, "orders") {
		if n != 1 {
			t.Errorf("record %s is there %d times", v, n)
		}
		txn, _, _ := strings.Cut(v, "/")
		number, _ := strconv.Atoi(txn)
		seen[number]++
		last = max(last, number)
	}
	for txn, n := range seen {
		if n != txnPartitions {
			t.Errorf("transaction %d: %d of %d records are committed", txn, n, txnPartitions)
		}
	}
	for _, txn := range l.txns {
		if seen[txn] == 0 {
			t.Errorf("transaction %d was acknowledged and is lost", txn)
		}
	}
	if at := groupOffset(t, l.addr, 0); at != int64(last) {
		t.Errorf("committed offset %d, last committed transaction %d", at, last)
	}
	ids := map[int]string{}
	reg := registryClient(t, l.url)
	for subject, id := range l.schemas {
		s, err := reg.SchemaByVersion(t.Context(), subject, 1)
		if err != nil || s.ID != id {
			t.Errorf("schema %s: id %d, was acknowledged as %d: %v", subject, s.ID, id, err)
			continue
		}
		if other, known := ids[id]; known && other != s.Schema.Schema {
			t.Errorf("id %d stands for two schemas", id)
		}
		ids[id] = s.Schema.Schema
	}
}

// TestKill kills the broker's process at random moments under load. What was
// acknowledged is there, once; a transaction is there whole or not at all.
func TestKill(t *testing.T) {
	rounds, seed := 5, uint64(time.Now().UnixNano())
	if s := os.Getenv("DEVBROKER_TEST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	if s := os.Getenv("DEVBROKER_TEST_ROUNDS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	t.Logf("again: DEVBROKER_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	pause := func() { time.Sleep(time.Duration(20+random.IntN(280)) * time.Millisecond) } // a moment to kill at

	dir := t.TempDir()
	c := spawn(t, dir)
	l := &load{addr: c.addr, url: c.url, schemas: map[string]int{}}
	cl := client(t, c.addr)
	for topic, partitions := range map[string]int32{"plain": 2, "orders": txnPartitions} {
		if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	cl.Close()
	for round := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { l.run(ctx, t) })
		pause()
		c.kill() // under load
		c = spawn(t, dir)
		pause()
		cancel()
		wg.Wait()
		c.kill() // with a transaction open, perhaps
		c = spawn(t, dir)
		if c.addr != l.addr || c.url != l.url {
			t.Fatalf("addresses moved: %s %s", c.addr, c.url)
		}
		l.check(t)
		t.Logf("round %d: %d records, %d transactions, %d schemas acknowledged so far", round, len(l.plain), len(l.txns), len(l.schemas))
		if t.Failed() {
			return
		}
	}
	if min(len(l.plain), len(l.txns), len(l.schemas)) < 5 {
		t.Error("hardly anything was acknowledged: this test shows nothing")
	}
}

// The second process is told who holds the folder; a killed holder holds nothing.
func TestLockedByProcess(t *testing.T) {
	dir := t.TempDir()
	c := spawn(t, dir)
	_, err := Start(t.Context(), Config{Dir: dir})
	var locked *folder.LockedError
	if !errors.As(err, &locked) || locked.PID != c.cmd.Process.Pid {
		t.Errorf("got %v, want the pid %d", err, c.cmd.Process.Pid)
	}
	c.kill()
	start(t, Config{Dir: dir})
}
