package status

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/orderlog/orderlog/internal/figure"
)

// chart is figures over the time kept, drawn on wide x high units.
type chart struct {
	ID, Title string
	Top, Half string // what the upper edge stands for, and the middle
	Lines     []line
	Rows      [][]string // the same as a table: a time and a figure for each line, the newest first
}

type line struct {
	Name, Now, Most string
	Class           string // how it is drawn
	Path            string // of an SVG path
	Area            string // the same, closed at the bottom; "" if it is not filled
}

// A chart's units.
const (
	wide = 1000
	high = 200
)

// series is one line of a chart.
type series struct {
	name string
	area bool
	of   func(*Sample) Figure
}

// scale is how figures of one kind are written, and where their axis ends.
type scale struct {
	text func(Figure) string
	edge func(float64) float64
}

var (
	rates = scale{Figure.Rate, nice}
	times = scale{Figure.Duration, niceTime}
)

func newChart(id, title string, in scale, samples []*Sample, all ...series) chart {
	c, text := chart{ID: id, Title: title}, in.text
	top := 0.0
	for _, s := range all {
		top = max(top, peak(samples, s.of))
	}
	top = in.edge(top)
	c.Top, c.Half = text(Figure(top)), text(Figure(top/2))
	for i, s := range all {
		l := line{Name: s.name, Now: figure.None, Most: text(Figure(peak(samples, s.of))), Class: fmt.Sprintf("line%d", i+1)}
		if len(samples) > 0 {
			l.Now = text(s.of(samples[len(samples)-1]))
		}
		l.Path = path(samples, s.of, top, 1)
		if s.area {
			l.Area = area(l.Path)
		}
		c.Lines = append(c.Lines, l)
	}
	const row = 15 // samples
	for i := len(samples) - 1; i >= 0; i -= row {
		cells := []string{samples[i].At.Format(time.TimeOnly)}
		for _, s := range all {
			cells = append(cells, text(s.of(samples[i])))
		}
		c.Rows = append(c.Rows, cells)
	}
	return c
}

func peak(samples []*Sample, of func(*Sample) Figure) (top float64) {
	for _, s := range samples {
		if v := float64(of(s)); v > top && !math.IsInf(v, 1) {
			top = v
		}
	}
	return top
}

// nice is the least of 1, 2 and 5 times a power of ten that is not less than v.
func nice(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if v <= n*power*(1+1e-9) {
			return n * power
		}
	}
	return 10 * power
}

// niceTime is nice for seconds, of which people make minutes, hours and days.
func niceTime(v float64) float64 {
	if v <= 20 {
		return nice(v)
	}
	for _, t := range []float64{60, 120, 300, 600, 1200, 3600, 7200, 18000, 43200, 86400} {
		if v <= t {
			return t
		}
	}
	return nice(v/86400) * 86400
}

// path is a line through one sample of every so many seconds, broken where nothing is
// known. The right edge is the last of them, the left one as long before as samples are
// kept.
func path(samples []*Sample, of func(*Sample) Figure, top float64, every int64) string {
	var b strings.Builder
	pen := byte('M')
	for i, s := range samples {
		if i < len(samples)-1 && s.At.Unix()/every == samples[i+1].At.Unix()/every {
			continue // not the last of its stretch
		}
		v := float64(of(s))
		if math.IsNaN(v) || math.IsInf(v, 0) {
			pen = 'M'
			continue
		}
		ago := samples[len(samples)-1].At.Sub(s.At)
		x, y := wide*(1-ago.Seconds()/Kept.Seconds()), high*(1-min(1, v/top))
		fmt.Fprintf(&b, "%c%.0f %.1f", pen, x, y)
		pen = 'L'
	}
	return b.String()
}

// area closes each run of a path at the bottom.
func area(path string) string {
	var b strings.Builder
	for run := range strings.SplitSeq(path, "M") {
		if run == "" {
			continue
		}
		first, _, _ := strings.Cut(run, " ")
		last := run
		if at := strings.LastIndexByte(run, 'L'); at >= 0 {
			last = run[at+1:]
		}
		last, _, _ = strings.Cut(last, " ")
		fmt.Fprintf(&b, "M%s %dL%sL%s %dZ", first, high, run, last, high)
	}
	return b.String()
}
