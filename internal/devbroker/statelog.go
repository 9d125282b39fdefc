package devbroker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stateLog is one of kfake's append logs, pids.log or groups.log: entries of
// length, CRC-32C, version (little endian) and JSON.
type stateLog struct {
	name    string
	size    int64
	entries []stateEntry
}

type stateEntry struct {
	at   int64
	json []byte
}

// pidEntry is an entry of pids.log.
type pidEntry struct {
	Type    string `json:"type"` // init, endtx, timeout
	PID     int64  `json:"pid"`
	Epoch   int16  `json:"epoch"`
	TxID    string `json:"txid,omitempty"`
	Timeout int32  `json:"timeout,omitempty"`
	Commit  *bool  `json:"commit,omitempty"`
}

const (
	stateHeader  = 10
	stateVersion = 1
)

// openStateLog reads a log and cuts a torn tail off; a missing one is empty.
func openStateLog(name string) (*stateLog, error) {
	l := &stateLog{name: name}
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	for rest := raw; len(rest) >= stateHeader; rest = raw[l.size:] {
		length := int64(binary.LittleEndian.Uint32(rest))
		if length < 2 || 8+length > int64(len(rest)) ||
			crc32.Checksum(rest[8:8+length], castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			break
		}
		l.entries = append(l.entries, stateEntry{l.size, rest[stateHeader : 8+length]})
		l.size += 8 + length
	}
	if l.size < int64(len(raw)) {
		return l, os.Truncate(name, l.size)
	}
	return l, nil
}

// truncate cuts the log at an entry boundary; a log that is shorter stays.
func (l *stateLog) truncate(size int64) error {
	if size >= l.size {
		return nil
	}
	for len(l.entries) > 0 && l.entries[len(l.entries)-1].at >= size {
		l.entries = l.entries[:len(l.entries)-1]
	}
	l.size = size
	return os.Truncate(l.name, size)
}

// append writes entries and waits for the disk.
func (l *stateLog) append(entries [][]byte) error {
	var frames []byte
	for _, data := range entries {
		frame := append(make([]byte, stateHeader, stateHeader+len(data)), data...)
		binary.LittleEndian.PutUint32(frame, uint32(2+len(data)))
		binary.LittleEndian.PutUint16(frame[8:], stateVersion)
		binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[8:], castagnoli))
		l.entries = append(l.entries, stateEntry{l.size + int64(len(frames)), data})
		frames = append(frames, frame...)
	}
	l.size += int64(len(frames))
	if len(frames) == 0 {
		return nil
	}
	return appendFile(l.name, frames)
}

// producers returns the last known state of each producer ID of pids.log, in the
// order of their first appearance.
func (l *stateLog) producers() []pidEntry {
	var out []pidEntry
	index := map[int64]int{}
	for _, raw := range l.entries {
		var e pidEntry
		if json.Unmarshal(raw.json, &e) != nil {
			continue // kfake skips it too
		}
		i, known := index[e.PID]
		switch {
		case !known && e.Type == "init":
			index[e.PID] = len(out)
			out = append(out, e)
		case known && e.Type == "init":
			out[i] = e
		case known:
			out[i].Epoch = e.Epoch
		}
	}
	return out
}

func appendFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
