package schemas

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/avro"

	"github.com/orderlog/orderlog/topics"
)

// SerdeConfig is where the schema registry is and how patient to be with it.
type SerdeConfig struct {
	Registry   string           // URL; a user and a password in it are used, not logged
	HTTPClient *http.Client     // nil: one of its own, with a timeout
	Namespace  string           // before each topic's name in a subject
	Wait       time.Duration    // for a registry that is away at start; 0: 15 s
	Now        func() time.Time // nil: time.Now
	Log        *slog.Logger     // nil: silent
}

// Serde turns bodies into record values and back, in the wire format of a schema
// registry. It is safe for concurrent use, and takes no lock for a schema that
// it has seen before.
type Serde struct {
	slots map[slotKey]slot                   // how to write; never changes
	known atomic.Pointer[map[uint32]*writer] // how to read; replaced when an id is learnt
	reg   *registry                          // nil: the ids are fixed
	spare sync.Pool                          // of *walker
}

type slotKey struct {
	topic string
	body  reflect.Type
}

type slot struct {
	id     uint32
	record *Record
}

// NewSerde registers the schema of every record on every topic it may stand on
// (subject: namespaced topic, "-", full record name) and keeps the ids. What is
// registered already stays as it is. A registry that does not answer is waited
// for, for cfg.Wait; one that refuses a schema is an error at once.
func NewSerde(ctx context.Context, cfg SerdeConfig) (*Serde, error) {
	reg, err := newRegistry(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reg.wait)
	defer cancel()
	return newSerde(reg, func(topic string, r *Record) (uint32, error) {
		return reg.register(ctx, topics.Prefixed(cfg.Namespace, topic)+"-"+r.FullName(), r.Avsc)
	})
}

// NewLocalSerde needs no registry: the ids are 1, 2, 3 ... in the order of the
// catalogue. For tests, simulations and measurements within one build.
func NewLocalSerde() *Serde {
	ids := map[*Record]uint32{}
	for i, r := range Records() {
		ids[r] = uint32(i + 1)
	}
	s, err := newSerde(nil, func(_ string, r *Record) (uint32, error) { return ids[r], nil })
	if err != nil {
		panic(err) // the catalogues of this build do not fit together
	}
	return s
}

func newSerde(reg *registry, id func(topic string, r *Record) (uint32, error)) (*Serde, error) {
	s := &Serde{slots: map[slotKey]slot{}, reg: reg, spare: sync.Pool{New: func() any { return new(walker) }}}
	known := map[uint32]*writer{}
	for _, t := range topics.All() {
		for _, name := range t.Records {
			r, ok := Find(name)
			if !ok {
				return nil, fmt.Errorf("topic %q: no record %q in the catalogue", t.Name, name)
			}
			n, err := id(t.Name, r)
			if err != nil {
				return nil, err
			}
			s.slots[slotKey{t.Name, r.pointer}] = slot{n, r}
			known[n] = &writer{name: r.FullName(), record: r, dynamic: r.dynamic}
		}
	}
	s.known.Store(&known)
	return s, nil
}

// Encode appends the record value of body, a pointer to a type of this package,
// to dst. On an error dst comes back as it was.
func (s *Serde) Encode(dst []byte, topic string, from any) ([]byte, error) {
	sl, ok := s.slots[slotKey{topic, reflect.TypeOf(from)}]
	if !ok {
		return dst, fmt.Errorf("encoding: %T on topic %q: %w", from, topic, ErrNotAllowed)
	}
	if reflect.ValueOf(from).IsNil() {
		return dst, fmt.Errorf("encoding %s: %w: it is nil", sl.record.Name, ErrBody)
	}
	w := s.spare.Get().(*walker)
	defer s.spare.Put(w)
	w.out = w.append(appendHead(w.out[:0], sl.id), from.(body))
	return append(dst, w.out...), nil
}

// Decode returns a fresh body, a pointer to a type of this package, which shares
// no memory with value. A value of another version of the schema is read as this
// build's version. An empty value, a tombstone, is not in the wire format.
func (s *Serde) Decode(ctx context.Context, topic string, value []byte) (any, error) {
	w, raw, err := s.open(ctx, topic, value)
	if err != nil {
		return nil, err
	}
	into := w.record.New()
	if err := s.read(w, raw, into); err != nil {
		return nil, err
	}
	return into, nil
}

// DecodeInto is Decode into a body of the caller's, of the type that the value
// holds. Slices in it are written over where they are long enough.
func (s *Serde) DecodeInto(ctx context.Context, topic string, value []byte, into any) error {
	w, raw, err := s.open(ctx, topic, value)
	if err != nil {
		return err
	}
	if r, ok := Of(into); !ok || r != w.record {
		return fmt.Errorf("decoding %s into %T: %w", w.record.Name, into, ErrNotAllowed)
	}
	if reflect.ValueOf(into).IsNil() {
		return fmt.Errorf("decoding %s: %w: into nil", w.record.Name, ErrBody)
	}
	return s.read(w, raw, into)
}

// open finds the schema that value was written with, and checks that it belongs
// on the topic.
func (s *Serde) open(ctx context.Context, topic string, value []byte) (*writer, []byte, error) {
	w, raw, err := s.writer(ctx, value)
	if err != nil {
		return nil, nil, err
	}
	if w.err != nil {
		return nil, nil, w.err
	}
	if _, ok := s.slots[slotKey{topic, w.record.pointer}]; !ok {
		return nil, nil, fmt.Errorf("decoding: %s on topic %q: %w", w.name, topic, ErrNotAllowed)
	}
	return w, raw, nil
}

// writer returns what is known of the schema that value was written with,
// asking the registry for an id that is new.
func (s *Serde) writer(ctx context.Context, value []byte) (*writer, []byte, error) {
	id, raw, err := splitHead(value)
	if err != nil {
		return nil, nil, err
	}
	if w, ok := (*s.known.Load())[id]; ok {
		return w, raw, nil
	}
	if s.reg == nil {
		return nil, nil, fmt.Errorf("schema id %d: %w", id, ErrUnknownSchema)
	}
	w, err := s.learn(ctx, id)
	return w, raw, err
}

func (s *Serde) learn(ctx context.Context, id uint32) (*writer, error) {
	if err := s.reg.lock(ctx); err != nil {
		return nil, err
	}
	defer s.reg.unlock()
	old := *s.known.Load()
	if w, ok := old[id]; ok { // learnt while we waited
		return w, nil
	}
	schema, err := s.reg.fetch(ctx, id)
	if err != nil {
		return nil, err
	}
	next := maps.Clone(old)
	next[id] = newWriter(id, schema)
	s.known.Store(&next)
	return next[id], nil
}

// read fills into, which is of the type that w is read as.
func (s *Serde) read(w *writer, raw []byte, into any) error {
	var err error
	if w.other == nil {
		walk := s.spare.Get().(*walker)
		err = walk.read(raw, into.(body))
		s.spare.Put(walk)
	} else if rest, e := w.other.Decode(raw, into); e != nil {
		err = e
	} else if len(rest) > 0 {
		err = tooMany(len(rest))
	}
	if err != nil {
		return fmt.Errorf("decoding %s: %w: %w", w.record.Name, ErrBody, err)
	}
	return nil
}

// writer is a schema that values were written with, and how to read them.
type writer struct {
	name    string                   // full name of its record
	record  *Record                  // ours, that it is read as
	other   *avro.Schema             // where it is another version: from its bytes to our struct
	err     error                    // why it cannot be read as ours; then record is nil
	dynamic func() (*dynamic, error) // reads it without a struct
}
