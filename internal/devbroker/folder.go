package devbroker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// LockedError says that another broker has the data folder.
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

// probeFolder proves that the folder takes data: a full disk or a folder that
// is read-only is better told at start than met in the middle.
func probeFolder(dir string) error {
	name := filepath.Join(dir, "probe.tmp")
	err := writeDurably(name, make([]byte, 64<<10))
	if rm := os.Remove(name); err == nil {
		err = rm
	}
	if err != nil {
		return fmt.Errorf("data folder %q cannot be written: %w", dir, err)
	}
	return nil
}

func writeDurably(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolder makes a new file's name in it durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
