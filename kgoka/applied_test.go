package kgoka

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestApplied(t *testing.T) {
	at := func(topic byte, partition int32, offset int64) Origin {
		return Origin{TopicID: [16]byte{topic}, Partition: partition, Offset: offset}
	}
	was := Applied(nil).With(at(1, 0, 5)).With(at(1, 0, 3)).With(at(2, 3, 7))
	if !was.Seen(at(1, 0, 5)) || was.Seen(at(1, 0, 6)) || was.Seen(at(1, 1, 0)) || !was.Seen(at(2, 3, 1)) {
		t.Errorf("%x does not remember what it has seen", was)
	}
	now := was.With(at(1, 0, 9))
	for range 2 { // once more, over one that came back
		back := was.Over(now, 4)
		if vector(back).olderThan(vector(now)) {
			t.Errorf("%x would be dropped where %x stands", back, now)
		}
		if back.Seen(at(1, 0, 9)) || !back.Seen(at(2, 3, 7)) {
			t.Errorf("%x has not seen what %x had", back, was)
		}
		if _, err := ParseApplied(back); err != nil {
			t.Error(err)
		}
		now = back.With(at(1, 0, 9))
	}
	if gone := Applied(nil).Over(now, 4); vector(gone.With(at(1, 0, 1))).olderThan(vector(now)) || gone.Seen(at(1, 0, 1)) {
		t.Errorf("%x, in place of %x", gone, now)
	}
	if none := Applied(nil).Over(nil, 4); none != nil {
		t.Errorf("%x, in place of nothing", none)
	}
	if same := now.Over(was, 4); string(same) != string(now) {
		t.Errorf("%x, and nothing was in its way", same)
	}
}

// A row that the log has lost is written anew with less than it remembered: whoever still
// has it takes that, and what comes after.
func TestRowsThatAreLost(t *testing.T) {
	tab, err := newTable(place{"t", 4}, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := func(offset int64) Origin { return Origin{[16]byte{1}, 0, offset, 0} }
	replay := func(a Applied, value string) {
		t.Helper()
		if err := tab.replay([]*kgo.Record{{Key: []byte("k"), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: AppliedHeader, Value: a}}}}); err != nil {
			t.Fatal(err)
		}
	}
	lost := Applied(vector(Applied(nil).With(at(9))).visited(4))
	found := Applied(nil).With(at(7)).Anew(4, time.Unix(1, 0))
	for _, row := range []struct {
		applied Applied
		value   string
	}{{lost, "lost"}, {found, "anew"}, {Applied(vector(found).visited(4)), "visited"}, {found.With(at(10)), "later"}} {
		if replay(row.applied, row.value); string(tab.fresh["k"].val) != row.value {
			t.Errorf("%s, and not %s", tab.fresh["k"].val, row.value)
		}
	}
}

func TestAppliedRenamed(t *testing.T) {
	from, to, other := [16]byte{2}, [16]byte{1}, [16]byte{3}
	a := Applied(nil).With(Origin{from, 0, 7, 0}).With(Origin{from, 5, 300, 2}).With(Origin{other, 1, 9, 0})
	got := a.Renamed(from, to)
	if _, err := ParseApplied(got); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    Origin
		seen bool
	}{
		{Origin{to, 0, 7, 0}, true}, {Origin{to, 0, 8, 0}, false}, {Origin{to, 5, 300, 2}, true}, {Origin{to, 5, 300, 3}, false}, {Origin{to, 1, 9, 0}, false},
		{Origin{from, 5, 300, 2}, true}, {Origin{other, 1, 9, 0}, true},
	} {
		if got.Seen(c.o) != c.seen {
			t.Errorf("%+v: seen is not %v", c.o, c.seen)
		}
	}
	if string(got.Renamed([16]byte{9}, to)) != string(got) {
		t.Error("what it has not seen changes it")
	}
}
