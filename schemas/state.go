package schemas

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/orderlog/orderlog/topics"
)

// OrderState returns the state of an order out of the value of its row, of which it
// reads no more than the beginning: State is Order's second field, behind its ID.
func (s *Serde) OrderState(ctx context.Context, value []byte) (string, error) {
	w, raw, err := s.open(ctx, topics.OrderTable, value)
	if err != nil {
		return "", err
	}
	if w.other != nil { // another version may have its fields in another order
		var o Order
		err := s.read(w, raw, &o)
		return o.State, err
	}
	_, raw, ok1 := cutString(raw)
	state, _, ok2 := cutString(raw)
	if !ok1 || !ok2 {
		return "", fmt.Errorf("reading the state of an order: %w: it is cut short", ErrBody)
	}
	return string(state), nil
}

// cutString cuts off the Avro string that b begins with.
func cutString(b []byte) (s, rest []byte, ok bool) {
	n, w := binary.Varint(b)
	if w <= 0 || n < 0 || n > int64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n)], b[w+int(n):], true
}
