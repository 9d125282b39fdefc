package mend

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/topics"
)

func some(id, group, key, cause, err string, due int64) Item {
	it := Item{ID: id, Topic: topics.DeadLetter, Letter: letter.Letter{Topic: "order-commands", Group: group, Key: []byte(key), Cause: cause, Error: err}, Due: due}
	fmt.Sscanf(id, "%d/%d", &it.Partition, &it.Offset)
	it.At = it.Offset
	return it
}

func ids(items []Item) (ids []string) {
	for _, it := range items {
		ids = append(ids, it.ID)
	}
	return ids
}

func TestFilter(t *testing.T) {
	deadline := some("0/5", "order", "ord_1", "deadline", "", 5)
	deadline.Topic, deadline.Letter.Topic = topics.RetryTable, ""
	items := []Item{
		some("0/1", "order", "ord_1", "panic", "index 7", 10), some("0/2", "order", "ord_2", "refused", "no such order", 20),
		some("1/1", "credit", "cus_1", "panic", "index 9", 30), deadline,
	}
	for _, c := range []struct {
		name string
		f    Filter
		want []string
	}{
		{"all, but no deadlines", Filter{}, []string{"0/1", "0/2", "1/1"}},
		{"by ID, deadlines too", Filter{IDs: []string{"0/5", "0/2"}}, []string{"0/2", "0/5"}},
		{"an ID that is not there", Filter{IDs: []string{"9/9"}}, nil},
		{"key", Filter{Key: "ord_1"}, []string{"0/1"}},
		{"a part of the key", Filter{Key: "ord_"}, nil},
		{"group", Filter{Group: "order"}, []string{"0/1", "0/2"}},
		{"cause", Filter{Cause: "panic"}, []string{"0/1", "1/1"}},
		{"deadlines", Filter{Cause: "deadline"}, []string{"0/5"}},
		{"the very error", Filter{Error: "index 9"}, []string{"1/1"}},
		{"errors of a kind", Filter{Error: "index N"}, []string{"0/1", "1/1"}},
		{"due before", Filter{DueBefore: 20}, []string{"0/1"}},
		{"since", Filter{Since: 2}, []string{"0/2"}},
		{"two at once", Filter{Group: "order", Cause: "panic"}, []string{"0/1"}},
		{"ID and cause", Filter{IDs: []string{"0/1", "0/2"}, Cause: "panic"}, []string{"0/1"}},
	} {
		if got := ids(c.f.Select(items)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := (Filter{IDs: []string{"0/1", "7/7"}}).Missing(items); !slices.Equal(got, []string{"7/7"}) {
		t.Errorf("missing %v", got)
	}
	if !(Filter{}).All() || (Filter{Since: 1}).All() || (Filter{Error: "x"}).All() || (Filter{IDs: []string{"0/1"}}).All() {
		t.Error("a filter is taken for none, or none for one")
	}
}

func TestQueues(t *testing.T) {
	entry := func(id, key, cause string) Item {
		it := some(id, "order", key, cause, "", 1)
		it.Topic = topics.RetryTable
		return it
	}
	deadline := entry("0/9", "ord_1", "deadline")
	deadline.Letter.Topic = ""
	other := entry("0/4", "ord_1", "panic")
	other.Letter.Group = "voucher"
	all := []Item{entry("0/1", "ord_1", "panic"), entry("0/2", "ord_2", "panic"), entry("0/3", "ord_1", "behind"), other, deadline}
	for _, c := range []struct{ some, want []string }{
		{[]string{"0/1"}, []string{"0/1", "0/3"}},
		{[]string{"0/3"}, []string{"0/1", "0/3"}},
		{[]string{"0/2"}, []string{"0/2"}},
		{[]string{"0/9"}, []string{"0/9"}},
		{[]string{"0/3", "0/9"}, []string{"0/1", "0/3", "0/9"}},
		{nil, nil},
	} {
		if got := ids(Queues(Filter{IDs: c.some}.Select(all), all)); len(c.some) > 0 && !slices.Equal(got, c.want) {
			t.Errorf("with %v come %v, want %v", c.some, got, c.want)
		}
	}
}

func TestSums(t *testing.T) {
	got := fmt.Sprint(Sums([]Item{
		some("0/1", "order", "a", "panic", "index 7", 0), some("0/9", "order", "b", "refused", "no", 0),
		some("1/3", "order", "c", "panic", "index 8", 0), some("0/2", "credit", "d", "panic", "index 8", 0),
	}))
	want := "[{{order panic index N} 2 1 3 1/3} {{order refused no} 1 9 9 0/9} {{credit panic index N} 1 2 2 0/2}]"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestCanaries(t *testing.T) {
	items := []Item{
		some("1/0", "order", "e", "panic", "x", 0), some("0/0", "order", "a", "panic", "x", 0), some("0/1", "order", "b", "panic", "x", 0),
		some("0/2", "order", "b", "refused", "y", 0), some("0/3", "order", "c", "refused", "y", 0), some("0/4", "credit", "b", "refused", "y", 0),
	}
	for _, c := range []struct {
		n        int
		canaries []string
	}{
		{0, nil},
		{1, []string{"0/0", "0/3", "0/4"}}, // not 0/2: 0/1 of its key goes later
		{2, []string{"0/0", "0/1", "0/2", "0/3", "0/4"}},
		{3, []string{"0/0", "0/1", "0/2", "0/3", "0/4", "1/0"}},
	} {
		if got, _ := canariesOf(items, c.n); !slices.Equal(ids(got), c.canaries) {
			t.Errorf("%d canaries of each kind: %v, want %v", c.n, ids(got), c.canaries)
		}
	}
}

// However canaries are chosen: each letter goes once, those of a row in their order.
func TestCanariesKeepTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var items []Item
		for i := range rapid.IntRange(0, 30).Draw(t, "letters") {
			word := func(label string) string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, label) }
			items = append(items, some(fmt.Sprint("0/", i), word("group"), word("key"), word("cause"), "x", 0))
		}
		n := rapid.IntRange(0, 4).Draw(t, "canaries")
		canaries, rest := canariesOf(items, n)
		if len(canaries)+len(rest) != len(items) {
			t.Fatalf("%d and %d of %d", len(canaries), len(rest), len(items))
		}
		last, kinds := map[string]int64{}, map[Kind]int{}
		for _, it := range slices.Concat(canaries, rest) {
			row := it.Letter.Group + "/" + string(it.Letter.Key)
			if before, ok := last[row]; ok && before >= it.Offset {
				t.Fatalf("%s goes after %d", it.ID, before)
			}
			last[row] = it.Offset
		}
		for _, it := range canaries {
			if kinds[it.Kind()]++; kinds[it.Kind()] > n {
				t.Fatalf("more than %d of %v", n, it.Kind())
			}
		}
	})
}
