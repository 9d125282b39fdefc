// Package build says what this program was made from.
package build

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// Info is what a binary was made from.
type Info struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Time     string `json:"time"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Read returns what the Go tool has left in the binary.
func Read() Info {
	v := Info{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
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

// Collector is a metric that is always 1, and says what was built in its labels.
func Collector() prometheus.Collector {
	v := Read()
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orderlog_build_info", Help: "1; its labels say what this program was made from."},
		[]string{"version", "revision", "goversion"})
	g.WithLabelValues(v.Version, cmp.Or(v.Revision, "unknown"), v.Go).Set(1)
	return g
}
