package devbroker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A commit is all or nothing, wherever in it the broker is killed: kfake writes
// the markers, then the offsets, then the end, and none of it may stay alone.
func TestHalfCommit(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	cl := txnClient(t, b, "tx")
	createTopic(t, cl, 3, "orders")
	begin(t, cl)
	write(t, cl, "first", 0, 1, 2)
	stageOffset(t, cl, "tx", 0, 1)
	commit(t, cl)
	begin(t, cl)
	write(t, cl, "second", 0, 1)
	stageOffset(t, cl, "tx", 0, 2)
	stageOffset(t, cl, "tx", 1, 2)
	before := crash(t, dir)
	commit(t, cl)
	after := crash(t, dir)

	in, ok := readIntent(after)
	if !ok {
		t.Fatal("the commit was not noted")
	}
	size := func(dir, name string) int64 { return int64(len(readFile(t, filepath.Join(kafkaDir(dir), name)))) }
	pids, err := openStateLog(filepath.Join(kafkaDir(after), "pids.log"))
	if err != nil {
		t.Fatal(err)
	}
	endtx := pids.entries[len(pids.entries)-1].at // behind the "endtx" stands the new epoch
	markerless := func(dir string, p int) int64 {
		return int64(len(readFile(t, partitionFile(t, before, "orders", p, ".dat"))))
	}

	for _, tt := range []struct {
		name   string
		damage func(dir string) // turns "after" into a moment within the commit
	}{
		{"one marker", func(dir string) {
			truncate(t, partitionFile(t, dir, "orders", 1, ".dat"), markerless(dir, 1))
			truncate(t, filepath.Join(kafkaDir(dir), "groups.log"), in.GroupsSize)
			truncate(t, filepath.Join(kafkaDir(dir), "pids.log"), in.PIDsSize)
		}},
		{"the other marker, index behind", func(dir string) {
			truncate(t, partitionFile(t, dir, "orders", 0, ".dat"), markerless(dir, 0))
			idx := partitionFile(t, dir, "orders", 1, ".idx")
			truncate(t, idx, int64(len(readFile(t, idx)))-indexEntry)
			truncate(t, filepath.Join(kafkaDir(dir), "groups.log"), in.GroupsSize)
			truncate(t, filepath.Join(kafkaDir(dir), "pids.log"), in.PIDsSize)
		}},
		{"no offsets", func(dir string) {
			truncate(t, filepath.Join(kafkaDir(dir), "groups.log"), in.GroupsSize)
			truncate(t, filepath.Join(kafkaDir(dir), "pids.log"), in.PIDsSize)
		}},
		{"one offset", func(dir string) {
			truncate(t, filepath.Join(kafkaDir(dir), "groups.log"), (in.GroupsSize+size(dir, "groups.log"))/2)
			truncate(t, filepath.Join(kafkaDir(dir), "pids.log"), in.PIDsSize)
		}},
		{"no end", func(dir string) { truncate(t, filepath.Join(kafkaDir(dir), "pids.log"), in.PIDsSize) }},
		{"no epoch", func(dir string) { truncate(t, filepath.Join(kafkaDir(dir), "pids.log"), endtx) }},
		{"torn epoch", func(dir string) { truncate(t, filepath.Join(kafkaDir(dir), "pids.log"), endtx+5) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := crash(t, after)
			tt.damage(dir)
			for range 2 { // a second kill right after must not bring it back
				b := start(t, Config{Dir: dir})
				wantValues(t, b, "first/0", "first/1", "first/2")
				if o := groupOffset(t, b.Addr(), 0); o != 1 {
					t.Errorf("offset of partition 0 is %d, want 1", o)
				}
				if o := groupOffset(t, b.Addr(), 1); o != -1 {
					t.Errorf("offset of partition 1 is %d, want none", o)
				}
				dir = crash(t, dir)
			}
			b := start(t, Config{Dir: dir})
			cl := txnClient(t, b, "tx")
			begin(t, cl)
			write(t, cl, "third", 1)
			commit(t, cl)
			wantValues(t, b, "first/0", "first/1", "first/2", "third/1")
		})
	}
	t.Run("whole", func(t *testing.T) {
		dir := after
		for range 2 {
			b := start(t, Config{Dir: dir})
			wantValues(t, b, "first/0", "first/1", "first/2", "second/0", "second/1")
			if o := groupOffset(t, b.Addr(), 1); o != 2 {
				t.Errorf("offset %d, want 2", o)
			}
			dir = crash(t, dir)
		}
	})
}

// A commit that did nothing leaves a note too; it must not cost other groups
// what they committed since.
func TestNoteOfNothing(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	cl := txnClient(t, b, "tx")
	createTopic(t, cl, 1, "orders")
	pid, epoch, err := cl.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "tx", pid, epoch, true
	if _, err := cl.Broker(0).Request(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if in, ok := readIntent(dir); !ok || in.PID != pid {
		t.Fatal("the commit was not noted")
	}
	var offsets kadm.Offsets
	offsets.AddOffset("orders", 0, 5, -1)
	if err := kadm.NewClient(cl).CommitAllOffsets(t.Context(), "group", offsets); err != nil {
		t.Fatal(err)
	}
	if o := groupOffset(t, start(t, Config{Dir: crash(t, dir)}).Addr(), 0); o != 5 {
		t.Errorf("offset %d, want 5", o)
	}
}

// What was open at a kill is aborted for good: the next commit of the same
// producer, and another kill, do not bring it back.
func TestOpenTransaction(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	cl := txnClient(t, b, "tx")
	createTopic(t, cl, 2, "orders")
	begin(t, cl)
	write(t, cl, "open", 0, 1)
	dir = crash(t, dir)

	b = start(t, Config{Dir: dir})
	wantValues(t, b)
	cl = txnClient(t, b, "tx")
	begin(t, cl)
	write(t, cl, "kept", 0)
	commit(t, cl)
	wantValues(t, b, "kept/0")
	dir = crash(t, dir)
	wantValues(t, start(t, Config{Dir: dir}), "kept/0")
}

// The same over an orderly stop in between, where kfake keeps the transaction open.
func TestOpenTransactionStopped(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	cl := txnClient(t, b, "tx")
	createTopic(t, cl, 1, "orders")
	begin(t, cl)
	write(t, cl, "open", 0)
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	start(t, Config{Dir: dir})
	dir = crash(t, dir)
	wantValues(t, start(t, Config{Dir: dir}))
}

// A producer that outlives the broker must not commit the second half of a
// transaction whose first half died with it.
func TestZombie(t *testing.T) {
	for _, offsetsOnly := range []bool{false, true} {
		t.Run(fmt.Sprintf("offsets only %t", offsetsOnly), func(t *testing.T) {
			b := start(t, Config{Dir: t.TempDir()})
			cl := txnClient(t, b, "tx")
			createTopic(t, cl, 2, "orders")
			begin(t, cl)
			write(t, cl, "warm", 0)
			commit(t, cl)
			begin(t, cl)
			if offsetsOnly {
				stageOffset(t, cl, "tx", 0, 9)
			} else {
				write(t, cl, "half", 0)
			}
			pid, epoch, err := cl.ProducerID(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			b = start(t, Config{Dir: crash(t, b.cfg.Dir)})
			raw := client(t, b.Addr())
			req := kmsg.NewPtrEndTxnRequest()
			req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "tx", pid, epoch, true
			resp, err := raw.Broker(0).Request(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if code := resp.(*kmsg.EndTxnResponse).ErrorCode; code == 0 {
				t.Error("a commit that had died was acknowledged")
			}
			if !offsetsOnly {
				if code := produceRaw(t, raw, topicID(t, raw), 1, batchOf(pid, epoch, 0, true, "half/1")).ErrorCode; code == 0 {
					t.Error("the second half was taken")
				}
			}
			wantValues(t, b, "warm/0")
		})
	}
}

// A batch that was written and not answered is known when it is sent again.
func TestRetryAfterKill(t *testing.T) {
	b := start(t, Config{Dir: t.TempDir()})
	cl := client(t, b.Addr())
	createTopic(t, cl, 1, "orders")
	init := kmsg.NewPtrInitProducerIDRequest()
	got, err := cl.Broker(0).Request(t.Context(), init)
	if err != nil {
		t.Fatal(err)
	}
	pid := got.(*kmsg.InitProducerIDResponse).ProducerID
	id := topicID(t, cl)
	for i := range 7 {
		if p := produceRaw(t, cl, id, 0, batchOf(pid, 0, int32(i), false, fmt.Sprint(i))); p.ErrorCode != 0 || p.BaseOffset != int64(i) {
			t.Fatalf("batch %d: %+v", i, p)
		}
	}
	b = start(t, Config{Dir: crash(t, b.cfg.Dir)})
	cl = client(t, b.Addr())
	for _, i := range []int32{6, 2} { // within the window of five
		if p := produceRaw(t, cl, id, 0, batchOf(pid, 0, i, false, fmt.Sprint(i))); p.ErrorCode != 0 || p.BaseOffset != int64(i) {
			t.Errorf("batch %d again: %+v, want its first offset", i, p)
		}
	}
	if p := produceRaw(t, cl, id, 0, batchOf(pid, 0, 7, false, "7")); p.ErrorCode != 0 || p.BaseOffset != 7 {
		t.Errorf("next batch: %+v", p)
	}
	wantValues(t, b, "0", "1", "2", "3", "4", "5", "6", "7")
}

// Torn ends of files are cut off, and what is written after that is found again.
func TestTornFiles(t *testing.T) {
	for _, tt := range []struct {
		name string
		tear func(t *testing.T, dir string)
	}{
		{"groups.log, a piece of an entry", func(t *testing.T, dir string) {
			appendRaw(t, filepath.Join(kafkaDir(dir), "groups.log"), []byte{99, 0, 0, 0, 1, 2, 3})
		}},
		{"groups.log, zeros", func(t *testing.T, dir string) {
			appendRaw(t, filepath.Join(kafkaDir(dir), "groups.log"), make([]byte, 4096))
		}},
		{"pids.log", func(t *testing.T, dir string) {
			appendRaw(t, filepath.Join(kafkaDir(dir), "pids.log"), []byte("torn"))
		}},
		{"segment, a piece of a batch", func(t *testing.T, dir string) {
			appendRaw(t, partitionFile(t, dir, "orders", 0, ".dat"), batchOf(1, 0, 0, false, "torn")[:70])
		}},
		{"segment, a wrong checksum", func(t *testing.T, dir string) {
			raw := batchOf(1, 0, 0, false, "wrong")
			raw[len(raw)-1]++
			appendRaw(t, partitionFile(t, dir, "orders", 0, ".dat"), raw)
		}},
		{"index, a piece of an entry", func(t *testing.T, dir string) {
			appendRaw(t, partitionFile(t, dir, "orders", 0, ".idx"), []byte{1, 2})
		}},
		{"index, lost", func(t *testing.T, dir string) {
			if err := os.Remove(partitionFile(t, dir, "orders", 0, ".idx")); err != nil {
				t.Fatal(err)
			}
		}},
		{"index, an entry short", func(t *testing.T, dir string) {
			name := partitionFile(t, dir, "orders", 0, ".idx")
			truncate(t, name, int64(len(readFile(t, name)))-indexEntry)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write2 := func(b *Broker, value string, offset int64) {
				cl := txnClient(t, b, "tx")
				begin(t, cl)
				write(t, cl, value, 0)
				stageOffset(t, cl, "tx", 0, offset)
				commit(t, cl)
				begin(t, cl)
				write(t, cl, "aborted", 0)
				if err := cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
					t.Fatal(err)
				}
				begin(t, cl)
				write(t, cl, "open", 0) // the last batch of the segment
			}
			b := start(t, Config{Dir: dir})
			createTopic(t, client(t, b.Addr()), 1, "orders")
			write2(b, "one", 1)
			dir = crash(t, dir)
			tt.tear(t, dir)

			b = start(t, Config{Dir: dir})
			wantValues(t, b, "one/0")
			write2(b, "two", 2)
			dir = crash(t, dir)
			b = start(t, Config{Dir: dir})
			wantValues(t, b, "one/0", "two/0")
			if o := groupOffset(t, b.Addr(), 0); o != 2 {
				t.Errorf("offset %d, want 2", o)
			}
		})
	}
}

// Repair of a folder that needs none changes nothing but the producers' epochs.
func TestRepairKeeps(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	cl := txnClient(t, b, "tx")
	createTopic(t, cl, 2, "orders")
	begin(t, cl)
	write(t, cl, "one", 0, 1)
	stageOffset(t, cl, "tx", 0, 1)
	commit(t, cl)
	dir = crash(t, dir)
	was := map[string][]byte{"groups.log": nil, "partitions/orders-0/0.dat": nil, "partitions/orders-0/0.idx": nil, "partitions/orders-1/0.dat": nil}
	for name := range was {
		was[name] = readFile(t, filepath.Join(kafkaDir(dir), name))
	}
	for range 2 {
		if err := repairFolder(dir, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		for name, old := range was {
			if !bytes.Equal(old, readFile(t, filepath.Join(kafkaDir(dir), name))) {
				t.Errorf("%s changed", name)
			}
		}
	}
}

// The disk fills up while the broker runs: nothing that is not written is
// acknowledged, the broker says so and ends, and a later start has all the rest.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	cl := client(t, b.Addr(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DisableIdempotentWrite(), kgo.RecordRetries(0)) // such a client gives up
	createTopic(t, cl, 2, "orders")
	write(t, cl, "one", 0)
	obstacle := filepath.Dir(partitionFile(t, dir, "orders", 1, ".dat"))
	if err := os.WriteFile(obstacle, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Partition: 1, Value: []byte("lost")}).FirstErr()
	if err == nil {
		t.Error("acknowledged what could not be written")
	}
	<-b.Failed()
	if b.Err() == nil || !strings.Contains(b.Err().Error(), "orders-1") {
		t.Errorf("failure %v does not say where", b.Err())
	}
	if err := b.Stop(); !errors.Is(err, b.Err()) {
		t.Errorf("stop says %v", err)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	wantValues(t, start(t, Config{Dir: dir}), "one/0")
}
