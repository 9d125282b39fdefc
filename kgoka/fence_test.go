package kgoka

import "testing"

func TestInstanceOf(t *testing.T) {
	for _, c := range []struct{ group, id, instance string }{
		{"a", txnID("a", "1", 0), "1"},
		{"a", txnID("a", "x-1.y", 1), "x-1.y"},
		{"a", txnID("ab", "1", 0), ""},
		{"ab", txnID("a", "1", 0), ""},
		{"a", "a", ""},
		{"a", "a/", ""},
		{"a", "a-1-0", ""}, // of somebody else
	} {
		if got, ok := instanceOf(c.group, c.id); got != c.instance || ok != (c.instance != "") {
			t.Errorf("%s, %s: %q, %v", c.group, c.id, got, ok)
		}
	}
}
