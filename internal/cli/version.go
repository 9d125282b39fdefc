package cli

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what this binary was made from.
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Time     string `json:"time"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readVersion() version {
	v := version{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = cmp.Or(info.Main.Version, v.Version)
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func newVersion(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print what this binary was made from",
		Args:    nothing(),
		Example: example("orderlog version -o json"),
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
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
