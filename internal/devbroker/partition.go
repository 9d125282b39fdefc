package devbroker

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// partition is a partition folder of kfake: segments <base>.dat of record
// batches as on the wire, and beside each an index of one entry per batch.
type partition struct {
	dir    string
	topic  string
	number int32

	last    string            // path of the last segment, "" if there is none
	batches []batch           // of the last segment
	tail    batch             // the last of them
	open    map[int64]batch   // by producer ID: first batch of its open transaction
	recent  map[int64][]batch // by producer ID: the last 5 batches, for windows
}

// batch is what repair needs to know of a record batch.
type batch struct {
	at, size  int64 // in its segment
	offset    int64
	lastDelta int32
	leader    int32 // epoch of the partition leader
	time      int64 // latest record
	pid       int64
	epoch     int16
	seq       int32
	records   int32
	txn       bool
	control   bool
	commit    bool // of a control batch
}

const (
	batchHeader   = 61
	indexEntry    = 15
	bitTxn        = 1 << 4
	bitControl    = 1 << 5
	windowEntries = 5
)

// load reads all segments in order, and cuts a torn tail off the last one.
func (p *partition) load() error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	var bases []int64
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".dat"); ok {
			if base, err := strconv.ParseInt(name, 10, 64); err == nil {
				bases = append(bases, base)
			}
		}
	}
	slices.Sort(bases)
	*p = partition{dir: p.dir, topic: p.topic, number: p.number, open: map[int64]batch{}, recent: map[int64][]batch{}}
	for _, base := range bases {
		p.last = filepath.Join(p.dir, strconv.FormatInt(base, 10)+".dat")
		raw, err := os.ReadFile(p.last)
		if err != nil {
			return err
		}
		batches, valid := parseBatches(raw)
		if base == bases[len(bases)-1] && valid < int64(len(raw)) {
			if err := os.Truncate(p.last, valid); err != nil {
				return err
			}
		}
		p.batches = batches
		for _, b := range batches {
			p.see(b)
		}
	}
	return nil
}

func (p *partition) see(b batch) {
	p.tail = b
	switch {
	case b.control:
		delete(p.open, b.pid)
		return
	case b.txn:
		if _, ok := p.open[b.pid]; !ok {
			p.open[b.pid] = b
		}
	}
	if b.pid < 0 {
		return
	}
	w := p.recent[b.pid]
	if len(w) > 0 && w[0].epoch != b.epoch {
		w = nil
	}
	if len(w) == windowEntries {
		w = w[1:]
	}
	p.recent[b.pid] = append(w, b)
}

// committedLast tells whether the partition ends in the commit marker of that
// producer's epoch.
func (p *partition) committedLast(pid int64, epoch int16) bool {
	t := p.tail
	return len(p.batches) > 0 && t.control && t.commit && t.pid == pid && t.epoch == epoch
}

// dropTail takes the last batch of the last segment back.
func (p *partition) dropTail() error {
	if err := os.Truncate(p.last, p.tail.at); err != nil {
		return err
	}
	return p.load()
}

// mend closes open transactions with an abort marker each and writes the index
// of the last segment anew where it is not what the segment says.
func (p *partition) mend() (aborted int, err error) {
	open := make([]batch, 0, len(p.open))
	for _, b := range p.open {
		open = append(open, b)
	}
	slices.SortFunc(open, func(a, b batch) int { return cmp.Compare(a.offset, b.offset) })
	for _, o := range open {
		raw := abortMarker(o, p.tail)
		if err := appendFile(p.last, raw); err != nil {
			return 0, err
		}
		marker, _ := parseBatches(raw)
		p.batches = append(p.batches, marker...)
		p.see(marker[0])
	}
	index := make([]byte, 0, len(p.batches)*indexEntry)
	for _, b := range p.batches {
		index = appendIndexEntry(index, b)
	}
	name := strings.TrimSuffix(p.last, ".dat") + ".idx"
	if old, err := os.ReadFile(name); err == nil && sameIndex(old, index) {
		return len(open), nil
	}
	return len(open), writeDurably(name, index)
}

// sameIndex compares what kfake reads of an index: the flag and the epoch.
func sameIndex(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i += indexEntry {
		if string(a[i+2:i+6]) != string(b[i+2:i+6]) || a[i+14] != b[i+14] {
			return false
		}
	}
	return true
}

func appendIndexEntry(dst []byte, b batch) []byte {
	var e [indexEntry]byte
	e[0] = stateVersion
	binary.LittleEndian.PutUint32(e[2:], uint32(b.leader))
	binary.LittleEndian.PutUint64(e[6:], uint64(b.time))
	if b.txn && !b.control {
		e[14] = 1
	}
	e[1] = byte(crc32.Checksum(e[2:], castagnoli))
	return append(dst, e[:]...)
}

// parseBatches reads whole batches with a right checksum, up to the first that is not.
func parseBatches(raw []byte) (out []batch, valid int64) {
	for {
		rest := raw[valid:]
		if len(rest) < batchHeader {
			return out, valid
		}
		size := 12 + int64(binary.BigEndian.Uint32(rest[8:]))
		if size < batchHeader || size > int64(len(rest)) ||
			crc32.Checksum(rest[21:size], castagnoli) != binary.BigEndian.Uint32(rest[17:]) {
			return out, valid
		}
		attrs := binary.BigEndian.Uint16(rest[21:])
		b := batch{
			at: valid, size: size,
			offset:    int64(binary.BigEndian.Uint64(rest)),
			leader:    int32(binary.BigEndian.Uint32(rest[12:])),
			lastDelta: int32(binary.BigEndian.Uint32(rest[23:])),
			time:      int64(binary.BigEndian.Uint64(rest[35:])),
			pid:       int64(binary.BigEndian.Uint64(rest[43:])),
			epoch:     int16(binary.BigEndian.Uint16(rest[51:])),
			seq:       int32(binary.BigEndian.Uint32(rest[53:])),
			records:   int32(binary.BigEndian.Uint32(rest[57:])),
			txn:       attrs&bitTxn != 0,
			control:   attrs&bitControl != 0,
		}
		if b.control {
			var r kmsg.Record
			var k kmsg.ControlRecordKey
			b.commit = r.ReadFrom(rest[batchHeader:size]) == nil && k.ReadFrom(r.Key) == nil && k.Type == kmsg.ControlRecordKeyTypeCommit
		}
		out = append(out, b)
		valid += size
	}
}

// abortMarker is the control batch that ends open's transaction, placed after tail.
func abortMarker(open, tail batch) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	rec := kmsg.Record{Key: key.AppendTo(nil), Value: new(kmsg.EndTxnMarker).AppendTo(nil)}
	rec.Length = int32(len(rec.AppendTo(nil)) - 1)
	b := kmsg.RecordBatch{
		FirstOffset:          tail.offset + int64(tail.lastDelta) + 1,
		PartitionLeaderEpoch: tail.leader,
		Magic:                2,
		Attributes:           bitTxn | bitControl,
		FirstTimestamp:       tail.time,
		MaxTimestamp:         tail.time,
		ProducerID:           open.pid,
		ProducerEpoch:        open.epoch,
		FirstSequence:        -1,
		NumRecords:           1,
		Records:              rec.AppendTo(nil),
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], castagnoli))
	return raw
}
