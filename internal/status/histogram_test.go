package status

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Quantiles of what came since are those of the values themselves, give or take a
// bucket, though the histogram's resolution has halved in between.
func TestQuantiles(t *testing.T) {
	const seed = 7
	for name, opts := range map[string]prometheus.HistogramOpts{
		"native": {NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 40, NativeHistogramZeroThreshold: 1e-9},
		"both":   {NativeHistogramBucketFactor: 1.1, Buckets: []float64{0.1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			h := prometheus.NewHistogram(opts)
			observe := func(from, to float64) (all []float64) {
				for range 2000 {
					v := from + (to-from)*random.Float64()
					all = append(all, v)
					h.Observe(v)
				}
				slices.Sort(all)
				return all
			}
			read := func() distribution {
				var m dto.Metric
				if err := h.Write(&m); err != nil {
					t.Fatal(err)
				}
				return distributionOf(m.GetHistogram())
			}
			observe(0.1, 0.2)
			before := read()
			all := observe(0.001, 30)
			came := read().since(before)
			for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 1} {
				want := all[int(q*float64(len(all)-1))]
				if got := came.quantile(q); !near(got, want, want*0.3) { // a bucket after halving: 19 %, twice: 41 %
					t.Errorf("quantile %v is %v, want %v (seed %d)", q, got, want, seed)
				}
			}
		})
	}
}

func TestClassicQuantiles(t *testing.T) {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Buckets: []float64{1, 2, 4}})
	for _, v := range []float64{0.5, 1.5, 1.6, 3, 9} {
		h.Observe(v)
	}
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	d := distributionOf(m.GetHistogram())
	for q, want := range map[float64]float64{0.2: 1, 0.4: 1.5, 0.6: 2, 0.8: 4, 1: 4} {
		if got := d.quantile(q); !near(got, want, 1e-9) {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if distribution(nil).quantile(0.5).Known() {
		t.Error("a quantile of nothing is known")
	}
}
