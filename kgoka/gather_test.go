package kgoka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestReadingOverRows: rows that are read from the log are newer than those that
// the table had in memory when it was left, and than those read before them,
// however many of them go to the store at once.
func TestReadingOverRows(t *testing.T) {
	const many = 2*moveRows + 100 // of other keys: more than one move
	for _, c := range []struct {
		name   string
		before int   // rows of the key that the table wrote itself
		others int   // rows of other keys between two of the key's
		then   int   // and behind the last
		goal   int64 // that reading has when it begins
	}{
		{"written before", 1, 0, many, many},
		{"read before", 0, many, many, many},
		{"read before the goal and after", 0, 2000, 0, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := openDisk(t.TempDir(), "x", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			s, err := d.open(place{"t", 0})
			if err != nil {
				t.Fatal(err)
			}
			tb, err := newTable(s.place, s)
			if err != nil {
				t.Fatal(err)
			}
			offset := int64(-1)
			record := func(key string, version int) *kgo.Record {
				offset++
				vec := vector{}.advance(nil, Origin{Partition: 1, Offset: int64(version)})
				return &kgo.Record{Topic: "t", Offset: offset, Key: []byte(key), Value: fmt.Append(nil, version),
					Headers: []kgo.RecordHeader{{Key: AppliedHeader, Value: vec}}}
			}
			if c.before > 0 {
				r := record("k", 1)
				tb.set("k", rowOf(r))
				if err := tb.commit(r.Offset); err != nil {
					t.Fatal(err)
				}
			}
			recs := []*kgo.Record{record("k", 2)}
			for i := range c.others {
				recs = append(recs, record(fmt.Sprint(i), 0))
			}
			recs = append(recs, record("k", 3))
			for i := range c.then {
				recs = append(recs, record(fmt.Sprint(i), 1))
			}
			tb.setGoal(c.goal)
			if _, _, err := tb.resume(); err != nil { // as reading does first
				t.Fatal(err)
			}
			for at := 0; at < len(recs); at += 500 {
				if err := tb.replay(recs[at:min(at+500, len(recs))]); err != nil {
					t.Fatal(err)
				}
			}
			if err := tb.settle(); err != nil {
				t.Fatal(err)
			}
			for _, when := range []string{"at once", "from the disk"} {
				if r, err := tb.committed([]byte("k")); err != nil || string(r.val) != "3" {
					t.Errorf("%s: row %q, %v, want 3", when, r.val, err)
				}
				if err := tb.flush(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
