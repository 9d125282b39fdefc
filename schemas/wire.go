package schemas

import (
	"encoding/binary"
	"fmt"
)

// Confluent wire format: a zero byte, the schema id in four bytes, big-endian,
// and the Avro body.
const wireHead = 5

func appendHead(dst []byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0), id)
}

func splitHead(value []byte) (id uint32, body []byte, err error) {
	if len(value) < wireHead {
		return 0, nil, fmt.Errorf("value of %d bytes: %w", len(value), ErrNotWire)
	}
	if value[0] != 0 {
		return 0, nil, fmt.Errorf("value starts with byte 0x%02x: %w", value[0], ErrNotWire)
	}
	return binary.BigEndian.Uint32(value[1:]), value[wireHead:], nil
}
