package devbroker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// repairFolder brings a folder that was not closed in order into a state that
// kfake loads rightly. kfake mends torn segments by itself; left to it are wrong
//   - a commit that was half written: it would be committed in the partitions
//     that have their marker and aborted in the others (see commitGuard),
//   - transactions that were open: kfake takes them for aborted without writing
//     that down, so the next commit of the same producer would commit them too,
//   - producers of such transactions: they could go on and commit the rest,
//   - torn tails of its two logs: it appends behind them and never reads on,
//   - an index that misses an entry: all later ones belong to the wrong batch,
//   - sequence numbers: a producer's retry would be taken for new.
//
// A kill in the middle of it does no harm: the next start does it again.
func repairFolder(dataDir string, log *slog.Logger) error {
	dir := kafkaDir(dataDir)
	switch _, err := os.Stat(filepath.Join(dir, "session_state.json")); {
	case err == nil:
		return nil // written last by an orderly stop, gone after the next start
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	pids, err := openStateLog(filepath.Join(dir, "pids.log"))
	if err != nil {
		return err
	}
	groups, err := openStateLog(filepath.Join(dir, "groups.log"))
	if err != nil {
		return err
	}
	parts, err := loadPartitions(filepath.Join(dir, "partitions"))
	if err != nil {
		return err
	}
	undone, err := undoHalfCommit(dataDir, pids, groups, parts)
	if err != nil {
		return err
	}
	aborted := 0
	for _, p := range parts {
		n, err := p.mend()
		if err != nil {
			return fmt.Errorf("partition %q: %w", p.dir, err)
		}
		aborted += n
	}
	if err := writeWindows(dir, parts); err != nil {
		return err
	}
	fenced, err := fenceProducers(pids)
	if err != nil {
		return err
	}
	if len(parts) > 0 {
		log.Info("data folder was not closed in order: mended", "dir", dataDir,
			"half_commit_undone", undone, "transactions_aborted", aborted, "producers_fenced", fenced)
	}
	return nil
}

// loadPartitions reads every partition folder; a missing folder has none.
func loadPartitions(dir string) ([]*partition, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var parts []*partition
	for _, e := range entries {
		cut := strings.LastIndexByte(e.Name(), '-')
		if !e.IsDir() || cut < 0 {
			continue
		}
		topic, terr := url.PathUnescape(e.Name()[:cut])
		number, nerr := strconv.ParseInt(e.Name()[cut+1:], 10, 32)
		if terr != nil || nerr != nil {
			continue
		}
		p := &partition{dir: filepath.Join(dir, e.Name()), topic: topic, number: int32(number)}
		if err := p.load(); err != nil {
			return nil, fmt.Errorf("partition %q: %w", p.dir, err)
		}
		if p.last != "" {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// undoHalfCommit takes back what kfake had written of a commit it was making
// when it was killed. Nobody has seen it: kfake answers only afterwards.
func undoHalfCommit(dataDir string, pids, groups *stateLog, parts []*partition) (bool, error) {
	in, ok := readIntent(dataDir)
	if !ok || !in.unfinished(pids) {
		return false, nil
	}
	var marked []*partition
	for _, p := range parts {
		if p.committedLast(in.PID, in.Epoch) {
			marked = append(marked, p)
		}
	}
	if len(marked) == 0 {
		return false, nil // it had not begun
	}
	// The offsets first: without a marker left, a second run would not look at them.
	if err := groups.truncate(in.GroupsSize); err != nil {
		return false, err
	}
	for _, p := range marked {
		if err := p.dropTail(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// fenceProducers moves every transactional producer to its next epoch, as a
// coordinator does when it aborts: who was in a transaction must not go on with it.
func fenceProducers(pids *stateLog) (int, error) {
	current := map[string]pidEntry{} // by transactional ID
	var order []string
	for _, e := range pids.producers() {
		if e.TxID == "" {
			continue
		}
		if _, seen := current[e.TxID]; !seen {
			order = append(order, e.TxID)
		}
		current[e.TxID] = e
	}
	var entries [][]byte
	for _, id := range order {
		e := current[id]
		e.Type, e.Commit = "init", nil
		e.Epoch = min(e.Epoch, math.MaxInt16-1) + 1
		raw, err := json.Marshal(e)
		if err != nil {
			return 0, err
		}
		entries = append(entries, raw)
	}
	return len(order), pids.append(entries)
}
