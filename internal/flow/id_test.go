package flow

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/segmentio/ksuid"
)

// TestNewID: logs are full of IDs, so they must stay what they are.
func TestNewID(t *testing.T) {
	for _, tc := range []struct {
		at    int64
		seed  string
		index int
		want  string
	}{
		{1767225600000, "evt_2ZQxXb5rKqjM0cQnVYt1uTzS9aB", 0, "evt_37dGaoEgq5A645DQcTxEdSAtIg6"},
		{1767225600999, "evt_2ZQxXb5rKqjM0cQnVYt1uTzS9aB", -1, "evt_37dGasYJ5zL3tlh0Y0ZbLIbaCwr"},
		{1767225600999, "evt_2ZQxXb5rKqjM0cQnVYt1uTzS9aB", 258, "evt_37dGalyhs1rfjRx6YyXZjdJ6YR8"},
		{-5, "", 0, "evt_000001tovCXDHO9vaxQ2nm1TMvn"},
		{1 << 62, "x", 1, "evt_aWgEPMVXS2QjF33KBiFhnNhbt6U"},
		{1767225600000, strings.Repeat("long ", 40), 3, "evt_37dGanUe0QiUHpPXicKcgSn066f"},
	} {
		if got := NewID("evt", tc.at, tc.seed, tc.index); got != tc.want {
			t.Errorf("NewID(%d, %q, %d) = %q, want %q", tc.at, tc.seed, tc.index, got, tc.want)
		}
	}
}

// The digits are those of KSUID's own implementation.
func TestKSUID(t *testing.T) {
	check := func(k ksuid.KSUID) {
		var payload [32]byte
		copy(payload[:], k.Payload())
		if got := string(appendKSUID(nil, k.Timestamp(), payload)); got != k.String() {
			t.Errorf("% x gives %s, want %s", k.Bytes(), got, k)
		}
	}
	check(ksuid.Nil)
	check(ksuid.Max)
	const seed = 1
	rng := rand.NewChaCha8([32]byte{seed})
	for range 10_000 {
		var k ksuid.KSUID
		rng.Read(k[:])
		check(k)
	}
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		NewID("evt", 1767225600000, "evt_2ZQxXb5rKqjM0cQnVYt1uTzS9aB", i)
	}
}
