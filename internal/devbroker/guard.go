package devbroker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commitGuard notes each commit before kfake makes it. kfake writes a marker per
// partition, then the offsets, then the end, and answers: killed between two of
// these, half of the transaction would be committed. The note says what to take
// back. One note is enough, as kfake handles one request at a time.
//
// Clients older than EndTxn version 5 (KIP-890) keep their epoch from one
// transaction to the next, so that their markers cannot be told apart: their
// commits are not guarded.
type commitGuard struct {
	file *os.File
	dir  string
	sync bool
}

// intent is the note: who commits, and how long kfake's logs were before.
type intent struct {
	PID        int64
	Epoch      int16
	GroupsSize int64
	PIDsSize   int64
}

const intentFile = "commit.intent"

// guardCommits makes cluster note its commits from here on.
func guardCommits(cluster *kfake.Cluster, cfg Config) (*commitGuard, error) {
	f, err := os.OpenFile(filepath.Join(cfg.Dir, intentFile), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("guarding commits: %w", err)
	}
	g := &commitGuard{file: f, dir: kafkaDir(cfg.Dir), sync: cfg.Sync}
	cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		if req := kreq.(*kmsg.EndTxnRequest); req.Commit && req.Version >= 5 {
			if err := g.note(req); err != nil {
				return nil, fmt.Errorf("noting a commit: %w", err), true // closes the connection
			}
		}
		return nil, nil, false
	})
	return g, nil
}

func (g *commitGuard) note(req *kmsg.EndTxnRequest) error {
	groups, err := fileSize(filepath.Join(g.dir, "groups.log"))
	if err != nil {
		return err
	}
	pids, err := fileSize(filepath.Join(g.dir, "pids.log"))
	if err != nil {
		return err
	}
	raw, err := binary.Append(nil, binary.BigEndian, intent{req.ProducerID, req.ProducerEpoch, groups, pids})
	if err != nil {
		return err
	}
	raw = binary.BigEndian.AppendUint32(raw, crc32.Checksum(raw, castagnoli))
	if _, err := g.file.WriteAt(raw, 0); err != nil {
		return err
	}
	if g.sync {
		return g.file.Sync()
	}
	return nil
}

// readIntent answers false where there is no whole note.
func readIntent(dataDir string) (in intent, ok bool) {
	raw, err := os.ReadFile(filepath.Join(dataDir, intentFile))
	n := binary.Size(in)
	if err != nil || len(raw) < n+4 || crc32.Checksum(raw[:n], castagnoli) != binary.BigEndian.Uint32(raw[n:]) {
		return intent{}, false
	}
	_, err = binary.Decode(raw, binary.BigEndian, &in)
	return in, err == nil
}

// unfinished tells whether nothing but the end of this very transaction was
// written to pids.log since: kfake answers only after it wrote more.
func (in intent) unfinished(pids *stateLog) bool {
	if pids.size < in.PIDsSize {
		return false // it was rewritten, which happens after the end
	}
	since := 0
	for _, raw := range pids.entries {
		if raw.at < in.PIDsSize {
			continue
		}
		var e pidEntry
		if since++; since > 1 || json.Unmarshal(raw.json, &e) != nil || e.Type != "endtx" || e.PID != in.PID {
			return false
		}
	}
	for _, e := range pids.producers() {
		if e.PID == in.PID {
			return e.Epoch == in.Epoch
		}
	}
	return false
}

func fileSize(name string) (int64, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
