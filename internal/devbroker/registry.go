package devbroker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// registry makes srfake durable as a replicated state machine is: each request
// that may change it is on the disk before it is obeyed, and a start obeys them
// all again, in order. So subjects, versions, ids, references, deletions and
// compatibility settings come back as they were.
type registry struct {
	inner http.Handler
	mu    sync.RWMutex // held for writing while a change is made
	file  *os.File     // nil: in memory
	size  int64
	known map[change]bool // obeyed, and the same again would change nothing
	ended bool
}

// change is one line of registry.log.
type change struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Body   string `json:"body,omitempty"`
}

// openRegistry replays the file into inner; "" is a registry in memory. A torn
// last line was never answered and is cut off.
func openRegistry(file string, inner http.Handler) (*registry, error) {
	r := &registry{inner: inner, known: map[change]bool{}}
	if file == "" {
		return r, nil
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening schema registry: %w", err)
	}
	r.file = f
	if err := r.replay(); err != nil {
		f.Close()
		return nil, fmt.Errorf("opening schema registry %q: %w", file, err)
	}
	if err := syncFolder(filepath.Dir(file)); err != nil {
		f.Close()
		return nil, fmt.Errorf("opening schema registry %q: %w", file, err)
	}
	return r, nil
}

func (r *registry) replay() error {
	raw, err := io.ReadAll(r.file)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(raw, []byte("\n"))
		if !whole {
			break
		}
		var c change
		if err := json.Unmarshal(line, &c); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		req, err := http.NewRequest(c.Method, c.URL, strings.NewReader(c.Body))
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		r.obey(unheard{}, req, c)
		r.size += int64(len(line)) + 1
		raw = rest
	}
	if err := r.file.Truncate(r.size); err != nil {
		return err
	}
	_, err = r.file.Seek(r.size, io.SeekStart)
	return err
}

// ServeHTTP implements http.Handler.
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !changes(req) {
		r.mu.RLock()
		defer r.mu.RUnlock()
		r.inner.ServeHTTP(w, req)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 1<<20))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, err)
		return
	}
	c := change{req.Method, req.URL.RequestURI(), string(body)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		refuse(w, http.StatusServiceUnavailable, errors.New("schema registry is stopping"))
		return
	}
	if !r.known[c] {
		if err := r.append(c); err != nil {
			refuse(w, http.StatusInternalServerError, fmt.Errorf("writing schema registry: %w", err))
			return
		}
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	r.obey(w, req, c)
}

// changes tells requests that may change the registry from those that only ask:
// looking a schema up and testing its compatibility are POSTs too.
func changes(req *http.Request) bool {
	switch req.Method {
	case http.MethodPut, http.MethodDelete:
		return true
	case http.MethodPost:
		path := req.URL.Path
		if inContext, ok := strings.CutPrefix(path, "/contexts/"); ok {
			_, path, _ = strings.Cut(inContext, "/")
			path = "/" + path
		}
		return strings.HasPrefix(path, "/subjects/") && strings.HasSuffix(path, "/versions")
	}
	return false
}

// obey runs c and learns whether the same again may be taken as known.
func (r *registry) obey(w http.ResponseWriter, req *http.Request, c change) {
	answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	r.inner.ServeHTTP(answer, req)
	switch {
	case c.Method != http.MethodPost:
		clear(r.known)
	case answer.status == http.StatusOK:
		r.known[c] = true
	}
}

// append writes one line and waits for the disk; a line that fails is taken back.
func (r *registry) append(c change) error {
	if r.file == nil {
		return nil
	}
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	_, err = r.file.WriteAt(line, r.size)
	if err == nil {
		err = r.file.Sync()
	}
	if err != nil {
		return errors.Join(err, r.file.Truncate(r.size))
	}
	r.size += int64(len(line))
	return nil
}

// close lets a change that is under way finish and takes no more.
func (r *registry) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// unheard takes the answers of a replay.
type unheard struct{}

func (unheard) Header() http.Header         { return http.Header{} }
func (unheard) Write(b []byte) (int, error) { return len(b), nil }
func (unheard) WriteHeader(int)             {}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// refuse answers as a schema registry does: 50001 is its own backing store.
func refuse(w http.ResponseWriter, status int, cause error) {
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error_code": 50001, "message": cause.Error()})
}
