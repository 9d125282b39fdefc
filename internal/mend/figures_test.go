package mend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderlog/orderlog/internal/letter"
	"github.com/orderlog/orderlog/internal/wire"
)

// figures are what a collector tells, without "orderlog_dead_letters_", in whole
// numbers.
func figures(t testing.TB, c prometheus.Collector) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	fs, err := reg.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, f := range fs {
		if f.GetName() == "orderlog_counted_timestamp_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			key := f.GetName()[len("orderlog_dead_letters_"):]
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			got[key] = math.Round(m.GetGauge().GetValue() + m.GetCounter().GetValue())
		}
	}
	return got
}

func (w *world) figures() *Figures { return w.figuresBy(w.net.DialContext) }

func (w *world) figuresBy(dial wire.Dial) *Figures {
	w.t.Helper()
	f := NewFigures(Config{Opts: w.opts(dial), Serde: w.serde, Namespace: "red"}, slog.New(slog.NewTextHandler(w.t.Output(), nil)))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		f.Follow(ctx)
		close(done)
	}()
	w.t.Cleanup(func() {
		stop()
		<-done
	})
	return f
}

// What is open is counted, whoever dealt with the rest and when; what comes later
// is new, and a follower that begins later counts the same.
func TestFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.letter("ord_1")
		began := time.Now()
		w.bury(first, w.letter("ord_2"))
		d := w.desk("ann", w.net.DialContext)
		_, err := d.Discard(t.Context(), d.letters(t, Filter{Key: "ord_1"}), "a test")
		must(t, err)
		time.Sleep(time.Minute)
		poison := w.letter("ord_3")
		poison.Group, poison.Cause = "red.retry", "undecodable"
		w.bury(poison)

		f := w.figures()
		check := func(what string, f *Figures, want map[string]float64) {
			t.Helper()
			time.Sleep(2 * followEvery)
			if got := figures(t, f); !maps.Equal(got, want) {
				t.Errorf("%s: %v\nwant %v", what, got, want)
			}
		}
		unix := func(at time.Time) float64 { return math.Round(float64(at.UnixMilli()) / 1000) }
		want := map[string]float64{
			"open panic order": 1, "oldest_open_timestamp_seconds panic order": unix(began),
			"open undecodable retry": 1, "oldest_open_timestamp_seconds undecodable retry": unix(began.Add(time.Minute)),
			"total panic order": 0, "total undecodable retry": 0,
		}
		check("at first", f, want)
		later := time.Now()
		w.bury(w.letter("ord_4"), w.letter("ord_5"), w.letter("ord_6"))
		want["open panic order"], want["total panic order"] = 4, 3
		check("more have come", f, want)
		_, err = d.Redrive(t.Context(), d.letters(t, Filter{Key: "ord_2"}), Redrive{})
		must(t, err)
		for _, key := range []string{"ord_3", "ord_5"} {
			_, err = d.Discard(t.Context(), d.letters(t, Filter{Key: key}), "a test")
			must(t, err)
		}
		want["open panic order"], want["oldest_open_timestamp_seconds panic order"] = 2, unix(later)
		delete(want, "open undecodable retry")
		delete(want, "oldest_open_timestamp_seconds undecodable retry")
		check("some were dealt with", f, want)
		want["total panic order"] = 0
		check("from here on", w.figures(), want)

		// What has left its topic is open no more, and a topic made anew begins anew.
		adm := kadm.NewClient(w.cl)
		var past kadm.Offsets
		for _, r := range w.read("dead-letter") {
			if string(r.Key) == "ord_4" {
				past.AddOffset(r.Topic, r.Partition, r.Offset+1, -1)
			}
		}
		_, err = adm.DeleteRecords(t.Context(), past)
		must(t, err)
		time.Sleep(2 * followEvery)
		if got := figures(t, f)["open panic order"]; got != 1 {
			t.Errorf("%v are open after ord_4 has expired", got)
		}
		_, err = adm.DeleteTopic(t.Context(), "red.dead-letter")
		must(t, err)
		_, err = adm.CreateTopic(t.Context(), nparts, 1, nil, "red.dead-letter")
		must(t, err)
		time.Sleep(time.Minute)
		w.cl.PurgeTopicsFromClient("red.dead-letter")
		if got := figures(t, f)["open panic order"]; got != 0 {
			t.Errorf("%v are open of a topic that is gone", got)
		}
		w.bury(w.letter("ord_1"))
		time.Sleep(2 * followEvery)
		if got := figures(t, f); got["open panic order"] != 1 || got["total panic order"] != 4 {
			t.Errorf("of the topic made anew: %v", got)
		}
	})
}

// What cannot be read any more is told as what it is: old; and what never could be, is not
// told, but since when that is tried.
func TestFiguresAreOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.bury(w.letter("ord_1"))
		var away atomic.Bool
		f := w.figuresBy(func(ctx context.Context, network, address string) (net.Conn, error) {
			if away.Load() {
				return nil, errors.New("the broker is away")
			}
			c, err := w.net.DialContext(ctx, network, address)
			if err == nil {
				time.AfterFunc(time.Minute, func() { c.Close() })
			}
			return c, err
		})
		age := func(f *Figures) (minutes int) {
			t.Helper()
			reg := prometheus.NewRegistry()
			reg.MustRegister(f)
			fs, err := reg.Gather()
			must(t, err)
			for _, f := range fs {
				if m := f.GetMetric()[0]; f.GetName() == "orderlog_counted_timestamp_seconds" && m.GetLabel()[0].GetValue() == "dead letters" {
					return int(time.Since(time.UnixMilli(int64(m.GetGauge().GetValue() * 1000))).Minutes())
				}
			}
			return -1
		}
		time.Sleep(10 * time.Minute)
		if got := figures(t, f)["open panic order"]; got != 1 || age(f) != 0 {
			t.Errorf("%v are open as of %d minutes ago", got, age(f))
		}
		away.Store(true)
		never := w.figuresBy(func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no way") })
		time.Sleep(30 * time.Minute)
		w.bury(w.letter("ord_2"))
		time.Sleep(30 * time.Minute)
		if got := figures(t, f)["open panic order"]; got != 1 || age(f) < 58 {
			t.Errorf("%v are open as of %d minutes ago, nobody has been able to look for an hour", got, age(f))
		}
		if got := figures(t, never); len(got) > 0 || age(never) != 60 {
			t.Errorf("%v as of %d minutes ago, nobody has ever been able to look", got, age(never))
		}
		away.Store(false)
		time.Sleep(10 * time.Minute)
		if got := figures(t, f)["open panic order"]; got != 2 || age(f) != 0 {
			t.Errorf("%v are open as of %d minutes ago", got, age(f))
		}
	})
}

// Causes that anybody makes up do not become label values without end.
func TestFiguresAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var ls []letter.Letter
		for i := range 300 {
			l := w.letter("ord_1")
			l.Cause = fmt.Sprintf("%c%c", 'a'+i%26, 'a'+i/26)
			ls = append(ls, l)
		}
		w.bury(ls...)
		f := w.figures()
		time.Sleep(followEvery)
		got := figures(t, f)
		if len(got) != 3*101 || got["open other other"] != 200 {
			t.Errorf("%d figures, %v others", len(got), got["open other other"])
		}
	})
}
