package kgoka

import (
	"fmt"
	"testing"
)

func TestFilter(t *testing.T) {
	f := newFilter()
	const n = 10 * filterFirst
	for i := range n {
		f.add(fmt.Append(nil, "key-", i))
	}
	if l := len(*f.layers.Load()); l < 3 {
		t.Fatalf("%d layers: it did not grow", l)
	}
	wrong := 0
	for i := range n {
		if !f.has(fmt.Append(nil, "key-", i)) {
			t.Fatalf("key-%d is denied", i)
		}
		if f.has(fmt.Append(nil, "other-", i)) {
			wrong++
		}
	}
	if wrong > n/20 {
		t.Errorf("%d of %d absent keys are claimed", wrong, n)
	}
}
