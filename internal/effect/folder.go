package effect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"path/filepath"

	"github.com/orderlog/orderlog/schemas"
)

// folder writes mails as files, <effect ID>.eml: the same effect again is the same file.
type folder struct {
	dir  string
	from mail.Address
}

func newFolder(dir string, from mail.Address) (*folder, error) {
	if dir == "" {
		return nil, errors.New("mails have nowhere to go: configure mail.server, or name a folder")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of mails: %w", err)
	}
	return &folder{dir, from}, nil
}

func (f *folder) Send(_ context.Context, e schemas.Effect) Outcome {
	msg, err := compose(f.from, e)
	if err != nil {
		return outcome(Permanent, 0, "%v", err)
	}
	var text bytes.Buffer
	if _, err := msg.WriteTo(&text); err != nil {
		return outcome(Permanent, 0, "composing: %v", err)
	}
	path := filepath.Join(f.dir, e.EffectID+".eml")
	if err := writeFile(path, text.Bytes()); err != nil {
		return outcome(Away, 0, "%v", err).sick()
	}
	return outcome(Sent, 0, "%s", path)
}

// writeFile makes a file whole or not at all, whenever this program is killed.
func writeFile(path string, data []byte) error {
	half := path + ".tmp"
	if err := os.WriteFile(half, data, 0o600); err != nil {
		return err
	}
	return os.Rename(half, path)
}
