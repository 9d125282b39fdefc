package examples

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"
)

// The file is the one that the README speaks of, to the byte.
func TestSuperstore(t *testing.T) {
	for range 2 { // readers do not share a position
		r, err := Superstore()
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		n, err := io.Copy(h, r)
		if err != nil {
			t.Fatal(err)
		}
		const want = "1a418154b1202bffc9139f7b2505c26bc89d91ae0315d5c3605a7aad9b0c21e2"
		if got := hex.EncodeToString(h.Sum(nil)); got != want || n != 2_551_942 {
			t.Errorf("%d bytes with SHA-256 %s", n, got)
		}
	}
}
