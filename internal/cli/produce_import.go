package cli

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/orderlog/orderlog/internal/flow"
	"github.com/orderlog/orderlog/internal/superstore"
	"github.com/orderlog/orderlog/internal/workload"
	"github.com/orderlog/orderlog/schemas"
)

// imported is a file of orders as something to send. Bad rows are reported.
func (s *session) imported(f *produceFlags) (load, error) {
	in, err := s.open(f.from)
	if err != nil {
		return load{}, fmt.Errorf("importing orders: %w", err)
	}
	defer in.Close()
	file, bad, err := superstore.Read(in, superstore.Options{Strict: f.strict})
	var row *superstore.RowError
	switch {
	case errors.As(err, &row):
		return load{}, hinted(fmt.Errorf("%s: %w", f.from, err), "without --strict bad rows are reported and left out")
	case err != nil && strings.Contains(err.Error(), "missing columns"):
		return load{}, hinted(fmt.Errorf("%s: %w", f.from, err), "columns are separated by commas: is it separated by ; ?")
	case err != nil:
		return load{}, fmt.Errorf("%s: %w", f.from, err)
	}
	for _, row := range bad {
		fmt.Fprintf(s.env.Stderr, "%s %s: %v\n", s.errStyle().warn("left out:"), f.from, &row)
	}
	if file.Placements() == 0 {
		return load{}, fmt.Errorf("no order rows in %s", f.from)
	}
	return load{
		source: filepath.Base(f.from), orders: file.Placements(), badRows: bad,
		setup: items(file.Setup(f.made.Stock, f.made.Credit)), setups: file.Setups(), commands: items(file.Orders()),
		delivery: func(o *schemas.Order) flow.Message {
			m, _ := file.Delivery(o.OrderID) // only orders of the file are delivered
			return m
		},
	}, nil
}

// open reads a file, unpacked if its name ends in .gz, or standard input.
func (s *session) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(s.env.Stdin), nil
	}
	file, err := os.Open(s.env.path(name))
	if err != nil || !strings.HasSuffix(name, ".gz") {
		return file, err
	}
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{unpacked, file}, nil
}

func items(messages iter.Seq[flow.Message]) iter.Seq[workload.Item] {
	return func(yield func(workload.Item) bool) {
		for m := range messages {
			if !yield(workload.Item{Message: m}) {
				return
			}
		}
	}
}
