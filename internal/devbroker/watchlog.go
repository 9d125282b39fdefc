package devbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// watchLog is kfake's logger. It is also the only way to hear that kfake could
// not write: it logs that and then acknowledges all the same. So the first such
// line ends the broker on the spot, as a kill would, before the answer leaves.
type watchLog struct {
	out    *slog.Logger
	failed chan struct{}

	mu       sync.Mutex
	abort    func() // nil while not serving
	cause    error
	stopping []error
}

func newWatchLog(out *slog.Logger) *watchLog {
	if out == nil {
		out = slog.New(slog.DiscardHandler)
	}
	return &watchLog{out: out.With("component", "devbroker"), failed: make(chan struct{})}
}

// watch makes lost writes fatal from here on: abort must drop every connection.
func (l *watchLog) watch(abort func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.abort = abort
}

func (l *watchLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// stop runs kfake's Close and returns what it could only log. A failed broker is
// not closed: it would write down a state that nobody may believe.
func (l *watchLog) stop(closeCluster func()) error {
	l.mu.Lock()
	l.abort = nil
	failed := l.cause
	l.mu.Unlock()
	if failed != nil {
		return failed
	}
	closeCluster()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.stopping...)
}

// Logf implements kfake.Logger. kfake's information is our debugging.
func (l *watchLog) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		if to = slog.LevelWarn; strings.Contains(format, "EndTxn slow") {
			to = slog.LevelDebug // a few milliseconds are no news
		}
	case kfake.LogLevelDebug:
		return
	}
	lost := to >= slog.LevelWarn && strings.Contains(format, "persist ")
	if !lost && !l.out.Enabled(context.Background(), to) {
		return
	}
	text := fmt.Sprintf(format, args...)
	l.out.Log(context.Background(), to, text)
	if lost {
		l.fail(errors.New(text))
	}
}

func (l *watchLog) fail(cause error) {
	l.mu.Lock()
	if l.abort == nil {
		l.stopping = append(l.stopping, cause)
		l.mu.Unlock()
		return
	}
	l.cause = fmt.Errorf("broker stopped, data folder cannot be written: %w", cause)
	l.abort()
	l.abort = nil
	close(l.failed)
	l.mu.Unlock()
	runtime.Goexit() // we are on kfake's only request loop: it must not go on
}
