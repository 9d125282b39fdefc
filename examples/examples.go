// Package examples holds the order files that ship with orderlog.
package examples

import (
	"compress/gzip"
	_ "embed"
	"io"
	"strings"
)

//go:embed superstore.csv.gz
var superstore string

// Superstore returns the CSV file of a shop's real orders, unpacked as it is read.
func Superstore() (io.Reader, error) {
	return gzip.NewReader(strings.NewReader(superstore))
}
