package workload

import (
	"math/rand/v2"
	"sort"
)

// shares draws indexes by weight. It is made of integers alone, as floating
// point need not give the same bytes on every machine.
type shares struct{ sums []uint64 }

func newShares(n int, weight func(i int) uint64) shares {
	s := shares{make([]uint64, n)}
	var sum uint64
	for i := range s.sums {
		sum += weight(i)
		s.sums[i] = sum
	}
	return s
}

func (s shares) draw(r *rand.Rand) int {
	x := r.Uint64N(s.sums[len(s.sums)-1])
	return sort.Search(len(s.sums), func(i int) bool { return s.sums[i] > x })
}

// zipf gives rank i a weight of 1/(i+10): a fifth of 10,000 ranks draws three
// quarters, yet none draws more than 2 % (of 1,000 ranks: two thirds, 2.2 %).
func zipf(n int) shares {
	return newShares(n, func(i int) uint64 { return 1 << 40 / (uint64(i) + 10) })
}

// values draws a number by weight.
type values struct {
	shares
	of []int64
}

func newValues(of []int64, weights ...uint64) values {
	return values{newShares(len(of), func(i int) uint64 { return weights[i] }), of}
}

func (v values) draw(r *rand.Rand) int64 { return v.of[v.shares.draw(r)] }

// rate is a probability in units of 1/2^32.
type rate uint64

func newRate(f float64) rate { return rate(f * (1 << 32)) }

func (p rate) hit(r *rand.Rand) bool { return r.Uint64()>>32 < uint64(p) }

// among spreads the chosen ones evenly over 0, 1, 2 ...: of every n in a row,
// n x p are chosen, up to one. So they have their share of what is drawn by rank too.
func (p rate) among(i int, phase uint32) bool {
	at := func(i int) uint64 { return (uint64(i)*uint64(p) + uint64(phase)) >> 32 }
	return at(i+1) != at(i)
}

// Streams of random numbers of one seed. Faults have their own, so that orders
// are the same with them and without.
const (
	setupStream = iota
	orderStream
	faultStream
	productStream
)

func newRand(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
