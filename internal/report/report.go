// Package report tells somebody outside of what should not have happened: a panic
// that was survived, a record that was given up, a processor that has ended. It says
// where, and nothing of what is in records: neither bodies nor the texts of errors,
// which may quote them. Those stand in the log, and with the dead letter.
package report

import (
	"cmp"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/getsentry/sentry-go"
)

// Kind is what has happened.
type Kind string

const (
	Panic      Kind = "panic"           // in a rule, or in sending an effect: it was caught
	DeadLetter Kind = "dead letter"     // a record was given up
	Ended      Kind = "processor ended" // and the process with it
)

// Failure is one thing that should not have happened.
type Failure struct {
	Kind      Kind
	Processor string
	Cause     string // one of a few fixed words
	Type      string // Go's, of an error or of the value of a panic
	Stack     string // of a panic

	// Of the record that it is about, if there is one.
	Topic          string
	Partition      int32
	Offset         int64
	Order, TraceID string
}

// Reporter is told of failures. Report is called from many goroutines, by those who
// handle records: it must not block.
type Reporter interface{ Report(Failure) }

// None tells nobody.
type None struct{}

// Report does nothing.
func (None) Report(Failure) {}

// Limits of what Sentry is told: of failures of one kind, processor and cause one in
// so long a time, of so many of those at all. How many others there were, the next
// one says.
const (
	every     = time.Minute
	maxKinds  = 100
	flushTime = 2 * time.Second
)

// Sentry tells a Sentry project, by its client's queue in the background. What does
// not fit in there is dropped.
type Sentry struct {
	client *sentry.Client
	now    func() time.Time

	mu   sync.Mutex
	seen map[kind]*told
}

type kind struct {
	Kind             Kind
	processor, cause string
}

type told struct {
	at   time.Time
	more int // since then
}

// FromEnv returns what the variable SENTRY_DSN asks for; without it there is no
// reporter. SENTRY_ENVIRONMENT and SENTRY_RELEASE count, too; the release is the
// version otherwise.
func FromEnv(getenv func(string) string, version string) (*Sentry, error) {
	dsn := getenv("SENTRY_DSN")
	if dsn == "" {
		return nil, nil
	}
	return newSentry(sentry.ClientOptions{Dsn: dsn, Release: cmp.Or(getenv("SENTRY_RELEASE"), "orderlog@"+version), Environment: getenv("SENTRY_ENVIRONMENT")})
}

func newSentry(o sentry.ClientOptions) (*Sentry, error) {
	o.DisableMetrics, o.DisableClientReports, o.DisableTelemetryBuffer = true, true, true // events alone, by the plain queue
	o.Integrations = func([]sentry.Integration) []sentry.Integration { return nil }       // they add what they find: modules, source, variables
	client, err := sentry.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("SENTRY_DSN: %w", err) // it quotes no secret
	}
	return &Sentry{client: client, now: time.Now, seen: map[kind]*told{}}, nil
}

// Report tells of a failure, unless it has told of one like that just now.
func (s *Sentry) Report(f Failure) {
	if more, ok := s.due(kind{f.Kind, f.Processor, f.Cause}); ok {
		s.client.CaptureEvent(event(f, more), nil, nil)
	}
}

// due tells whether a failure of that kind is to be told of, and how many were not
// since the last one that was.
func (s *Sentry) due(k kind) (more int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.seen[k]
	switch now := s.now(); {
	case t == nil && len(s.seen) >= maxKinds:
		return 0, false
	case t == nil:
		s.seen[k] = &told{at: now}
	case now.Sub(t.at) < every:
		t.more++
		return 0, false
	default:
		more = t.more
		*t = told{at: now}
	}
	return more, true
}

// event is what leaves this process.
func event(f Failure, more int) *sentry.Event {
	e := sentry.NewEvent()
	e.Level = sentry.LevelError
	e.Message = fmt.Sprintf("%s: %s", f.Processor, f.Kind)
	if f.Cause != "" && f.Cause != string(f.Kind) {
		e.Message += ", " + f.Cause
	}
	e.Fingerprint = []string{string(f.Kind), f.Processor, f.Cause, f.Type}
	for k, v := range map[string]string{"processor": f.Processor, "kind": string(f.Kind), "cause": f.Cause, "topic": f.Topic, "order": f.Order, "trace_id": f.TraceID} {
		if v != "" {
			e.Tags[k] = v
		}
	}
	about := sentry.Context{"like_this_not_reported": more}
	if f.Topic != "" {
		about["record"] = f.Topic + "/" + strconv.Itoa(int(f.Partition)) + "/" + strconv.FormatInt(f.Offset, 10)
	}
	if f.Type != "" {
		about["type"] = f.Type
	}
	if f.Stack != "" {
		about["stack"] = f.Stack
	}
	e.Contexts["failure"] = about
	return e
}

// Close sends what waits, for seconds at most.
func (s *Sentry) Close() {
	if s != nil {
		s.client.Flush(flushTime)
		s.client.Close()
	}
}
