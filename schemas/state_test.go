package schemas

import (
	"errors"
	"strings"
	"testing"

	"github.com/orderlog/orderlog/topics"
)

func TestOrderState(t *testing.T) {
	s := NewLocalSerde()
	for _, id := range []string{"", "ord_1", strings.Repeat("x", 300)} {
		for _, state := range []string{Placed, Delivered, ""} {
			v, err := s.Encode(nil, topics.OrderTable, &Order{OrderID: id, State: state, Version: 7, Lines: []Line{{SKU: "sku_1"}}})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.OrderState(t.Context(), v); got != state || err != nil {
				t.Errorf("order %.10q: %q, %v, want %q", id, got, err, state)
			}
			if _, err := s.OrderState(t.Context(), v[:wireHead+2]); id != "" && !errors.Is(err, ErrBody) {
				t.Errorf("cut short: %v", err)
			}
		}
	}
	other, err := s.Encode(nil, topics.InventoryTable, &Stock{SKU: "sku_1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range [][]byte{nil, []byte("{}"), other} {
		if _, err := s.OrderState(t.Context(), v); err == nil {
			t.Errorf("%q has a state", v)
		}
	}
}
