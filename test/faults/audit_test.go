package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/kgoka"
)

// ledger is what was sent: the numbers of each key, rising.
type ledger map[string][]uint64

func (l ledger) total() (n int) {
	for _, numbers := range l {
		n += len(numbers)
	}
	return n
}

// audit is what a log has to say against the ledger.
type audit struct {
	counts   map[string]int // by kind of finding
	examples []string
	repeated int // records that the broker shows twice: with origin and producer of one before
}

func (a *audit) find(kind, format string, args ...any) {
	if a.counts == nil {
		a.counts = map[string]int{}
	}
	if a.counts[kind]++; a.counts[kind] <= 3 {
		a.examples = append(a.examples, kind+": "+fmt.Sprintf(format, args...))
	}
}

func (a *audit) String() string {
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(a.counts)) {
		fmt.Fprintf(&b, "%d %s, ", a.counts[kind], kind)
	}
	return strings.TrimSuffix(b.String(), ", ") + "\n  " + strings.Join(a.examples, "\n  ")
}

// history is what has been seen of one key.
type history struct {
	row     row
	origins map[string]bool
}

// again says whether a record with that origin, of that producer in that epoch, which
// is another one in each transaction, has been seen, and notes it.
func (h *history) again(r *kgo.Record) bool {
	origin := fmt.Sprint(header(r, kgoka.OriginHeader), r.ProducerID, r.ProducerEpoch)
	if h.origins == nil {
		h.origins = map[string]bool{}
	}
	was := h.origins[origin]
	h.origins[origin] = true
	return was
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// stream: every number is there once, in order per key, and the row that it
// carries is the fold of its key's numbers up to it.
func (l ledger) stream(recs []*kgo.Record) (a audit) {
	seen := map[uint64]bool{}
	keys := map[string]*history{}
	for _, r := range recs {
		h, m := keys[string(r.Key)], parseMessage(r.Value)
		if h == nil {
			h = &history{}
			keys[string(r.Key)] = h
		}
		where := fmt.Sprintf("%s %d at %d@%d", r.Key, m.number, r.Partition, r.Offset)
		again := h.again(r)
		switch _, known := slices.BinarySearch(l[string(r.Key)], m.number); {
		case !known:
			a.find("unknown", "%s", where)
			continue
		case seen[m.number] && again:
			a.repeated++
			continue
		case seen[m.number]:
			a.find("twice", "%s", where)
			continue
		case h.row.count > 0 && m.number < h.row.last:
			a.find("out of order", "%s after %d", where, h.row.last)
		}
		seen[m.number] = true
		h.row = h.row.add(m.number)
		if m.row != h.row {
			a.find("wrong row", "%s has %v, want %v", where, m.row, h.row)
			h.row = m.row
		}
	}
	for key, numbers := range l {
		for _, n := range numbers {
			if !seen[n] {
				a.find("lost", "%s %d", key, n)
			}
		}
	}
	return a
}

// changelog: the rows of a key are its fold after the first number, the second
// and so on, to the last; unless every is set, some may be left out.
func (l ledger) changelog(recs []*kgo.Record, every bool) (a audit) {
	keys := map[string]*history{}
	for _, r := range recs {
		h, has := keys[string(r.Key)], parseRow(r.Value)
		if h == nil {
			h = &history{}
			keys[string(r.Key)] = h
		}
		where := fmt.Sprintf("%s %v at %d@%d", r.Key, has, r.Partition, r.Offset)
		again := h.again(r)
		if has.count <= h.row.count && again {
			a.repeated++
			continue
		}
		if has.count <= h.row.count {
			a.find("older row", "%s after %v", where, h.row)
			continue
		}
		if every && has.count != h.row.count+1 {
			a.find("left out", "%s after %v", where, h.row)
		}
		if want, ok := fold(h.row, l[string(r.Key)], has.count); !ok || want != has {
			a.find("wrong row", "%s, want %v", where, want)
		}
		h.row = has
	}
	l.last(&a, func(key string) row {
		if h := keys[key]; h != nil {
			return h.row
		}
		return row{}
	})
	return a
}

// rows: each key has the fold of all its numbers, and there are no others.
func (l ledger) rows(got map[string][]byte) (a audit) {
	l.last(&a, func(key string) row { return parseRow(got[key]) })
	for key := range got {
		if l[key] == nil {
			a.find("unknown", "%s", key)
		}
	}
	return a
}

func (l ledger) last(a *audit, of func(key string) row) {
	for key, numbers := range l {
		if want, _ := fold(row{}, numbers, uint64(len(numbers))); of(key) != want {
			a.find("wrong last row", "%s has %v, want %v", key, of(key), want)
		}
	}
}

// fold goes on from r, which has the first numbers already, until it has count.
func fold(r row, numbers []uint64, count uint64) (row, bool) {
	if count > uint64(len(numbers)) || r.count > count {
		return r, false
	}
	for _, n := range numbers[r.count:count] {
		r = r.add(n)
	}
	return r, true
}

// TestAudit: what the audits are for is found by them.
func TestAudit(t *testing.T) {
	sent := ledger{"a": {0, 2, 3}, "b": {1, 4}}
	stream := func() (recs []*kgo.Record) {
		for _, key := range []string{"a", "b"} {
			var r row
			for _, n := range sent[key] {
				r = r.add(n)
				recs = append(recs, &kgo.Record{Key: []byte(key), Value: message{number: n, row: r}.bytes(),
					Headers: []kgo.RecordHeader{{Key: kgoka.OriginHeader, Value: fmt.Append(nil, n)}}})
			}
		}
		return recs
	}
	changelog := func() []*kgo.Record {
		recs := stream()
		for _, r := range recs {
			r.Value = parseMessage(r.Value).row.bytes()
		}
		return recs
	}
	with := func(r *kgo.Record, origin string) *kgo.Record {
		return &kgo.Record{Key: r.Key, Value: r.Value, Headers: []kgo.RecordHeader{{Key: kgoka.OriginHeader, Value: []byte(origin)}}}
	}
	none := func(r []*kgo.Record) []*kgo.Record { return r }
	for _, c := range []struct {
		name              string
		do                func([]*kgo.Record) []*kgo.Record
		stream, changelog string // finding of each; "" for none
		repeated          int
	}{
		{"sound", none, "", "", 0},
		{"one missing", func(r []*kgo.Record) []*kgo.Record { return slices.Delete(r, 1, 2) }, "lost", "left out", 0},
		{"the last missing", func(r []*kgo.Record) []*kgo.Record { return r[:4] }, "lost", "wrong last row", 0},
		{"one done twice", func(r []*kgo.Record) []*kgo.Record { return append(r, with(r[4], "x")) }, "twice", "older row", 0},
		{"one shown twice", func(r []*kgo.Record) []*kgo.Record { return append(r, r[4]) }, "", "", 1},
		{"two swapped", func(r []*kgo.Record) []*kgo.Record { r[0], r[1] = r[1], r[0]; return r }, "out of order", "older row", 0},
		{"another key", func(r []*kgo.Record) []*kgo.Record { r[4].Key = []byte("c"); return r }, "unknown", "wrong row", 0},
		{"another row", func(r []*kgo.Record) []*kgo.Record { r[2].Value[len(r[2].Value)-1]++; return r }, "wrong row", "wrong row", 0},
		{"no row", func(r []*kgo.Record) []*kgo.Record { r[2].Value = r[2].Value[:5]; return r }, "unknown", "wrong row", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, log := range []struct {
				want string
				got  audit
			}{{c.stream, sent.stream(c.do(stream()))}, {c.changelog, sent.changelog(c.do(changelog()), true)}} {
				if (log.want != "") != (len(log.got.counts) > 0) || log.want != "" && log.got.counts[log.want] == 0 || log.got.repeated != c.repeated {
					t.Errorf("want %q, got %d repeated and %s", log.want, log.got.repeated, &log.got)
				}
			}
		})
	}
	if a := sent.changelog(slices.Delete(changelog(), 1, 2), false); len(a.counts) > 0 {
		t.Errorf("a row less: %s", &a)
	}
	rows := map[string][]byte{}
	for _, r := range changelog() {
		rows[string(r.Key)] = r.Value
	}
	if a := sent.rows(rows); len(a.counts) > 0 {
		t.Errorf("sound rows: %s", &a)
	}
	rows["c"] = rows["a"]
	rows["a"], rows["b"] = rows["b"], nil
	if a := sent.rows(rows); a.counts["wrong last row"] != 2 || a.counts["unknown"] != 1 {
		t.Errorf("wrong rows: %s", &a)
	}
}
