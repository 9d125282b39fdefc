package near

import "testing"

func TestWord(t *testing.T) {
	words := []string{"order-table", "order-commands", "vouchers", "lag", "tail", "topics", "namespace", "no-color"}
	for typed, want := range map[string]string{
		"order-tabel": "order-table", "orders-table": "order-table", "voucher": "vouchers", "talk": "tail", "topic": "topics",
		"namspace": "namespace", "nocolor": "no-color", "LAG": "lag", "gla": "lag",
		"xyz": "", "q": "", "invoice": "",
	} {
		if got := Word(typed, words); got != want {
			t.Errorf("Word(%q) = %q, want %q", typed, got, want)
		}
	}
}
