package snapshot_test

import (
	"bytes"
	"errors"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/orderlog/orderlog/internal/snapshot"
)

// bucket is a store on an S3 server in this process.
func bucket(t *testing.T) snapshot.Store {
	backend := s3mem.New()
	must(t, backend.CreateBucket("kept"))
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	env := map[string]string{"AWS_ENDPOINT_URL": srv.URL, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1"}
	s, err := snapshot.At("s3://kept/some/where", func(k string) string { return env[k] })
	must(t, err)
	return s
}

const (
	one = "20260101T000000.000Z"
	two = "20260102T000000.000Z"
)

// The stores are alike.
func TestStores(t *testing.T) {
	for name, s := range map[string]snapshot.Store{"folder": snapshot.Folder(filepath.Join(t.TempDir(), "made")), "S3": bucket(t)} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			ids := func(want ...string) {
				t.Helper()
				got, err := s.List(ctx)
				slices.Sort(got)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%q %v, want %q", got, err, want)
				}
			}
			ids()
			if _, err := s.Get(ctx, one+"/x.gz"); !errors.Is(err, snapshot.ErrNone) {
				t.Errorf("what is not there: %v", err)
			}
			large := bytes.Repeat([]byte("0123456789"), 700_000)
			files := map[string][]byte{one + "/manifest.json": []byte("{}"), one + "/x.gz": large, two + "/x.gz": []byte("x")}
			for _, n := range slices.Sorted(maps.Keys(files)) {
				must(t, s.Put(ctx, n, []byte("before")))
				must(t, s.Put(ctx, n, files[n]))
			}
			for n, want := range files {
				if got, err := s.Get(ctx, n); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, %v, want %d", n, len(got), err, len(want))
				}
			}
			ids(one, two)
			if all, err := snapshot.List(ctx, s); err == nil {
				t.Errorf("%v of a manifest that says nothing", all)
			}
			must(t, snapshot.Delete(ctx, s, one))
			ids(two)
			if all, err := snapshot.List(ctx, s); err != nil || len(all) != 0 {
				t.Errorf("%v %v: one without a manifest is none", all, err)
			}
			for _, id := range []string{one, "", "..", "../" + two, two + "/.."} {
				if err := snapshot.Delete(ctx, s, id); !errors.Is(err, snapshot.ErrNone) {
					t.Errorf("deleting %q: %v", id, err)
				}
				if _, err := snapshot.Open(ctx, s, id); !errors.Is(err, snapshot.ErrNone) {
					t.Errorf("opening %q: %v", id, err)
				}
			}
			ids(two)
		})
	}
}

func TestAt(t *testing.T) {
	keys := map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
	for where, want := range map[string]string{
		"": "want a folder", "ftp://x": "want a folder", "s3://": "want s3://BUCKET", "kept": "", "s3://b": "", "s3://b/p/": "",
	} {
		_, err := snapshot.At(where, func(k string) string { return keys[k] })
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", where, err, want)
		}
	}
	if _, err := snapshot.At("s3://b", func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("without keys: %v", err)
	}
	keys["AWS_ENDPOINT_URL"] = "minio:9000"
	if _, err := snapshot.At("s3://b", func(k string) string { return keys[k] }); err == nil || !strings.Contains(err.Error(), "AWS_ENDPOINT_URL") {
		t.Errorf("an endpoint that is no URL: %v", err)
	}
}

// A folder that holds other things keeps them.
func TestFolderOfOthers(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "photos"), 0o755))
	if err := snapshot.Delete(t.Context(), snapshot.Folder(dir), "photos"); !errors.Is(err, snapshot.ErrNone) {
		t.Error(err)
	}
	if all, err := snapshot.List(t.Context(), snapshot.Folder(dir)); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "photos")); err != nil {
		t.Error(err)
	}
}
