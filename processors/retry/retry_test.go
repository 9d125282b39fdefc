package retry

import (
	"cmp"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestKey(t *testing.T) {
	for _, c := range []struct {
		due      int64
		id, want string
	}{
		{0, "", "0000000000000."},
		{1767225600000, "00000000.order.ab", "1767225600000.00000000.order.ab"},
		{7, "a.b", "0000000000007.a.b"},
		{-1, "x", "0000000000000.x"},
		{math.MaxInt64, "x", "9999999999999.x"},
	} {
		if got := Key(c.due, c.id); got != c.want {
			t.Errorf("Key(%d, %q) = %q, want %q", c.due, c.id, got, c.want)
		}
	}
}

func TestPausesSortBehindEntries(t *testing.T) {
	if k := PauseKey("", ""); k <= Key(lastDue, "~") {
		t.Errorf("%q sorts before an entry", k)
	}
	if PauseKey("a", "") == PauseKey("", "a") {
		t.Error("a group and a cause are one")
	}
}

func TestParseKeyRefuses(t *testing.T) {
	for _, key := range []string{"", ".", "1767225600000", "176722560000.x", "17672256000000.x", "176722560000x.x", " 767225600000.x",
		"-767225600000.x", "+767225600000.x", "1_67225600000.x", "pause.order.panic", "１767225600000.x"} {
		if due, id, ok := ParseKey(key); ok {
			t.Errorf("ParseKey(%q) = %d, %q", key, due, id)
		}
	}
}

// Key order is time order, and then the order of ids.
func TestKeyOrderIsTimeOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64Range(0, lastDue).Draw(t, "a"), rapid.Int64Range(0, lastDue).Draw(t, "b")
		if rapid.Bool().Draw(t, "same time") {
			b = a
		}
		x, y := rapid.String().Draw(t, "x"), rapid.String().Draw(t, "y")
		want := cmp.Or(cmp.Compare(a, b), cmp.Compare(x, y))
		if got := strings.Compare(Key(a, x), Key(b, y)); got != want {
			t.Fatalf("%q and %q compare as %d, want %d", Key(a, x), Key(b, y), got, want)
		}
	})
}

// Whatever the text is, ParseKey reads it only if Key can have made it, and then
// returns what it was made of.
func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"1767225600000.00000000.order.ab", "0000000000000.", "9999999999999.x", "pause.order.panic", "176722560000٣.x"} {
		f.Add(s, int64(1767225600000))
	}
	f.Fuzz(func(t *testing.T, s string, at int64) {
		if due, id, ok := ParseKey(s); ok && Key(due, id) != s {
			t.Fatalf("%q is read as %d and %q", s, due, id)
		}
		if due, id, ok := ParseKey(Key(at, s)); !ok || id != s || due != min(max(at, 0), lastDue) {
			t.Fatalf("of %d and %q come back %d and %q, %v", at, s, due, id, ok)
		}
	})
}

func TestNext(t *testing.T) {
	var none Schedule
	two := Schedule{time.Second, time.Hour}
	for _, c := range []struct {
		s        Schedule
		attempts int
		want     time.Duration // 0: no further one
	}{
		{none, 1, 5 * time.Minute}, {none, 2, 25 * time.Minute}, {none, 3, 2*time.Hour + 5*time.Minute},
		{none, 4, 10*time.Hour + 25*time.Minute}, {none, 5, 52*time.Hour + 5*time.Minute},
		{none, 0, 0}, {none, 6, 0}, {none, -1, 0},
		{two, 1, time.Second}, {two, 2, time.Hour}, {two, 3, 0},
	} {
		late := map[time.Duration]bool{}
		for _, seed := range []string{"", "a", "b", "order/ord_1", "order/ord_2"} {
			got, ok := c.s.Next(c.attempts, seed)
			if ok != (c.want > 0) || got < c.want || got > c.want+c.want/10 {
				t.Errorf("%v after %d: %v, %v, want %v and up to a tenth more", c.s, c.attempts, got, ok, c.want)
			}
			if again, _ := c.s.Next(c.attempts, seed); again != got {
				t.Errorf("%v after %d with seed %q: %v, then %v", c.s, c.attempts, seed, got, again)
			}
			late[got] = true
		}
		if c.want > 0 && len(late) < 5 {
			t.Errorf("%v after %d: five seeds give %d waits", c.s, c.attempts, len(late))
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		s    Schedule
		says string // "": nothing
	}{
		{nil, ""},
		{Default(), ""},
		{Schedule{time.Millisecond, MaxWait}, ""},
		{Schedule{time.Minute, 0}, "wait 2 is 0s"},
		{Schedule{-time.Minute}, "wait 1 is -1m0s"},
		{Schedule{MaxWait + 1}, "wait 1 is 720h"},
		{make(Schedule, MaxAttempts+1), "21 waits: at most 20"},
	} {
		err := c.s.Validate()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.s, err, c.says)
		}
	}
}
