package kgoka

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
)

func cpu() float64 {
	var u syscall.Rusage
	syscall.Getrusage(0, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkStores reads and overwrites rows of 300 bytes, any of them, in 8
// partitions: among 200,000, where every second read is of an absent one, and
// among 1,000,000.
func BenchmarkStores(b *testing.B) {
	for _, kind := range []string{"pebble", "memory"} {
		b.Run(kind+"/200000", func(b *testing.B) { benchStore(b, kind, 200_000, 2) })
		b.Run(kind+"/1000000", func(b *testing.B) { benchStore(b, kind, 1_000_000, 1) })
	}
}

// benchStore overwrites rows, any of them; with every above 1, one operation of so
// many reads an absent key instead.
func benchStore(b *testing.B, kind string, keys, every int) {
	var sh shelf
	if kind == "pebble" {
		var err error
		if sh.disk, err = openDisk(b.TempDir(), "x", nil); err != nil {
			b.Fatal(err)
		}
	}
	const parts = 8
	var ts []*table
	for i := range parts {
		t, err := sh.load(place{"t", int32(i)})
		if err != nil {
			b.Fatal(err)
		}
		ts = append(ts, t)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	val := func() []byte {
		v := make([]byte, 300)
		for i := 0; i < 300; i += 8 {
			binary.LittleEndian.PutUint32(v[min(i, 292):], rnd.Uint32())
		}
		return v
	}
	end := int64(0)
	write := func(n int) {
		t := ts[n%parts]
		t.set(fmt.Sprintf("ord_2ZKx5g%016d", n), row{val: val()})
	}
	commit := func() {
		for _, t := range ts {
			end++
			if err := t.commit(end); err != nil {
				b.Fatal(err)
			}
		}
	}
	for n := range keys {
		if write(n); n%4000 == 0 {
			commit()
		}
	}
	commit()
	c0 := cpu()
	b.ResetTimer()
	for n := range b.N {
		if every > 1 && n%every == 0 {
			key := fmt.Appendf(nil, "ord_2ZKx5g%016d", keys+n)
			if r, err := ts[n%parts].get(key); r.val != nil || err != nil {
				b.Fatal(r, err)
			}
		} else {
			k := rnd.IntN(keys/parts)*parts + n%parts
			if r, err := ts[n%parts].get(fmt.Appendf(nil, "ord_2ZKx5g%016d", k)); r.val == nil || err != nil {
				b.Fatal(k, err)
			}
			write(k)
		}
		if n%4000 == 0 {
			commit()
		}
	}
	commit()
	b.StopTimer()
	b.ReportMetric((cpu()-c0)/float64(b.N)*1e6, "cpu-µs/op")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/1e6, "sys-MB")
	for _, t := range ts {
		t.close()
	}
	sh.close()
}
