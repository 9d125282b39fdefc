package devbroker

import (
	"encoding/json"
	"math"
	"path/filepath"
)

// window is an entry of kfake's seq_windows.json: the last batches of a producer
// in a partition. kfake writes it only when it stops in order.
type window struct {
	PID     int64                     `json:"pid"`
	Topic   string                    `json:"topic"`
	Part    int32                     `json:"partition"`
	Entries [windowEntries]windowSpan `json:"entries"`
	Count   uint8                     `json:"count"`
	At      uint8                     `json:"at"`
	Epoch   int16                     `json:"epoch"`
	Seen    bool                      `json:"seen"`
	NextSeq int32                     `json:"next_seq"`
}

type windowSpan struct {
	FirstSeq int32 `json:"first_seq"`
	NextSeq  int32 `json:"next_seq"`
	Offset   int64 `json:"offset"`
}

// writeWindows makes the windows from the log, so that a batch that was written
// and not answered is known when its producer sends it again.
func writeWindows(kafkaDir string, parts []*partition) error {
	if len(parts) == 0 {
		return nil
	}
	file := struct {
		Version int      `json:"version"`
		Windows []window `json:"windows"`
	}{Version: stateVersion}
	for _, p := range parts {
		for pid, batches := range p.recent {
			w := window{PID: pid, Topic: p.topic, Part: p.number, Seen: true}
			for i, b := range batches {
				w.NextSeq = int32((int64(b.seq) + int64(b.records)) % math.MaxInt32)
				w.Entries[i] = windowSpan{b.seq, w.NextSeq, b.offset}
				w.Epoch = b.epoch
			}
			w.Count = uint8(len(batches))
			w.At = w.Count % windowEntries
			file.Windows = append(file.Windows, w)
		}
	}
	raw, err := json.Marshal(file)
	if err != nil {
		return err
	}
	return writeDurably(filepath.Join(kafkaDir, "seq_windows.json"), raw)
}
