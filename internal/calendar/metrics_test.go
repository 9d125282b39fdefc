package calendar

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderlog/orderlog/schemas"
	"github.com/orderlog/orderlog/topics"
)

// told is what instances tell together, without what their names begin with; no
// times, and of the delays how many.
func told(t testing.TB, is ...*instance) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	for _, i := range is {
		reg := prometheus.NewRegistry()
		reg.MustRegister(i.cal)
		fs, err := reg.Gather()
		must(t, err)
		for _, f := range fs {
			for _, m := range f.GetMetric() {
				key := f.GetName()[len("orderlog_calendar_"):]
				for _, l := range m.GetLabel() {
					key += " " + l.GetValue()
				}
				if v := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()); v < 1e6 {
					got[key] += v
				}
			}
		}
	}
	return got
}

// Instances tell what stands on their partitions, when it is due though nothing
// moves, and what was dispatched once, though a transaction had to be repeated.
func TestFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t)
		one := w.start("1", "").ready(t)
		two := w.start("2", "").ready(t)
		time.Sleep(10 * time.Minute) // they share
		check := func(what string, want map[string]float64) {
			t.Helper()
			if got := told(t, one, two); !maps.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		check("nothing", map[string]float64{})
		const n = 10
		for part := range int32(nparts) {
			for range n {
				w.park(w.entry(part, w.now().Add(time.Hour)))
			}
		}
		deadline := w.entry(0, w.now().Add(3*time.Hour))
		deadline.parked.Topic, deadline.parked.To, deadline.parked.Cause = "", topics.OrderReplies, "deadline"
		w.park(deadline)
		time.Sleep(time.Minute)
		want := map[string]float64{"entries panic retry false order": nparts * n, "overdue panic retry false order": 0,
			"entries deadline deadline false order": 1, "overdue deadline deadline false order": 0}
		check("parked", want)
		if a, b := told(t, one)["entries panic retry false order"], told(t, two)["entries panic retry false order"]; a != 2*n || b != 2*n {
			t.Errorf("one tells of %v, two of %v", a, b)
		}
		w.everywhere(schemas.RetriesPause, "order", "panic")
		time.Sleep(time.Minute)
		delete(want, "entries panic retry false order")
		delete(want, "overdue panic retry false order")
		want["entries panic retry true order"], want["overdue panic retry true order"] = nparts*n, 0
		check("paused", want)
		time.Sleep(time.Hour)
		want["overdue panic retry true order"] = nparts * n
		check("overdue", want)

		w.everywhere(schemas.RetriesResume, "order", "panic")
		time.Sleep(time.Minute)
		delete(want, "entries panic retry true order")
		delete(want, "overdue panic retry true order")
		want["dispatched_total panic retry order"], want["dispatch_delay_seconds retry"] = nparts*n, nparts*n
		check("resumed", want)

		w.park(w.entry(0, w.now().Add(time.Hour)), w.entry(0, w.now().Add(time.Hour)))
		time.Sleep(time.Minute)
		w.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.RebalanceInProgress, Count: 1, Group: Name})
		time.Sleep(time.Hour)
		if aborts := fmt.Sprint(one.Stats().Aborts, two.Stats().Aborts); aborts == "map[] map[]" {
			t.Error("no transaction was repeated")
		}
		want["dispatched_total panic retry order"] += 2
		want["dispatch_delay_seconds retry"] += 2
		check("a transaction was repeated", want)

		w.park(w.entry(0, w.now().Add(time.Hour)), w.entry(1, w.now().Add(time.Hour)))
		time.Sleep(time.Minute)
		w.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.InvalidProducerEpoch, Count: 1})
		time.Sleep(time.Hour)
		if one.Stats().Rebuilds+two.Stats().Rebuilds == 0 {
			t.Error("no client was made anew")
		}
		want["dispatched_total panic retry order"] += 2
		want["dispatch_delay_seconds retry"] += 2
		delete(want, "entries deadline deadline false order")
		delete(want, "overdue deadline deadline false order")
		want["dispatched_total deadline deadline order"], want["dispatch_delay_seconds deadline"] = 1, 1
		check("a visit was repeated by another client", want)
	})
}
