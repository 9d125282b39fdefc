package cli

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/internal/build"
)

func newVersion(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print what this binary was made from",
		Args:    nothing(),
		Example: example("orderlog version -o json"),
		RunE: func(*cobra.Command, []string) error {
			v := build.Read()
			return s.show(v, func(w io.Writer) error {
				revision := cmp.Or(v.Revision, "unknown")
				if v.Modified {
					revision += " (modified)"
				}
				_, err := fmt.Fprintf(w, "orderlog %s\nrevision %s\n%s %s\n", v.Version, revision, v.Go, v.Platform)
				return err
			})
		},
	}
}
