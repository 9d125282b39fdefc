package verify

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/orderlog/orderlog/topics"
)

// Checkpoint is a file in which a run leaves what it has folded, for the next one to
// go on from. All checks are made anew; what was read is not read again.
//
// The file is a line that names its form, HMAC-SHA-256 of all that follows under Key,
// and gzip of what memory.go writes. It is believed as the log is: whoever can write
// it without the key cannot make it tell another story.
type Checkpoint struct {
	Path string
	Key  []byte // 32 bytes or more
}

// ErrCheckpoint says that a checkpoint is of no use: it is not as it was written, or
// of another log or another version of orderlog. Without it a run reads all.
var ErrCheckpoint = errors.New("the checkpoint cannot be used")

const (
	shape     = "orderlog verify checkpoint\n"
	folding   = 1 // to be raised when records are folded otherwise, into equal types
	leastKeys = 32
)

// stand says where a checkpoint was made.
type stand struct {
	form      string
	namespace string
	at        int64               // Unix ms
	topics    map[string][16]byte // IDs
	next      offsets             // where to read on
	from      offsets             // where reading began, without a gap since
}

// resume takes over what an earlier run has folded, and tells when that was.
func (w *world) resume(cfg Config, r *reader) (*time.Time, error) {
	data, err := os.ReadFile(cfg.Checkpoint.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := w.load(cfg.Checkpoint.Key, data)
	if err == nil {
		err = r.resume(s, cfg.Namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCheckpoint, cfg.Checkpoint.Path, err)
	}
	at := time.UnixMilli(s.at)
	return &at, nil
}

func (w *world) load(key, data []byte) (s stand, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(shape))
	if !ok || len(rest) < sha256.Size {
		return s, errForm
	}
	mac, rest := rest[:sha256.Size], rest[sha256.Size:]
	if !hmac.Equal(mac, sign(key, rest)) {
		return s, errors.New("it was changed since, or signed with another key")
	}
	z, err := gzip.NewReader(bytes.NewReader(rest))
	if err != nil {
		return s, err
	}
	l := &loader{in: bufio.NewReader(z)}
	l.value(reflect.ValueOf(&s).Elem())
	if l.err == nil && s.form != w.form() {
		return s, errors.New("another version of orderlog made it")
	}
	for _, part := range w.folded() {
		l.value(reflect.ValueOf(part).Elem())
	}
	return s, l.err
}

func sign(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(shape))
	h.Write(data)
	return h.Sum(nil)
}

// resume goes on where a checkpoint was made, if it was made of this log.
func (r *reader) resume(s stand, namespace string) error {
	if s.namespace != namespace {
		return fmt.Errorf("it is of namespace %q", s.namespace)
	}
	for topic, ids := range r.ids() {
		if s.topics[topic] != ids {
			return fmt.Errorf("topic %q was made anew since", r.name(topic))
		}
	}
	for topic, os := range s.next {
		if len(os) != r.partitions[topic] {
			return fmt.Errorf("topic %q had %d partitions", r.name(topic), len(os))
		}
	}
	r.next, r.from = s.next, s.from
	return nil
}

// shorter finds a log that has lost what a checkpoint has read.
func (r *reader) shorter(c *cut) error {
	for topic, os := range r.next {
		for p, o := range os {
			if end := c.ends[topic][p]; o > end {
				return fmt.Errorf("%w: topic %q, partition %d, had been read up to offset %d, and ends at %d: records are gone", ErrCheckpoint, r.name(topic), p, o, end)
			}
		}
	}
	return nil
}

func (r *reader) ids() map[string][16]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := map[string][16]byte{}
	for _, topic := range slices.Concat(tables, logs) {
		ids[topic] = r.details[r.name(topic)].ID
	}
	return ids
}

// leave writes a checkpoint.
func (w *world) leave(cfg Config, r *reader) error {
	s := stand{form: w.form(), namespace: cfg.Namespace, at: cfg.Now().UnixMilli(), topics: r.ids(), next: offsets{}, from: r.from}
	for topic, os := range r.next {
		if slices.Contains(tails, topic) {
			continue // it begins with what is not handled
		}
		s.next[topic] = slices.Clone(os)
		for p, in := range w.inboxes[topic] { // so do commands
			if len(in.late) > 0 {
				s.next[topic][p] = in.late[0].offset
			}
		}
	}
	var body bytes.Buffer
	z, _ := gzip.NewWriterLevel(&body, gzip.BestSpeed)
	out := &writer{out: bufio.NewWriter(z), known: map[string]uint64{}}
	out.value(reflect.ValueOf(&s).Elem())
	for _, part := range w.folded() {
		out.value(reflect.ValueOf(part).Elem())
	}
	if err := errors.Join(out.err, out.out.Flush(), z.Close()); err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	if err := replace(cfg.Checkpoint.Path, []byte(shape), sign(cfg.Checkpoint.Key, body.Bytes()), body.Bytes()); err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	return nil
}

// replace writes a file that is there as a whole or not at all.
func replace(path string, parts ...[]byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	for _, b := range parts {
		if err == nil {
			_, err = tmp.Write(b)
		}
	}
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

// folded points at all that records were folded into. What is late is read again.
func (w *world) folded() (all []any) {
	for _, l := range w.orders {
		all = append(all, &l.orders, &l.end, &l.faults)
	}
	for _, in := range w.orderCommands {
		all = append(all, &in.byOrder, &in.bodies, &in.again, &in.other)
	}
	for _, in := range w.stockCommands {
		all = append(all, &in.bySKU)
	}
	for _, in := range w.creditCommands {
		all = append(all, &in.byCustomer, &in.again)
	}
	for _, topic := range []string{topics.OrderCommands, topics.InventoryCommands, topics.CreditCommands} {
		for _, in := range w.inboxes[topic] {
			all = append(all, &in.aside, &in.lost)
		}
	}
	all = remember(all, w.stock)
	all = remember(all, w.accounts)
	all = remember(all, w.series)
	all = remember(all, w.grants)
	all = remember(all, w.notices)
	for _, ds := range w.invoices {
		all = append(all, &ds.docs, &ds.faults)
	}
	for _, ds := range w.vouchers {
		all = append(all, &ds.docs, &ds.faults)
	}
	for _, l := range w.effects {
		all = append(all, &l.docs.docs, &l.docs.faults)
	}
	for _, cal := range w.calendar {
		all = append(all, &cal.entries, &cal.deadlines, &cal.pauses, &cal.faults)
	}
	return append(all, &w.dead.letters, &w.dead.brought, &w.dead.cancelled)
}

func remember[T any](all []any, parts []*rows[T]) []any {
	for _, rs := range parts {
		all = append(all, &rs.rows, &rs.faults)
	}
	return all
}

// form names what a checkpoint of this build looks like.
func (w *world) form() string {
	h := sha256.New()
	fmt.Fprintln(h, folding, form(reflect.TypeFor[stand]()))
	for _, part := range w.folded() {
		fmt.Fprintln(h, form(reflect.TypeOf(part)))
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// keyed says what is wrong with a checkpoint's key.
func (c *Checkpoint) keyed() error {
	if c != nil && len(c.Key) < leastKeys {
		return fmt.Errorf("a checkpoint's key needs %d bytes, not %d", leastKeys, len(c.Key))
	}
	return nil
}
