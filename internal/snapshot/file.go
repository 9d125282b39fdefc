package snapshot

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A file is gzip of records: offset and timestamp (Unix ms) as varints, key, value, the
// number of headers, and each one's name and value. Bytes stand behind their length
// and one, nothing at all is 0.

// encode returns a file.
func encode(rs []*kgo.Record) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, r := range rs {
		b = binary.AppendVarint(b[:0], r.Offset)
		b = binary.AppendVarint(b, r.Timestamp.UnixMilli())
		b = appendBytes(appendBytes(b, r.Key), r.Value)
		b = binary.AppendUvarint(b, uint64(len(r.Headers)))
		for _, h := range r.Headers {
			b = appendBytes(appendBytes(b, []byte(h.Key)), h.Value)
		}
		if _, err := z.Write(b); err != nil {
			return nil, err
		}
	}
	err = z.Close()
	return out.Bytes(), err
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(v))+1), v...)
}

// maxBytes is more than a broker takes in one record.
const maxBytes = 1 << 30

type reader struct {
	in  *bufio.Reader
	err error
}

// decode reads a file.
func decode(from io.Reader, topic string, num int32) (rs []*kgo.Record, err error) {
	z, err := gzip.NewReader(from)
	if err != nil {
		return nil, err
	}
	r := reader{in: bufio.NewReaderSize(z, 1<<16)}
	for {
		if _, err := r.in.Peek(1); err == io.EOF {
			return rs, nil
		}
		rec := &kgo.Record{Topic: topic, Partition: num, Offset: r.varint()}
		rec.Timestamp = time.UnixMilli(r.varint())
		rec.Key, rec.Value = r.bytes(), r.bytes()
		for n := r.uvarint(); n > 0 && r.err == nil; n-- {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: string(r.bytes()), Value: r.bytes()})
		}
		if r.err != nil {
			return nil, r.err
		}
		rs = append(rs, rec)
	}
}

func (r *reader) varint() int64 {
	v, err := binary.ReadVarint(r.in)
	r.fail(err)
	return v
}

func (r *reader) uvarint() uint64 {
	v, err := binary.ReadUvarint(r.in)
	r.fail(err)
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	switch {
	case r.err != nil || n == 0:
		return nil
	case n > maxBytes:
		r.fail(fmt.Errorf("a field of %d bytes", n))
		return nil
	}
	var b bytes.Buffer // grows with what is there, whatever a length says
	_, err := io.CopyN(&b, r.in, int64(n-1))
	r.fail(err)
	return append([]byte{}, b.Bytes()...)
}

func (r *reader) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if r.err == nil {
		r.err = err
	}
}
