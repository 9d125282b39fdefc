//go:build !unix

package devbroker

import (
	"fmt"
	"os"
)

// folderLock locks nothing here: two brokers on one data folder are not noticed.
type folderLock struct{}

func lockFolder(dir string) (*folderLock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("data folder %q cannot be made: %w", dir, err)
	}
	return &folderLock{}, nil
}

func (*folderLock) release() error { return nil }
