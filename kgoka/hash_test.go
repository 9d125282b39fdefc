package kgoka

import (
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The vectors are those of Kafka's own UtilsTest.
func TestMurmur2Vectors(t *testing.T) {
	for _, c := range []struct {
		key  string
		want int32
	}{
		{"21", -973932308},
		{"foobar", -790332482},
		{"a-little-bit-long-string", -985981536},
		{"a-little-bit-longer-string", -1486304829},
		{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
		{"abc", 479470107},
	} {
		if got := int32(Murmur2([]byte(c.key))); got != c.want {
			t.Errorf("%q: %d, want %d", c.key, got, c.want)
		}
	}
}

func TestPartitionAsFranzGo(t *testing.T) {
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		key := make([]byte, 1+rnd.IntN(40))
		for i := range key {
			key[i] = byte(rnd.Uint32())
		}
		n := 1 + rnd.IntN(50)
		if got, want := Partition(string(key), n), theirs.Partition(&kgo.Record{Key: key}, n); int(got) != want {
			t.Fatalf("%x over %d: %d, franz-go says %d", key, n, got, want)
		}
	}
}
