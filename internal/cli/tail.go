package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/internal/client"
	"github.com/orderlog/orderlog/internal/event"
	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/near"
	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

type tailFlags struct {
	key        string
	types      []string
	from       string
	limit      int64
	follow     bool
	partitions []int32
}

func newTail(s *session) *cobra.Command {
	var f tailFlags
	cmd := &cobra.Command{
		Use:   "tail [TOPIC]",
		Short: "Print records, decoded",
		Long: `Prints the committed records of a topic (order-table, the order log, if none is
named), decoded with the schema they were written with. Times are those of the
records; --from goes by them. Without --follow it ends where the topic ended when
it began. A record that cannot be decoded is shown as such, and passed.`,
		Args:              between(0, "TOPIC"),
		ValidArgsFunction: cobra.FixedCompletions(topicNames(), cobra.ShellCompDirectiveNoFileComp),
		Example: example("# What happened to one order", "orderlog tail --key ord_CA-2014-100006", "",
			"# What was refused in the last hour, and from now on", "orderlog tail order-replies --type '*.refused' --from -1h --follow"),
		RunE: func(cmd *cobra.Command, args []string) error {
			topic := topics.OrderTable
			if len(args) > 0 {
				topic = args[0]
			}
			return s.tail(cmd.Context(), topic, f)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.key, "key", "", "only records with this key")
	fs.StringSliceVar(&f.types, "type", nil, "only records of this type, e.g. order.placed or 'order.*'; may be repeated")
	f.readingFlags(fs)
	fs.Int32SliceVar(&f.partitions, "partition", nil, "only this partition; may be repeated")
	return cmd
}

func (f *tailFlags) readingFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.from, "from", "", "earliest, latest, an offset, a time (2026-01-31, 2026-01-31T08:00:00Z) or an age (-1h)\n(default earliest, with --follow latest)")
	fs.Int64Var(&f.limit, "limit", 0, "end after so many records, 0 for all")
	fs.BoolVarP(&f.follow, "follow", "f", false, "go on with what comes")
}

func topicNames() (names []string) {
	for _, t := range topics.All() {
		names = append(names, t.Name)
	}
	return names
}

func (f *tailFlags) check() error {
	if f.limit < 0 {
		return usagef("--limit %d: at least 1, or 0 for all", f.limit)
	}
	for _, pattern := range f.types {
		if _, err := path.Match(pattern, ""); err != nil {
			return usagef("--type %q: %w", pattern, err)
		}
	}
	if f.from == "" {
		f.from = "earliest"
		if f.follow {
			f.from = "latest"
		}
	}
	return nil
}

func (f *tailFlags) wants(r *kgo.Record, typ string) bool {
	if f.key != "" && f.key != string(r.Key) {
		return false
	}
	return len(f.types) == 0 || slices.ContainsFunc(f.types, func(pattern string) bool {
		ok, _ := path.Match(pattern, typ)
		return ok
	})
}

func (s *session) tail(ctx context.Context, topic string, f tailFlags) error {
	var shown int64
	err := s.readTopic(ctx, topic, &f, func(serde *schemas.Serde, r *kgo.Record) (bool, error) {
		if !f.wants(r, event.Header(r, event.Type)) {
			return true, nil
		}
		t := describe(ctx, serde, r)
		shown++
		return f.limit == 0 || shown < f.limit, s.line(t, func(w io.Writer) error { return t.text(w, s.outStyle()) })
	})
	if f.follow && errors.Is(err, context.Canceled) {
		return nil // how one ends it
	}
	return err
}

// readTopic calls each with what the flags say of a topic, until it answers false.
func (s *session) readTopic(ctx context.Context, topic string, f *tailFlags, each func(*schemas.Serde, *kgo.Record) (bool, error)) error {
	if err := f.check(); err != nil {
		return err
	}
	start, err := parseFrom(f.from, s.env.Now())
	if err != nil {
		return err
	}
	adm, err := s.admin(ctx)
	if err != nil {
		return err
	}
	defer adm.Close()
	full, err := s.topic(ctx, adm, topic)
	if err != nil {
		return err
	}
	span, err := f.span(ctx, adm, full, start)
	if err != nil {
		return s.explain(err)
	}
	serde, err := s.serde(ctx)
	if err != nil {
		return err
	}
	return span.Read(ctx, s.kafka(), func(r *kgo.Record) (bool, error) { return each(serde, r) })
}

// topic finds the full name of a topic: of the catalogue, else of the cluster.
func (s *session) topic(ctx context.Context, adm *kadm.Client, name string) (string, error) {
	if _, ok := topics.Find(s.bare(name)); ok {
		return s.name(s.bare(name)), nil
	}
	there, err := adm.ListTopics(ctx)
	if err != nil {
		return "", fmt.Errorf("listing topics: %w", err)
	}
	if there.Has(name) {
		return name, nil
	}
	return "", unknown("topic", name, topicNames())
}

// explain adds what to do about what packages below report.
func (s *session) explain(err error) error {
	if errors.Is(err, client.ErrNoTopic) {
		return hinted(err, "`orderlog topics apply` makes the topics; is --namespace right?")
	}
	return err
}

// span is where to read: all bounds are as of now.
func (f *tailFlags) span(ctx context.Context, adm *kadm.Client, topic string, start startAt) (client.Span, error) {
	span, err := client.Whole(ctx, adm, topic, f.partitions...)
	if err != nil {
		return span, err
	}
	for _, p := range f.partitions {
		if _, ok := span.To[p]; !ok {
			return span, usagef("--partition %d: topic %q has partitions 0 to %d", p, topic, len(span.To)-1)
		}
	}
	from, err := start.offsets(ctx, adm, topic, span)
	if err != nil {
		return span, err
	}
	for p, first := range span.From {
		span.From[p] = min(max(first, from(p)), span.To[p])
	}
	if f.follow {
		span.To = nil
	}
	return span, nil
}

// startAt is a parsed --from.
type startAt struct {
	latest bool
	offset int64
	time   time.Time
}

func parseFrom(s string, now time.Time) (startAt, error) {
	switch s {
	case "earliest":
		return startAt{}, nil
	case "latest":
		return startAt{latest: true}, nil
	}
	if n, err := digits(s); err == nil {
		return startAt{offset: n}, nil
	}
	if age, err := time.ParseDuration(s); err == nil && age < 0 {
		return startAt{time: now.Add(age)}, nil
	}
	if t, ok := parseTime(s); ok {
		return startAt{time: t}, nil
	}
	err := usagef("--from %q: want earliest, latest, an offset, a time or an age", s)
	if age, ageErr := time.ParseDuration(s); ageErr == nil && age > 0 {
		return startAt{}, hinted(err, "an age has a minus: --from -%s", s)
	}
	if n := near.Word(s, []string{"earliest", "latest"}); n != "" {
		return startAt{}, hinted(err, "did you mean %q?", n)
	}
	return startAt{}, hinted(err, "e.g. earliest, latest, 1500, 2026-01-31T08:00:00Z, -1h")
}

// parseTime reads a time, in UTC unless it says otherwise.
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func (a startAt) offsets(ctx context.Context, adm *kadm.Client, topic string, span client.Span) (func(int32) int64, error) {
	switch {
	case a.latest:
		return func(p int32) int64 { return span.To[p] }, nil
	case a.time.IsZero():
		return func(int32) int64 { return a.offset }, nil
	}
	at, err := client.At(ctx, adm, topic, a.time)
	return func(p int32) int64 { return at[p] }, err
}

// tailed is one record as tail shows it.
type tailed struct {
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	Time      string          `json:"time"`
	Type      string          `json:"type"`
	Key       string          `json:"key"`
	ID        string          `json:"id"`
	EventTime string          `json:"event_time"`
	Record    string          `json:"record,omitempty"`
	Body      json.RawMessage `json:"body"`            // null of a tombstone, of an empty value, and where Error says why
	Empty     bool            `json:"empty,omitempty"` // no row, but a message about it was handled
	Error     string          `json:"error,omitempty"`
	Bytes     int             `json:"bytes"`
	Head      string          `json:"head,omitempty"` // hex, of what cannot be decoded
	Dead      *deadLetter     `json:"dead_letter,omitempty"`
}

// deadLetter says why a record was put aside and where it stood.
type deadLetter struct {
	Cause     string `json:"cause"`
	Error     string `json:"error"`
	Topic     string `json:"topic"`
	Partition string `json:"partition"`
	Offset    string `json:"offset"`
}

// deadLetterOf reads the headers of a dead letter; nil of any other record.
func deadLetterOf(r *kgo.Record) *deadLetter {
	d := deadLetter{event.Header(r, letter.HeaderCause), event.Header(r, letter.HeaderError), event.Header(r, letter.HeaderTopic),
		event.Header(r, letter.HeaderPartition), event.Header(r, letter.HeaderOffset)}
	if d == (deadLetter{}) {
		return nil
	}
	return &d
}

func describe(ctx context.Context, serde *schemas.Serde, r *kgo.Record) tailed {
	m := event.Parse(r)
	t := tailed{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: string(event.AppendTime(nil, r.Timestamp.UnixMilli())),
		Type: m.Type, Key: m.Key, ID: m.ID, EventTime: string(event.AppendTime(nil, m.At)), Bytes: len(r.Value), Body: json.RawMessage("null"),
		Dead: deadLetterOf(r),
	}
	if len(r.Value) == 0 {
		t.Empty = r.Value != nil
		return t
	}
	var err error
	var body []byte
	if event.IsJSON(r) {
		if body = r.Value; !json.Valid(body) {
			err = errors.New("not JSON, though its content type says so")
		}
	} else {
		t.Record, body, err = serde.Describe(ctx, r.Value)
	}
	if err != nil {
		t.Error = err.Error()
		t.Head = hex.EncodeToString(r.Value[:min(len(r.Value), headBytes)])
		return t
	}
	t.Body = body
	return t
}

const headBytes = 32

func (t tailed) text(w io.Writer, st style) error {
	what := string(t.Body)
	switch {
	case t.Error != "":
		what = fmt.Sprintf("%s %s (%d bytes: %s)", st.bad("undecodable:"), t.Error, t.Bytes, t.Head)
	case t.Empty:
		what = st.dim("empty")
	case what == "null":
		what = st.dim("tombstone")
	}
	if d := t.Dead; d != nil {
		what += fmt.Sprintf(" %s %s (from %s/%s/%s)", st.bad(word(d.Cause)+":"), line(d.Error), word(d.Topic), word(d.Partition), word(d.Offset))
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s %s\n", st.dim(t.Time), st.dim(fmt.Sprintf("%d/%d", t.Partition, t.Offset)),
		st.bold(word(t.Type)), word(t.Key), what)
	return err
}

// line shows a text that anyone may have written as one harmless line.
func line(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// word shows a name that anyone may have written as one harmless word.
func word(s string) string {
	if s == "" {
		return "-"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
