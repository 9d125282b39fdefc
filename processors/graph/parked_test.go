package graph

import (
	"cmp"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestArrive(t *testing.T) {
	const now, due, later = 1000, 5000, 1000 + 300_000
	two := note{first: 3, next: 5, due: due}     // places 3 and 4 wait
	overdue := note{first: 3, next: 5, due: 900} // and 3 should have come
	done := note{first: 3, next: 3}              // all have left
	void := note{first: 3, next: 5, due: due, cancelled: true}
	lost := note{first: 7, next: 8}
	for _, c := range []struct {
		name string
		n    note
		a    arrival
		next note
		what action
		at   place
	}{
		{"nothing waits", note{}, arrival{}, note{}, decide, place{}},
		{"nothing waits any more", done, arrival{}, done, decide, place{}},
		{"only a deadline", note{deadline: 9}, arrival{}, note{deadline: 9}, decide, place{}},
		{"behind others", two, arrival{row: true}, note{first: 3, next: 6, due: due}, wait, place{5, due}},
		{"behind others that are overdue", overdue, arrival{}, note{first: 3, next: 6, due: 900}, wait, place{5, 900}},
		{"overtakes", two, arrival{overtakes: true, row: true}, two, decide, place{}},
		{"overtakes what is not there yet", two, arrival{overtakes: true}, void, giveUpAll, place{}},
		{"overtakes nothing", done, arrival{overtakes: true}, done, decide, place{}},

		{"its turn", two, arrival{back: true, seq: 3}, two, decide, place{}},
		{"its turn, late", overdue, arrival{back: true, seq: 3}, overdue, decide, place{}},
		{"before its turn", two, arrival{back: true, seq: 4}, two, wait, place{4, due}},
		{"before its turn, the first is late", overdue, arrival{back: true, seq: 4}, note{first: 3, next: 5, due: later}, wait, place{4, later}},
		{"twice", two, arrival{back: true, seq: 2}, two, pass, place{}},
		{"twice, and nothing waits", done, arrival{back: true, seq: 2}, done, pass, place{}},
		{"its turn, and cancelled by a person", two, arrival{back: true, seq: 3, cancelled: true}, two, giveUp, place{}},
		{"cancelled by a person before its turn", two, arrival{back: true, seq: 4, cancelled: true}, two, wait, place{4, due}},
		{"its turn, and all are cancelled", void, arrival{back: true, seq: 3}, void, giveUp, place{}},
		{"nothing is known of it", note{}, arrival{back: true, seq: 7}, lost, decide, place{}},
		{"nothing is known of it, but of others", two, arrival{back: true, seq: 7}, note{first: 3, next: 6, due: due}, wait, place{5, due}},
	} {
		c.a.now = now
		next, what, at := c.n.arrive(c.a)
		if next != c.next || what != c.what || at != c.at {
			t.Errorf("%s: %+v, %d, %+v\nwant %+v, %d, %+v", c.name, next, what, at, c.next, c.what, c.at)
		}
	}
}

func TestFailAndLeave(t *testing.T) {
	two := note{first: 3, next: 5, due: 5000, deadline: 9}
	for _, c := range []struct {
		name string
		n    note
		a    arrival
		next note
		at   place
	}{
		{"the first time", note{deadline: 9}, arrival{}, note{next: 1, due: 7000, deadline: 9}, place{0, 7000}},
		{"the first time again", note{first: 3, next: 3}, arrival{}, note{first: 3, next: 4, due: 7000}, place{3, 7000}},
		{"again", two, arrival{back: true, seq: 3}, note{first: 3, next: 5, due: 7000, deadline: 9}, place{3, 7000}},
		{"after it overtook", two, arrival{overtakes: true, row: true}, note{first: 3, next: 6, due: 5000, deadline: 9}, place{5, 5000}},
	} {
		if next, at := c.n.fail(c.a, 7000); next != c.next || at != c.at {
			t.Errorf("%s: %+v, %+v\nwant %+v, %+v", c.name, next, at, c.next, c.at)
		}
	}
	for _, c := range []struct {
		name    string
		n, next note
		seq     int64
	}{
		{"the first of two", two, note{first: 4, next: 5, due: 5000, deadline: 9}, 3},
		{"the last", note{first: 4, next: 5, due: 5000, cancelled: true, deadline: 9}, note{first: 5, next: 5, deadline: 9}, 4},
		{"not its turn", two, two, 4},
		{"nobody waits", note{first: 5, next: 5}, note{first: 5, next: 5}, 5},
	} {
		if next := c.n.leave(c.seq); next != c.next {
			t.Errorf("%s leaves %+v, want %+v", c.name, next, c.next)
		}
	}
}

// However often records fail, come back twice, or are pulled forward out of their
// turn: each is decided once, in the order in which they came, and none is left.
func TestOrderOfTheQueue(t *testing.T) {
	type parked struct {
		place
		id int
	}
	rapid.Check(t, func(t *rapid.T) {
		var n note
		var calendar []parked
		var decided []int
		now, came := int64(1), 0
		step := func(id int, a arrival) {
			a.now = now
			next, what, at := n.arrive(a)
			switch {
			case what == decide && rapid.IntRange(0, 2).Draw(t, "fails") == 0:
				n, at = next.fail(a, now+rapid.Int64Range(1, 100).Draw(t, "wait"))
				calendar = append(calendar, parked{at, id})
			case what == decide:
				decided = append(decided, id)
				n = next
				if a.back {
					n = n.leave(a.seq)
				}
			case what == wait:
				n = next
				calendar = append(calendar, parked{at, id})
			default: // came back twice
				n = next
			}
		}
		dispatch := func(i int) {
			p := calendar[i]
			calendar = slices.Delete(calendar, i, i+1)
			for range rapid.IntRange(1, 2).Draw(t, "times") {
				step(p.id, arrival{back: true, seq: p.seq})
				if slices.ContainsFunc(calendar, func(q parked) bool { return q.seq == p.seq }) {
					return // it waits again: what comes twice now would come after
				}
			}
		}
		due := func() int {
			slices.SortStableFunc(calendar, func(a, b parked) int { return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.seq, b.seq)) })
			return slices.IndexFunc(calendar, func(p parked) bool { return p.due <= now })
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch what := rapid.IntRange(0, 3).Draw(t, "what"); {
			case what == 0:
				step(came, arrival{row: true})
				came++
			case what == 1 && len(calendar) > 0:
				dispatch(rapid.IntRange(0, len(calendar)-1).Draw(t, "pulled forward"))
			case due() >= 0:
				dispatch(0)
			default:
				now += rapid.Int64Range(1, 50).Draw(t, "time")
			}
		}
		for rounds := 0; len(calendar) > 0; rounds++ {
			if rounds > 10_000 {
				t.Fatalf("the queue %+v does not end: %+v", n, calendar)
			}
			if due() < 0 {
				now = calendar[0].due
			}
			dispatch(0)
		}
		want := make([]int, came)
		for i := range want {
			want[i] = i
		}
		if !slices.Equal(decided, want) {
			t.Fatalf("decided %v of %d", decided, came)
		}
		if n.waits() || n.due != 0 {
			t.Fatalf("note at the end: %+v", n)
		}
	})
}

// Whatever the bytes are, parseNote refuses them or reads a note, and every note is
// read as it was written.
func FuzzParseNote(f *testing.F) {
	for _, n := range []note{{}, {first: 1, next: 2, due: 1767225600000}, {next: 1, due: 5, cancelled: true, deadline: 1767225600000},
		{made: 1767225600000, since: 1767225600001}, {since: 1767225600000, first: 3, next: 3}, {made: 5, since: 5, deadline: 7}} {
		f.Add(n.encode(), n.first, n.next, n.due, n.deadline, n.made, n.since, n.cancelled)
	}
	broken := func(b ...byte) { f.Add(b, int64(0), int64(0), int64(0), int64(0), int64(0), int64(0), false) }
	broken(2, 0, 0, 0, 0, 0, 0, 0)
	broken(2, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 127, 255, 255, 255, 255, 255, 255, 255, 255, 127, 0)
	broken(3, 0, 0, 0, 0, 0)
	f.Fuzz(func(t *testing.T, b []byte, first, next, due, deadline, made, since int64, cancelled bool) {
		if n, err := parseNote(b); err == nil {
			if again, err := parseNote(n.encode()); err != nil || again != n {
				t.Fatalf("%x is read as %+v, and that as %+v, %v", b, n, again, err)
			}
		}
		n := note{first, next, due, cancelled, deadline, made, since}
		if min(first, next, due, deadline, made) < 0 || first > next || since < made || since == 0 && made != 0 {
			return
		}
		if got, err := parseNote(n.encode()); err != nil || !reflect.DeepEqual(got, n) {
			t.Fatalf("%+v is read as %+v, %v", n, got, err)
		}
	})
}
