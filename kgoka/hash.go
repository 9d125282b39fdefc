package kgoka

import (
	"encoding/binary"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Murmur2 is the hash by which Java clients, franz-go and librdkafka's
// murmur2_random place keyed records.
func Murmur2(key []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := binary.LittleEndian.Uint32(key) * m
		k = (k ^ k>>r) * m
		h = h*m ^ k
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

// Partition is the partition of key in a topic with n partitions.
func Partition(key string, n int) int32 { return partition([]byte(key), n) }

func partition(key []byte, n int) int32 { return int32(Murmur2(key)&0x7fffffff) % int32(n) }

// partitioner leaves records of the topics in keep on the partition they were
// computed on, whoever placed the input there and how, and places all else by its
// key.
func partitioner(keep ...string) kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
		if slices.Contains(keep, topic) {
			return func(r *kgo.Record, _ int) int { return int(r.Partition) }
		}
		return func(r *kgo.Record, n int) int { return int(partition(r.Key, n)) }
	})
}
