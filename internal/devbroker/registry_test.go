package devbroker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// What a registry says about everything it holds.
func describe(t *testing.T, h http.Handler) string {
	t.Helper()
	var out strings.Builder
	for _, path := range []string{"/schemas?deleted=true", "/subjects?deleted=true", "/config", "/config/a", "/mode",
		"/schemas/ids/1", "/schemas/ids/2", "/schemas/ids/3", "/schemas/ids/4", "/subjects/c/versions/1/referencedby"} {
		_, body := call(h, "GET", path, "")
		var v any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		sorted, _ := json.Marshal(v)
		fmt.Fprintf(&out, "%s %s\n", path, sorted)
	}
	return out.String()
}

func call(h http.Handler, method, path, body string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

func openTest(t *testing.T, file string) *registry {
	t.Helper()
	r, err := openRegistry(file, srfake.NewRegistry().Handler())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.close() })
	return r
}

func register(name string, references ...sr.SchemaReference) string {
	s := avroSchema(name)
	s.References = references
	raw, _ := json.Marshal(s)
	return string(raw)
}

// Whatever is asked of a registry, it is the same after it is opened again.
func TestRegistryReplay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "registry.log")
	r := openTest(t, file)
	for _, step := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/subjects/a/versions", register("A"), 200},
		{"POST", "/subjects/b/versions", register("A"), 200}, // the same id under another subject
		{"POST", "/subjects/a/versions", register("A2"), 200},
		{"POST", "/subjects/a/versions", register("A"), 200}, // known
		{"POST", "/subjects/a/versions", "nonsense", 422},
		{"POST", "/subjects/c/versions", register("C"), 200},
		{"POST", "/subjects/d/versions", register("D", sr.SchemaReference{Name: "C", Subject: "c", Version: 1}), 200},
		{"POST", "/subjects/compatibility/versions", register("E"), 200},
		{"PUT", "/config/a", `{"compatibility":"FULL"}`, 200},
		{"PUT", "/config", `{"compatibility":"NONE"}`, 200},
		{"DELETE", "/subjects/b", "", 200},
		{"DELETE", "/subjects/compatibility/versions/1", "", 200},
		{"DELETE", "/subjects/compatibility/versions/1?permanent=true", "", 200},
	} {
		if status, body := call(r, step.method, step.path, step.body); status != step.status {
			t.Fatalf("%s %s: status %d, want %d: %s", step.method, step.path, status, step.status, body)
		}
	}
	want := describe(t, r)
	for range 2 {
		if got := describe(t, openTest(t, file)); got != want {
			t.Errorf("after opening again:\n%s\nwant\n%s", got, want)
		}
	}
	_, fresh := call(r, "POST", "/subjects/z/versions", register("Z"))
	if _, again := call(openTest(t, file), "POST", "/subjects/z/versions", register("Z")); again != fresh {
		t.Errorf("next id %s, want %s", again, fresh)
	}
}

// Asking writes nothing; nor does a registration that is known already, until a
// deletion makes it new.
func TestRegistryWritesChangesOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "registry.log")
	r := openTest(t, file)
	for i, step := range []struct {
		method, path, body string
		lines              int
	}{
		{"POST", "/subjects/a/versions", register("A"), 1},
		{"POST", "/subjects/a/versions", register("A"), 1},
		{"GET", "/subjects/a/versions/latest", "", 1},
		{"POST", "/subjects/a", register("A"), 1},
		{"POST", "/compatibility/subjects/a/versions/latest", register("A"), 1},
		{"POST", "/contexts/.x/subjects/a/versions", register("A"), 2},
		{"DELETE", "/subjects/a/versions/1", "", 3},
		{"POST", "/subjects/a/versions", register("A"), 4},
	} {
		call(r, step.method, step.path, step.body)
		if got := strings.Count(string(readFile(t, file)), "\n"); got != step.lines {
			t.Errorf("step %d, %s %s: %d lines, want %d", i, step.method, step.path, got, step.lines)
		}
		r.close()
		r = openTest(t, file) // what is known is known from the file too
	}
}

func TestRegistryTornLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "registry.log")
	call(openTest(t, file), "POST", "/subjects/a/versions", register("A"))
	appendRaw(t, file, []byte(`{"method":"POST","url":"/subj`))
	r := openTest(t, file)
	call(r, "POST", "/subjects/b/versions", register("B"))
	want := describe(t, r)
	if got := describe(t, openTest(t, file)); got != want || !strings.Contains(got, `"subject":"b"`) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What cannot be written is neither done nor acknowledged.
func TestRegistryDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no /dev/full here")
	}
	if err != nil {
		t.Fatal(err)
	}
	r := openTest(t, filepath.Join(t.TempDir(), "registry.log"))
	disk := r.file
	r.file = full
	if status, body := call(r, "POST", "/subjects/a/versions", register("A")); status != 500 || !strings.Contains(body, "no space left") {
		t.Errorf("status %d: %s", status, body)
	}
	if _, body := call(r, "GET", "/subjects", ""); strings.Contains(body, "a") {
		t.Errorf("a schema that is not on the disk is there: %s", body)
	}
	full.Close()
	r.file = disk
	if status, body := call(r, "POST", "/subjects/a/versions", register("A")); status != 200 {
		t.Errorf("space again, but status %d: %s", status, body)
	}
}

// Ids are the same in a new process, through the client that the program uses.
func TestRegistryRestart(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	b := start(t, cfg)
	ids := map[string]int{}
	for i := range 20 {
		s, err := registryClient(t, b.RegistryURL()).CreateSchema(t.Context(), fmt.Sprint("s", i), avroSchema(fmt.Sprint("R", i/2)))
		if err != nil {
			t.Fatal(err)
		}
		ids[s.Subject] = s.ID
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	b = start(t, cfg)
	for subject, id := range ids {
		s, err := registryClient(t, b.RegistryURL()).SchemaByVersion(t.Context(), subject, 1)
		if err != nil || s.ID != id {
			t.Errorf("%s: id %d, want %d: %v", subject, s.ID, id, err)
		}
	}
}
