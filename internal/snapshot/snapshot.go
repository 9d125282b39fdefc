// Package snapshot keeps the state of a cluster outside of it: where every group was,
// its table as of there, and what it had not handled yet. It is taken from a system
// that runs, without stopping anybody, and says what was true at one moment (cut.go).
//
// A snapshot of some groups holds their offsets and tables, for going back in place.
// One of all holds what a lost cluster needs besides: documents, commands that are kept
// for good, dead letters, and everything that was under way.
//
// Not in it: schemas, so the registry has to be kept, or be there, too; handled tasks,
// replies and effects; who has paused what; the local tables, which follow.
package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config says what is kept, and what of the way there is told.
type Config struct {
	Opts      []kgo.Opt // brokers, dialer
	Namespace string
	Version   string           // of the program that writes
	Now       func() time.Time // nil: time.Now
	Tell      func(string)     // what is being done; nil: nobody

	between func() // a test's hook, called between looks at second ends
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Tell == nil {
		c.Tell = func(string) {}
	}
	return c
}

// layout is the number of what Manifest and files look like.
const layout = 1

// Manifest is what a snapshot says of itself. It is written last: without it there is
// no snapshot.
type Manifest struct {
	ID         string    `json:"id"` // when it was taken, in UTC: its place among others
	Layout     int       `json:"layout"`
	At         time.Time `json:"at"`
	Version    string    `json:"version"`
	Namespace  string    `json:"namespace"`
	Partitions int       `json:"partitions"` // of every topic
	Whole      bool      `json:"whole"`      // of all groups, with all that a lost cluster needs
	Records    int64     `json:"records"`
	Bytes      int64     `json:"bytes"` // of the files
	Groups     []Group   `json:"groups"`
	Topics     []Topic   `json:"topics"`
}

// Group is where one was.
type Group struct {
	Name    string             `json:"group"`
	Table   string             `json:"table"`   // catalogue name
	Offsets map[string][]int64 `json:"offsets"` // by catalogue topic, and partition; -1: nothing was committed
}

// Topic is what of one is kept.
type Topic struct {
	Name  string `json:"topic"`                // catalogue name
	ID    string `json:"id"`                   // on the cluster that it is of, hexadecimal
	Parts []Part `json:"partitions,omitempty"` // none of one that is only read by groups of the snapshot
}

// Part is a file, and the piece of the log that it is of.
type Part struct {
	Start   int64  `json:"start"` // of a topic that is not compacted, records before this are not kept
	End     int64  `json:"end"`
	Records int64  `json:"records"`
	File    string `json:"file,omitempty"` // none without records
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256,omitempty"`
}

// Topic returns one of a snapshot's topics.
func (m *Manifest) Topic(name string) (Topic, bool) {
	i := slices.IndexFunc(m.Topics, func(t Topic) bool { return t.Name == name })
	if i < 0 {
		return Topic{}, false
	}
	return m.Topics[i], true
}

// Group returns one of a snapshot's groups.
func (m *Manifest) Group(name string) (Group, bool) {
	i := slices.IndexFunc(m.Groups, func(g Group) bool { return g.Name == name })
	if i < 0 {
		return Group{}, false
	}
	return m.Groups[i], true
}

const (
	manifestName = "manifest.json"
	idLayout     = "20060102T150405.000Z"
)

// isID keeps hands off whatever else a store's folder may hold.
func isID(id string) bool {
	_, err := time.Parse(idLayout, id)
	return err == nil
}

// Errors of who looks for a snapshot.
var (
	ErrNone   = errors.New("there is no such snapshot")
	ErrDamage = errors.New("the snapshot is damaged")
)

// Create takes a snapshot of these groups, of all if none is named, into the store.
func Create(ctx context.Context, cfg Config, to Store, groups ...string) (*Manifest, error) {
	cfg = cfg.withDefaults()
	c, err := look(ctx, cfg, groups)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	c.settle()
	at, err := free(ctx, to, cfg.Now().UTC())
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	m := &Manifest{ID: at.Format(idLayout), Layout: layout, At: at, Version: cfg.Version, Namespace: cfg.Namespace,
		Partitions: c.partitions, Whole: len(groups) == 0}
	for _, name := range sorted(c.topics) {
		t := c.topics[name]
		out := Topic{Name: name, ID: hex.EncodeToString(t.id[:])}
		for _, p := range t.parts {
			if !p.kept {
				continue
			}
			one, err := save(ctx, to, m.ID, p, c.records(p))
			if err != nil {
				return nil, fmt.Errorf("snapshot: %w", err)
			}
			m.Records, m.Bytes = m.Records+one.Records, m.Bytes+one.Bytes
			out.Parts = append(out.Parts, one)
		}
		m.Topics = append(m.Topics, out)
	}
	for _, g := range c.groups {
		m.Groups = append(m.Groups, Group{g.name, g.table, c.offsets(g)})
	}
	text, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return nil, err
	}
	if err := to.Put(ctx, m.ID+"/"+manifestName, text); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return m, nil
}

// free is the time whose ID nothing has, or the next.
func free(ctx context.Context, to Store, at time.Time) (time.Time, error) {
	ids, err := to.List(ctx)
	for at = at.Truncate(time.Millisecond); slices.Contains(ids, at.Format(idLayout)); {
		at = at.Add(time.Millisecond)
	}
	return at, err
}

func save(ctx context.Context, to Store, id string, p *part, rs []*kgo.Record) (Part, error) {
	out := Part{Start: p.keepFrom, End: p.keepTo, Records: int64(len(rs))}
	if len(rs) == 0 {
		return out, nil
	}
	data, err := encode(rs)
	if err != nil {
		return out, err
	}
	sum := sha256.Sum256(data)
	out.File, out.Bytes, out.SHA256 = fmt.Sprintf("%s-%d.gz", p.topic, p.num), int64(len(data)), hex.EncodeToString(sum[:])
	return out, to.Put(ctx, id+"/"+out.File, data)
}

// Open reads a snapshot's manifest.
func Open(ctx context.Context, from Store, id string) (*Manifest, error) {
	if !isID(id) {
		return nil, fmt.Errorf("snapshot %q: %w", id, ErrNone)
	}
	text, err := from.Get(ctx, id+"/"+manifestName)
	if err != nil {
		return nil, fmt.Errorf("snapshot %q: %w", id, err)
	}
	m := new(Manifest)
	if err := json.Unmarshal(text, m); err != nil || m.ID != id {
		return nil, fmt.Errorf("snapshot %q: %w: its manifest is of %q: %w", id, ErrDamage, m.ID, err)
	}
	if m.Layout != layout {
		return nil, fmt.Errorf("snapshot %q: its layout is number %d, this program reads %d: use version %s of it", id, m.Layout, layout, m.Version)
	}
	return m, nil
}

// Read returns the records of a partition in the order of their offsets, which they
// have, as they were. Their topic is the catalogue's.
func (m *Manifest) Read(ctx context.Context, from Store, topic string, num int) ([]*kgo.Record, error) {
	t, ok := m.Topic(topic)
	if !ok || num >= len(t.Parts) {
		return nil, fmt.Errorf("snapshot %q: it has no %s/%d", m.ID, topic, num)
	}
	p := t.Parts[num]
	if p.File == "" {
		return nil, nil
	}
	data, err := from.Get(ctx, m.ID+"/"+p.File)
	if err != nil {
		return nil, fmt.Errorf("snapshot %q: %w", m.ID, err)
	}
	rs, err := decode(bytes.NewReader(data), topic, int32(num))
	switch sum := sha256.Sum256(data); {
	case hex.EncodeToString(sum[:]) != p.SHA256:
		err = errors.New("its checksum is another one")
	case err == nil && int64(len(rs)) != p.Records:
		err = fmt.Errorf("it has %d records, and should have %d", len(rs), p.Records)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot %q: %w: file %s: %w", m.ID, ErrDamage, p.File, err)
	}
	return rs, nil
}

// Check reads all of a snapshot, and says what is wrong with it.
func (m *Manifest) Check(ctx context.Context, from Store) error {
	for _, t := range m.Topics {
		for num := range t.Parts {
			if _, err := m.Read(ctx, from, t.Name, num); err != nil {
				return err
			}
		}
	}
	return nil
}

// List returns the snapshots of a store, the oldest first.
func List(ctx context.Context, from Store) ([]*Manifest, error) {
	ids, err := from.List(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	ms := []*Manifest{}
	for _, id := range ids {
		m, err := Open(ctx, from, id)
		if errors.Is(err, ErrNone) {
			continue // it has never been finished, or is being written
		}
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// Delete removes a snapshot, its manifest first, and what is left of one that was
// never finished.
func Delete(ctx context.Context, from Store, id string) error {
	ids, err := from.List(ctx)
	if err != nil {
		return err
	}
	if !isID(id) || !slices.Contains(ids, id) {
		return fmt.Errorf("snapshot %q: %w", id, ErrNone)
	}
	return from.Delete(ctx, id)
}
