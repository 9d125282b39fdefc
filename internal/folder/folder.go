// Package folder takes a data folder for this process: made if it is missing,
// locked against others, and proven to take data. What is kept in it is the
// business of those who ask.
package folder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Lock holds a folder until Release, or until the process ends, however it ends.
type Lock interface{ Release() error }

// LockedError says that another process has the folder.
type LockedError struct {
	Dir string
	PID int // of the holder, 0 if unknown
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("data folder %q is in use by another process", e.Dir)
	}
	return fmt.Sprintf("data folder %q is in use by process %d", e.Dir, e.PID)
}

// Take makes the folder if need be, locks it and writes to it once: a full disk
// or a folder that is read-only is better told at start than met in the middle.
// A folder that is taken is a *LockedError.
func Take(dir string) (Lock, error) {
	l, err := take(dir)
	if err != nil {
		return nil, err
	}
	if err := probe(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("data folder %q cannot be written: %w", dir, err), l.Release())
	}
	return l, nil
}

func probe(dir string) (err error) {
	f, err := os.Create(filepath.Join(dir, "probe.tmp"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err = f.Write(make([]byte, 64<<10)); err != nil {
		return err
	}
	return f.Sync()
}
