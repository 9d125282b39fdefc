package verify

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// longLog has n delivered orders of three lines on average.
func longLog(n int) *fixture {
	f := newFixture()
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 1000 {
		sku := fmt.Sprintf("sku_%06d", i)
		f.send(topics.InventoryCommands, &schemas.SetPrice{SKU: sku, Name: "thing " + sku, Price: 1999, Currency: "EUR"})
		f.send(topics.InventoryCommands, &schemas.ReceiveStock{SKU: sku, Quantity: 1e9})
	}
	for i := range 1000 {
		f.send(topics.CreditCommands, &schemas.SetLimit{CustomerID: fmt.Sprintf("cus_%06d", i), Limit: 1e15, Currency: "EUR"})
	}
	f.settle(nil)
	for i := range n {
		o := place(fmt.Sprintf("ord_2hPfZCvIBHp4hWxW0D%09d", i), fmt.Sprintf("cus_%06d", rng.IntN(1000)))
		for range 1 + rng.IntN(5) {
			o.Lines = append(o.Lines, schemas.PlaceLine{SKU: fmt.Sprintf("sku_%06d", rng.IntN(1000)), Quantity: 1 + rng.Int64N(5), UnitPrice: 1999})
		}
		f.send(topics.OrderCommands, o)
		f.settle(nil)
		f.send(topics.OrderCommands, &schemas.DeliverOrder{OrderID: o.OrderID})
		f.settle(nil)
	}
	return f
}

// BenchmarkRun reads a log of 20,000 orders and checks it.
func BenchmarkRun(b *testing.B) {
	const orders = 20_000
	f, opts, serde := longLog(orders), cluster(b, ""), schemas.NewLocalSerde()
	f.store(b, opts, serde)
	cfg := f.config(opts, serde)
	f.log = nil
	var records int64
	began := cpu()
	for b.Loop() {
		r := f.run(b, cfg)
		if !r.OK || !r.Still {
			b.Fatal(failures(r))
		}
		records += r.Records
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(records)/(cpu()-began), "records/cpu-s")
	b.ReportMetric(float64(records)/float64(b.N)/orders, "records/order")
}

// BenchmarkFold folds the order log alone, on one core, from records in memory,
// and tells what an order takes of it.
func BenchmarkFold(b *testing.B) {
	const orders = 20_000
	f, serde := longLog(orders), schemas.NewLocalSerde()
	var records []*kgo.Record
	for p, es := range f.log[topics.OrderTable] {
		for i, e := range es {
			r := f.record(b, serde, topics.OrderTable, int32(p), e)
			r.Offset = int64(i)
			records = append(records, r)
		}
	}
	w := &world{ctx: b.Context(), serde: serde}
	var l *orderLog
	f.log = nil
	before, began := live(), cpu()
	for b.Loop() {
		l = newOrderLog(w)
		for _, r := range records {
			if err := l.add(r); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(records))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(len(records))*float64(b.N)/(cpu()-began), "records/cpu-s")
	b.ReportMetric(float64(live()-before)/orders, "B/order")
	runtime.KeepAlive(l)
	runtime.KeepAlive(records)
}

// cpu is the time that this process has used, its broker's included.
func cpu() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func live() uint64 {
	for range 3 { // pools let go of what they have at the second one
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMemory tells what an order takes of all that is folded, its effects included.
func BenchmarkMemory(b *testing.B) {
	const orders = 20_000
	f, opts, serde := longLog(orders), cluster(b, ""), schemas.NewLocalSerde()
	f.tell()
	f.store(b, opts, serde)
	cfg, err := f.config(opts, serde).withDefaults()
	if err != nil {
		b.Fatal(err)
	}
	f.log = nil
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	before := live()
	var w *world
	for b.Loop() {
		if w, err = fold(b.Context(), cfg, cl); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(live()-before)/orders, "B/order")
	began := time.Now()
	w.report()
	b.ReportMetric(time.Since(began).Seconds(), "s/checks")
	runtime.KeepAlive(w)
}

// BenchmarkCheckpoint goes on from a checkpoint of 20,000 orders with nothing new: what
// it costs to keep what was folded instead of reading it again.
func BenchmarkCheckpoint(b *testing.B) {
	const orders = 20_000
	f, opts, serde := longLog(orders), cluster(b, ""), schemas.NewLocalSerde()
	f.tell()
	f.store(b, opts, serde)
	cfg := checkpointed(b, f.config(opts, serde))
	f.log = nil
	began := time.Now()
	f.run(b, cfg)
	whole := time.Since(began)
	for b.Loop() {
		if r := f.run(b, cfg); !r.OK || r.Records > orders/100 {
			b.Fatal(r.Records, failures(r))
		}
	}
	info, err := os.Stat(cfg.Checkpoint.Path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/orders, "B/order")
	b.ReportMetric(whole.Seconds()*float64(b.N)/b.Elapsed().Seconds(), "times-as-fast")
}
