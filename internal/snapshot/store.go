package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Store is where snapshots are: files under names like ID/FILE. What Put returns from
// is kept.
type Store interface {
	Put(ctx context.Context, name string, data []byte) error
	Get(ctx context.Context, name string) ([]byte, error) // ErrNone: it is not there
	List(ctx context.Context) (ids []string, err error)   // of all that has any file
	Delete(ctx context.Context, id string) error          // the manifest first
	String() string                                       // for people
}

// At opens a store: s3://BUCKET/PREFIX, or a folder.
func At(where string, env func(string) string) (Store, error) {
	if rest, ok := strings.CutPrefix(where, "s3://"); ok {
		return openS3(rest, env)
	}
	if where == "" || strings.Contains(where, "://") {
		return nil, fmt.Errorf("store %q: want a folder, or s3://BUCKET/PREFIX", where)
	}
	return Folder(where), nil
}

// Folder is a store on the local disk; it is made when it is needed.
type Folder string

func (f Folder) String() string { return string(f) }

func (f Folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

// Put writes a file beside, and moves it into its place when it is on the disk.
func (f Folder) Put(_ context.Context, name string, data []byte) (err error) {
	to := f.path(name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(to), ".new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncFolder(filepath.Dir(to))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (f Folder) Get(_ context.Context, name string) ([]byte, error) {
	data, err := os.ReadFile(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", f.path(name), ErrNone)
	}
	return data, err
}

func (f Folder) List(context.Context) (ids []string, err error) {
	es, err := os.ReadDir(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range es {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

func (f Folder) Delete(_ context.Context, id string) error {
	if err := os.Remove(f.path(id + "/" + manifestName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(f.path(id))
}
