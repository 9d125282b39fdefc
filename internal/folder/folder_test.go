package folder

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestTake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	l, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	var taken *LockedError
	if _, err := Take(dir); !errors.As(err, &taken) || taken.PID != os.Getpid() || taken.Dir != dir {
		t.Errorf("the second got %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if l, err = Take(dir); err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "probe*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTakeAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(filepath.Join(name, "below")); err == nil {
		t.Error("a file was taken for a folder")
	}
}
