package status

import (
	"math"

	dto "github.com/prometheus/client_model/go"
)

// families are gathered metrics by name.
type families map[string]*dto.MetricFamily

func byName(gathered []*dto.MetricFamily) families {
	f := families{}
	for _, family := range gathered {
		f[family.GetName()] = family
	}
	return f
}

// each calls do with all series of a name.
func (f families) each(name string, do func(labels map[string]string, v float64)) {
	for _, m := range f[name].GetMetric() {
		labels := make(map[string]string, len(m.GetLabel()))
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		do(labels, value(m))
	}
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	}
	return math.NaN()
}

// by folds the series of a name into one figure for each value of a label.
func (f families) by(label, name string, fold func(a, b Figure) Figure) map[string]Figure {
	out := map[string]Figure{}
	f.each(name, func(labels map[string]string, v float64) {
		l := labels[label]
		if was, ok := out[l]; ok {
			out[l] = fold(was, Figure(v))
		} else {
			out[l] = Figure(v)
		}
	})
	return out
}

// all folds the series of a name that have these labels; not known if there are none.
func (f families) all(name string, fold func(a, b Figure) Figure, where map[string]string) Figure {
	out := unknown
	f.each(name, func(labels map[string]string, v float64) {
		for l, want := range where {
			if labels[l] != want {
				return
			}
		}
		if out.Known() {
			out = fold(out, Figure(v))
		} else {
			out = Figure(v)
		}
	})
	return out
}

func sum(a, b Figure) Figure   { return a + b }
func most(a, b Figure) Figure  { return max(a, b) }
func least(a, b Figure) Figure { return min(a, b) }

// of is a figure of a map, not known if it is not there.
func of(m map[string]Figure, key string) Figure {
	if v, ok := m[key]; ok {
		return v
	}
	return unknown
}
