package schemas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
)

const (
	tryTimeout = 5 * time.Second        // one request
	firstPause = 100 * time.Millisecond // between tries at start, then doubled
	lastPause  = 2 * time.Second
	forget     = 10 * time.Second // how long an unknown id is not asked for again
	maxMissing = 1000             // unknown ids that are remembered
)

// registry is the schema registry as Serde needs it. lock guards missing, and
// with it one id after the other is asked for.
type registry struct {
	cl      *sr.Client
	url     string // without password
	wait    time.Duration
	now     func() time.Time
	log     *slog.Logger
	turn    chan struct{}
	missing map[uint32]time.Time // unknown id -> when it may be asked for again
}

func newRegistry(cfg SerdeConfig) (*registry, error) {
	u, err := url.Parse(cfg.Registry)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("schema registry URL %q: want one like http://127.0.0.1:8081", redact(cfg.Registry))
	}
	opts := []sr.ClientOpt{sr.HTTPClient(cfg.HTTPClient)}
	if cfg.HTTPClient == nil {
		opts = []sr.ClientOpt{sr.HTTPClient(&http.Client{Timeout: tryTimeout})}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		opts = append(opts, sr.BasicAuth(u.User.Username(), password))
		u.User = nil // the client's errors show the whole URL
	}
	cl, err := sr.NewClient(append(opts, sr.URLs(u.String()))...)
	if err != nil {
		return nil, fmt.Errorf("schema registry client for %s: %w", u, err)
	}
	r := &registry{cl: cl, url: u.String(), wait: cmp.Or(cfg.Wait, 15*time.Second), now: cfg.Now, log: cfg.Log,
		turn: make(chan struct{}, 1), missing: map[uint32]time.Time{}}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r, nil
}

// redact hides what may be a password in a URL that does not parse.
func redact(s string) string {
	if u, err := url.Parse(s); err == nil {
		return u.Redacted()
	}
	return "(unreadable)"
}

func (r *registry) lock(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrRegistry, ctx.Err())
	}
}

func (r *registry) unlock() { <-r.turn }

// register returns the id of the schema under the subject. It tries until ctx
// ends while the registry is away.
func (r *registry) register(ctx context.Context, subject, schema string) (uint32, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		var id int
		err := r.try(ctx, func(ctx context.Context) (err error) {
			id, err = r.cl.RegisterSchema(ctx, subject, sr.Schema{Schema: schema, Type: sr.TypeAvro}, -1, -1)
			return err
		})
		switch {
		case err == nil:
			return uint32(id), nil
		case refused(err):
			return 0, fmt.Errorf("registering schema %q at %s: %w", subject, r.url, err)
		}
		r.log.Warn("schema registry is away", "url", r.url, "error", err, "retry_in", pause)
		if !sleep(ctx, pause) {
			return 0, r.giveUp(ctx, err)
		}
	}
}

func (r *registry) giveUp(ctx context.Context, last error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return fmt.Errorf("%w: no answer from %s within %v; start it, or name another one (last try: %w)", ErrRegistry, r.url, r.wait, last)
}

// fetch asks for a schema once. An id that the registry does not know is
// ErrUnknownSchema, and for a while not asked for again; any other trouble is
// ErrRegistry, the end of ctx among it.
func (r *registry) fetch(ctx context.Context, id uint32) (sr.Schema, error) {
	if until, ok := r.missing[id]; ok && r.now().Before(until) {
		return sr.Schema{}, fmt.Errorf("schema id %d: %w", id, ErrUnknownSchema)
	}
	var schema sr.Schema
	err := r.try(ctx, func(ctx context.Context) (err error) {
		schema, err = r.cl.SchemaByID(ctx, int(id))
		return err
	})
	var answer *sr.ResponseError
	switch {
	case err == nil:
		delete(r.missing, id)
		return schema, nil
	case errors.As(err, &answer) && sr.IsNotFoundError(answer.ErrorCode):
		if len(r.missing) >= maxMissing {
			clear(r.missing)
		}
		r.missing[id] = r.now().Add(forget)
		return schema, fmt.Errorf("schema id %d: %w", id, ErrUnknownSchema)
	}
	return schema, fmt.Errorf("%w: asking %s for schema id %d: %w", ErrRegistry, r.url, id, err)
}

func (r *registry) try(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return request(ctx)
}

// refused says that the registry has answered, and that asking again is no use.
func refused(err error) bool {
	var answer *sr.ResponseError
	return errors.As(err, &answer) && answer.StatusCode < 500 && answer.StatusCode != http.StatusTooManyRequests
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// newWriter prepares reading what was written with a schema from the registry.
func newWriter(id uint32, s sr.Schema) *writer {
	w := &writer{name: fmt.Sprintf("schema %d", id)}
	w.dynamic = sync.OnceValues(func() (*dynamic, error) { return newDynamic(s.Schema) })
	if s.Type != sr.TypeAvro || len(s.References) > 0 {
		w.err = fmt.Errorf("schema id %d: %w: it is %s with %d references", id, ErrIncompatible, s.Type, len(s.References))
		w.dynamic = func() (*dynamic, error) { return nil, w.err }
		return w
	}
	theirs, err := avro.Parse(s.Schema)
	if err != nil {
		w.err = fmt.Errorf("schema id %d: %w: %w", id, ErrIncompatible, err)
		return w
	}
	w.name = fullName(theirs.Root())
	name, ours := strings.CutPrefix(w.name, Namespace+".")
	r, ok := Find(name)
	if !ours || !ok {
		w.err = fmt.Errorf("schema id %d: %w: %q is not a record of this build", id, ErrIncompatible, w.name)
		return w
	}
	resolved, err := avro.Resolve(theirs, r.Schema)
	if err != nil {
		w.err = fmt.Errorf("schema id %d: %w: %w", id, ErrIncompatible, err)
		return w
	}
	w.record, w.other = r, resolved
	return w
}
