package snapshot

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/calendar"
	"github.com/orderlog/orderlog/internal/ledger"
	"github.com/orderlog/orderlog/kgoka"
	"github.com/orderlog/orderlog/processors"
	"github.com/orderlog/orderlog/topics"
)

// A look (read.go) is what groups had committed, between two lists of ends: whatever
// was committed is before the first ones, and any moment between the two lists is before
// the second ones. What stands between them was under way, and of that the cut takes
// the most that fits together: of each partition of a table the first so many
// transactions, such that
//
//	whatever a row in the cut has applied, the cut shows as written,
//
// that is, the row from which it was written has, in the cut, applied what it was
// written for. Records say by their origin header what they were written for, and rows
// by their vector what they have applied (kgoka/origin.go). There is such a cut: any
// moment between the lists is one. To leave out transactions until it holds finds the
// largest.
//
// A group then stands behind the last record that its rows in the cut have applied.
// What stands before and left no trace does nothing again.
//
// The calendar has no vectors. It stands where it was, with the rows of the first ends,
// and what it dispatched is in the cut as far as it was seen: what it dispatches again,
// its receiver knows by its place in the queue. Commands from outside are in as far as
// the first ends, or as they were applied.

// member is a group, by its names in the catalogue.
type member struct {
	name, table string
	inputs      []string
	outputs     []string
	origins     bool
}

// members are all groups.
func members() (all []*member) {
	always := []string{topics.Retry, topics.DeadLetter}
	for _, r := range processors.All(processors.Config{}) {
		all = append(all, &member{r.Name(), r.Name() + "-table", append(slices.Clone(r.Inputs()), topics.Loop(r.Name())), append(slices.Clone(r.Outputs()), always...), true})
	}
	return append(all,
		&member{ledger.Name, topics.EffectsTable, ledger.Inputs(), always, true},
		&member{calendar.Name, topics.RetryTable, calendar.Inputs(), nil, false})
}

// cut is a look, and what of it is taken.
type cut struct {
	partitions int
	groups     []*member
	topics     map[string]*topic
	byID       map[[16]byte]*topic
	committed  map[string]map[string][]int64 // by group, topic and partition; -1: nothing
	units      map[string][]*unit            // by group with origins, and partition
}

type topic struct {
	name  string
	id    [16]byte
	entry topics.Topic
	parts []*part
}

// part is a partition, and what was read of it.
type part struct {
	topic      string
	num        int
	id         [16]byte
	compact    bool
	kept       bool // in the snapshot
	start      int64
	first, end int64 // the two ends
	readFrom   int64 // records after this are all here, those before only if last of their key
	base       map[string]*kgo.Record
	recs       []*kgo.Record // in their order
	txns       []int         // of each of those that stand behind first: its transaction's number
	nTxns      int

	keepFrom, keepTo int64 // what the snapshot says that it is of
}

// unit is a partition of a group's table.
type unit struct {
	*member
	num  int
	part *part // of the table
	n    int   // of the transactions behind the first end, those that are in the cut
	rows map[string][]version
}

// version is a row as a transaction left it.
type version struct {
	txn     int
	applied kgoka.Applied
}

// units makes those of all groups with origins.
func (c *cut) makeUnits() {
	c.units = map[string][]*unit{}
	for _, g := range c.groups {
		if !g.origins {
			continue
		}
		for num, p := range c.topics[g.table].parts {
			u := &unit{member: g, num: num, part: p, n: p.nTxns, rows: map[string][]version{}}
			for i, r := range p.tail() {
				vs, v := u.rows[string(r.Key)], version{p.txns[i], applied(r)}
				if n := len(vs); n > 0 && vs[n-1].txn == v.txn {
					vs[n-1] = v
				} else {
					vs = append(vs, v)
				}
				u.rows[string(r.Key)] = vs
			}
			c.units[g.name] = append(c.units[g.name], u)
		}
	}
}

func applied(r *kgo.Record) kgoka.Applied {
	a, _ := kgoka.ParseApplied(header(r, kgoka.AppliedHeader)) // one that is broken is none, as for its group
	return a
}

func header(r *kgo.Record, key string) []byte {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value
		}
	}
	return nil
}

// tail is what stands behind the first end.
func (p *part) tail() []*kgo.Record { return p.recs[p.at(p.first):] }

// at is the place in recs of the first record at offset or behind.
func (p *part) at(offset int64) int {
	return sort.Search(len(p.recs), func(i int) bool { return p.recs[i].Offset >= offset })
}

// before and never are answers of by that are no transaction behind the first end.
const (
	before = -1
	never  = int(^uint(0) >> 1)
)

// by says in which transaction a row has applied an origin.
func (u *unit) by(key string, o kgoka.Origin) int {
	if r := u.part.base[key]; r != nil && applied(r).Seen(o) {
		return before
	}
	for _, v := range u.rows[key] {
		if v.applied.Seen(o) {
			return v.txn
		}
	}
	return never
}

func (u *unit) has(key string, o kgoka.Origin) bool { return u.by(key, o) < u.n }

// settle leaves out what does not fit.
func (c *cut) settle() {
	c.makeUnits()
	for changed := true; changed; {
		changed = false
		for _, us := range c.units {
			for _, u := range us {
				changed = c.reduce(u) || changed
			}
		}
	}
}

// reduce leaves out the transactions of a unit from the first on that has applied
// something which is not in the cut.
func (c *cut) reduce(u *unit) (reduced bool) {
	for _, in := range u.inputs {
		p := c.topics[in].parts[u.num]
		for _, r := range p.tail() {
			if at := u.by(string(r.Key), originOf(p, r)); at != before && at < u.n && !c.shows(p, r) {
				u.n, reduced = at, true
			}
		}
	}
	return reduced
}

// originOf is what a record is known by.
func originOf(p *part, r *kgo.Record) kgoka.Origin {
	if o, err := kgoka.ParseOrigin(header(r, kgoka.OriginHeader)); err == nil {
		return o
	}
	return kgoka.Origin{TopicID: p.id, Partition: int32(p.num), Offset: r.Offset}
}

// shows says whether a record is in the cut. Of what comes from outside, or by the
// calendar, that is not the question.
func (c *cut) shows(p *part, r *kgo.Record) bool {
	if r.Offset < p.first {
		return true
	}
	if us := c.units[strings.TrimSuffix(p.topic, "-table")]; us != nil && isTable(p.topic) {
		return p.txns[p.at(r.Offset)-p.at(p.first)] < us[p.num].n
	}
	o, err := kgoka.ParseOrigin(header(r, kgoka.OriginHeader))
	if err != nil {
		return true
	}
	from := c.byID[o.TopicID]
	if from == nil || int(o.Partition) >= len(from.parts) {
		return true
	}
	writers := 0
	for _, g := range c.groups {
		if us := c.units[g.name]; us != nil && slices.Contains(g.inputs, from.name) && slices.Contains(g.outputs, p.topic) {
			if writers++; c.handled(us[o.Partition], from.parts[o.Partition], o.Offset) {
				return true
			}
		}
	}
	return writers == 0
}

// handled says whether a unit has applied the input at an offset.
func (c *cut) handled(u *unit, p *part, offset int64) bool {
	switch {
	case offset < c.committed[u.name][p.topic][p.num]:
		return true
	case offset >= p.end:
		return false // of after the look
	}
	i := p.at(offset)
	return i == len(p.recs) || p.recs[i].Offset != offset || u.has(string(p.recs[i].Key), originOf(p, p.recs[i]))
}

// offset is where a group goes on in the cut.
func (c *cut) offset(g *member, p *part) int64 {
	at := c.committed[g.name][p.topic][p.num]
	us := c.units[g.name]
	if us == nil {
		return at
	}
	u := us[p.num]
	for i, r := range slices.Backward(p.recs) {
		if r.Offset < at {
			break
		}
		if u.has(string(r.Key), originOf(p, p.recs[i])) {
			return r.Offset + 1
		}
	}
	return at
}

// offsets are where a group goes on, all -1 if it has never run. One that has, and has
// committed nothing of a partition, begins at its start.
func (c *cut) offsets(g *member) map[string][]int64 {
	all, ran := map[string][]int64{}, false
	for _, p := range c.topics[g.table].parts {
		ran = ran || len(p.base) > 0
	}
	for _, in := range g.inputs {
		for _, p := range c.topics[in].parts {
			at := c.offset(g, p)
			all[in], ran = append(all[in], at), ran || at >= 0
		}
	}
	for in, at := range all {
		for num := range at {
			if ran && at[num] < 0 {
				at[num] = c.topics[in].parts[num].start
			}
		}
	}
	return all
}

// records are what of a partition the snapshot holds, in order.
func (c *cut) records(p *part) (rs []*kgo.Record) {
	if p.compact {
		return c.rows(p)
	}
	limit := c.span(p)
	for _, r := range p.recs {
		if r.Offset >= p.keepFrom && r.Offset < limit && c.shows(p, r) {
			rs = append(rs, r)
		}
	}
	return rs
}

// span says what piece of a log that is not compacted is in the cut: p.keepFrom and
// p.keepTo. Of what is not kept for good, it begins where somebody goes on; of what
// only comes from outside, it ends at the first end or behind what was applied.
func (c *cut) span(p *part) (limit int64) {
	t := c.topics[p.topic].entry
	furthest, least := p.first, int64(-1)
	for _, g := range c.groups {
		if slices.Contains(g.inputs, p.topic) {
			at := max(c.offset(g, p), p.start)
			furthest = max(furthest, at)
			if least < 0 || at < least {
				least = at
			}
		}
	}
	limit = p.end
	if t.External || p.topic == topics.Audit {
		limit = furthest
	}
	p.keepFrom, p.keepTo = p.start, limit
	if !whole(t) && least >= 0 {
		p.keepFrom = least
	}
	return limit
}

// whole says whether all of a log is kept that is not compacted: what comes from outside,
// what is to stay for good, and dead letters.
func whole(t topics.Topic) bool {
	return t.External || t.Retention == topics.Forever || t.Name == topics.DeadLetter
}

// rows are the last of each key in the cut.
func (c *cut) rows(p *part) []*kgo.Record {
	last := maps.Clone(p.base)
	for _, r := range p.tail() {
		if p.topic != topics.RetryTable && c.shows(p, r) {
			last[string(r.Key)] = r
		}
	}
	rs := slices.SortedFunc(maps.Values(last), func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
	p.keepFrom, p.keepTo = p.start, p.end
	return slices.DeleteFunc(rs, func(r *kgo.Record) bool {
		return len(r.Value) == 0 && header(r, kgoka.AppliedHeader) == nil && header(r, kgoka.NoteHeader) == nil
	})
}
