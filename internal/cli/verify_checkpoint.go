package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/orderlog/orderlog/internal/verify"
)

// checkpoint names a checkpoint and reads its key, which is made with the first one.
func (s *session) checkpoint(path, keyPath string) (*verify.Checkpoint, error) {
	if keyPath == "" {
		keyPath = path + ".key"
	}
	c := &verify.Checkpoint{Path: s.env.path(path)}
	var err error
	c.Key, err = os.ReadFile(s.env.path(keyPath))
	if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if _, err := os.Stat(c.Path); !errors.Is(err, fs.ErrNotExist) {
		return nil, hinted(fmt.Errorf("there is a checkpoint %s, and no key %s that it was signed with", path, keyPath), "name the key with --checkpoint-key, or remove the checkpoint and read all anew")
	}
	c.Key = []byte(rand.Text() + rand.Text() + "\n")
	return c, os.WriteFile(s.env.path(keyPath), c.Key, 0o600)
}
